"""Circuit breakers over time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchkit.analysis import retries
from orchkit.analysis.retries.source import Source
from orchkit.analysis.words import duration
from orchkit.views.plots.canvas import (
    FAILED,
    OTHER,
    RETRIED,
    SUCCESS,
    beside,
    canvas,
    dates,
    grid,
    legend,
    nothing,
    rows_height,
    unit_of,
)
from orchkit.views.plots.rows import name_rows, names
from orchkit.views.plots.tables import RUNS, Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What looks alike differs in its hatching, for those who see no difference between the hues.
_STATES = {
    "closed": (SUCCESS, ""),
    "half_open": (RETRIED, "//"),
    "open": (FAILED, ""),
    "forced_open": (FAILED, "xx"),
    "disabled": (OTHER, ""),
}


_PERIODS = Answer(
    "retries.breaker_periods(kit)",
    ("breaker", "state", "began_at", "ended_at"),
    retries.breaker_periods,
    RUNS,
)


def breaker_periods(periods: Source, *, until: datetime | None = None, ax: Axes | None = None) -> Axes:
    """The states of each breaker over time: `orchkit.analysis.retries.breaker_periods`.

    What goes on is drawn up to ``until``, or a little beyond the last transition.
    """
    import pandas as pd

    periods = _PERIODS.given(periods, "breaker_periods")
    breakers = sorted(periods.breaker.unique())
    ax = canvas(ax, height=rows_height(len(breakers)))
    if periods.empty:
        return nothing(ax, "transitions of breakers")
    first, last = periods.began_at.min(), periods.began_at.max()
    end = last + max((last - first) / 12, pd.Timedelta(seconds=1)) if until is None else pd.Timestamp(until)
    for state, (colour, hatch) in _STATES.items():
        mine = periods[periods.state == state]
        if mine.empty:
            continue
        ax.barh(
            [breakers.index(name) for name in mine.breaker],
            mine.ended_at.fillna(end) - mine.began_at,
            left=mine.began_at,
            color=colour,
            hatch=hatch,
            edgecolor=ax.get_facecolor(),
            linewidth=0,
            height=0.6,
            label=state.replace("_", " "),
        )
    name_rows(ax, names(pd.DataFrame({"breaker": breakers}), ["breaker"], ""))
    dates(ax)
    legend(ax)
    return ax


_OPEN = Answer(
    "retries.breaker_open_time(kit)",
    ("breaker", "open_ms", "half_open_ms", "rejected", "saved_ms_at_most", "late_ms_at_most"),
    retries.breaker_open_time,
    RUNS,
)


def breaker_open_time(table: Source, *, ax: Axes | None = None, most: int = 12) -> Axes:
    """How long breakers were open, and what that was worth: `orchkit.analysis.retries.breaker_open_time`."""
    import pandas as pd

    table = _OPEN.given(table, "breaker_open_time")
    shown = table.head(most)
    ax = canvas(ax, height=rows_height(len(shown)))
    if shown.empty:
        return nothing(ax, "transitions of breakers")
    size, unit = unit_of(shown.open_ms + shown.half_open_ms)
    rows = range(len(shown))
    open_for, probed = shown.open_ms / size, shown.half_open_ms / size
    ax.barh(rows, open_for, color=FAILED, label="open", height=0.72)
    probing: dict[str, Any] = {
        "color": RETRIED,
        "hatch": "//",
        "edgecolor": ax.get_facecolor(),
        "linewidth": 0,
    }
    ax.barh(rows, probed, left=open_for, label="half open", height=0.72, **probing)
    for row, one in enumerate(shown.itertuples()):
        saved = "" if pd.isna(one.saved_ms_at_most) else f", saved at most {duration(one.saved_ms_at_most)}"
        calls = f"{one.rejected:,} {'call' if one.rejected == 1 else 'calls'} rejected"
        late = f", late by at most {duration(one.late_ms_at_most)}" if one.late_ms_at_most > 0 else ""
        beside(ax, (one.open_ms + one.half_open_ms) / size, row, calls + saved + late)
    name_rows(ax, names(shown, ["breaker"], ""))
    ax.set_xlabel(f"time ({unit})")
    ax.set_xlim(0, 2.4 * float((open_for + probed).max()) or 1)
    grid(ax, "x")
    legend(ax)
    return ax
