"""Whether to try again, and after how long: pure functions over values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from orchkit.errors import RejectedError
from orchkit.model.backoff import base_delay
from orchkit.model.reference import function_name
from orchkit.model.retry import RetryPolicy
from orchkit.reliability.classify import error_name, error_text
from orchkit.reliability.functions import load
from orchkit.reliability.traits import first_fit, traits_of

__all__ = ["NO_HINTS", "Hints", "RetryVerdict", "base_delay", "decide", "next_delay"]


def next_delay(
    policy: RetryPolicy,
    attempts: int,
    rng: Random,
    previous: float | None = None,
    delay: float | None = None,
) -> float:
    """Seconds to wait after ``attempts`` failed attempts: `base_delay` with jitter.

    ``full`` is uniform in [0, d], ``equal`` in [d/2, d], ``decorrelated`` in [first delay, 3 × the previous
    wait]. The cap comes before the jitter, so delays neither bunch at the cap nor exceed it (AWS Architecture
    Blog, "Exponential Backoff And Jitter"). ``delay`` takes the place of the policy's first delay.
    """
    if policy.jitter == "decorrelated" and policy.strategy not in ("none", "immediate"):
        first = policy.delay if delay is None else delay
        upper = min(policy.max_delay, 3 * (first if previous is None else previous))
        return min(upper, rng.uniform(min(first, upper), upper))
    calculated = _custom(policy, attempts) if callable_wait(policy) else base_delay(policy, attempts, delay)
    if policy.jitter == "full":
        return rng.uniform(0, calculated)
    if policy.jitter == "equal":
        return rng.uniform(calculated / 2, calculated)
    return calculated


def callable_wait(policy: RetryPolicy) -> bool:
    """Whether a function of the user's says how long to wait."""
    return policy.strategy == "custom" and not isinstance(policy.wait, tuple)


def _custom(policy: RetryPolicy, attempts: int) -> float:
    assert policy.wait is not None
    assert not isinstance(policy.wait, tuple)
    seconds = load("wait", policy.wait)(attempts)
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if not isinstance(seconds, int | float) or math.isnan(seconds) or seconds < 0:
        raise ValueError(f"wait({attempts}) gave {seconds!r}, which is no number of seconds")
    return min(policy.max_delay, float(seconds))


@dataclass(frozen=True, slots=True)
class Hints:
    """What others say about when to come back, in seconds from now; None: nothing."""

    retry_after: float | None = None
    """The service."""
    reopens_in: float | None = None
    """The circuit breaker of the call, while it is open; infinite: it does not by itself."""


NO_HINTS = Hints()


@dataclass(frozen=True, slots=True)
class RetryVerdict:
    """What to do after a failed attempt, and why."""

    retry: bool
    delay: float
    """Seconds to wait before the next attempt; 0 when there is none."""
    reason: str
    rule: str = "retry"
    """What decided, in one word: ``retry``, or why not: ``classifier``, ``give_up_on``, ``retry_on``,
    ``strategy``, ``max_attempts``, ``breaker``, ``wait``, ``max_elapsed``, ``budget``."""
    traits: frozenset[str] = field(default=frozenset(), repr=False)
    """What was told of the error."""


@dataclass(frozen=True, slots=True)
class _Opinion:
    """What the classifier of a policy said."""

    retry: bool | None = None
    delay: float | None = None
    kind: str | None = None
    failure: tuple[str, str] | None = None


def decide(
    policy: RetryPolicy,
    attempts: int,
    error: Exception,
    elapsed: float,
    rng: Random,
    previous: float | None = None,
    hints: Hints = NO_HINTS,
) -> RetryVerdict:
    """Decide after ``attempts`` attempts, the last failed with ``error``; ``elapsed`` seconds are over.

    ``previous`` is the wait before the last attempt, in seconds.
    """
    opinion = _opinion(policy, error)
    traits = traits_of(error) | ({opinion.kind} if opinion.kind else set())
    refusal = opinion.failure or _refusal(policy, attempts, error, traits, opinion.retry)
    if refusal is not None:
        return _no(*refusal, traits)
    hopeless = _hopeless(policy, attempts, traits, previous, hints)
    if hopeless is not None:
        return _no("breaker", hopeless, traits)
    try:
        delay, why = _wait(policy, attempts, traits, rng, previous, hints, opinion)
    except Exception as broken:  # the user's own function: the error of the call is the one to raise
        return _no("wait", f"how long to wait cannot be said: {error_text(broken)}", traits)
    if policy.max_elapsed is not None and elapsed + delay > policy.max_elapsed:
        late = f"waiting {delay:.3g} s would end after max_elapsed of {policy.max_elapsed:g} s "
        return _no("max_elapsed", late + f"({elapsed:.3g} s are over)", traits)
    # A call that was rejected was tried, but no attempt was made.
    what = "try" if isinstance(error, RejectedError) else "attempt"
    reason = f"{error_name(error)} on {what} {attempts} of {policy.max_attempts}"
    return RetryVerdict(True, delay, f"{reason}; {why}" if why else reason, traits=traits)


def _no(rule: str, reason: str, traits: frozenset[str]) -> RetryVerdict:
    return RetryVerdict(False, 0.0, reason, rule, traits)


def _opinion(policy: RetryPolicy, error: Exception) -> _Opinion:
    if policy.classifier is None:
        return _Opinion()
    try:
        said = load("classifier", policy.classifier)(error)
        return _understood(said)
    except Exception as broken:  # the error of the call is the one to raise; this one is on the record
        failure = f"{function_name(policy.classifier)} failed: {error_text(broken)}"
        return _Opinion(failure=("classifier", failure))


def _understood(said: Any) -> _Opinion:
    if isinstance(said, timedelta):
        said = said.total_seconds()
    if said is None:
        return _Opinion()
    if isinstance(said, bool):
        return _Opinion(retry=said)
    if isinstance(said, str):
        return _Opinion(kind=said)
    if isinstance(said, int | float) and math.isfinite(said):
        return _Opinion(retry=True, delay=max(0.0, float(said)))
    raise TypeError(f"a classifier returns a bool, seconds, a kind or None, not {said!r}")


def _refusal(
    policy: RetryPolicy, attempts: int, error: Exception, traits: frozenset[str], wanted: bool | None
) -> tuple[str, str] | None:
    """The rule by which there is no other attempt, and its words; None: there may be one."""
    kind = error_name(error)
    if wanted is False:
        assert policy.classifier is not None
        return "classifier", f"{function_name(policy.classifier)} says not to retry {kind}"
    if wanted is None:
        if not traits.isdisjoint(policy.give_up_on):
            return "give_up_on", f"{kind} is among give_up_on"
        if traits.isdisjoint(policy.retry_on):
            return "retry_on", f"{kind} is not among retry_on ({', '.join(policy.retry_on)})"
    if policy.strategy == "none":
        return "strategy", "the strategy is none"
    if attempts >= policy.max_attempts:
        return "max_attempts", f"all {policy.max_attempts} attempts are used up"
    return None


class _Longest(Random):
    """Draws the longest wait of all."""

    def uniform(self, a: float, b: float) -> float:
        """The upper end."""
        return b


_LONGEST = _Longest(0)


def _hopeless(
    policy: RetryPolicy, attempts: int, traits: frozenset[str], previous: float | None, hints: Hints
) -> str | None:
    """Why no try can get past the breaker that has just rejected one; None: one may."""
    reopens = hints.reopens_in
    if reopens == math.inf:
        return "the breaker is forced open: no wait ends that, only who sets it back by hand"
    # A classifier, or a function, may give any wait, and asking it beforehand may change what it says.
    untold = policy.classifier is not None or callable_wait(policy)
    if reopens is None or untold or policy.strategy == "circuit_breaker":
        return None
    left, first = 0.0, first_fit(policy.delay_for, traits)
    for number in range(attempts, policy.max_attempts):
        previous = next_delay(policy, number, _LONGEST, previous, first)
        left += previous
        if left >= reopens:
            return None
    return f"the breaker stays open for {reopens:.3g} s, the waits that are left come to {left:.3g} s at most"


def _wait(
    policy: RetryPolicy,
    attempts: int,
    traits: frozenset[str],
    rng: Random,
    previous: float | None,
    hints: Hints,
    opinion: _Opinion,
) -> tuple[float, str]:
    """How long to wait and, when it is not the policy's own delay, why."""
    if policy.strategy == "circuit_breaker" and hints.reopens_in:
        return hints.reopens_in, "the circuit breaker lets calls through then"
    own = next_delay(policy, attempts, rng, previous, first_fit(policy.delay_for, traits))
    cap = policy.max_delay if policy.retry_after_cap is None else policy.retry_after_cap
    if opinion.delay is not None:
        return min(opinion.delay, cap), f"the classifier says {opinion.delay:.3g} s"
    asked = hints.retry_after
    if asked is None or not policy.retry_after:
        return own, ""
    if policy.retry_after_window is not None:
        delay = min(max(asked, own), own + policy.retry_after_window)
    else:
        delay = min(asked, cap)
    less = f", more than the {delay:.3g} s allowed" if delay < asked else ""
    return delay, f"the service asks to wait {asked:.3g} s{less}"
