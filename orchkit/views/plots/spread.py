"""Times that differ widely, as a row each: where half, 90 % and 99 % of them lie, and the mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchkit.views.plots.canvas import beside, grid, legend, time_scale

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def spread(ax: Axes, table: pd.DataFrame, notes: Sequence[str], colour: str) -> None:
    """Draw the columns ``p50_ms``, ``p90_ms``, ``p99_ms`` and ``mean_ms``, with a note beside each row."""
    rows = range(len(table))
    times = table[["p50_ms", "p90_ms", "p99_ms", "mean_ms"]]
    positive = times.where(times > 0)
    if positive.isna().to_numpy().all():  # none took any time
        time_scale(ax, 1.0, 1.0)
    else:
        time_scale(ax, float(positive.min().min()), float(times.max().max()))
    # A logarithmic scale has no place for no time at all: it is put at the left end.
    at_least = times.clip(lower=ax.get_xlim()[0])
    ax.hlines(rows, at_least.p50_ms, at_least.p99_ms, color=colour, linewidth=2, alpha=0.6)
    ax.plot(at_least.p50_ms, rows, "o", color=colour, markersize=8, label="half of them", clip_on=False)
    ax.plot(at_least.p90_ms, rows, "|", color=colour, markersize=12, markeredgewidth=2.5, label="90 %")
    ax.plot(at_least.p99_ms, rows, ">", color=colour, markersize=6, label="99 %")
    ax.plot(at_least.mean_ms, rows, "x", color=colour, markersize=6, label="mean")
    for row, (place, note) in enumerate(zip(at_least.max(axis="columns"), notes, strict=True)):
        beside(ax, place, row, note)
    grid(ax, "x")
    legend(ax)
