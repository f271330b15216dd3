"""Whether to try again, and after how long: pure functions over values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from orchkit.model.policy import RetryPolicy
from orchkit.reliability.classify import error_name, matches


def _fibonacci(n: int) -> int:
    a, b = 1, 1
    for _ in range(n - 1):
        a, b = b, a + b
    return a


# Factor on `delay` before attempt n + 1, from the number n of attempts made.
_GROWTH: Mapping[str, Callable[[RetryPolicy, int], float]] = {
    "none": lambda policy, n: 0.0,
    "immediate": lambda policy, n: 0.0,
    "fixed": lambda policy, n: 1.0,
    "linear": lambda policy, n: float(n),
    "exponential": lambda policy, n: policy.multiplier ** (n - 1),
    "fibonacci": lambda policy, n: float(_fibonacci(n)),
}


def base_delay(policy: RetryPolicy, attempts: int) -> float:
    """Seconds to wait after ``attempts`` failed attempts, capped, before jitter."""
    try:
        grown = policy.delay * _GROWTH[policy.strategy](policy, attempts)
    except OverflowError:  # multiplier ** 2000: the cap is meant
        grown = float("inf")
    return min(policy.max_delay, grown)


def next_delay(policy: RetryPolicy, attempts: int, rng: Random) -> float:
    """The same with jitter: ``full`` uniform in [0, d], ``equal`` uniform in [d/2, d].

    The cap comes before the jitter, so delays neither bunch at the cap nor exceed it (AWS
    Architecture Blog, "Exponential Backoff And Jitter").
    """
    delay = base_delay(policy, attempts)
    if policy.jitter == "full":
        return rng.uniform(0, delay)
    if policy.jitter == "equal":
        return rng.uniform(delay / 2, delay)
    return delay


@dataclass(frozen=True, slots=True)
class RetryVerdict:
    """What to do after a failed attempt, and why."""

    retry: bool
    delay: float
    """Seconds to wait before the next attempt; 0 when there is none."""
    reason: str


def decide(policy: RetryPolicy, attempts: int, error: Exception, elapsed: float, rng: Random) -> RetryVerdict:
    """Decide after ``attempts`` attempts, the last failed with ``error``; ``elapsed`` seconds are over."""
    kind = error_name(error)
    if matches(error, policy.give_up_on):
        return RetryVerdict(False, 0.0, f"{kind} is among give_up_on")
    if not matches(error, policy.retry_on):
        return RetryVerdict(False, 0.0, f"{kind} is not among retry_on ({', '.join(policy.retry_on)})")
    if policy.strategy == "none":
        return RetryVerdict(False, 0.0, "the strategy is none")
    if attempts >= policy.max_attempts:
        return RetryVerdict(False, 0.0, f"all {policy.max_attempts} attempts are used up")
    delay = next_delay(policy, attempts, rng)
    if policy.max_elapsed is not None and elapsed + delay > policy.max_elapsed:
        return RetryVerdict(
            False,
            0.0,
            f"waiting {delay:.3g} s would end after max_elapsed of {policy.max_elapsed:g} s "
            f"({elapsed:.3g} s are over)",
        )
    return RetryVerdict(True, delay, f"{kind} on attempt {attempts} of {policy.max_attempts}")
