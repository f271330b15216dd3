"""A retry budget as data: how many retries a service may be asked for when it is in trouble."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orchkit.model.base import Record
from orchkit.model.manual import documented
from orchkit.model.selectors import BySelector


@documented
class BudgetPolicy(Record):
    """A token bucket that all calls under one name share; a retry that finds it empty is not made.

    The numbers are those of the standard retry mode of the AWS SDKs, where a bucket is refilled by
    successes only, so that a service which fails throughout is soon asked no more than once per call.
    """

    name: str | None = None
    """Calls that name the same budget share it; None: the name of the operation."""
    capacity: float = Field(default=500, ge=0)
    """Tokens of a full bucket."""
    initial: float | None = Field(default=None, ge=0)
    """Tokens at the start; None: full."""
    cost: float = Field(default=5, ge=0)
    """Tokens that a retry costs."""
    timeout_cost: float | None = Field(default=10, ge=0)
    """Tokens that a retry after a timeout costs; None: as any other."""
    costs: BySelector = Field(default_factory=dict)
    """Tokens per error (type, status or kind); the first that fits counts, before the two above."""
    refund: Literal["last", "all"] | float = "last"
    """What a success after retries gives back: the cost of the last one, of all, or so many tokens."""
    success_refund: float = Field(default=1, ge=0)
    """What a success at the first try gives back."""
    refill: float = Field(default=0, ge=0)
    """Tokens per second that come back by themselves."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.initial is not None and self.initial > self.capacity:
            raise ValueError(f"initial {self.initial:g} is more than the capacity of {self.capacity:g}")
        if not isinstance(self.refund, str) and self.refund < 0:
            raise ValueError(f"refund {self.refund:g} is negative")
        return self


def as_budget(value: BudgetPolicy | str | float | dict[str, Any] | None) -> BudgetPolicy | None:
    """A budget from what people write: a policy, a name, a capacity, a mapping."""
    if value is None or isinstance(value, BudgetPolicy):
        return value
    if isinstance(value, str):
        return BudgetPolicy(name=value)
    if isinstance(value, int | float):
        return BudgetPolicy(capacity=value)
    return BudgetPolicy.model_validate(value)
