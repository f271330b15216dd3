"""The states that a circuit breaker may be in when not all calls are known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from orchkit.analysis.whatif.bounds import TIE, US
from orchkit.reliability.breaker import Outcome, Permit, Snapshot

TIE_S: Final = TIE / US
MOST_SPANS: Final = 16
"""So many spans of time are told apart; the closest ones are taken for one."""
Span = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Loose:
    """A caller of whom it is not known which calls he makes when, and how they end."""

    since: float
    until: float
    calls: float
    """How many at most."""
    outcomes: frozenset[Outcome]
    last: float | None = None
    """He calls only where he was rejected at ``since``, and begins by then; None: in any case."""
    half: bool = False
    """Whether a breaker that was half open may have rejected him then."""

    @property
    def fails(self) -> float:
        """How many of his calls may fail."""
        return self.calls if "failure" in self.outcomes else 0

    def probes(self, reset: float) -> Span:
        """Since when a breaker must be open that rejects him first and lets him through later."""
        assert self.last is not None
        return self.since - reset - TIE, self.last - reset + TIE


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """The permission for a call in those states that give it."""

    began: float
    probe: Permit | None = None
    """The permit of a breaker that is half open in a state that is known."""
    dim: bool = True
    """Whether one that is half open in an unknown state certainly gives it, too."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call would be allowed."""

    token: Token | None
    """The permission, if any of the states gives it, and it is known which."""
    certain: bool = True
    """Whether all states say the same."""
    state: str = "open"
    """The state that rejects it."""
    retry_in: Span | None = None
    """Bounds of the seconds until an open breaker lets calls through; None: nobody can tell."""

    @property
    def rejected(self) -> bool:
        """Whether it certainly is not."""
        return self.certain and self.token is None


@dataclass(slots=True)
class Worlds:
    """All states that are possible; a part is None, or empty, where it is not. Times are microseconds."""

    closed: Span | None = (0, 0)
    """Least and most failures in a row."""
    open: tuple[Span, ...] = ()
    """Since when: within any of these spans of time."""
    half: Snapshot | None = None
    """Half open, in this very state."""
    dim: bool = False
    """Half open, in a state of which little is known (and not in one that is known)."""
    entered: float = -math.inf
    """The latest moment at which a breaker that is closed may have become so."""
    half_entered: float = -math.inf
    """The same of one that is half open."""
    needed: int = 0
    """After so many more successes of calls that began since then it is not half open any more."""

    @property
    def only_closed(self) -> bool:
        """Whether it certainly is."""
        return self.closed is not None and not self.open and not self.may_be_half

    @property
    def may_be_half(self) -> bool:
        """Whether it may be half open."""
        return self.half is not None or self.dim

    def may_open(self, since: float, until: float) -> None:
        """It may have opened within this time, too."""
        self.open = spans((*self.open, (since, until)))

    def may_close(self, at: float) -> None:
        """It may have become closed up to now, too."""
        self.closed = (0, 0 if self.closed is None else self.closed[1])
        self.entered = max(self.entered, at)

    def may_half_open(self, at: float, needed: int) -> None:
        """It may have become half open up to now, or may be so in another way."""
        self.half, self.dim, self.needed = None, True, needed
        self.half_entered = max(self.half_entered, at)

    def no_longer_half(self) -> None:
        """It certainly is not half open."""
        self.half, self.dim = None, False

    def joined(self, other: Worlds) -> Worlds:
        """What is possible in either."""
        both = replace(self)
        if other.closed is not None:
            one = self.closed or other.closed
            both.closed = (min(one[0], other.closed[0]), max(one[1], other.closed[1]))
        both.open = spans((*self.open, *other.open))
        if other.may_be_half:
            same = self.half is not None and self.half == other.half
            both.half, both.dim = (self.half, False) if same else (None, True)
        both.entered = max(self.entered, other.entered)
        both.half_entered = max(self.half_entered, other.half_entered)
        return both


def spans(found: Iterable[Span]) -> tuple[Span, ...]:
    """The same spans in order, those that touch as one, and not too many of them."""
    merged: list[Span] = []
    for low, high in sorted(found):
        if merged and low <= merged[-1][1] + TIE:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    while len(merged) > MOST_SPANS:
        gaps = [after[0] - before[1] for before, after in pairwise(merged)]
        place = gaps.index(min(gaps))
        merged[place : place + 2] = [(merged[place][0], merged[place + 1][1])]
    return tuple(merged)


def before(found: Iterable[Span], moment: float) -> tuple[Span, ...]:
    """What of the spans lies before a moment."""
    return tuple((low, min(high, moment)) for low, high in found if low <= moment)


def after(found: Iterable[Span], moment: float) -> tuple[Span, ...]:
    """What of the spans lies after a moment."""
    return tuple((max(low, moment), high) for low, high in found if high >= moment)
