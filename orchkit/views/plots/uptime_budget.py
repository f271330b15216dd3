"""What is left of error budgets, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchkit.analysis import uptime
from orchkit.analysis.uptime.source import Source
from orchkit.views.palette import LINE, STATUS
from orchkit.views.plots.canvas import FAILED, canvas, dates, grid, nothing
from orchkit.views.plots.tables import HISTORIES, Answer
from orchkit.views.plots.uptime import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HUES = tuple(
    STATUS[name].colour for name in ("running", "failed", "success", "skipped", "timeout", "cancelled")
)
_DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)))
_LOWEST = -1.0
_APART = 0.075
"""How far names are apart at least, in heights of the axes."""


_ANSWER = Answer(
    "uptime.error_budget(kit)", ("service", "moment", "remaining_share"), uptime.error_budget, HISTORIES
)


def error_budget(table: Source, *, most: int = 8, ax: Axes | None = None) -> Axes:
    """The error budget of each service over the window: `orchkit.analysis.uptime.error_budget`.

    A line per service, from a full budget at the begin; the dotted line is a budget that is spent evenly.
    Below nothing the promise is broken; what is lower than minus 100 % is cut, and its name says how low it
    is. Of many services, the ``most`` with the least left are drawn; those that spent nothing are one line.
    Of a kit, the target is 99.9 % over 30 days.
    """
    table = _ANSWER.given(table, "error_budget")
    ax = canvas(ax)
    if table.empty:
        return nothing(ax, "checks")
    ends = table.groupby("service").remaining_share.last().sort_values(kind="stable")
    shown = {str(name): float(left) for name, left in ends[ends < 1].head(most).items()}
    unspent = ends.index[ends >= 1]
    label = {name: short(name) for name in shown}
    if len(unspent):
        shown[str(unspent[0])] = 1.0
        label[str(unspent[0])] = short(unspent[0]) if len(unspent) == 1 else f"{len(unspent)} services"
    lowest = max(_LOWEST, min(0.0, *shown.values()))
    ax.set_ylim(lowest * 1.05 - 0.05, 1.05)
    first, last = table.moment.min(), table.moment.max()
    ax.plot([first, last], [1, 0], linestyle=":", color=LINE, linewidth=1.2)
    if lowest < 0:
        ax.axhspan(ax.get_ylim()[0], 0, color=FAILED, alpha=0.12, linewidth=0)
        ax.axhline(0, color=FAILED, linewidth=1)
    places = _apart(list(shown.values()), *ax.get_ylim())
    for number, (name, left) in enumerate(shown.items()):
        mine = table[table.service == name]
        colour, dashes = _HUES[number % len(_HUES)], _DASHES[number % len(_DASHES)]
        ax.plot(mine.moment, mine.remaining_share, color=colour, linestyle=dashes, linewidth=1.8, label=name)
        _name(ax, label[name], left, places[number], colour)
    ax.set_xlim(first, last)
    dates(ax)
    step = 0.5 if lowest < -0.5 else 0.25
    ticks = [
        tick * step for tick in range(round(lowest // step), round(1 / step) + 1) if tick * step >= lowest
    ]
    ax.set_yticks(ticks, [_percent(tick) for tick in ticks])
    ax.set_ylabel("error budget left")
    grid(ax, "y")
    return ax


def _apart(values: list[float], low: float, high: float) -> list[float]:
    """Where names stand: near the ends of their lines, lowest first, and not on each other."""
    gap = _APART * (high - low)
    places: list[float] = []
    for value in values:
        place = max(value, low + gap / 2)
        places.append(max(place, places[-1] + gap) if places else place)
    # Pushed out at the top, they go back down.
    for number in range(len(places) - 1, -1, -1):
        top = high - gap / 2 if number == len(places) - 1 else places[number + 1] - gap
        places[number] = min(places[number], top)
    return places


def _name(ax: Axes, name: str, left: float, place: float, colour: str) -> None:
    ax.annotate(
        f"{name}  {_percent(left)}",
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
        annotation_clip=False,
        parse_math=False,
    )
    ax.plot([1, 1.012], [min(max(left, ax.get_ylim()[0]), 1.05), place], transform=ax.get_yaxis_transform(),
            color=colour, linewidth=1, clip_on=False)  # fmt: skip


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %").replace("-", "−")
