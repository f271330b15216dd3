"""What surrounds an operation: retry, timeouts and hooks, as data."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchkit.model.base import Record

RetryStrategy = Literal["none", "immediate", "fixed", "linear", "exponential", "fibonacci"]
Jitter = Literal["none", "full", "equal"]


def exception_name(exception: type[BaseException] | str) -> str:
    """The name under which an exception type is kept in a policy: ``module.QualName``, builtins bare."""
    if isinstance(exception, str):
        return exception
    if exception.__module__ == "builtins":
        return exception.__qualname__
    return f"{exception.__module__}.{exception.__qualname__}"


class RetryPolicy(Record):
    """When and how long after a failed attempt the next one is made."""

    strategy: RetryStrategy = "exponential"
    max_attempts: int = Field(default=3, ge=1)
    """Attempts in all, the first one included."""
    delay: float = Field(default=1.0, ge=0)
    """Seconds before the second attempt (before jitter)."""
    multiplier: float = Field(default=2.0, ge=1)
    """Growth per attempt of the exponential strategy."""
    max_delay: float = Field(default=60.0, ge=0)
    """Cap of a single delay in seconds; jitter is applied after it, so no delay exceeds it."""
    jitter: Jitter = "full"
    """``full`` unless said otherwise, but ``none`` for the strategies whose waits are said to be exact:
    ``none``, ``immediate`` and ``fixed``."""
    max_elapsed: float | None = Field(default=None, gt=0)
    """Seconds after which no further attempt starts; no sleep is begun that would end after it."""
    retry_on: tuple[str, ...] = ("Exception",)
    """Exception names (``ValueError``, ``package.module.Error``); subclasses count."""
    give_up_on: tuple[str, ...] = ()
    """Exceptions that are never retried; wins over ``retry_on``."""

    @model_validator(mode="before")
    @classmethod
    def _fixed_is_fixed(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("strategy") in ("none", "immediate", "fixed"):
            return {"jitter": "none", **data}
        return data

    @field_validator("retry_on", "give_up_on", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, str | type):
            value = (value,)
        return tuple(exception_name(item) for item in value)


class TimeoutPolicy(Record):
    """Limits in seconds: on each attempt, and on the step with all its attempts and waits."""

    attempt: float | None = Field(default=None, gt=0)
    total: float | None = Field(default=None, gt=0)


def as_retry(value: RetryPolicy | int | dict[str, Any] | None) -> RetryPolicy | None:
    """A retry policy from what people write: a policy, a number of attempts, a mapping."""
    if value is None or isinstance(value, RetryPolicy):
        return value
    if isinstance(value, int):
        return RetryPolicy(max_attempts=value)
    return RetryPolicy.model_validate(value)


def as_timeout(value: TimeoutPolicy | float | dict[str, Any] | None) -> TimeoutPolicy | None:
    """A timeout policy from what people write: a policy, seconds per attempt, a mapping."""
    if value is None or isinstance(value, TimeoutPolicy):
        return value
    if isinstance(value, int | float):
        return TimeoutPolicy(attempt=value)
    return TimeoutPolicy.model_validate(value)


class OperationPolicy(Record):
    """The policy of the operations whose name matches ``pattern``."""

    pattern: str = "default"
    """An exact operation name, a prefix pattern such as ``casefile.*``, or ``default``."""
    retry: RetryPolicy | None = None
    timeout: TimeoutPolicy | None = None
    hooks: tuple[str, ...] = ("metrics", "session_lifecycle")
    description: str | None = None

    @field_validator("retry", mode="before")
    @classmethod
    def _retry(cls, value: Any) -> Any:
        return as_retry(value)

    @field_validator("timeout", mode="before")
    @classmethod
    def _timeout(cls, value: Any) -> Any:
        return as_timeout(value)

    @model_validator(mode="after")
    def _pattern_form(self) -> Self:
        if "*" in self.pattern[:-1] or (self.pattern.endswith("*") and not self.pattern.endswith(".*")):
            raise ValueError(f"pattern {self.pattern!r}: only a trailing '.*' is a wildcard")
        return self
