"""From times to places on a line, with long stretches in which nothing happens cut short."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10

from orchkit.analysis.timeline import Gap
from orchkit.analysis.words import duration

BREAK = 54.0
"""The width of a gap that is cut short, in px."""
_LONG = 0.1
"""A gap of more than this part of all may be cut short."""
_MOSTLY = 0.8
"""They are where together they would take more than this part of the line."""
_STEPS = (1, 2, 5)
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of time and the stretch of the line that stands for it."""

    start_us: int
    end_us: int
    x: float
    width: float


class Scale:
    """Places on a line of some width; times before and after are at its ends."""

    def __init__(self, start_us: int, end_us: int, gaps: Iterable[Gap], width: float) -> None:
        self.start_us, self.end_us, self.width = start_us, max(end_us, start_us + 1), width
        whole = self.end_us - start_us
        self.breaks: Sequence[Gap] = [gap for gap in gaps if gap.end_us - gap.start_us > _LONG * whole]
        left = whole - sum(gap.end_us - gap.start_us for gap in self.breaks)
        if left > (1 - _MOSTLY) * whole or left <= 0:
            self.breaks, left = [], whole
        self.per_us = (width - BREAK * len(self.breaks)) / max(left, 1)
        """Px per microsecond outside of breaks."""
        self._pieces = list(self._cut())
        self._starts = [piece.start_us for piece in self._pieces]

    def _cut(self) -> Iterator[_Piece]:
        at, x = self.start_us, 0.0
        for gap in self.breaks:
            if gap.start_us > at:
                yield (piece := _Piece(at, gap.start_us, x, (gap.start_us - at) * self.per_us))
                x = piece.x + piece.width
            yield _Piece(gap.start_us, gap.end_us, x, BREAK)
            at, x = gap.end_us, x + BREAK
        if self.end_us > at:
            yield _Piece(at, self.end_us, x, (self.end_us - at) * self.per_us)

    def x(self, us: int) -> float:
        """The place of a time."""
        us = min(max(us, self.start_us), self.end_us)
        piece = self._pieces[max(bisect_right(self._starts, us) - 1, 0)]
        return piece.x + piece.width * (us - piece.start_us) / (piece.end_us - piece.start_us)

    def ticks(self, apart: float = 90.0) -> list[tuple[float, str]]:
        """Places with round times since the begin, about so many px apart, outside of breaks."""
        step = _round_step(apart / self.per_us)
        found = []
        for piece in self._pieces:
            if any(gap.start_us == piece.start_us for gap in self.breaks):
                continue
            first = -(-(piece.start_us - self.start_us) // step)
            last = (piece.end_us - self.start_us) // step
            for number in range(first, last + 1):
                since = number * step
                found.append((self.x(self.start_us + since), duration(since / 1000) if since else "0"))
        return found


def _round_step(us: float) -> int:
    """The next round number of microseconds: 1, 2 or 5 times a power of ten; of seconds as clocks have it."""
    if us > 1e6:
        return next((second * 1_000_000 for second in _CLOCK if second * 1e6 >= us), _days(us))
    power = 10 ** floor(log10(max(us, 1)))
    return next((int(step * power) for step in _STEPS if step * power >= us), int(10 * power))


def _days(us: float) -> int:
    return 86_400_000_000 * max(1, round(us / 86_400_000_000))
