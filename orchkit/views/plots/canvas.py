"""Where plots are drawn and what they have in common: axes, colours, notes, scales of time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from orchkit.analysis.words import duration
from orchkit.errors import MissingExtraError
from orchkit.views.palette import LINE, STATUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUCCESS = STATUS["success"].colour
RESCUED = STATUS["running"].colour
FAILED = STATUS["failed"].colour
RETRIED = STATUS["timeout"].colour
OTHER = STATUS["pending"].colour
"""Hues that stand out on white and on black paper: see `orchkit.views.palette`."""

_WIDTH = 7.2
_TICKS = {
    **{10**power / 1e3: f"{10**power} µs" for power in range(3)},
    **{float(10**power): f"{10**power} ms" for power in range(3)},
    **dict(
        zip(
            (1e3, 1e4, 6e4, 6e5, 3.6e6, 3.6e7), ("1 s", "10 s", "1 min", "10 min", "1 h", "10 h"), strict=True
        )
    ),
    **{8.64e7 * 10**power: f"{10**power} d" for power in range(4)},
}
"""Of a scale of times, in milliseconds: as clocks go."""
_UNITS = ((8.64e7, "days"), (3.6e6, "hours"), (6e4, "minutes"), (1e3, "seconds"))


def canvas(ax: Axes | None, *, height: float = 3.4) -> Axes:
    """The axes to draw on: those given, or new ones in a figure of their own, so many inches high.

    The colours of paper and texts are left as they are set, by ``plt.style.use("dark_background")``, say.

    Raises `MissingExtraError` where matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    if ax is None:
        _, ax = plt.subplots(figsize=(_WIDTH, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    return ax


def rows_height(count: int) -> float:
    """Inches for so many horizontal bars."""
    return 1.3 + 0.34 * max(count, 1)


def grid(ax: Axes, axis: Literal["x", "y"]) -> None:
    """Faint lines to read values by."""
    ax.grid(axis=axis, color=LINE, alpha=0.3, linewidth=0.8)


def legend(ax: Axes) -> None:
    """The legend above the axes, where it covers nothing."""
    ax.legend(
        # Its left end may be above the names of rows, where there is place.
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=5,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.2,
        columnspacing=1.4,
    )


def beside(ax: Axes, place: float, row: float, text: str) -> None:
    """A note right of the end of a bar."""
    ax.annotate(text, (place, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize="small")


def above(ax: Axes, place: float, height: float, text: str) -> None:
    """A note on top of a bar."""
    ax.annotate(
        text, (place, height), xytext=(0, 3), textcoords="offset points", ha="center", fontsize="small"
    )


def below(ax: Axes, place: float, height: float, text: str) -> None:
    """A note under a bar, where a tick would have its own."""
    ax.annotate(text, (place, height), xytext=(0, -4), textcoords="offset points", ha="center", va="top")


def nothing(ax: Axes, what: str) -> Axes:
    """Say that there is nothing to draw."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.text(0.5, 0.5, f"no {what} on record", ha="center", va="center", transform=ax.transAxes, color=LINE)
    return ax


# --- times ---------------------------------------------------------------------------------


def unit_of(times_ms: Iterable[float]) -> tuple[float, str]:
    """The unit in which such times are best told: its milliseconds, and its name."""
    longest = max(times_ms, default=0.0)
    # Rather ninety minutes than one and a half hours.
    return next(((size, name) for size, name in _UNITS if longest >= 2 * size), (1.0, "milliseconds"))


def time_scale(ax: Axes, shortest_ms: float, longest_ms: float) -> None:
    """A logarithmic scale of milliseconds along x, with ticks that people know."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    low, high = shortest_ms / 1.6, longest_ms * 1.6
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ticks = {place: name for place, name in _TICKS.items() if low <= place <= high}
    if len(ticks) < 2:
        ticks = {place: duration(place) for place in (shortest_ms, longest_ms)}
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    ax.xaxis.set_minor_locator(NullLocator())


def dates(ax: Axes) -> None:
    """Dates along x, no longer than they must be."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    ax.set_xlabel("time (UTC)")
