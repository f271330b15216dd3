"""What surrounds an operation: reliability policies and hooks, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from orchkit.model.base import Record
from orchkit.model.breaker import BreakerPolicy, as_breaker
from orchkit.model.budget import BudgetPolicy
from orchkit.model.retry import Jitter, RetryPolicy, RetryStrategy, as_retry
from orchkit.model.selectors import exception_name

__all__ = [
    "BreakerPolicy",
    "BudgetPolicy",
    "Jitter",
    "OperationPolicy",
    "ReliabilityPolicy",
    "RetryPolicy",
    "RetryStrategy",
    "TimeoutPolicy",
    "as_breaker",
    "as_retry",
    "as_timeout",
    "exception_name",
]


class TimeoutPolicy(Record):
    """Limits in seconds: on each attempt, and on the step with all its attempts and waits."""

    attempt: float | None = Field(default=None, gt=0)
    total: float | None = Field(default=None, gt=0)


def as_timeout(value: TimeoutPolicy | float | dict[str, Any] | None) -> TimeoutPolicy | None:
    """A timeout policy from what people write: a policy, seconds per attempt, a mapping."""
    if value is None or isinstance(value, TimeoutPolicy):
        return value
    if isinstance(value, int | float):
        return TimeoutPolicy(attempt=value)
    return TimeoutPolicy.model_validate(value)


class ReliabilityPolicy(Record):
    """Everything that may surround a call; what is None is not there.

    From outside in: total timeout, retry with its budget, breaker, attempt timeout.
    """

    retry: RetryPolicy | None = None
    timeout: TimeoutPolicy | None = None
    breaker: BreakerPolicy | None = None

    @field_validator("retry", mode="before")
    @classmethod
    def _retry(cls, value: Any) -> Any:
        return as_retry(value)

    @field_validator("timeout", mode="before")
    @classmethod
    def _timeout(cls, value: Any) -> Any:
        return as_timeout(value)

    @field_validator("breaker", mode="before")
    @classmethod
    def _breaker(cls, value: Any) -> Any:
        return as_breaker(value)

    @property
    def parts(self) -> dict[str, Record]:
        """The policies that are there, by name."""
        found = {name: getattr(self, name) for name in ReliabilityPolicy.model_fields}
        return {name: part for name, part in found.items() if part is not None}

    def described(self) -> dict[str, Any]:
        """Those policies as JSON-able values for the record; ``retry`` and ``timeout`` in any case."""
        parts = {name: part.model_dump(mode="json", exclude_none=True) for name, part in self.parts.items()}
        return {"retry": None, "timeout": None, **parts}

    def but(self, **changes: Any) -> Self:
        """The same with changes: ``gateway().but(retry={"max_attempts": 5})``.

        A mapping changes single fields of a policy that is there, at any depth; anything else takes its
        place, None takes it away. Raises `pydantic.ValidationError` for what a policy cannot be.
        """
        fields = {name: getattr(self, name, None) for name in self.model_fields_set | changes.keys()}
        merged = {name: _changed(fields[name], changes[name]) for name in changes}
        return type(self).model_validate(fields | merged)

    def over(self, other: ReliabilityPolicy) -> ReliabilityPolicy:
        """These policies, and those of ``other`` where there is none here."""
        if self is NO_POLICY:
            return other
        parts: dict[str, Any] = {**other.parts, **self.parts}
        return ReliabilityPolicy.model_construct(**parts)


def _changed(value: Any, change: Any) -> Any:
    if not (isinstance(value, Record) and isinstance(change, Mapping)):
        return change
    fields = {name: getattr(value, name) for name in value.model_fields_set}
    return fields | {name: _changed(getattr(value, name, None), new) for name, new in change.items()}


NO_POLICY = ReliabilityPolicy()
"""Nothing around a call."""


class OperationPolicy(ReliabilityPolicy):
    """The policy of the operations whose name matches ``pattern``."""

    pattern: str = "default"
    """An exact operation name, a prefix pattern such as ``casefile.*``, or ``default``."""
    hooks: tuple[str, ...] = ("metrics", "session_lifecycle")
    description: str | None = None

    @model_validator(mode="after")
    def _pattern_form(self) -> Self:
        if "*" in self.pattern[:-1] or (self.pattern.endswith("*") and not self.pattern.endswith(".*")):
            raise ValueError(f"pattern {self.pattern!r}: only a trailing '.*' is a wildcard")
        return self
