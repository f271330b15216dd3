"""What attempts cost that did not help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchkit.analysis import retries
from orchkit.analysis.retries.source import Source
from orchkit.analysis.retries.waste import WASTE
from orchkit.views.plots.canvas import (
    OTHER,
    RETRIED,
    beside,
    canvas,
    grid,
    legend,
    nothing,
    rows_height,
    unit_of,
)
from orchkit.views.plots.rows import keys_of, name_rows, names
from orchkit.views.plots.tables import RUNS, Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_WASTE = Answer(
    "retries.waste(kit)", ("calls", "time_ms", "retries_ms", "share_of_calls"), retries.waste, RUNS
)


def waste(table: Source, *, ax: Axes | None = None, most: int = 12) -> Axes:
    """The time of attempts that did not help: the first ``most`` rows of `orchkit.analysis.retries.waste`."""
    table = _WASTE.given(table, "waste")
    shown = table[table.calls > 0].head(most)
    ax = canvas(ax, height=rows_height(len(shown)))
    if shown.empty:
        return nothing(ax, "failures")
    size, unit = unit_of(shown.time_ms)
    rows = range(len(shown))
    first, again = (shown.time_ms - shown.retries_ms) / size, shown.retries_ms / size
    ax.barh(rows, first, color=OTHER, label="first tries", height=0.72)
    ax.barh(rows, again, left=first, color=RETRIED, label="retries", height=0.72)
    for row, one in enumerate(shown.itertuples()):
        calls = f"{one.calls:,} {'call' if one.calls == 1 else 'calls'}"
        beside(ax, one.time_ms / size, row, f"{calls}, {one.share_of_calls:.1%} of all")
    name_rows(ax, names(shown, keys_of(shown, WASTE), "all errors"))
    ax.set_xlabel(f"time of attempts that did not succeed ({unit})")
    ax.margins(x=0.3)
    ax.set_xlim(left=0)
    grid(ax, "x")
    legend(ax)
    return ax
