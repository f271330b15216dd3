"""The state that policies keep between calls: one set for all calls of a kit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchkit.clock import Clock, SystemClock
from orchkit.model.budget import BudgetPolicy
from orchkit.reliability.budget import Budget
from orchkit.reliability.named import Named


class Budgets(Named[Budget]):
    """The retry budgets in use."""

    kind = "budget"
    columns = ("name", "tokens", "capacity", "denied")

    def row(self, shared: Budget) -> Sequence[Any]:
        """Tokens left, tokens of a full bucket, retries refused."""
        return shared.name, shared.tokens, shared.policy.capacity, shared.denied


class Guards:
    """What calls share by name. Everything is made at its first use."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.budgets = Budgets(self._budget)

    def _budget(self, name: str, policy: BudgetPolicy) -> Budget:
        return Budget(name, policy, self.clock)
