"""The token bucket that keeps retries from drowning a service in trouble."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from orchkit.clock import Clock
from orchkit.model.budget import BudgetPolicy
from orchkit.reliability.traits import first_fit

# --- pure decisions ------------------------------------------------------------------------


def retry_cost(policy: BudgetPolicy, traits: frozenset[str]) -> float:
    """Tokens that a retry costs after an error with these traits."""
    listed = first_fit(policy.costs, traits)
    if listed is not None:
        return listed
    if policy.timeout_cost is not None and "timeout" in traits:
        return policy.timeout_cost
    return policy.cost


def refund(policy: BudgetPolicy, spent: Sequence[float]) -> float:
    """Tokens that a success gives back when the retries before it cost ``spent``, in order."""
    if not spent:
        return policy.success_refund
    if policy.refund == "last":
        return spent[-1]
    return sum(spent) if policy.refund == "all" else policy.refund


def refilled(policy: BudgetPolicy, tokens: float, seconds: float) -> float:
    """The tokens after so many seconds."""
    return min(policy.capacity, tokens + policy.refill * max(0.0, seconds))


# --- the bucket ----------------------------------------------------------------------------


class Budget:
    """One bucket; calls from any thread."""

    def __init__(
        self,
        name: str,
        policy: BudgetPolicy,
        clock: Clock,
        on_reset: Callable[[Budget, float, str], None] = lambda budget, before, reason: None,
    ) -> None:
        self.name = name
        self.policy = policy
        self._on_reset = on_reset
        self.denied = 0
        """How many retries it has refused."""
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = self._start
        self._at = clock.monotonic()

    @property
    def _start(self) -> float:
        return self.policy.capacity if self.policy.initial is None else self.policy.initial

    @property
    def tokens(self) -> float:
        """Tokens that are there now."""
        with self._lock:
            return self._now()

    def _now(self) -> float:
        if self.policy.refill:
            now = self._clock.monotonic()
            self._tokens, self._at = refilled(self.policy, self._tokens, now - self._at), now
        return self._tokens

    def spend(self, cost: float) -> bool:
        """Take the tokens of a retry; False, and none are taken, when there are not enough."""
        with self._lock:
            enough = self._now() >= cost
            if enough:
                self._tokens -= cost
            else:
                self.denied += 1
            return enough

    def succeeded(self, spent: Sequence[float]) -> None:
        """A call succeeded after retries that cost ``spent``."""
        with self._lock:
            self._tokens = min(self.policy.capacity, self._now() + refund(self.policy, spent))

    def reset(self, reason: str | None = None) -> None:
        """As at the start; on the record, with the reason."""
        with self._lock:
            before = self._now()
            self._tokens, self._at, self.denied = self._start, self._clock.monotonic(), 0
        self._on_reset(self, before, reason or "reset by hand")

    def adopt(self, policy: BudgetPolicy) -> None:
        """Go on with other settings; what is in the bucket stays, as far as it fits."""
        with self._lock:
            self._tokens = min(policy.capacity, self._now())
            self.policy = policy

    def __repr__(self) -> str:
        return f"<Budget {self.name!r}: {self.tokens:g} of {self.policy.capacity:g} tokens>"
