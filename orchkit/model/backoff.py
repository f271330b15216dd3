"""How long a retry policy waits after each attempt, before jitter: values in, seconds out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from orchkit.model.retry import RetryPolicy


def _fibonacci(n: int) -> int:
    a, b = 1, 1
    for _ in range(n - 1):
        a, b = b, a + b
    return a


# Factor on the delay before attempt n + 1, from the number n of attempts made.
_GROWTH: Mapping[str, Callable[[RetryPolicy, int], float]] = {
    "none": lambda policy, n: 0.0,
    "immediate": lambda policy, n: 0.0,
    "fixed": lambda policy, n: 1.0,
    "linear": lambda policy, n: float(n),
    "exponential": lambda policy, n: policy.multiplier ** (n - 1),
    "fibonacci": lambda policy, n: float(_fibonacci(n)),
    "circuit_breaker": lambda policy, n: policy.multiplier ** (n - 1),
}


def base_delay(policy: RetryPolicy, attempts: int, delay: float | None = None) -> float:
    """Seconds to wait after ``attempts`` failed attempts, capped, before jitter.

    ``delay`` takes the place of the policy's own. Of a ``custom`` strategy only listed delays are known
    here, not what its function will say: for that the cap is returned.
    """
    if policy.strategy == "custom":
        listed = policy.wait
        grown = listed[min(attempts, len(listed)) - 1] if isinstance(listed, tuple) else math.inf
        return min(policy.max_delay, grown)
    first = policy.delay if delay is None else delay
    if first == 0:
        return 0.0
    try:
        grown = first * _GROWTH[policy.strategy](policy, attempts)
    except OverflowError:  # multiplier ** 2000: the cap is meant
        grown = math.inf
    return min(policy.max_delay, grown)
