"""The states of services over time, and their incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchkit.analysis import uptime
from orchkit.analysis.uptime.source import Source
from orchkit.analysis.words import duration, plural
from orchkit.views.palette import STATUS
from orchkit.views.plots.canvas import FAILED, OTHER, RETRIED, SUCCESS, canvas, dates, nothing, rows_height
from orchkit.views.plots.rows import name_rows
from orchkit.views.plots.tables import HISTORIES, Answer
from orchkit.views.plots.uptime import beside_axes, legend_above, short

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_STATES = {
    "up": (SUCCESS, "", 0.5),
    "degraded": (RETRIED, "///", 0.62),
    "down": (FAILED, "", 0.74),
    "maintenance": (STATUS["skipped"].colour, "\\\\\\", 0.5),
    "unknown": (OTHER, "", 0.1),
}
"""Colour, hatching and height: what is bad is higher, what is not known a thin line."""


_ANSWER = Answer("uptime.states(kit)", ("service", "state", "began_at", "ended_at"), uptime.states, HISTORIES)
_INCIDENTS = Answer(
    "uptime.incidents(kit)",
    ("service", "started_at", "ended_at", "duration_s"),
    uptime.incidents,
    HISTORIES,
)


def uptime_timeline(states: Source, *, incidents: Source | None = None, ax: Axes | None = None) -> Axes:
    """The states of each service over time: `orchkit.analysis.uptime.states`.

    With ``incidents``, as `orchkit.analysis.uptime.incidents` gives them, the begin of each is marked, and
    beside each row stands how many there were and how long the longest took.
    """
    states = _ANSWER.given(states, "uptime_timeline")
    marked = None if incidents is None else _INCIDENTS.given(incidents, "uptime_timeline")
    services = sorted(states.service.unique())
    ax = canvas(ax, height=rows_height(len(services)) + 0.2)
    if states.empty:
        return nothing(ax, "checks")
    for state, (colour, hatch, height) in _STATES.items():
        mine = states[states.state == state]
        if mine.empty:
            continue
        ax.barh(
            [services.index(name) for name in mine.service],
            mine.ended_at - mine.began_at,
            left=mine.began_at,
            color=colour,
            hatch=hatch,
            edgecolor=ax.get_facecolor() if hatch else colour,
            # Else a short one would not be seen at all.
            linewidth=0.8 if state == "down" else 0,
            height=height,
            label=state,
        )
    first, last = states.began_at.min(), states.ended_at.max()
    name_rows(ax, [short(name) for name in services])
    if marked is not None:
        _mark(ax, marked[marked.service.isin(services)], services, first)
    ax.set_xlim(first, last)
    dates(ax)
    legend_above(ax, ax.get_legend_handles_labels()[1])
    return ax


def _mark(ax: Axes, incidents: pd.DataFrame, services: list[str], first: pd.Timestamp) -> None:
    if not incidents.empty:
        ax.plot(
            incidents.started_at.clip(lower=first),
            [services.index(name) - 0.46 for name in incidents.service],
            linestyle="",
            marker="v",
            markersize=4,
            color=FAILED,
            label="incident",
            clip_on=False,
        )
    for row, name in enumerate(services):
        mine = incidents[incidents.service == name]
        longest = f", longest {duration(float(mine.duration_s.max()) * 1000)}" if len(mine) else ""
        goes_on = ", one goes on" if len(mine) and mine.ended_at.isna().any() else ""
        beside_axes(ax, row, f"{plural(len(mine), 'incident')}{longest}{goes_on}" if len(mine) else "none")
