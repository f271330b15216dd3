"""The state that policies keep between calls: one set for all calls of a kit."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from orchkit.clock import Clock, SystemClock
from orchkit.errors import UnknownNameError
from orchkit.model import event as ev
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.budget import BudgetPolicy
from orchkit.reliability.budget import Budget
from orchkit.reliability.bulkhead import Bulkhead
from orchkit.reliability.call import Handler
from orchkit.reliability.circuit import CircuitBreaker
from orchkit.reliability.faults import Injector
from orchkit.reliability.ledger import Ledger, NoLedger, StoreLedger
from orchkit.reliability.named import Named
from orchkit.reliability.ratelimit import RateLimit
from orchkit.store.store import Store


class Breakers(Named[CircuitBreaker]):
    """The circuit breakers in use, and those that the store remembers.

    One that no call has used yet can be taken in hand as well: ``force_open("mail")``.
    """

    kind = "circuit breaker"
    columns = ("name", "state", "failures", "probes_in_s", "rejected")

    def row(self, shared: CircuitBreaker) -> Sequence[Any]:
        """State, failures in a row, seconds until an open one lets probes through, calls rejected."""
        snapshot = shared.snapshot
        return shared.name, snapshot.state, snapshot.failures, shared.reopens_in(), shared.rejected

    def __init__(self, make: Callable[[str, BreakerPolicy], CircuitBreaker], ledger: Ledger) -> None:
        super().__init__(make)
        self._ledger = ledger

    def remembered(self) -> Sequence[str]:
        """Those that are written down in the store."""
        return self._ledger.names()

    def revive(self, name: str) -> CircuitBreaker:
        """One of those, with the usual settings until a call brings its own."""
        if name not in self.remembered():
            raise UnknownNameError(self.kind, name, self)
        return self.get_or_make(name, BreakerPolicy(name=name))

    def force_open(self, name: str, reason: str | None = None) -> None:
        """Reject all calls until `reset` or `enable`."""
        self._taken(name).force_open(reason)

    def disable(self, name: str, reason: str | None = None) -> None:
        """Let all calls through until `reset` or `enable`."""
        self._taken(name).disable(reason)

    def enable(self, name: str, reason: str | None = None) -> None:
        """Back to work after `force_open` or `disable`."""
        self._taken(name).enable(reason)

    def reset(self, name: str, reason: str | None = None) -> None:
        """Closed, with nothing counted."""
        self._taken(name).reset(reason)

    def _taken(self, name: str) -> CircuitBreaker:
        return self._known.get(name) or self.get_or_make(name, BreakerPolicy(name=name))


class Budgets(Named[Budget]):
    """The retry budgets in use."""

    kind = "budget"
    columns = ("name", "tokens", "capacity", "denied")

    def row(self, shared: Budget) -> Sequence[Any]:
        """Tokens left, tokens of a full bucket, retries refused."""
        return shared.name, shared.tokens, shared.policy.capacity, shared.denied


class Bulkheads(Named[Bulkhead]):
    """The bulkheads in use."""

    kind = "bulkhead"
    columns = ("name", "running", "max_concurrent", "waiting", "rejected")

    def row(self, shared: Bulkhead) -> Sequence[Any]:
        """Calls that run and may run at the same time, calls in the queue, calls rejected."""
        return shared.name, shared.running, shared.policy.max_concurrent, shared.waiting, shared.rejected


class RateLimits(Named[RateLimit]):
    """The rate limits in use."""

    kind = "rate limit"
    columns = ("name", "limit", "period_s", "burst", "rejected")

    def row(self, shared: RateLimit) -> Sequence[Any]:
        """Calls per period, the period, the size of the bucket if it is one, calls rejected."""
        policy = shared.policy
        return shared.name, policy.limit, policy.period, policy.burst, shared.rejected


class Injectors(Named[Injector]):
    """The sequences of injected faults in use."""

    kind = "fault injection"
    columns = ("name", "rate", "seed", "injected")

    def row(self, shared: Injector) -> Sequence[Any]:
        """Share of attempts that fail, the seed, attempts that were touched."""
        return shared.name, shared.policy.rate, shared.policy.seed, shared.injected


_of_stores: weakref.WeakKeyDictionary[Store, Guards] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class Guards:
    """What calls share by name. Everything is made at its first use.

    Attributes:
        breakers: Circuit breakers; they survive the process, and follow each other across processes.
        budgets, bulkheads, rate_limits, injectors: Of this process alone.
    """

    def __init__(self, store: Store | None = None, *, clock: Clock | None = None) -> None:
        self.clock = clock or (store.clock if store is not None else SystemClock())
        self._ledger: Ledger = NoLedger() if store is None else StoreLedger(store)
        self.breakers = Breakers(
            lambda name, policy: CircuitBreaker(name, policy, self.clock, self._ledger), self._ledger
        )
        self.budgets = Budgets(lambda name, policy: Budget(name, policy, self.clock, self._budget_reset))
        self.bulkheads = Bulkheads(Bulkhead)
        self.rate_limits = RateLimits(lambda name, policy: RateLimit(name, policy, self.clock))
        self.injectors = Injectors(Injector)

        self.pipelines: weakref.WeakKeyDictionary[Any, Handler] = weakref.WeakKeyDictionary()
        """What was made of these for decorated functions, as long as there are those."""

    @classmethod
    def of(cls, store: Store) -> Guards:
        """Those of a store: kits, runs and decorated functions on it share them."""
        with _lock:
            found = _of_stores.get(store)
            if found is None:
                found = _of_stores[store] = cls(store)
            return found

    def _budget_reset(self, budget: Budget, before: float, reason: str) -> None:
        payload = {"name": budget.name, "from_tokens": before, "to_tokens": budget.tokens, "reason": reason}
        self._ledger.note(ev.BUDGET_RESET, payload, (None, None, None))
        self._ledger.commit()

    def breaker_for(self, policy: BreakerPolicy | None, name: str) -> CircuitBreaker | None:
        """The breaker of a policy, if it is to have one; ``name`` where the policy has none."""
        if policy is None or not policy.enabled:
            return None
        return self.breakers.get_or_make(policy.name or name, policy)

    def budget_for(self, policy: BudgetPolicy | None, name: str) -> Budget | None:
        """The budget of a policy, if it has one."""
        return None if policy is None else self.budgets.get_or_make(policy.name or name, policy)
