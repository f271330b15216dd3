"""What a number is at least and at most, what may become of a case, and how long the rest may take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from orchkit.analysis.whatif.waits import Waits
from orchkit.model.policy import ReliabilityPolicy

Status = Literal["success", "failed", "cancelled"]
US: Final = 1e6
"""Microseconds of a second."""
TIE: Final = 5.0
"""Microseconds; moments that are closer cannot be put in order."""

SUCCESS: Final[frozenset[Status]] = frozenset(("success",))
FAILED: Final[frozenset[Status]] = frozenset(("failed",))
CANCELLED: Final[frozenset[Status]] = frozenset(("cancelled",))
_LIKELIER: Final[tuple[Status, ...]] = ("success", "failed", "cancelled")
EITHER: Final = SUCCESS | FAILED
ANY: Final = EITHER | CANCELLED


@dataclass(frozen=True, slots=True)
class Range:
    """A number between two others, both included."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    @property
    def exact(self) -> bool:
        """Whether it is one number, as exactly as the record is."""
        return self.high - self.low <= TIE

    def hull(self, other: Range) -> Range:
        """The smallest range that has both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def exactly(number: float) -> Range:
    """A number that is known."""
    return Range(number, number)


NOTHING: Final = exactly(0)


def _nearest(guess: Range, bounds: Range) -> Range:
    return exactly(min(max(guess.low, bounds.low), bounds.high))


@dataclass(frozen=True, slots=True)
class Fate:
    """What would have become of a case; times in microseconds."""

    statuses: frozenset[Status]
    """Which of these it may have been: ``cancelled`` with its run, or never begun."""
    calls: Range
    latency: Range
    """From its beginning to its end, however it ended."""
    waited: Range
    """Between tries, as the retry policy says."""

    @property
    def known(self) -> bool:
        """Whether all of it is."""
        exact = self.latency.exact and self.waited.exact and self.calls.low == self.calls.high
        return exact and len(self.statuses) == 1

    def hull(self, other: Fate) -> Fate:
        """Either."""
        return Fate(
            self.statuses | other.statuses,
            self.calls.hull(other.calls),
            self.latency.hull(other.latency),
            self.waited.hull(other.waited),
        )

    def nearest(self, guess: Fate) -> Fate:
        """Of what is possible, what is nearest to a guess."""
        among = guess.statuses & self.statuses or self.statuses
        status = next(one for one in _LIKELIER if one in among)
        return Fate(
            frozenset((status,)),
            _nearest(guess.calls, self.calls),
            _nearest(guess.latency, self.latency),
            _nearest(guess.waited, self.waited),
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """What a case has spent so far: microseconds, calls, tries that count."""

    elapsed: float = 0.0
    calls: int = 0
    tries: int = 0
    waited: float = 0.0
    previous: float | None = None
    """The last wait, in seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy lets a case cost at most."""

    attempts: int
    """Tries."""
    per_try: int
    """Calls of a try."""
    call: float
    """Microseconds of a call."""
    hedging: float
    """Microseconds until the last hedge of a try."""
    total: float
    """Microseconds of a case."""
    begins: float
    """Microseconds after which no further try begins."""
    waits: Waits | None
    endless: bool
    """Whether it may wait for a circuit breaker again and again."""

    @classmethod
    def of(cls, policy: ReliabilityPolicy, waits: Waits | None) -> Limits:
        """Those of a policy."""
        retry, hedge, timeout = policy.retry, policy.hedge, policy.timeout
        attempt = timeout.attempt if timeout is not None else None
        total = timeout.total if timeout is not None else None
        elapsed = retry.max_elapsed if retry is not None else None
        breaker = policy.breaker is not None and policy.breaker.enabled
        return cls(
            attempts=1 if retry is None or retry.strategy == "none" else retry.max_attempts,
            per_try=1 if hedge is None else 1 + hedge.max_hedges,
            call=_us(attempt),
            hedging=0.0 if hedge is None else hedge.delay * hedge.max_hedges * US,
            total=_us(total),
            begins=_us(elapsed),
            waits=waits,
            endless=breaker and retry is not None and retry.strategy == "circuit_breaker",
        )

    def within(self, longest: float) -> Limits:
        """The same where no call takes longer than so many microseconds, by assumption."""
        if self.call <= longest:
            return self
        return Limits(
            self.attempts,
            self.per_try,
            longest,
            self.hedging,
            self.total,
            self.begins,
            self.waits,
            self.endless,
        )

    @property
    def all_calls(self) -> int:
        """The most calls that a case may make."""
        return self.attempts * self.per_try

    @property
    def one_try(self) -> float:
        """The longest that a try may take."""
        return self.hedging + self.call

    def rest(self, spent: Spent, ends: float | None) -> tuple[Range, Range, Range]:
        """Calls, latency and waits at most, for a case of which it is not known how it goes on.

        ``spent`` is the minimum of each. ``ends``: when the try that is being made ends at the latest, in
        microseconds from the beginning of the case; None: none is being made, and the next one may follow a
        wait.
        """
        latest, waited, previous = (
            spent.elapsed if ends is None else ends,
            spent.waited,
            spent.previous,
        )
        tries, elapsed = spent.tries, min(spent.elapsed, self.total)
        while tries < self.attempts:
            if tries > 0 and self.waits is not None:
                previous = self.waits.most(tries, previous)
                waited += previous * US
                latest += previous * US
            latest += self.one_try
            tries += 1
        if self.endless:
            latest = waited = math.inf
        latest = min(latest, max(ends or 0.0, self.begins + self.one_try), self.total)
        waited = min(waited, max(spent.waited, latest - spent.elapsed + spent.waited))
        left = max(0, self.attempts - spent.tries) * self.per_try
        calls = Range(spent.calls, spent.calls + left)
        return calls, Range(elapsed, max(latest, elapsed)), Range(spent.waited, waited)


def _us(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds * US


def total(ranges: Iterable[Range]) -> Range:
    """The sum."""
    low = high = 0.0
    for one in ranges:
        low += one.low
        high += one.high
    return Range(low, high)
