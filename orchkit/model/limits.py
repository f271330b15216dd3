"""Limits as data: how many calls at a time, how many per period, when to hedge, what to break on purpose."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final, Self

from pydantic import Field, field_validator, model_validator

from orchkit.model.base import Record
from orchkit.model.manual import documented
from orchkit.model.reference import FunctionName
from orchkit.model.span import UNIT_PATTERN, Seconds, unit_seconds

_RATE: Final = re.compile(rf"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*({UNIT_PATTERN})\s*")


@documented
class TimeoutPolicy(Record):
    """Limits in seconds: on each attempt, and on the step with all its attempts and waits."""

    attempt: Seconds | None = Field(default=None, gt=0)
    """Seconds that each attempt may take."""
    total: Seconds | None = Field(default=None, gt=0)
    """Seconds for all attempts, the waits between them included."""

    @property
    def limits(self) -> bool:
        """Whether there is any limit."""
        return self.attempt is not None or self.total is not None


@documented
class BulkheadPolicy(Record):
    """How many calls may run at the same time, and how many may wait for a place."""

    name: str | None = None
    """Calls that name the same bulkhead share it; None: the name of the operation."""
    max_concurrent: int = Field(default=10, ge=1)
    """Calls that run at the same time. An abandoned sync function does not count any more."""
    max_queue: int | None = Field(default=None, ge=0)
    """Calls that wait for a place; None: any number."""
    max_wait: Seconds | None = Field(default=None, ge=0)
    """Seconds that a call waits at most; None: as long as it takes."""


@documented
class RateLimitPolicy(Record):
    """How many calls may start per period."""

    name: str | None = None
    """Calls that name the same limit share it; None: the name of the operation."""
    limit: int = Field(default=10, ge=1)
    """Calls per period."""
    period: Seconds = Field(default=1.0, gt=0)
    """Seconds."""
    burst: int | None = Field(default=None, ge=1)
    """None: never more than ``limit`` starts in any ``period``. A number: a token bucket of that size, to
    which ``limit`` tokens come back evenly per ``period``."""
    max_wait: Seconds | None = Field(default=None, ge=0)
    """Seconds that a call waits for its turn at most; None: as long as it takes."""


@documented
class HedgePolicy(Record):
    """A second try beside a slow first one; the first success counts, the others are cancelled.

    Only for methods that are registered with ``idempotent=True``.
    """

    delay: Seconds = Field(default=1.0, ge=0)
    """Seconds after which another try is started beside those that run."""
    max_hedges: int = Field(default=1, ge=1)
    """How many tries are started beside the first one."""


@documented
class FaultPolicy(Record):
    """Failures and slowness made on purpose; such attempts are marked as injected on the record."""

    name: str | None = None
    """Calls under one name draw from one sequence; None: the name of the operation."""
    rate: float = Field(default=0.0, ge=0, le=1)
    """Share of attempts that fail instead of calling the function."""
    error: FunctionName = "orchkit.errors:InjectedFaultError"
    """What they raise: an exception type (or its name), or a function that makes one."""
    latency: Seconds | tuple[Seconds, Seconds] = 0.0
    """Seconds that attempts wait first, or the bounds between which each draws its wait."""
    latency_rate: float = Field(default=1.0, ge=0, le=1)
    """Share of attempts that wait."""
    seed: int | None = None
    """Equal seeds make equal sequences of faults; None: the kit's own generator."""

    @field_validator("error", mode="before")
    @classmethod
    def _error(cls, value: Any) -> Any:
        return f"builtins:{value}" if isinstance(value, str) and value.isidentifier() else value

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        low, high = self.wait_bounds
        if not 0 <= low <= high:
            raise ValueError(f"latency {self.latency!r}: give seconds, or two bounds in order")
        return self

    @property
    def wait_bounds(self) -> tuple[float, float]:
        """Shortest and longest wait in seconds."""
        return self.latency if isinstance(self.latency, tuple) else (self.latency, self.latency)

    @property
    def idle(self) -> bool:
        """Whether it does nothing at all."""
        return self.rate == 0 and (self.wait_bounds[1] == 0 or self.latency_rate == 0)


def as_timeout(
    value: TimeoutPolicy | float | str | timedelta | dict[str, Any] | None,
) -> TimeoutPolicy | None:
    """A timeout policy from what people write: a policy, seconds per attempt (``2``, ``"2s"``), a mapping."""
    if value is None or isinstance(value, TimeoutPolicy):
        return value
    if isinstance(value, int | float | str | timedelta):
        return TimeoutPolicy.model_validate({"attempt": value})
    return TimeoutPolicy.model_validate(value)


def as_bulkhead(value: BulkheadPolicy | int | dict[str, Any] | None) -> BulkheadPolicy | None:
    """A bulkhead from what people write: a policy, a number of calls at a time, a mapping."""
    if value is None or isinstance(value, BulkheadPolicy):
        return value
    if isinstance(value, int):
        return BulkheadPolicy(max_concurrent=value)
    return BulkheadPolicy.model_validate(value)


def as_rate_limit(value: RateLimitPolicy | float | str | dict[str, Any] | None) -> RateLimitPolicy | None:
    """A rate limit from what people write: a policy, calls per second, ``"100/min"``, a mapping."""
    if value is None or isinstance(value, RateLimitPolicy):
        return value
    if isinstance(value, str):
        found = _RATE.fullmatch(value)
        if found is None:
            raise ValueError("no such rate: write '10/s', '100/min' or '5/10s'")
        calls, times, unit = found.groups()
        return RateLimitPolicy(limit=int(calls), period=float(times or 1) * unit_seconds(unit))
    if isinstance(value, int):
        return RateLimitPolicy(limit=value)
    return RateLimitPolicy.model_validate(value)


def as_hedge(value: HedgePolicy | float | str | timedelta | dict[str, Any] | None) -> HedgePolicy | None:
    """A hedge from what people write: a policy, the delay in seconds (``0.2``, ``"200ms"``), a mapping."""
    if value is None or isinstance(value, HedgePolicy):
        return value
    if isinstance(value, int | float | str | timedelta):
        return HedgePolicy.model_validate({"delay": value})
    return HedgePolicy.model_validate(value)


def as_faults(value: FaultPolicy | float | dict[str, Any] | None) -> FaultPolicy | None:
    """Faults from what people write: a policy, the share of attempts that fail, a mapping."""
    if value is None or isinstance(value, FaultPolicy):
        return value
    if isinstance(value, int | float):
        return FaultPolicy(rate=value)
    return FaultPolicy.model_validate(value)
