"""How steps fared over their attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchkit.analysis import retries
from orchkit.analysis.retries.source import Source
from orchkit.analysis.retries.steps import RATES, TOOK
from orchkit.views.plots.canvas import (
    FAILED,
    OTHER,
    RESCUED,
    SUCCESS,
    above,
    beside,
    canvas,
    grid,
    legend,
    nothing,
    rows_height,
)
from orchkit.views.plots.rows import keys_of, name_rows, names
from orchkit.views.plots.spread import spread
from orchkit.views.plots.tables import RUNS, Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_RATES = Answer(
    "retries.success_rates(kit)",
    ("steps", "first_try", "rescued", "failed", "cancelled", "open"),
    retries.success_rates,
    RUNS,
)


def success_rates(rates: Source, *, ax: Axes | None = None, most: int = 20) -> Axes:
    """How steps ended: a bar per row of `orchkit.analysis.retries.success_rates`, for the first ``most``."""
    rates = _RATES.given(rates, "success_rates")
    shown = rates[rates.steps > 0].head(most)
    ax = canvas(ax, height=rows_height(len(shown)))
    if shown.empty:
        return nothing(ax, "attempts")
    parts = {
        "at the first try": (shown.first_try, SUCCESS),
        "rescued by a retry": (shown.rescued, RESCUED),
        "failed": (shown.failed, FAILED),
        "cancelled or open": (shown.cancelled + shown.open, OTHER),
    }
    left = shown.steps * 0.0
    for label, (counts, colour) in parts.items():
        share = 100 * counts.astype(float) / shown.steps
        if counts.any():
            ax.barh(range(len(shown)), share, left=left, color=colour, label=label, height=0.72)
        left = left + share
    for row, steps in enumerate(shown.steps):
        beside(ax, 100, row, f"{steps:,}")
    name_rows(ax, names(shown, keys_of(shown, RATES), "all steps"))
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the steps, whose number is beside")
    grid(ax, "x")
    legend(ax)
    return ax


_PER_STEP = Answer(
    "retries.attempts_per_step(kit)",
    ("attempts", "steps", "succeeded", "failed", "cancelled", "open"),
    retries.attempts_per_step,
    RUNS,
)


def attempts_per_step(table: Source, *, ax: Axes | None = None) -> Axes:
    """How many steps took how many attempts: `orchkit.analysis.retries.attempts_per_step`, all groups."""
    table = _PER_STEP.given(table, "attempts_per_step")
    ax = canvas(ax)
    if table.empty:
        return nothing(ax, "attempts")
    sums = table.groupby("attempts")[["steps", "succeeded", "failed", "cancelled", "open"]].sum()
    parts = {
        "succeeded": (sums.succeeded, SUCCESS),
        "failed": (sums.failed, FAILED),
        "cancelled or open": (sums.cancelled + sums.open, OTHER),
    }
    bottom = sums.steps * 0
    for label, (counts, colour) in parts.items():
        if counts.any():
            ax.bar(sums.index, counts, bottom=bottom, color=colour, label=label, width=0.72)
        bottom = bottom + counts
    for attempts, steps in sums.steps.items():
        above(ax, attempts, steps, f"{steps:,}")
    if len(sums) <= 20:
        ax.set_xticks(sums.index)
    ax.set_xlabel("attempts")
    ax.set_ylabel("steps")
    ax.margins(y=0.1)
    grid(ax, "y")
    legend(ax)
    return ax


_TOOK = Answer(
    "retries.time_to_success(kit)",
    ("steps", "p50_ms", "p90_ms", "p99_ms", "mean_ms"),
    retries.time_to_success,
    RUNS,
)


def time_to_success(table: Source, *, ax: Axes | None = None, most: int = 20) -> Axes:
    """How long succeeding took, waits included: the first ``most`` rows of `time_to_success`."""
    table = _TOOK.given(table, "time_to_success")
    shown = table.head(most)
    ax = canvas(ax, height=rows_height(len(shown)))
    if shown.empty:
        return nothing(ax, "success")
    spread(ax, shown, [f"{steps:,} steps" for steps in shown.steps], SUCCESS)
    name_rows(ax, names(shown, keys_of(shown, TOOK), "all steps"))
    ax.set_xlabel("time from the begin of the first attempt to success")
    return ax
