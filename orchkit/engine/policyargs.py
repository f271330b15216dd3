"""The parts of a policy as keyword arguments, each in the forms in which people write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from orchkit.model.policy import (
    BreakerPolicy,
    BulkheadPolicy,
    FallbackOption,
    FallbackPolicy,
    FaultPolicy,
    HedgePolicy,
    RateLimitPolicy,
    ReliabilityPolicy,
    RetryPolicy,
    TimeoutPolicy,
)

Retry = RetryPolicy | int | str | Mapping[str, Any]
"""A policy, a number of attempts, a strategy, or the fields of a policy."""
Timeout = TimeoutPolicy | float | str | timedelta | Mapping[str, Any]
"""A policy, seconds per attempt (``2``, ``"2s"``, ``"5min"``), or the fields of a policy."""
Breaker = BreakerPolicy | bool | int | str | Mapping[str, Any]
"""A policy, whether to have one, failures in a row, a name, or the fields of a policy."""
Fallback = (
    FallbackPolicy | FallbackOption | float | str | Callable[..., Any] | Mapping[str, Any] | Sequence[Any]
)
"""A policy, a number, the name of a tool, a function, the fields of an option, or a chain of those."""
Bulkhead = BulkheadPolicy | int | Mapping[str, Any]
"""A policy, calls at a time, or the fields of a policy."""
RateLimit = RateLimitPolicy | int | str | Mapping[str, Any]
"""A policy, calls per second, a rate such as ``"100/min"``, or the fields of a policy."""
Hedge = HedgePolicy | float | str | timedelta | Mapping[str, Any]
"""A policy, seconds before the second try (``0.2``, ``"200ms"``), or the fields of a policy."""
Faults = FaultPolicy | float | Mapping[str, Any]
"""A policy, the share of attempts that fail, or the fields of a policy."""
Policy = ReliabilityPolicy | str | Mapping[str, Any]
"""A policy, the name of a preset, or the parts of a policy (perhaps over a ``preset``)."""


class PolicyParts(TypedDict, total=False):
    """The parts of a `ReliabilityPolicy`."""

    retry: Retry | None
    timeout: Timeout | None
    breaker: Breaker | None
    fallback: Fallback | None
    bulkhead: Bulkhead | None
    rate_limit: RateLimit | None
    hedge: Hedge | None
    faults: Faults | None
