"""What is known of the tokens of a retry budget that was not there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from orchkit.analysis.whatif.bounds import US, Range, exactly
from orchkit.model.budget import BudgetPolicy
from orchkit.reliability.budget import refilled, refund

SHORTEST_S: Final = 2e-5
"""Moments of a record are exact to a few microseconds, and sums of seconds are rounded."""


@dataclass(frozen=True, slots=True)
class _Loose:
    """Somebody of whom it is not known what he does."""

    until: float
    spends: float
    gains: float


@dataclass(slots=True)
class Tokens:
    """The tokens of a bucket, asked in order of time (in microseconds)."""

    policy: BudgetPolicy
    range: Range = field(init=False)
    now: float | None = None
    loose: list[_Loose] = field(default_factory=list)

    def __post_init__(self) -> None:
        start = self.policy.capacity if self.policy.initial is None else self.policy.initial
        self.range = exactly(start)

    def spend(self, cost: tuple[float, float], at: float, rivals: int = 0) -> bool | None:
        """Whether a retry of this cost is made; None: nobody knows.

        ``rivals``: how many others may want the same tokens, or give some back, at the same moment.
        """
        now = self._at(at)
        if rivals:
            now = Range(max(0.0, now.low - rivals * self._dearest), self.policy.capacity)
        if now.high < cost[0] - self._slack:
            return False
        certain = now.low >= cost[1] + self._slack
        # Whoever could not pay has not paid.
        low = self.range.low - cost[1] if certain else max(0.0, self.range.low - cost[1])
        self.range = Range(low, self.range.high - cost[0] if certain else self.range.high)
        return True if certain else None

    @property
    def _dearest(self) -> float:
        policy = self.policy
        return max(policy.cost, policy.timeout_cost or 0.0, *policy.costs.values(), 0.0)

    @property
    def _slack(self) -> float:
        """What comes back in a moment that is too short to be told."""
        return self.policy.refill * SHORTEST_S

    def succeeded(self, spent: Sequence[tuple[float, float]], at: float) -> None:
        """A case succeeded after retries of these costs."""
        self._at(at)
        back = sorted(refund(self.policy, [one[end] for one in spent]) for end in (0, 1))
        self._gain(back[0], back[1])

    def set_loose(
        self, retries: float, spent: Sequence[tuple[float, float]], since: float, until: float
    ) -> None:
        """From now on it is not known how a case goes on, with so many retries at most."""
        self._at(since)
        policy = self.policy
        given = 0.0 if isinstance(policy.refund, str) else policy.refund
        gains = max(policy.success_refund, given, sum(one[1] for one in spent))
        self.loose.append(_Loose(until, retries * self._dearest if retries else 0.0, gains))

    def lose_all(self, since: float) -> None:
        """From now on anybody may take tokens, and give some back."""
        self._at(since)
        self.loose.append(_Loose(math.inf, math.inf, math.inf))

    def _at(self, at: float) -> Range:
        """The tokens that there are at this moment."""
        seconds = 0.0 if self.now is None else max(0.0, at - self.now) / US
        self.now = at if self.now is None else max(at, self.now)
        self.range = Range(
            refilled(self.policy, self.range.low, seconds), refilled(self.policy, self.range.high, seconds)
        )
        for one in [one for one in self.loose if one.until < at]:
            self.loose.remove(one)
            self.range = Range(max(0.0, self.range.low - one.spends), self.range.high)
            self._gain(0.0, one.gains)
        spends = sum(one.spends for one in self.loose)
        gains = sum(one.gains for one in self.loose)
        high = min(self.policy.capacity, self.range.high + gains)
        return Range(max(0.0, self.range.low - spends), high)

    def _gain(self, low: float, high: float) -> None:
        most = self.policy.capacity
        self.range = Range(min(most, self.range.low + low), min(most, self.range.high + high))
