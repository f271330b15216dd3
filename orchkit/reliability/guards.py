"""The state that policies keep between calls: one set for all calls of a kit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchkit.clock import Clock, SystemClock
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.budget import BudgetPolicy
from orchkit.reliability.budget import Budget
from orchkit.reliability.circuit import CircuitBreaker
from orchkit.reliability.ledger import Ledger, NoLedger, StoreLedger
from orchkit.reliability.named import Named
from orchkit.store.store import Store


class Budgets(Named[Budget]):
    """The retry budgets in use."""

    kind = "budget"
    columns = ("name", "tokens", "capacity", "denied")

    def row(self, shared: Budget) -> Sequence[Any]:
        """Tokens left, tokens of a full bucket, retries refused."""
        return shared.name, shared.tokens, shared.policy.capacity, shared.denied


class Breakers(Named[CircuitBreaker]):
    """The circuit breakers in use, and those that the store remembers."""

    kind = "circuit breaker"
    columns = ("name", "state", "failures", "probes_in_s", "rejected")

    def row(self, shared: CircuitBreaker) -> Sequence[Any]:
        """State, failures in a row, seconds until an open one lets probes through, calls rejected."""
        snapshot = shared.snapshot
        return shared.name, snapshot.state, snapshot.failures, shared.reopens_in(), shared.rejected


class Guards:
    """What calls share by name. Everything is made at its first use."""

    def __init__(self, store: Store | None = None, *, clock: Clock | None = None) -> None:
        self.clock = clock or (store.clock if store is not None else SystemClock())
        self._ledger: Ledger = NoLedger() if store is None else StoreLedger(store)
        self.breakers = Breakers(self._breaker)
        self.budgets = Budgets(self._budget)

    def _breaker(self, name: str, policy: BreakerPolicy) -> CircuitBreaker:
        return CircuitBreaker(name, policy, self.clock, self._ledger)

    def _budget(self, name: str, policy: BudgetPolicy) -> Budget:
        return Budget(name, policy, self.clock)
