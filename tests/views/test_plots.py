"""Plots of retry analytics: what is drawn is what the tables say, and can be read, on white and on black."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from orchkit.errors import MissingExtraError
from orchkit.views import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Plot = Callable[..., Any]
DAY = pd.Timestamp("2025-03-12", tz="UTC")


def at(*minutes: float | None) -> list[Any]:
    """Times so many minutes into a day."""
    return [pd.NaT if one is None else DAY + pd.Timedelta(minutes=one) for one in minutes]


RATES = pd.DataFrame(
    {
        "tool": [
            "mail.send",
            "costs $5 or $6",
            "a tool with a name that is much longer than any plot is wide ever",
        ],
        "steps": [10, 4, 1],
        "attempts": [16, 5, 1],
        "retries": [6, 1, 0],
        "first_try": [5, 3, 1],
        "rescued": [3, 1, 0],
        "failed": [1, 0, 0],
        "cancelled": [1, 0, 0],
        "open": [0, 0, 0],
        "first_try_rate": [0.5, 0.75, 1.0],
        "success_rate": [0.8, 1.0, 1.0],
        "rescue_rate": [0.75, 1.0, float("nan")],
    }
)
PER_STEP = pd.DataFrame(
    {
        "attempts": [1, 2, 3],
        "steps": [591, 74, 12],
        "succeeded": [590, 70, 2],
        "failed": [0, 3, 10],
        "cancelled": [1, 0, 0],
        "open": [0, 1, 0],
        "share": [0.873, 0.109, 0.018],
    }
)
QUANTILES = {
    "mean_ms": [4e3, 9e4],
    "p50_ms": [0.0, 8e4],
    "p90_ms": [8e3, 1e5],
    "p99_ms": [9e3, 2e5],
    "max_ms": [1e4, 3e5],
}
TOOK = pd.DataFrame({"attempts": [1, 2], "steps": [591, 74], **QUANTILES})
WAITS = pd.DataFrame(
    {"attempt": [1, 2], "basis": ["decision", "gap"], "waits": [70, 12], "total_ms": [1e5, 1e6], **QUANTILES}
)
BINS = pd.DataFrame(
    {
        "basis": ["decision", "decision", "gap", "gap"],
        "lower_ms": [0.0, 1e3, 1e3, 1e4],
        "upper_ms": [0.0, 1e4, 1e4, 1e5],
        "waits": [5, 7, 2, 1],
        "share": [5 / 12, 7 / 12, 2 / 3, 1 / 3],
    }
)
WASTE = pd.DataFrame(
    {
        "error_type": ["exit 137", "ConnectionError"],
        "calls": [477, 1],
        "time_ms": [3.6e6 * 100, 3.6e6 * 5],
        "retries": [222, 0],
        "retries_ms": [3.6e6 * 60, 0.0],
        "in_vain": [0, 1],
        "in_vain_ms": [0.0, 3.6e6 * 5],
        "share_of_calls": [0.349, 0.0007],
        "share_of_time": [0.3, 0.015],
    }
)
LOAD = pd.DataFrame(
    {
        "began_at": at(0, 1, 3),
        "attempts": [10, 8, 4],
        "retries": [0, 6, 4],
        "failed": [6, 4, 0],
        "share": [0, 0.75, 1.0],
        "retries_per_s": [0, 0.1, 0.07],
    }
)
STORMS = pd.DataFrame(
    {
        "began_at": at(1, 40),
        "ended_at": at(2, 60),
        "retries": [6, 90],
        "attempts": [8, 100],
        "share": [0.75, 0.9],
    }
)
PERIODS = pd.DataFrame(
    {
        "breaker": ["mail", "mail", "mail", "db"],
        "state": ["open", "half_open", "closed", "forced_open"],
        "began_at": at(0, 10, 11, 5),
        "ended_at": at(10, 11, None, None),
        "duration_ms": [6e5, 6e4, float("nan"), float("nan")],
        "reason": "said so",
    }
)
OPEN = pd.DataFrame(
    {
        "breaker": ["mail", "db"],
        "state": ["closed", "forced_open"],
        "opened": [2, 1],
        "reopened": [1, 0],
        "open_ms": [6e5, 0.0],
        "half_open_ms": [6e4, 0.0],
        "longest_open_ms": [5e5, 0.0],
        "rejected": [40, 1],
        "steps_lost": [3, 0],
        "saved_ms_at_most": [1.2e5, float("nan")],
        "late_ms_at_most": [3e5, 0.0],
    }
)
COMPARED = pd.DataFrame(
    {
        "policy": ["on record", "two attempts", "five attempts", "costs $5 or $6", "no end"],
        "cases": [2016] * 5,
        "success_rate_low": [0.944, 0.942, 0.944, 0.897, 0.016],
        "success_rate_high": [0.944, 0.942, 1.0, 1.0, 1.0],
        "calls_low": [2340.0, 2223.0, 2453.0, 2137.0, 33.0],
        "calls_high": [2340.0, 2223.0, 2566.0, 2430.0, float("inf")],
        "on_bounds": [0, 0, 113, 207, 1984],
        "success_rate_estimate": [0.944, 0.942, 0.976, 0.962, 0.971],
        "calls_estimate": [2340.0, 2223.0, 2514.0, 2213.0, 2303.0],
    }
)
_SECONDS = {"up_s": [82_800.0, 43_200.0, 0.0], "degraded_s": 0.0, "down_s": [3_600.0, 0.0, 86_400.0]}
UPTIME = pd.DataFrame(
    {
        "service": [
            "a shop with a name that is much longer than any plot is wide",
            "costs $5 or $6",
            "🛒 mail",
        ],
        "began_at": at(0, 0, 0),
        "ended_at": at(1440, 1440, 1440),
        **_SECONDS,
        "unknown_s": [0.0, 21_600.0, 0.0],
        "maintenance_s": [0.0, 21_600.0, 0.0],
        "by_time": [23 / 24, 1.0, 0.0],
    }
)
ONE_DAY = pd.DataFrame(
    {
        "began_at": at(0, 60, 120),
        "ended_at": at(60, 120, 180),
        "up_s": [3_600.0, 1_800.0, 0.0],
        "degraded_s": 0.0,
        "down_s": [0.0, 1_800.0, 0.0],
        "unknown_s": [0.0, 0.0, 3_600.0],
        "maintenance_s": 0.0,
    }
)
STATES = pd.DataFrame(
    {
        "service": ["mail", "mail", "mail", "shop", "shop"],
        "state": ["up", "down", "up", "unknown", "maintenance"],
        "began_at": at(0, 30, 40, 0, 20),
        "ended_at": at(30, 40, 60, 20, 60),
    }
)
BUDGET = pd.DataFrame(
    {
        "service": ["mail"] * 4 + ["shop"] * 2 + ["sheets"] * 2,
        "moment": at(0, 20, 40, 60, 0, 60, 0, 60),
        "remaining_share": [1.0, 1.0, -4.0, -4.0, 1.0, 1.0, 1.0, 0.4],
    }
)
PLOTS: Mapping[str, tuple[Plot, pd.DataFrame]] = {
    "success_rates": (plots.success_rates, RATES),
    "attempts_per_step": (plots.attempts_per_step, PER_STEP),
    "time_to_success": (plots.time_to_success, TOOK),
    "waste": (plots.waste, WASTE),
    "waits": (plots.waits, WAITS),
    "wait_histogram": (plots.wait_histogram, BINS),
    "retry_load": (plots.retry_load, LOAD),
    "retry_storms": (plots.retry_storms, STORMS),
    "breaker_periods": (plots.breaker_periods, PERIODS),
    "breaker_open_time": (plots.breaker_open_time, OPEN),
    "whatif": (plots.whatif, COMPARED),
    "uptime_strip": (plots.uptime_strip, UPTIME),
    "uptime_hours": (plots.uptime_hours, ONE_DAY),
    "uptime_timeline": (plots.uptime_timeline, STATES),
    "error_budget": (plots.error_budget, BUDGET),
}
every_plot = pytest.mark.parametrize(("plot", "table"), PLOTS.values(), ids=PLOTS.keys())


@pytest.fixture(autouse=True)
def _agg(require: Callable[[str], str]) -> Iterator[None]:
    """Drawing without a screen; no figure is left behind."""
    require("matplotlib")
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    yield
    plt.close("all")


def widths(ax: Axes) -> dict[str, list[float]]:
    """The lengths of horizontal bars, by what the legend calls them."""
    return {bars.get_label(): [round(bar.get_width(), 6) for bar in bars] for bars in ax.containers}


def heights(ax: Axes) -> dict[str, list[float]]:
    """The heights of upright bars, by what the legend calls them."""
    return {bars.get_label(): [round(bar.get_height(), 6) for bar in bars] for bars in ax.containers}


def notes(ax: Axes) -> list[str]:
    """What is written beside bars."""
    return [text.get_text() for text in ax.texts]


def row_names(ax: Axes) -> list[str]:
    """What rows are called, from top to bottom."""
    return [label.get_text() for label in ax.get_yticklabels()]


# --- all of them ---------------------------------------------------------------------------


def test_every_plot_is_tested() -> None:
    """A plot that is added is added here."""
    assert sorted(PLOTS) == sorted(plots.__all__)


@every_plot
def test_a_plot_draws_on_the_axes_it_is_given_and_returns_them(plot: Plot, table: pd.DataFrame) -> None:
    """Several can be put into one figure; without axes each makes a figure of its own."""
    import matplotlib.pyplot as plt

    _, (left, right) = plt.subplots(1, 2)
    assert plot(table, ax=left) is left
    assert left.has_data()
    assert not right.has_data()
    assert plot(table).figure is not left.figure
    assert len(plt.get_fignums()) == 2


@every_plot
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_texts_are_on_the_paper_and_do_not_cover_each_other(
    plot: Plot, table: pd.DataFrame, style: str
) -> None:
    """Everything that is written can be read, light or dark, in the size in which it is made."""
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    with plt.style.context(style):
        ax = plot(table)
        figure = ax.figure
        figure.canvas.draw()
        texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]
        boxes = [
            (one.get_text(), one.get_window_extent()) for one in texts if one.get_window_extent().width > 0
        ]
    low, high = ax.get_xlim()
    outside = {tick.get_text() for tick in ax.get_xticklabels() if not low <= tick.get_position()[0] <= high}
    boxes = [(text, box) for text, box in boxes if text not in outside]
    assert boxes
    for text, box in boxes:
        assert figure.bbox.x0 - 1 <= box.x0, text
        assert box.x1 <= figure.bbox.x1 + 1, text
    for (one, box), (other, its) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(its.padded(-1)), (one, other)


@every_plot
def test_nothing_on_record_is_said(plot: Plot, table: pd.DataFrame) -> None:
    """An empty table is a plot that says so, and no error."""
    ax = plot(table.head(0))
    assert notes(ax)[0].startswith("no ")
    assert notes(ax)[0].endswith(" on record")


@every_plot
def test_a_missing_matplotlib_is_named(
    plot: Plot, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it not is told what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r'pip install "orchkit\[plot\]"'):
        plot(table)


# --- each of them --------------------------------------------------------------------------


def test_rates_are_parts_of_a_hundred() -> None:
    """Each row is 100 % of its steps, cut into how they ended; their number is beside."""
    ax = plots.success_rates(RATES)
    assert widths(ax) == {
        "at the first try": [50, 75, 100],
        "rescued by a retry": [30, 25, 0],
        "failed": [10, 0, 0],
        "cancelled or open": [10, 0, 0],
    }
    assert notes(ax) == ["10", "4", "1"]
    assert row_names(ax)[:2] == ["mail.send", "costs $5 or $6"]
    assert "…" in row_names(ax)[2]
    assert len(row_names(plots.success_rates(RATES, most=2))) == 2


def test_one_row_for_all_is_called_so() -> None:
    """Without keys there is one bar, and what did not happen is not in the legend."""
    ax = plots.success_rates(RATES.drop(columns="tool").tail(1))
    assert row_names(ax) == ["all steps"]
    assert list(widths(ax)) == ["at the first try"]


def test_steps_are_stacked_by_attempts() -> None:
    """A bar per number of attempts, as high as there are steps; groups are summed up."""
    ax = plots.attempts_per_step(PER_STEP)
    wanted = {"succeeded": [590, 70, 2], "failed": [0, 3, 10], "cancelled or open": [1, 1, 0]}
    assert heights(ax) == wanted
    assert notes(ax) == ["591", "74", "12"]
    twice = pd.concat([PER_STEP.assign(tool="a"), PER_STEP.assign(tool="b")])
    assert heights(plots.attempts_per_step(twice)) == {
        name: [2 * value for value in values] for name, values in wanted.items()
    }


@pytest.mark.parametrize(
    ("plot", "table", "rows", "beside"),
    [
        (plots.time_to_success, TOOK, ["1 attempt", "2 attempts"], ["591 steps", "74 steps"]),
        (
            plots.waits,
            WAITS,
            ["after attempt 1", "after attempt 2"],
            ["70 planned delays", "12 observed gaps"],
        ),
    ],
    ids=["time to success", "waits"],
)
def test_spreads_show_half_90_and_99_percent(
    plot: Plot, table: pd.DataFrame, rows: list[str], beside: list[str]
) -> None:
    """On a scale of times, from where half of them lie to where 99 % do; no time at all is leftmost."""
    ax = plot(table)
    marks = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert ax.get_xscale() == "log"
    assert marks["half of them"] == [pytest.approx(ax.get_xlim()[0]), 8e4]
    assert marks["90 %"] == [8e3, 1e5]
    assert marks["99 %"] == [9e3, 2e5]
    assert marks["mean"] == [4e3, 9e4]
    assert row_names(ax) == rows
    assert notes(ax) == beside
    assert [label.get_text() for label in ax.get_xticklabels()] == ["10 s", "1 min"]


def test_waits_that_took_no_time_have_a_place() -> None:
    """A logarithmic scale has none for zero: they stand at its left end."""
    none = pd.DataFrame({name: [0.0] for name in QUANTILES})
    ax = plots.waits(none.assign(attempt=1, basis="decision", waits=3))
    low, high = ax.get_xlim()
    assert 0 < low < high
    assert {line.get_xdata()[0] for line in ax.lines} == {low}
    assert notes(ax) == ["3 planned delays"]


def test_waste_is_split_into_first_tries_and_retries() -> None:
    """In the unit that suits the longest, with the calls beside."""
    ax = plots.waste(WASTE)
    assert {name: [round(one, 3) for one in values] for name, values in widths(ax).items()} == {
        "first tries": [round(40 / 24, 3), round(5 / 24, 3)],
        "retries": [2.5, 0],
    }
    assert "days" in ax.get_xlabel()
    assert notes(ax) == ["477 calls, 34.9% of all", "1 call, 0.1% of all"]
    assert "milliseconds" in plots.waste(WASTE.assign(time_ms=5.0, retries_ms=1.0)).get_xlabel()


def test_bins_of_waits_stand_on_each_other_and_none_stands_apart() -> None:
    """Planned and observed waits in two hues; retries at once have a bar of their own."""
    ax = plots.wait_histogram(BINS)
    assert heights(ax) == {"planned delays": [5, 7], "observed gaps": [2, 1]}
    planned, observed = ax.containers
    assert observed[0].get_y() == 7
    assert planned[0].get_x() + planned[0].get_width() < planned[1].get_x() == 1e3
    assert notes(ax) == ["none"]
    assert notes(plots.wait_histogram(BINS.tail(3))) == []


def test_load_has_the_retries_on_top_and_marks_the_storms() -> None:
    """Both kinds of attempts per window, and spans for storms where they are given."""
    ax = plots.retry_load(LOAD, storms=STORMS)
    assert heights(ax) == {"first tries": [10, 2, 0], "retries": [0, 6, 4]}
    spans = [patch for patch in ax.patches if patch.get_label() == "retry storms"]
    assert len(spans) == 1  # the other one has no entry of its own in the legend
    assert spans[0].get_width() * 24 * 60 == pytest.approx(1)
    assert "retry storms" not in [text.get_text() for text in plots.retry_load(LOAD).get_legend().get_texts()]


def test_storms_are_as_wide_as_they_were_long() -> None:
    """And as high as they had retries, with their share on top."""
    ax = plots.retry_storms(STORMS)
    bars = [(round(24 * 60 * bar.get_width(), 1), bar.get_height()) for bar in ax.patches]
    assert bars == [(1, 6), (20, 90)]
    assert notes(ax) == ["75%", "90%"]


def test_breakers_have_a_row_of_periods_each() -> None:
    """Every period as long as it took; what goes on ends where it is said to, or a little later."""
    ax = plots.breaker_periods(PERIODS, until=datetime(2025, 3, 12, 1, tzinfo=UTC))
    minutes = {name: [round(24 * 60 * one, 1) for one in values] for name, values in widths(ax).items()}
    assert minutes == {"closed": [49], "half open": [1], "open": [10], "forced open": [55]}
    assert row_names(ax) == ["db", "mail"]
    assert widths(plots.breaker_periods(PERIODS))["closed"][0] > 0


def test_open_time_says_what_it_was_worth() -> None:
    """Open and half open, and beside it what is known of rejected calls and the bounds."""
    ax = plots.breaker_open_time(OPEN)
    assert widths(ax) == {"open": [10, 0], "half open": [1, 0]}
    assert "minutes" in ax.get_xlabel()
    assert notes(ax) == [
        "40 calls rejected, saved at most 2 min 00 s, late by at most 5 min 00 s",
        "1 call rejected",
    ]


def test_many_windows_are_put_together() -> None:
    """A long time is drawn in as many bars as can be told apart, and nothing of it is lost."""
    minutes = 5_000
    load = pd.DataFrame({"began_at": at(*range(minutes)), "attempts": 2, "retries": 1})
    ax = plots.retry_load(load)
    first, again = heights(ax).values()
    assert len(first) == 556
    assert sum(first) == sum(again) == minutes
    assert ax.get_ylabel() == "attempts per 9 min 00 s"


def test_policies_are_marks_and_boxes_with_labels_on_the_right() -> None:
    """Exact answers are marks alone; a box holds all that is possible, its mark is the estimate."""
    ax = plots.whatif(COMPARED)
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if len(line.get_xdata())]
    assert [(x, round(y, 1)) for x, y in marks] == [
        (2340, 94.4),
        (2223, 94.2),
        (2514, 97.6),
        (2213, 96.2),
        (2303, 97.1),
    ]
    boxes = [patch for patch in ax.patches if not patch.get_fill()]
    corners = [(box.get_x(), round(box.get_y(), 1), box.get_width()) for box in boxes]
    assert corners[:2] == [(2453, 94.4, 113), (2137, 89.7, 293)]
    assert boxes[2].get_x() + boxes[2].get_width() > ax.get_xlim()[1]  # it has no end
    named = [note for note in notes(ax) if note]
    assert named == [
        "two attempts",
        "on record",
        "costs $5 or $6 (207 on bounds)",
        "no end (1,984 on bounds)",
        "five attempts (113 on bounds)",
    ]
    bare = plots.whatif(COMPARED[[name for name in COMPARED if "estimate" not in name]])
    assert len([line for line in bare.lines if len(line.get_xdata())]) == 2


def test_many_policies_have_labels_apart() -> None:
    """Twenty policies that come to the same can still be told by their labels."""
    many = pd.concat([COMPARED.tail(4)] * 5).assign(policy=[f"policy {number}" for number in range(20)])
    ax = plots.whatif(many)
    ax.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts if text.get_text()), key=lambda one: one.y0)
    assert len(boxes) == 20
    assert all(below.y1 <= above.y0 + 1 for below, above in itertools.pairwise(boxes))
