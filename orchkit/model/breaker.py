"""A circuit breaker as data: when it opens, for how long, and how it finds its way back."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from orchkit.model.base import Record
from orchkit.model.manual import documented
from orchkit.model.selectors import Selectors
from orchkit.model.span import Seconds

BreakerState = Literal["closed", "open", "half_open", "forced_open", "disabled"]

USUAL_FAILURES = 3
USUAL_RATE_PROBES = 10


@documented
class BreakerPolicy(Record):
    """When calls to a service that fails are no longer made, and how they come back.

    It opens after ``failure_threshold`` failures in a row, or when the share of failed or slow calls within
    a window reaches a rate. While it is open calls are rejected with `BreakerOpenError`; after
    ``reset_timeout`` seconds it is half open and lets a few probes through. By failures in a row: one failed
    probe opens it again, ``success_threshold`` good ones close it. By rates: ``half_open_calls`` probes are
    judged by the same rates.
    """

    name: str | None = None
    """Calls that name the same breaker share it; None: the name of the operation."""
    enabled: bool = True
    """False: no breaker, also where the policy of the operation has one."""
    failure_threshold: int | None = Field(default=None, ge=1)
    """Failures in a row that open it; 3 when no rate is given."""
    failure_rate: float | None = Field(default=None, gt=0, le=1)
    """Share of failed calls within the window that opens it, such as 0.5."""
    slow_call_rate: float | None = Field(default=None, gt=0, le=1)
    """Share of calls slower than ``slow_call_duration`` within the window that opens it."""
    slow_call_duration: Seconds | None = Field(default=None, gt=0)
    """Seconds beyond which a call is slow, whether it succeeds or fails."""
    window: Literal["count", "time"] = "count"
    """Whether the rates are those of the last so many calls or of the last so many seconds."""
    window_size: float = Field(default=100, gt=0)
    """How many calls, or seconds."""
    minimum_calls: int = Field(default=10, ge=1)
    """Rates of fewer calls than this mean nothing; at most ``window_size`` in a window of calls."""
    reset_timeout: Seconds = Field(
        default=60, gt=0, validation_alias=AliasChoices("reset_timeout", "timeout", "open_for")
    )
    """Seconds that it stays open before the first probe."""
    success_threshold: int = Field(default=2, ge=1)
    """Successful probes that close it, when it goes by failures in a row."""
    half_open_calls: int | None = Field(default=None, ge=1)
    """How many probes it lets through; None: ``success_threshold``, or 10 when it goes by rates."""
    probe_lease: Seconds = Field(default=60, gt=0)
    """Seconds after which the place of a probe that has not come back is given to another one."""
    failure_on: Selectors = ("Exception",)
    """Errors that count as failures; others are ignored, as are cancellations and our own rejections."""
    ignore: Selectors = ("client_error",)
    """Errors that are not the service's fault; wins over ``failure_on``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.slow_call_rate is None) != (self.slow_call_duration is None):
            raise ValueError("slow_call_rate and slow_call_duration belong together: give both or neither")
        if self.window == "count" and self.window_size != int(self.window_size):
            raise ValueError(f"a window of {self.window_size:g} calls: give a whole number")
        if not self.by_rate and self.probes < self.success_threshold:
            raise ValueError(
                f"half_open_calls of {self.probes} can never give {self.success_threshold} successes"
            )
        return self

    @property
    def by_rate(self) -> bool:
        """Whether it looks at rates."""
        return self.failure_rate is not None or self.slow_call_rate is not None

    @property
    def in_a_row(self) -> int | None:
        """Failures in a row that open it; None: it does not count those."""
        if self.failure_threshold is None and not self.by_rate:
            return USUAL_FAILURES
        return self.failure_threshold

    @property
    def probes(self) -> int:
        """How many probes it lets through."""
        if self.half_open_calls is not None:
            return self.half_open_calls
        return USUAL_RATE_PROBES if self.by_rate else self.success_threshold

    @property
    def enough_calls(self) -> int:
        """Calls from which on the rates of a window mean something."""
        return (
            min(self.minimum_calls, int(self.window_size)) if self.window == "count" else self.minimum_calls
        )


def as_breaker(value: BreakerPolicy | bool | int | str | dict[str, Any] | None) -> BreakerPolicy | None:
    """A breaker from what people write: a policy, yes or no, failures in a row, a name, a mapping."""
    if value is None or isinstance(value, BreakerPolicy):
        return value
    if isinstance(value, bool):
        return BreakerPolicy(enabled=value)
    if isinstance(value, int):
        return BreakerPolicy(failure_threshold=value)
    if isinstance(value, str):
        return BreakerPolicy(name=value)
    return BreakerPolicy.model_validate(value)
