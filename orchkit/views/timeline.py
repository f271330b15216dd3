"""The timeline of a run as an object: shows itself, saves itself, and gives its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchkit.analysis.frames import Columns, typed_column
from orchkit.analysis.timeline import Bar, Gap, Row, Timeline, condensed
from orchkit.analysis.words import clean, duration, plural, shorten
from orchkit.views.cards import Cell, Html, details, image, muted, status_chip, table
from orchkit.views.gantt import svg_of
from orchkit.views.palette import look_of
from orchkit.views.render import Picture

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 600
"""With more steps than this several share a row."""

_COLUMNS: Columns = {
    "step_id": "maybe", "kind": "text", "attempt": "int", "status": "maybe", "started_at": "time",
    "finished_at": "time", "start_ms": "float", "duration_ms": "float", "open": "bool", "depth": "int",
    "reason": "maybe",
}  # fmt: skip
_TEXT_ROWS = 60
_TEXT_WIDE = 48
_TABLE_ROWS = 60
_SIGNS = {"success": "█", "failed": "▒", "timeout": "▒", "running": "▶", "wait": "·", "step": "─"}


class Gantt:
    """A drawn timeline; drawing happens at the first look."""

    def __init__(self, timeline: Timeline, *, most_rows: int = MOST_ROWS) -> None:
        self.timeline = timeline
        self._most = most_rows

    @cached_property
    def drawn(self) -> Timeline:
        """What is drawn: with too many steps several in a row."""
        many = len(self.timeline.rows) > self._most
        return condensed(self.timeline, self._most) if many else self.timeline

    @property
    def caption(self) -> str:
        """What it shows, in a line."""
        whole = self.timeline
        took = duration((whole.end_us - whole.start_us) / 1000)
        parts = [f"{whole.name}: {plural(len(whole.rows), 'step')} in {took}"]
        if whole.idle_us:
            parts.append(f"nothing was going on for {duration(whole.idle_us / 1000)} of it")
        if whole.cut_off:
            parts.append("cut off")
        if self.drawn is not whole:
            parts.append(f"condensed to {plural(len(self.drawn.rows), 'row')}")
        return clean(", ".join(parts))

    @property
    def svg(self) -> str:
        """An SVG file that needs nothing from outside."""
        return svg_of(self.drawn, self.caption)

    def save(self, path: str | Path) -> Path:
        """Write an ``.svg`` file; returns its path. Raises ValueError for another ending."""
        path = Path(path)
        if path.suffix != ".svg":
            raise ValueError(f"cannot save a timeline as {path.name!r}: name it *.svg")
        path.write_text(self.svg, encoding="utf-8")
        return path

    def frame(self) -> pd.DataFrame:
        """Every attempt, wait and idle stretch, one row each, in order of begin.

        ===========  ========  ===============================================================
        column       dtype     meaning
        ===========  ========  ===============================================================
        step_id      object    of which step, in sub-workflows after those around; None for gaps
        kind         str       ``attempt``, ``wait``, ``step`` (all inside of it), ``idle`` or ``cut off``
        attempt      Int64     which attempt; of a wait: the one after it
        status       object    of an attempt or a step; what nobody knows the end of is ``in doubt``
                               or ``cut off``
        started_at   datetime  begin
        finished_at  datetime  end; of what is open the last that is known
        start_ms     float64   begin, since the begin of the run
        duration_ms  float64   its length
        open         bool      it has no end on record
        depth        Int64     how many steps it is inside of
        reason       object    of a wait: why
        ===========  ========  ===============================================================
        """
        import pandas as pd

        rows = sorted(self._rows(), key=lambda row: row[4])
        table = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
        data = {
            name: _times(values) if kind == "time" else typed_column(pd.Series(values, dtype="object"), kind)
            for values, (name, kind) in zip(table, _COLUMNS.items(), strict=True)
        }
        return pd.DataFrame(data)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for row in self.timeline.rows:
            for bar in row.bars:
                what = (row.step_id, bar.kind, bar.number, bar.status or None)
                yield (*what, *self._span(bar), bar.open, row.depth, bar.reason)
        for gap in self.timeline.gaps:
            yield (None, gap.kind, None, None, *self._span(gap), False, 0, None)

    def _span(self, bar: Bar | Gap) -> tuple[int, int, float, float]:
        since = (bar.start_us - self.timeline.start_us) / 1000
        return (bar.start_us, bar.end_us, since, (bar.end_us - bar.start_us) / 1000)

    # --- showing -----------------------------------------------------------------------------

    def __repr__(self) -> str:
        rows = self.drawn.rows
        wide = min(max((len(row.label) + 2 * row.depth for row in rows), default=0), 32)
        lines = [self.caption, *(self._line(row, wide) for row in rows[:_TEXT_ROWS])]
        left = len(rows) - _TEXT_ROWS
        return "\n".join([*lines, f"  … and {left:,} more"] if left > 0 else lines)

    def _line(self, row: Row, wide: int) -> str:
        label = "  " * row.depth + shorten(row.label, max(wide - 2 * row.depth, 4))
        cells = [" "] * _TEXT_WIDE
        whole = max(self.timeline.end_us - self.timeline.start_us, 1)
        for bar in sorted(row.bars, key=lambda bar: bar.kind == "attempt"):
            first = (bar.start_us - self.timeline.start_us) * (_TEXT_WIDE - 1) // whole
            last = (bar.end_us - self.timeline.start_us) * (_TEXT_WIDE - 1) // whole
            sign = _SIGNS.get(bar.status if bar.kind == "attempt" else bar.kind, "?")
            cells[first : last + 1] = [sign] * (last + 1 - first)
        return f"{look_of(row.status).sign} {label:<{wide}} |{''.join(cells)}|"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        caption = self.caption
        body = [image(Picture(self.svg, "orchkit", caption)), muted(caption), self._slowest()]
        html = f'<div class="orchkit tex2jax_ignore mathjax_ignore">{"".join(body)}</div>'
        return {"text/plain": repr(self), "text/html": html}

    def _slowest(self) -> Html:
        """The longest attempts and waits, for those who read tables."""
        bars = [(row, bar) for row in self.timeline.rows for bar in row.bars if bar.kind != "step"]
        bars.sort(key=lambda pair: pair[1].start_us - pair[1].end_us)
        columns = ("step", "", "attempt", "began after", "took", "why")
        if not bars:
            return Html("")
        rows = (self._cells(row, bar) for row, bar in bars[:_TABLE_ROWS])
        right = ("attempt", "began after", "took")
        shown = table(rows, columns, right=right, total=len(bars), drop_empty=True)
        return details(f"{plural(len(bars), 'attempt')} and waits, the longest first", shown)

    def _cells(self, row: Row, bar: Bar) -> list[Cell]:
        known = "cut off" if bar.status == "in doubt" else bar.status
        return [
            row.step_id,
            "wait" if bar.kind == "wait" else status_chip(known, bar.status),
            str(bar.number or ""),
            duration((bar.start_us - self.timeline.start_us) / 1000),
            duration((bar.end_us - bar.start_us) / 1000) + ("…" if bar.open else ""),
            bar.reason,
        ]


def _times(us: Iterable[int]) -> pd.Series[Any]:
    import pandas as pd

    times = pd.to_datetime(pd.Series(us, dtype="int64"), unit="us", utc=True)
    return times.astype("datetime64[us, UTC]")
