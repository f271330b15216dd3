"""What a policy means at worst, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchkit.model.display import Displayable
from orchkit.model.policycheck import waits_of
from orchkit.model.retry import RetryPolicy

if TYPE_CHECKING:
    from orchkit.model.policy import ReliabilityPolicy

_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Explanation(Displayable):
    """The worst case of one call under a policy."""

    seconds: float | None
    """How long it takes at most, waits for places and turns included; None: there is no limit."""
    calls: int
    """How often the function is called at most: attempts, and hedges beside them."""
    waits: tuple[float, ...]
    """The waits between attempts at most, in seconds, as the policy itself sets them."""
    load: float
    """How many times the usual calls a service gets at most when all fail and nothing holds them back."""
    sustained_load: float
    """The same when it goes on: what breaker and budget still let through, per request and for ever."""
    lines: tuple[str, ...]
    """All that in words."""
    warnings: tuple[str, ...] = ()
    """What contradicts itself in it: see `ReliabilityPolicy.warnings`."""

    def __str__(self) -> str:
        return "\n".join((*self.lines, *(f"⚠ {warning}" for warning in self.warnings)))

    def __repr__(self) -> str:
        return str(self)


def explanation(policy: ReliabilityPolicy) -> Explanation:
    """The worst case of a policy."""
    retry = policy.retry
    attempts = retry.max_attempts if retry is not None and retry.strategy != "none" else 1
    tries = 1 + (policy.hedge.max_hedges if policy.hedge is not None else 0)
    waits = tuple(waits_of(retry)) if retry is not None else ()
    seconds = _seconds(policy, attempts, waits)
    load = float(attempts * tries)
    sustained = _sustained(policy, load)
    lines = (*_lines(policy, attempts, tries, waits), *_worst(seconds, load, sustained))
    warnings = tuple(policy.told())
    return Explanation(seconds, attempts * tries, waits, load, sustained, lines, warnings)


def _seconds(policy: ReliabilityPolicy, attempts: int, waits: tuple[float, ...]) -> float | None:
    timeout, retry = policy.timeout, policy.retry
    bounds = [timeout.total] if timeout is not None and timeout.total is not None else []
    one = _one_try(policy)
    if one is not None:
        if retry is not None and retry.max_elapsed is not None:
            bounds.append(retry.max_elapsed + one)
        if retry is None or retry.strategy != "circuit_breaker":
            longest = sum(_longest(retry, wait) for wait in waits) if retry is not None else 0.0
            bounds.append(attempts * one + longest)
    return min(bounds, default=None)


def _one_try(policy: ReliabilityPolicy) -> float | None:
    """The longest that one try takes: its turn, its place, the attempt, and hedges beside it."""
    if policy.timeout is None or policy.timeout.attempt is None:
        return None
    total = policy.timeout.attempt
    for part in (policy.rate_limit, policy.bulkhead):
        if part is not None:
            if part.max_wait is None:
                return None
            total += part.max_wait
    if policy.hedge is not None:
        total += policy.hedge.delay * policy.hedge.max_hedges
    return total


def _longest(retry: RetryPolicy, wait: float) -> float:
    """A wait of the policy, or what the service or a classifier may make of it."""
    cap = retry.max_delay if retry.retry_after_cap is None else retry.retry_after_cap
    longest = max(wait, cap) if retry.classifier is not None else wait
    if not retry.retry_after:
        return longest
    return max(longest, cap if retry.retry_after_window is None else wait + retry.retry_after_window)


def _sustained(policy: ReliabilityPolicy, load: float) -> float:
    if policy.breaker is not None and policy.breaker.enabled:
        return 0.0
    budget = policy.retry.budget if policy.retry is not None else None
    if budget is None or min([budget.cost, *budget.costs.values()]) == 0:
        return load
    return 1.0


# --- in words --------------------------------------------------------------------------------


def _lines(policy: ReliabilityPolicy, attempts: int, tries: int, waits: tuple[float, ...]) -> Iterator[str]:
    limit = policy.timeout.attempt if policy.timeout is not None else None
    each = f", each at most {limit:g} s" if limit is not None else ", each as long as it takes"
    yield f"Up to {_plural(attempts, 'attempt')}{each if attempts > 1 else each.replace('each ', '')}."
    if policy.retry is not None and waits:
        yield _waits(policy.retry, waits)
    if policy.hedge is not None:
        yield (
            f"A try that takes {policy.hedge.delay:g} s gets another one beside it, "
            f"{tries} at a time at most; the first success counts."
        )
    if policy.breaker is not None and policy.breaker.enabled:
        yield _breaker(policy)
        if attempts > 1 and policy.breaker.in_a_row is not None and attempts >= policy.breaker.in_a_row:
            yield "One call whose attempts all fail opens it."
    if policy.rate_limit is not None:
        yield f"At most {policy.rate_limit.limit:,} calls start per {policy.rate_limit.period:g} s."
    if policy.bulkhead is not None:
        yield f"At most {policy.bulkhead.max_concurrent:,} calls run at the same time."
    if policy.timeout is not None and policy.timeout.total is not None:
        yield f"After {policy.timeout.total:g} s everything ends, whatever is going on."
    if policy.fallback is not None:
        yield f"When all fails: {', then '.join(map(str, policy.fallback.chain))}."
    if policy.faults is not None and not policy.faults.idle:
        yield f"On purpose {policy.faults.rate:.0%} of the attempts fail."


def _waits(retry: RetryPolicy, waits: tuple[float, ...]) -> str:
    shown = ", ".join(f"{wait:g}" for wait in waits[:_SHOWN]) + (", …" if len(waits) > _SHOWN else "")
    jitter = "" if retry.jitter == "none" else f" at most ({retry.jitter} jitter)"
    text = f"Between them it waits {shown} s{jitter}, {sum(waits):g} s in all"
    if retry.retry_after:
        text += f"; or as long as the service asks, up to {max(_longest(retry, one) for one in waits):g} s"
    if retry.strategy == "circuit_breaker":
        text += "; while the breaker is open until that lets calls through"
    if retry.max_elapsed is not None:
        text += f"; no wait that would end after {retry.max_elapsed:g} s"
    if retry.budget is not None:
        budget = retry.budget
        text += (
            f". A retry costs {budget.cost:g} of {budget.capacity:g} tokens that all calls share: "
            f"{budget.capacity // budget.cost:g} retries without a success in between"
            if budget.cost
            else f". Retries share {budget.capacity:g} tokens"
        )
    return text + "."


def _breaker(policy: ReliabilityPolicy) -> str:
    breaker = policy.breaker
    assert breaker is not None
    opens = [f"{breaker.in_a_row} failures in a row"] if breaker.in_a_row is not None else []
    size = f"{breaker.window_size:g}"
    window = f"of the last {size} calls" if breaker.window == "count" else f"of the calls of {size} s"
    if breaker.failure_rate is not None:
        opens.append(f"{breaker.failure_rate:.0%} {window} failing")
    if breaker.slow_call_rate is not None:
        slow = f"taking longer than {breaker.slow_call_duration:g} s"
        opens.append(f"{breaker.slow_call_rate:.0%} {window} {slow}")
    good = f"of which {breaker.success_threshold} must be good"
    return (
        f"After {' or '.join(opens)} no call is made for {breaker.reset_timeout:g} s; "
        f"then {_plural(breaker.probes, 'probe')}, {'judged by the same rates' if breaker.by_rate else good}."
    )


def _worst(seconds: float | None, load: float, sustained: float) -> Iterator[str]:
    lasts = f"{seconds:g} s" if seconds is not None else "as long as the function takes, without a limit"
    yield f"At worst a call takes {lasts} and calls the function {_plural(int(load), 'time')}."
    if load > 1:
        then = {0.0: "the breaker lets only probes through", 1.0: "the budget lets no retries through"}
        after = (
            f"; when that goes on, {then[sustained]}" if sustained in then else ", for as long as it lasts"
        )
        yield f"A service that fails gets {load:g} times the calls{after}."


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
