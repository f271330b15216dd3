"""How long was waited before trying again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchkit.analysis import retries
from orchkit.analysis.retries.source import Source
from orchkit.analysis.retries.waits import WAITS
from orchkit.views.plots.canvas import (
    RESCUED,
    RETRIED,
    below,
    canvas,
    grid,
    legend,
    nothing,
    rows_height,
    time_scale,
)
from orchkit.views.plots.rows import keys_of, name_rows, names
from orchkit.views.plots.spread import spread
from orchkit.views.plots.tables import RUNS, Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BASIS = {"decision": ("planned delays", RESCUED), "gap": ("observed gaps", RETRIED)}


_WAITS = Answer(
    "retries.waits(kit)", ("basis", "waits", "p50_ms", "p90_ms", "p99_ms", "mean_ms"), retries.waits, RUNS
)


def waits(table: Source, *, ax: Axes | None = None, most: int = 20) -> Axes:
    """How long was waited: the first ``most`` rows of `orchkit.analysis.retries.waits`."""
    table = _WAITS.given(table, "waits")
    shown = table.head(most)
    ax = canvas(ax, height=rows_height(len(shown)))
    if shown.empty:
        return nothing(ax, "waits")
    kinds = [_BASIS[basis][0] for basis in shown.basis]
    notes = [f"{count:,} {kind}" for count, kind in zip(shown.waits, kinds, strict=True)]
    spread(ax, shown, notes, RETRIED)
    name_rows(ax, names(shown, keys_of(shown, WAITS), "all waits"))
    ax.set_xlabel("wait before the next attempt")
    return ax


_BINS = Answer(
    "retries.wait_histogram(kit)", ("basis", "lower_ms", "upper_ms", "waits"), retries.wait_histogram, RUNS
)


def wait_histogram(table: Source, *, ax: Axes | None = None) -> Axes:
    """The distribution of the waits: `orchkit.analysis.retries.wait_histogram`."""
    table = _BINS.given(table, "wait_histogram")
    ax = canvas(ax)
    if table.empty:
        return nothing(ax, "waits")
    waited = table[table.upper_ms > 0]
    low = waited.lower_ms.min() if len(waited) else 1.0
    time_scale(ax, low, waited.upper_ms.max() if len(waited) else 1.0)
    bottom: dict[float, int] = {}
    for basis, part in table.groupby("basis"):
        label, colour = _BASIS[str(basis)]
        # No wait at all has no place on a logarithmic scale: its bar stands left of all others.
        left = part.lower_ms.where(part.upper_ms > 0, low / 3.2)
        right = part.upper_ms.where(part.upper_ms > 0, low / 1.9)
        floor = [bottom.get(place, 0) for place in left]
        ax.bar(
            left,
            part.waits,
            width=right - left,
            bottom=floor,
            align="edge",
            color=colour,
            label=label,
            linewidth=0,
        )
        bottom |= {place: start + count for place, start, count in zip(left, floor, part.waits, strict=True)}
    if (table.upper_ms == 0).any():
        ax.set_xlim(left=low / 4)
        below(ax, low / 2.45, 0, "none")
    ax.set_xlabel("wait before the next attempt")
    ax.set_ylabel("waits")
    grid(ax, "y")
    legend(ax)
    return ax
