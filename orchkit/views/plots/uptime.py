"""How much services were up, period by period, as strips of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from unicodedata import category

from orchkit.analysis.uptime import availability_over_time
from orchkit.analysis.uptime.source import Source
from orchkit.analysis.words import JOINERS, clean
from orchkit.errors import ParameterError, Problem
from orchkit.views.palette import LINE
from orchkit.views.plots.canvas import FAILED, OTHER, RETRIED, SUCCESS, canvas, dates, nothing, rows_height
from orchkit.views.plots.rows import name_rows
from orchkit.views.plots.tables import HISTORIES, Answer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# What looks alike differs in its hatching, for those who see no difference between the hues.
_CLASSES = (
    ("100 %", 1.0, SUCCESS, ""),
    ("≥ 99.9 %", 0.999, SUCCESS, "..."),
    ("≥ 99 %", 0.99, RETRIED, ""),
    ("≥ 95 %", 0.95, RETRIED, "///"),
    ("less", float("-inf"), FAILED, "xx"),
)
_UNKNOWN = "not known"
_AWAY = "maintenance"
_HEIGHT = 0.84
_LONGEST = 32
_MANY = 100
"""Cells side by side, beyond which lines between them would be most of what one sees."""
_PICTURES = ("So", "Sk", "Cn", "Co")
"""Kinds of characters."""
Box = tuple[float, float, float, float]
"""Left, bottom, width, height."""


_TIMES = ("began_at", "ended_at", "up_s", "degraded_s", "down_s", "unknown_s", "maintenance_s")
_PERIODS = Answer("uptime.availability_over_time(kit)", _TIMES, availability_over_time, HISTORIES)
_HOURS = Answer(
    'uptime.availability_over_time(kit, every="hour")',
    _TIMES,
    partial(availability_over_time, every="hour"),
    HISTORIES,
)


def uptime_strip(table: Source, *, ax: Axes | None = None) -> Axes:
    """How much each service was up, period by period: `orchkit.analysis.uptime.availability_over_time`.

    A row per service, a cell per period in its time zone. Colour and pattern of a cell say which share of its
    known time the service was up, and it is as high as much of its time is known. Beside each row stands the
    share of all of its known time. Of a kit, the periods are days in UTC.
    """
    table = _PERIODS.given(table, "uptime_strip")
    keys = table.service.tolist() if "service" in table else ["all services"] * len(table)
    places = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    ax = canvas(ax, height=rows_height(len(places)))
    if table.empty:
        return nothing(ax, "checks")
    begin, width = _wall(table)
    cells = table.assign(left=begin, wide=width, row=[places[key] for key in keys])
    _draw(ax, cells)
    name_rows(ax, [short(name) for name in places])
    for row, mine in cells.groupby("row"):
        beside_axes(ax, float(row), _share(mine))
    _finish(ax, table, cells)
    return ax


def uptime_hours(table: Source, *, ax: Axes | None = None) -> Axes:
    """When in the day a service was down: `orchkit.analysis.uptime.availability_over_time` of every hour.

    A column per day, a row per hour of the day, in the time zone of the table; cells are as in
    `uptime_strip`. An hour that comes twice is one cell.

    Raises `ParameterError` for several services: choose one.
    """
    table = _HOURS.given(table, "uptime_hours")
    if "service" in table and len(set(table.service)) > 1:
        hint = f'choose one: {_HOURS.question[:-1]}, services="…")'
        raise ParameterError("uptime_hours", [Problem("table", "holds several services", hint)])
    ax = canvas(ax, height=rows_height(10))
    if table.empty:
        return nothing(ax, "checks")
    local = table.began_at.dt.tz_localize(None)
    spent = table.assign(day=local.dt.normalize(), row=local.dt.hour)
    cells = spent.groupby(["day", "row"], as_index=False).sum(numeric_only=True)
    cells["left"], cells["wide"] = _days(cells.day), 1.0
    _draw(ax, cells)
    ax.set_yticks(range(0, 24, 3), [f"{hour:02}:00" for hour in range(0, 24, 3)])
    ax.set_ylim(23.6, -0.6)
    ax.set_ylabel("hour of the day")
    _finish(ax, table, cells)
    return ax


# --- cells ---------------------------------------------------------------------------------


def _wall(table: pd.DataFrame) -> tuple[Any, Any]:
    """Begin and length of the periods in days, as the clock on the wall has them."""
    begin, end = (_days(table[name].dt.tz_localize(None)) for name in ("began_at", "ended_at"))
    # The hour that comes twice would take no place at all.
    return begin, (end - begin).where(end > begin, 1 / 24)


def _days(times: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    return (times - pd.Timestamp(0)) / pd.Timedelta(days=1)


def _draw(ax: Axes, cells: pd.DataFrame) -> None:
    known = cells.up_s + cells.degraded_s + cells.down_s
    whole = known + cells.unknown_s + cells.maintenance_s
    up = known - cells.down_s - (0.0 if _mild(cells) else cells.degraded_s)
    share = (up / known).where(known > 0)
    boxes: dict[str, list[Box]] = {name: [] for name in (*(one[0] for one in _CLASSES), _UNKNOWN, _AWAY)}
    for left, wide, row, part, seen, away, all_ in zip(
        cells.left, cells.wide, cells.row, share, known, cells.maintenance_s, whole, strict=True
    ):
        if all_ <= 0:
            continue
        floor = row + _HEIGHT / 2
        parts = [(_class(part), seen), (_AWAY, away), (_UNKNOWN, all_ - seen - away)]
        for name, much in parts:
            high = _HEIGHT * much / all_
            if high > 1e-9:
                boxes[name].append((left, floor - high, wide, high))
                floor -= high
    looks = {name: (colour, hatch) for name, _, colour, hatch in _CLASSES}
    looks |= {_UNKNOWN: ("none", ""), _AWAY: (OTHER, "\\\\\\")}
    line = 0.4 if cells.left.nunique() <= _MANY else 0.0
    for name, (colour, hatch) in looks.items():
        _add(ax, boxes[name], name, (colour, hatch, line))
    ax.set_xlim(float(cells.left.min()), float((cells.left + cells.wide).max()))


def _mild(cells: pd.DataFrame) -> bool:
    """Whether degraded counted as up, as the shares of the table say."""
    if "by_time" not in cells:
        return True
    odd = cells[(cells.degraded_s > 0) & (cells.up_s + cells.degraded_s + cells.down_s > 0)]
    good = odd.up_s / (odd.up_s + odd.degraded_s + odd.down_s)
    return bool(odd.empty or (odd.by_time > good + 1e-12).any())


def _class(share: float) -> str:
    return next((name for name, least, *_ in _CLASSES if share >= least - 1e-12), _CLASSES[-1][0])


def _add(ax: Axes, boxes: Sequence[Box], name: str, look: tuple[str, str, float]) -> None:
    from matplotlib.collections import PolyCollection

    if not boxes:
        return
    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in boxes]
    colour, hatch, line = look
    outlined = colour == "none"
    cells = PolyCollection(
        corners,
        facecolor=colour,
        edgecolor=LINE if outlined else ax.get_facecolor(),
        linewidth=line,
        linestyle=":" if outlined else "-",
        hatch=hatch,
        label=name,
    )
    ax.add_collection(cells, autolim=False)


def _share(cells: pd.DataFrame) -> str:
    known = float((cells.up_s + cells.degraded_s + cells.down_s).sum())
    if known <= 0:
        return "–"
    up = known - float(cells.down_s.sum()) - (0.0 if _mild(cells) else float(cells.degraded_s.sum()))
    return percent(up / known)


def percent(share: float) -> str:
    """A share near 1 with as many digits as tell it from 1: ``99.987 %``."""
    for digits in (1, 2, 3):
        text = f"{share * 100:.{digits}f}"
        if share == 1 or float(text) < 100:
            break
    return "100 %" if share == 1 else f"{min(float(text), 99.999):g} %"


def short(name: object) -> str:
    """A name that leaves room for what is beside it, without pictures, which few fonts have."""
    text = clean(name)
    plain = "".join(one for one in text if category(one) not in _PICTURES and one not in JOINERS)
    text = plain.strip() or text
    if len(text) <= _LONGEST:
        return text
    # Names of one kind often differ at their ends.
    return f"{text[: _LONGEST - 11].rstrip()}…{text[-10:].lstrip()}"


def beside_axes(ax: Axes, row: float, text: str) -> None:
    """A note right of the axes, at the height of a row."""
    ax.annotate(
        text,
        (1, row),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
        annotation_clip=False,
    )


def _finish(ax: Axes, table: pd.DataFrame, cells: pd.DataFrame) -> None:
    dates(ax)
    ax.set_xlabel(f"time ({table.began_at.dt.tz})")
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    legend_above(ax, ax.get_legend_handles_labels()[1])


def legend_above(ax: Axes, labels: Iterable[str]) -> None:
    """The legend above the axes, in as many columns as have room."""
    handles = dict(zip(ax.get_legend_handles_labels()[1], ax.get_legend_handles_labels()[0], strict=True))
    shown = list(dict.fromkeys(labels))
    ax.legend(
        [handles[name] for name in shown],
        shown,
        # Its left end may be above the names of rows, where there is place.
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=7,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
        fontsize="small",
    )
