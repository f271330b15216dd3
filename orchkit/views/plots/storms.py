"""How much of the load was retries, over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchkit.analysis import retries
from orchkit.analysis.retries.source import Source
from orchkit.analysis.words import duration
from orchkit.views.plots.canvas import FAILED, OTHER, RETRIED, above, canvas, dates, grid, legend, nothing
from orchkit.views.plots.tables import RUNS, Answer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_BARS = 600
"""More windows than this are put together, as no screen could show them."""


_LOAD = Answer("retries.retry_load(kit)", ("began_at", "attempts", "retries"), retries.retry_load, RUNS)


def retry_load(load: Source, *, storms: Source | None = None, ax: Axes | None = None) -> Axes:
    """The attempts of each window, retries apart: `orchkit.analysis.retries.retry_load`.

    With ``storms``, as `orchkit.analysis.retries.retry_storms` gives them for the same window, the times of
    these are marked. Of a long time several windows are one bar; the axis says how long it is.
    """
    load = _LOAD.given(load, "retry_load")
    marked = None if storms is None else _STORMS.given(storms, "retry_load")
    ax = canvas(ax)
    if load.empty:
        return nothing(ax, "attempts")
    for index, storm in enumerate(() if marked is None else marked.itertuples()):
        label = "retry storms" if index == 0 else None
        ax.axvspan(storm.began_at, storm.ended_at, color=FAILED, alpha=0.22, linewidth=0, label=label)
    counts, width = _bars(load)
    fresh = counts.attempts - counts.retries
    bars: dict[str, Any] = {"width": width, "align": "edge", "linewidth": 0}
    ax.bar(counts.index, fresh, color=OTHER, label="first tries", **bars)
    ax.bar(counts.index, counts.retries, bottom=fresh, color=RETRIED, label="retries", **bars)
    dates(ax)
    ax.set_ylabel(f"attempts per {duration(width.total_seconds() * 1000)}")
    grid(ax, "y")
    legend(ax)
    return ax


_STORMS = Answer(
    "retries.retry_storms(kit)", ("began_at", "ended_at", "retries", "share"), retries.retry_storms, RUNS
)


def retry_storms(storms: Source, *, ax: Axes | None = None) -> Axes:
    """When there were storms and how heavy they were: `orchkit.analysis.retries.retry_storms`.

    A bar is as wide as the storm was long and as high as it had retries, with their share of all attempts
    on top.
    """
    storms = _STORMS.given(storms, "retry_storms")
    ax = canvas(ax)
    if storms.empty:
        return nothing(ax, "retry storms")
    for place, span, count, share in zip(
        storms.began_at, storms.ended_at - storms.began_at, storms.retries, storms.share, strict=True
    ):
        ax.bar(place, count, width=span, align="edge", color=RETRIED, linewidth=0)
        above(ax, place + span / 2, count, f"{share:.0%}")
    dates(ax)
    ax.set_ylabel("retries, and their share")
    ax.margins(y=0.1)
    grid(ax, "y")
    return ax


def _bars(load: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timedelta]:
    """Attempts and retries by the begin of a bar, and how long each bar is."""
    import pandas as pd

    first, last = load.began_at.min(), load.began_at.max()
    window = load.began_at.diff().min() if len(load) > 1 else pd.Timedelta(minutes=1)
    width = window * math.ceil((last - first + window) / window / MOST_BARS)
    began = first + (load.began_at - first) // width * width
    return load.groupby(began)[["attempts", "retries"]].sum(), width
