"""A retry policy as data: when, and how long after a failed attempt, the next one is made."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal, Self, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from orchkit.model.base import Record
from orchkit.model.budget import BudgetPolicy, as_budget
from orchkit.model.manual import documented
from orchkit.model.reference import FunctionName
from orchkit.model.selectors import SecondsBySelector, Selectors
from orchkit.model.span import Seconds

RetryStrategy = Literal[
    "none", "immediate", "fixed", "linear", "exponential", "fibonacci", "custom", "circuit_breaker"
]
Jitter = Literal["none", "full", "equal", "decorrelated"]

_EXACT = ("none", "immediate", "fixed", "custom")


@documented
class RetryPolicy(Record):
    """When and how long after a failed attempt the next one is made."""

    strategy: RetryStrategy = "exponential"
    """``circuit_breaker`` grows as ``exponential`` does, but while the circuit breaker of the call is open
    it waits until that lets calls through again, however long that takes."""
    max_attempts: int = Field(default=3, ge=1)
    """Attempts in all, the first one included. A call that a breaker, bulkhead or rate limit rejected counts
    as one, except under ``circuit_breaker`` while the breaker is trying out other calls. After a breaker that
    was forced open, or is open for longer than all waits that are left, there is none."""
    delay: Seconds = Field(default=1.0, ge=0)
    """Seconds before the second attempt (before jitter)."""
    multiplier: float = Field(default=2.0, ge=1)
    """Growth per attempt of the exponential strategy."""
    max_delay: Seconds = Field(default=60.0, ge=0)
    """Cap of a single delay in seconds; jitter is applied after it, so no delay exceeds it."""
    jitter: Jitter = "full"
    """``full`` (between 0 and the delay), ``equal`` (between half of it and it), ``decorrelated`` (between
    ``delay`` and three times the last wait) or ``none``. ``full`` unless said otherwise, but ``none`` for the
    strategies whose waits are said to be exact: ``none``, ``immediate``, ``fixed`` and ``custom``."""
    max_elapsed: Seconds | None = Field(default=None, gt=0)
    """Seconds after which no further attempt starts; no sleep is begun that would end after it."""
    retry_on: Selectors = ("Exception",)
    """Errors that are retried: exception types or names (``ValueError``, ``package.module.Error``; subclasses
    count), HTTP statuses (``503``, ``"5xx"``) or kinds (``timeout``, ``connection``, ``throttling``,
    ``transient``, ``client_error``, ``server_error``, ``rejected``)."""
    give_up_on: Selectors = ()
    """Errors that are never retried; wins over ``retry_on``."""
    wait: tuple[Seconds, ...] | FunctionName | None = None
    """For ``custom``: the delays one by one (the last one is repeated), or a function that gets the number of
    attempts made and returns seconds."""
    delay_for: SecondsBySelector = Field(default_factory=dict)
    """Another ``delay`` after certain errors: ``{"throttling": 1.0}``; the first that fits counts."""
    classifier: FunctionName | None = None
    """A function that gets the error and returns whether to retry (a bool), after how many seconds (a number
    or a timedelta), which kind of trouble it is (a text), or None to leave it to the other rules."""
    retry_after: bool = True
    """Whether to wait as long as the service asked for (``Retry-After``) instead."""
    retry_after_cap: Seconds | None = Field(default=None, ge=0)
    """Longest wait in seconds that a service or a classifier may ask for; None: ``max_delay``."""
    retry_after_window: Seconds | None = Field(default=None, ge=0)
    """When set, what a service asks for is held between the policy's own delay and that many seconds above
    it, instead of under ``retry_after_cap``."""
    budget: BudgetPolicy | None = None
    """Tokens that retries cost, shared by name with other calls."""

    @model_validator(mode="before")
    @classmethod
    def _exact_is_exact(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if data.get("wait") is not None:
            data = {"strategy": "custom", **data}
        if data.get("strategy") in _EXACT:
            return {"jitter": "none", **data}
        return data

    @field_validator("budget", mode="before")
    @classmethod
    def _budget(cls, value: Any) -> Any:
        return as_budget(value)

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Left out as a default, it would be read as another one.
        written: dict[str, Any] = write(self)
        return {**written, "jitter": self.jitter} if self.strategy in _EXACT else written

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.strategy == "custom") != (self.wait is not None):
            raise ValueError("strategy 'custom' and wait belong together: give both or neither")
        if isinstance(self.wait, tuple) and (not self.wait or min(self.wait) < 0):
            raise ValueError("wait needs at least one delay, and none below 0")
        return self


def as_retry(value: RetryPolicy | int | str | dict[str, Any] | None) -> RetryPolicy | None:
    """A retry policy from what people write: a policy, a number of attempts, a strategy, a mapping."""
    if value is None or isinstance(value, RetryPolicy):
        return value
    if isinstance(value, int):
        return RetryPolicy(max_attempts=value)
    if isinstance(value, str):
        if value not in get_args(RetryStrategy):
            near = get_close_matches(value, get_args(RetryStrategy), n=1)
            raise ValueError("no such strategy" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return RetryPolicy.model_validate({"strategy": value})
    return RetryPolicy.model_validate(value)
