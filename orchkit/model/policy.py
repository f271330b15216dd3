"""What surrounds an operation: reliability policies and hooks, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from pydantic import ValidationInfo, field_validator, model_validator

from orchkit.errors import Problem
from orchkit.model.base import Record
from orchkit.model.breaker import BreakerPolicy, as_breaker
from orchkit.model.budget import BudgetPolicy
from orchkit.model.display import Displayable
from orchkit.model.fallback import FallbackOption, FallbackPolicy, as_fallback
from orchkit.model.limits import (
    BulkheadPolicy,
    FaultPolicy,
    HedgePolicy,
    RateLimitPolicy,
    TimeoutPolicy,
    as_bulkhead,
    as_faults,
    as_hedge,
    as_rate_limit,
    as_timeout,
)
from orchkit.model.manual import documented
from orchkit.model.policycheck import warnings_of
from orchkit.model.policywords import Explanation, explanation
from orchkit.model.retry import Jitter, RetryPolicy, RetryStrategy, as_retry
from orchkit.model.selectors import exception_name

__all__ = [
    "NO_POLICY",
    "READERS",
    "BreakerPolicy",
    "BudgetPolicy",
    "BulkheadPolicy",
    "FallbackOption",
    "FallbackPolicy",
    "FaultPolicy",
    "HedgePolicy",
    "Jitter",
    "OperationPolicy",
    "RateLimitPolicy",
    "ReliabilityPolicy",
    "RetryPolicy",
    "RetryStrategy",
    "TimeoutPolicy",
    "as_retry",
    "as_timeout",
    "exception_name",
]

READERS: Mapping[str, Callable[[Any], Record | None]] = {
    "retry": as_retry,
    "timeout": as_timeout,
    "breaker": as_breaker,
    "fallback": as_fallback,
    "bulkhead": as_bulkhead,
    "rate_limit": as_rate_limit,
    "hedge": as_hedge,
    "faults": as_faults,
}
"""How each part of a policy is read from what people write."""


@documented
class ReliabilityPolicy(Record, Displayable):
    """Everything that may surround a call; what is None is not there.

    From outside in: fallback, total timeout, retry with its budget, hedge, breaker, rate limit, bulkhead,
    attempt timeout, faults.
    """

    retry: RetryPolicy | None = None
    """Another attempt after a failed one: a number of attempts, a strategy, or a `RetryPolicy`."""
    timeout: TimeoutPolicy | None = None
    """Limits of time: seconds per attempt, a text such as ``"2s"``, or a `TimeoutPolicy`."""
    breaker: BreakerPolicy | None = None
    """No calls to what fails: failures in a row, a name, or a `BreakerPolicy`."""
    fallback: FallbackPolicy | None = None
    """What takes the place of a result: a number, ``{"value": …}``, a function, a tool, a chain of those."""
    bulkhead: BulkheadPolicy | None = None
    """Calls at the same time: how many, or a `BulkheadPolicy`."""
    rate_limit: RateLimitPolicy | None = None
    """Calls per period: per second, ``"100/min"``, or a `RateLimitPolicy`."""
    hedge: HedgePolicy | None = None
    """A second try beside a slow one: after how many seconds, or a `HedgePolicy`."""
    faults: FaultPolicy | None = None
    """Failures on purpose: their share, or a `FaultPolicy`."""

    @field_validator(*READERS, mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return READERS[info.field_name or ""](value)

    @cached_property
    def parts(self) -> dict[str, Record]:
        """The policies that are there, by name."""
        found = {name: getattr(self, name) for name in ReliabilityPolicy.model_fields}
        return {name: part for name, part in found.items() if part is not None}

    @cached_property
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

    def for_operations(self, pattern: str = "default", **fields: Any) -> OperationPolicy:
        """The same as the policy of operations: ``gateway().for_operations("mail.*", hooks=("audit",))``."""
        parts: dict[str, Any] = {**self.parts, **fields}
        return OperationPolicy(pattern=pattern, **parts)

    def explain(self) -> Explanation:
        """The worst case of one call: how long, how many calls, how much load; in words and numbers."""
        return explanation(self)

    def warnings(self, *, idempotent: bool | None = None) -> list[Problem]:
        """Parts that contradict each other; with ``idempotent=False`` also a hedge that is not allowed."""
        return warnings_of(self, idempotent)

    def told(self, idempotent: bool | None = None) -> list[str]:
        """The same as texts for the record, worked out once."""
        known = self._texts.get(idempotent)
        if known is None:
            known = self._texts[idempotent] = [
                str(problem) for problem in self.warnings(idempotent=idempotent)
            ]
        return known

    @cached_property
    def _texts(self) -> dict[bool | None, list[str]]:
        return {}

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


@documented
class OperationPolicy(ReliabilityPolicy):
    """The policy of the operations whose name matches ``pattern``."""

    also_read: ClassVar[tuple[str, ...]] = ("preset",)
    pattern: str = "default"
    """An exact operation name, a prefix pattern such as ``casefile.*``, or ``default``."""
    hooks: tuple[str, ...] = ("metrics", "session_lifecycle")
    description: str | None = None

    @model_validator(mode="after")
    def _pattern_form(self) -> Self:
        if "*" in self.pattern[:-1] or (self.pattern.endswith("*") and not self.pattern.endswith(".*")):
            raise ValueError(f"pattern {self.pattern!r}: only a trailing '.*' is a wildcard")
        return self
