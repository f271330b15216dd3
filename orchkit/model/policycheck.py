"""Stacks of policies that cannot do what they seem to: each contradiction with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from orchkit.errors import Problem
from orchkit.model.backoff import base_delay
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.retry import RetryPolicy
from orchkit.model.selectors import meant

if TYPE_CHECKING:
    from orchkit.model.policy import ReliabilityPolicy

_MANY: Final = 1_000
"""So many waits are looked at; more than that add nothing to what can be said."""


def warnings_of(policy: ReliabilityPolicy, idempotent: bool | None = None) -> list[Problem]:
    """What cannot work as it is; ``idempotent`` says what is known of the function."""
    found = [problem for check in _CHECKS for problem in check(policy)]
    if policy.hedge is not None and idempotent is False:
        cause = "the function is not declared idempotent, so it is never hedged"
        found.append(Problem("hedge", cause, "register it with idempotent=True if twice is as good as once"))
    return found


def waits_of(retry: RetryPolicy) -> list[float]:
    """The waits between the attempts of a policy, without jitter: the longest that its own rule gives."""
    count = min(retry.max_attempts, _MANY) - 1
    if retry.strategy == "none":
        return []
    if retry.jitter == "decorrelated":
        return [min(retry.max_delay, retry.delay * 3.0 ** min(n, 300)) for n in range(1, count + 1)]
    return [base_delay(retry, n) for n in range(1, count + 1)]


def shortest(retry: RetryPolicy, wait: float) -> float:
    """The shortest that jitter makes of a wait."""
    if retry.jitter == "full":
        return 0.0
    if retry.jitter == "decorrelated":
        return min(retry.delay, wait)
    return wait / 2 if retry.jitter == "equal" else wait


# --- one function per pair -------------------------------------------------------------------


def _timeouts(policy: ReliabilityPolicy) -> Iterator[Problem]:
    timeout = policy.timeout
    if timeout is None or timeout.total is None:
        return
    if timeout.attempt is not None and timeout.attempt >= timeout.total:
        cause = f"{timeout.attempt:g} s per attempt, but all of them together have {timeout.total:g} s"
        yield Problem("timeout", cause, "the limit of an attempt never acts: make it shorter")
    for name in ("bulkhead", "rate_limit"):
        part = getattr(policy, name)
        if part is not None and part.max_wait is not None and part.max_wait >= timeout.total:
            cause = f"it may wait {part.max_wait:g} s, but the call has {timeout.total:g} s in all"
            yield Problem(name, cause, "the total timeout ends the wait first")


def _retries(policy: ReliabilityPolicy) -> Iterator[Problem]:
    retry = policy.retry
    if retry is None or retry.max_attempts == 1:
        return
    if retry.strategy == "none":
        yield Problem("retry", f"strategy 'none' makes one attempt, not {retry.max_attempts}")
        return
    if {"Exception", "BaseException"} & set(retry.give_up_on):
        yield Problem("retry", "give_up_on holds for all errors, so that nothing is ever retried")
    waits = waits_of(retry)
    first = shortest(retry, waits[0])
    if retry.max_elapsed is not None and first > retry.max_elapsed:
        cause = f"the first wait of {first:g} s would end after max_elapsed of {retry.max_elapsed:g} s"
        yield Problem("retry", cause, "there is never a second attempt")
    total = policy.timeout.total if policy.timeout is not None else None
    if total is not None:
        yield from _out_of_time(retry, waits, total)


def _out_of_time(retry: RetryPolicy, waits: list[float], total: float) -> Iterator[Problem]:
    """Attempts for which there is no time even if all those before them fail at once."""
    spent = 0.0
    for made, wait in enumerate(waits, 1):
        spent += shortest(retry, wait)
        if spent >= total:
            cause = (
                f"the waits before attempt {made + 1} take {spent:g} s, and the call has {total:g} s in all"
            )
            yield Problem("retry", cause, f"of {retry.max_attempts} attempts at most {made} are made")
            return


def _budget(policy: ReliabilityPolicy) -> Iterator[Problem]:
    retry = policy.retry
    if retry is None or retry.budget is None:
        return
    budget = retry.budget
    cheapest = min(
        [budget.cost, *budget.costs.values(), *([budget.timeout_cost] if budget.timeout_cost else [])]
    )
    if cheapest > budget.capacity:
        cause = f"a retry costs {cheapest:g} tokens, and a full bucket holds {budget.capacity:g}"
        yield Problem("retry.budget", cause, "nothing is ever retried")


def _breaker(policy: ReliabilityPolicy) -> Iterator[Problem]:
    """Retries that only find the breaker open, and settings that wait for each other in vain."""
    breaker, retry = policy.breaker, policy.retry
    waiting = retry is not None and retry.strategy == "circuit_breaker"
    if breaker is None or not breaker.enabled:
        if waiting:
            yield Problem("retry", "strategy 'circuit_breaker' needs a breaker, and there is none")
        return
    if waiting and retry is not None:
        endless = retry.max_elapsed is None and (policy.timeout is None or policy.timeout.total is None)
        if endless:
            yield Problem(
                "retry", "it may wait for the breaker for ever", "set max_elapsed or a total timeout"
            )
    elif retry is not None:
        yield from _into_the_open(retry, breaker)
    limit = policy.timeout.attempt if policy.timeout is not None else None
    if limit is not None and breaker.slow_call_duration is not None and breaker.slow_call_duration >= limit:
        cause = f"calls are slow from {breaker.slow_call_duration:g} s on, but end after {limit:g} s"
        yield Problem("breaker", cause, "no call is ever slow")
    if limit is not None and breaker.probe_lease < limit:
        cause = f"a probe loses its place after {breaker.probe_lease:g} s and may take {limit:g} s"
        yield Problem("breaker", cause, "more probes may be out than half_open_calls says")


def _into_the_open(retry: RetryPolicy, breaker: BreakerPolicy) -> Iterator[Problem]:
    """Attempts that find the breaker open, which those before them have opened."""
    opens = breaker.in_a_row
    if opens is None or opens >= retry.max_attempts:
        return
    waits = waits_of(retry)[opens - 1 :]
    rejected = sum(passed < breaker.reset_timeout for passed in accumulate(waits))
    if not rejected:
        return
    head = (
        f"after {opens} failures in a row the breaker is open for {breaker.reset_timeout:g} s, and the waits "
    )
    if rejected == len(waits):
        cause = f"{head}from then on take {sum(waits):g} s"
        which = f"attempts from {opens + 1} on are rejected"
    else:
        last = opens + rejected
        cause = f"{head}before attempt {last} take {sum(waits[:rejected]):g} s"
        which = (
            f"attempts {opens + 1} to {last} are rejected" if rejected > 1 else f"attempt {last} is rejected"
        )
    yield Problem("retry", cause, f"{which}: use strategy 'circuit_breaker'")


def _hedge(policy: ReliabilityPolicy) -> Iterator[Problem]:
    hedge, timeout = policy.hedge, policy.timeout
    limits = [] if timeout is None else [timeout.attempt, timeout.total]
    limit = min((one for one in limits if one is not None), default=None)
    if hedge is not None and limit is not None and hedge.delay >= limit:
        cause = f"it starts after {hedge.delay:g} s, but the call ends after {limit:g} s"
        yield Problem("hedge", cause, "it never starts: make its delay shorter")


def _fallback(policy: ReliabilityPolicy) -> Iterator[Problem]:
    chain = policy.fallback.chain if policy.fallback is not None else ()
    for number, option in enumerate(chain[:-1], 1):
        if option.tool is None and option.function is None and "Exception" in option.on:
            yield Problem(
                "fallback", f"option {number} is a value for all errors", "those after it are never used"
            )
            return


def _misspelt(policy: ReliabilityPolicy) -> Iterator[Problem]:
    """Names of errors that nothing has, but something nearly has."""
    chain = policy.fallback.chain if policy.fallback is not None else ()
    named: list[tuple[str, Iterable[str]]] = []
    if policy.retry is not None:
        named += [(f"retry.{field}", getattr(policy.retry, field)) for field in _RETRY_SELECTORS]
        named += (
            [("retry.budget.costs", policy.retry.budget.costs)] if policy.retry.budget is not None else []
        )
    if policy.breaker is not None:
        named += [
            ("breaker.failure_on", policy.breaker.failure_on),
            ("breaker.ignore", policy.breaker.ignore),
        ]
    named += [("fallback.on", option.on) for option in chain]
    for where, selectors in named:
        for selector in selectors:
            near = meant(selector)
            if near is not None:
                yield Problem(where, f"no known error is called {selector!r}", f"did you mean {near!r}?")


_RETRY_SELECTORS: Final = ("retry_on", "give_up_on", "delay_for")
_CHECKS: Final[tuple[Callable[[ReliabilityPolicy], Iterator[Problem]], ...]] = (
    _timeouts,
    _retries,
    _budget,
    _breaker,
    _hedge,
    _fallback,
    _misspelt,
)
