"""Success against load under several policies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from orchkit.views.palette import STATUS
from orchkit.views.plots.canvas import FAILED, OTHER, RESCUED, RETRIED, SUCCESS, canvas, grid, legend, nothing
from orchkit.views.plots.tables import Answer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Span = tuple[float, float]

_ON_RECORD: Final = "on record"
_HUES: Final = (
    RESCUED,
    FAILED,
    SUCCESS,
    RETRIED,
    *(STATUS[name].colour for name in ("skipped", "paused", "cut off")),
)
_LINE_INCHES: Final = 0.21
"""From one label to the next."""
_MARGIN: Final = 0.07
"""Of the axes, around what is drawn."""
_REACH: Final = 1.0
"""How far boxes are followed beyond the marks, in the width of all marks."""


_ANSWER: Final = Answer(
    "whatif.compare(kit, policies)",
    ("policy", "cases", "success_rate_low", "success_rate_high", "calls_low", "calls_high", "on_bounds"),
)


def whatif(compared: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What several policies would have come to: a comparison of `orchkit.analysis.whatif.compare`.

    A box per policy holds all that is possible, calls along x and success along y: exact answers are a dot.
    The dot in a box is the estimate, if there is one. Labels say how many cases rest on bounds.
    """
    compared = _ANSWER.given(compared, "whatif")
    shown = compared[compared.cases > 0]
    ax = canvas(ax, height=max(3.4, 1.2 + _LINE_INCHES * len(shown)))
    if shown.empty:
        return nothing(ax, "cases")
    rows = shown.to_dict("records")
    _limits(ax, rows)
    marks, hues = [], cycle(_HUES)
    for row in rows:
        there = row["policy"] == _ON_RECORD
        hue = OTHER if there else next(hues)
        _mark(ax, row, hue, there=there)
        marks.append((*_place(row), hue, _label(row)))
    _label_all(ax, marks)
    ax.set_xlabel("calls")
    ax.set_ylabel("% of the cases that succeed")
    ax.locator_params(axis="x", nbins=6)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    grid(ax, "x")
    grid(ax, "y")
    _explain(ax, rows)
    return ax


def _limits(ax: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Room for all marks, and for boxes as far as they do not dwarf them: those go beyond the edge."""
    marks = [_place(row) for row in rows]
    for name, scale, which, set_limits in (
        ("calls", 1, 0, ax.set_xlim),
        ("success_rate", 100, 1, ax.set_ylim),
    ):
        at = [mark[which] for mark in marks]
        reach = _REACH * max(max(at) - min(at), 0.02 * max(at), 1.0)
        ends = [scale * value for row in rows for value in _span(row, name)]
        low, high = max(min(ends), min(at) - reach), min(max(ends), max(at) + reach)
        room = max(high - low, 0.02 * abs(high), 1.0) * _MARGIN
        set_limits(low - room, high + room)


def _place(row: dict[str, Any]) -> Span:
    """Where the mark of a policy is: what is exact, the estimate, or the middle of all that is possible."""
    calls, rate = _span(row, "calls"), _span(row, "success_rate")
    if (calls[0] < calls[1] or rate[0] < rate[1]) and "calls_estimate" in row:
        return row["calls_estimate"], 100 * row["success_rate_estimate"]
    most = calls[1] if calls[1] < math.inf else calls[0]
    return (calls[0] + most) / 2, 50 * (rate[0] + rate[1])


def _span(row: dict[str, Any], name: str) -> Span:
    return row[f"{name}_low"], row[f"{name}_high"]


def _mark(ax: Axes, row: dict[str, Any], hue: str, *, there: bool) -> None:
    """Draw one policy."""
    from matplotlib.patches import Rectangle

    calls, rate = _span(row, "calls"), _span(row, "success_rate")
    exact = calls[0] == calls[1] and rate[0] == rate[1]
    if not exact:
        beyond = 2 * ax.get_xlim()[1]  # a box without an end has its edge out of sight
        size = min(calls[1], beyond) - calls[0], 100 * (rate[1] - rate[0])
        corner = calls[0], 100 * rate[0]
        ax.add_patch(Rectangle(corner, *size, facecolor=hue, alpha=0.14, linewidth=0))
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=hue, linewidth=1.4))
    if exact or "calls_estimate" in row:
        ax.plot(*_place(row), marker="D" if there else "o", color=hue, markersize=7, zorder=3)


def _label(row: dict[str, Any]) -> str:
    if not row["on_bounds"]:
        return str(row["policy"])
    return f"{row['policy']} ({row['on_bounds']:,.0f} on bounds)"


def _label_all(ax: Axes, marks: Sequence[tuple[float, float, str, str]]) -> None:
    """Labels in a column on the right, in the order of what they name, none above another."""
    low, high = ax.get_ylim()
    ordered = sorted(marks, key=lambda mark: (mark[1], mark[0]))
    inches = ax.get_position().height * ax.get_figure(root=True).get_figheight()  # type: ignore[union-attr]
    gap = _LINE_INCHES / max(inches, 0.1)
    rows = _apart([(mark[1] - low) / (high - low) for mark in ordered], gap)
    for (x, y, hue, text), row in zip(ordered, rows, strict=True):
        line = {"arrowstyle": "-", "color": hue, "alpha": 0.6, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 4}
        ax.annotate("", (x, y), xytext=(1.02, row), textcoords="axes fraction", arrowprops=line)
        ax.text(1.03, row, text, transform=ax.transAxes, va="center", fontsize="small", parse_math=False)


def _apart(places: Iterable[float], gap: float) -> list[float]:
    """The same places in order, moved as little as needed to be so far apart, within the axes if they can."""
    groups: list[list[float]] = []  # of each its middle and how many
    for place in places:
        groups.append([place, 1])
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2:
            above, below = groups.pop(), groups.pop()
            count = above[1] + below[1]
            groups.append([(above[0] * above[1] + below[0] * below[1]) / count, count])
    found = [
        middle + gap * (number - (count - 1) / 2) for middle, count in groups for number in range(int(count))
    ]
    over = max(0.0, found[-1] - 1) if found else 0.0
    for place in range(len(found) - 1, -1, -1):
        limit = found[place + 1] - gap if place + 1 < len(found) else 1.0
        found[place] = min(found[place], limit) if over else found[place]
    return found


def _explain(ax: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """A legend of the signs that there are."""
    signs: dict[str, Any] = {"marker": "o", "color": OTHER, "linestyle": "", "markersize": 6}
    if any(row["policy"] == _ON_RECORD for row in rows):
        ax.plot([], [], **{**signs, "marker": "D"}, label="on record")
    if any(row["on_bounds"] for row in rows):
        ax.plot([], [], **{**signs, "marker": "s", "markerfacecolor": "none"}, label="possible")
    estimated = any("calls_estimate" in row and row["on_bounds"] for row in rows)
    ax.plot([], [], **signs, label="exact, or estimate" if estimated else "exact")
    legend(ax)
