"""Plots of uptime: what is drawn is what the tables say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from orchkit.analysis import uptime
from orchkit.errors import ParameterError
from orchkit.views import plots


@pytest.fixture(autouse=True)
def _agg(require: Callable[[str], str]) -> Iterator[None]:
    """Drawing without a screen; no figure is left behind."""
    require("matplotlib")
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture
def checks() -> pd.DataFrame:
    """Two days of two services around a change of clocks; the mail is down for an hour, and once unknown."""
    hours = pd.date_range("2026-10-24T22:00Z", periods=49, freq="h")
    mail = pd.DataFrame({"service": "mail", "checked_at": hours, "status": "healthy"})
    mail.loc[5, "status"] = "unhealthy"
    mail.loc[20, "status"] = None
    return pd.concat([mail, mail.assign(service="shop", status="healthy")])


def cells(ax: Any) -> dict[str, list[tuple[float, float, float, float]]]:
    """Left, bottom, width and height of all cells, by what the legend calls them."""
    found = {}
    for one in ax.collections:
        boxes = [path.get_extents() for path in one.get_paths()]
        found[one.get_label()] = [tuple(round(x, 4) for x in (b.x0, b.y0, b.width, b.height)) for b in boxes]
    return found


def notes(ax: Any) -> list[str]:
    """What is written beside rows."""
    return [text.get_text() for text in ax.texts]


def test_a_strip_has_a_cell_per_day_as_high_as_it_is_known(checks: pd.DataFrame) -> None:
    """Days of a time zone are as wide as each other; the unknown part of a day stays empty."""
    table = uptime.availability_over_time(checks, timezone="Europe/Berlin", until="2026-10-26T23:00Z")
    ax = plots.uptime_strip(table)
    found = cells(ax)
    days = [box[0] - found["100 %"][0][0] for box in found["100 %"]]
    assert sorted(set(days)) == [-1, 0]
    assert [box[2] for boxes in found.values() for box in boxes] == [1] * sum(map(len, found.values()))
    (unknown,) = found["not known"]
    (less,) = found["≥ 95 %"]
    assert unknown[3] == pytest.approx(0.84 / 25, abs=1e-3)
    assert less[3] == pytest.approx(0.84 * 24 / 25, abs=1e-3)
    assert notes(ax) == ["97.9 %", "100 %"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mail", "shop"]
    assert ax.get_xlabel() == "time (Europe/Berlin)"


def test_all_services_together_are_one_row(checks: pd.DataFrame) -> None:
    """A table without services is that of all."""
    ax = plots.uptime_strip(uptime.availability_over_time(checks, by=None))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all services"]


def test_hours_stand_in_rows_and_days_in_columns(checks: pd.DataFrame) -> None:
    """Each hour is where the clock on the wall says; the one that comes twice is one cell."""
    table = uptime.availability_over_time(
        checks, every="hour", timezone="Europe/Berlin", services="mail", until="2026-10-26T23:00Z"
    )
    found = cells(plots.uptime_hours(table))
    assert sum(map(len, found.values())) == 48
    (down,) = found["less"]
    assert round(down[1] + 0.42) == 4  # 03:00 UTC, in winter time
    with pytest.raises(ParameterError, match="holds several services"):
        plots.uptime_hours(uptime.availability_over_time(checks, every="hour"))


def test_degraded_is_drawn_as_it_was_counted() -> None:
    """Where degraded counted as down, the cell says so."""
    times = pd.date_range("2026-05-10", periods=25, freq="h", tz="UTC")
    checks = pd.DataFrame({"service": "a", "checked_at": times, "status": "degraded"})
    until = "2026-05-11"
    mild = plots.uptime_strip(uptime.availability_over_time(checks, until=until))
    strict = plots.uptime_strip(uptime.availability_over_time(checks, until=until, degraded_is_up=False))
    assert list(cells(mild)) == ["100 %"]
    assert list(cells(strict)) == ["less"]
    assert (notes(mild), notes(strict)) == (["100 %"], ["0 %"])


def test_a_timeline_has_a_row_of_states_and_marks_incidents(checks: pd.DataFrame) -> None:
    """Every state as long as it took, a mark where each incident begins, and what there is to say of them."""
    ax = plots.uptime_timeline(uptime.states(checks), incidents=uptime.incidents(checks))
    hours = {bars.get_label(): [round(24 * bar.get_width()) for bar in bars] for bars in ax.containers}
    assert hours == {"up": [5, 14, 27, 48], "down": [1], "unknown": [1]}
    (marks,) = [line for line in ax.lines if line.get_label() == "incident"]
    assert len(marks.get_xdata()) == 1
    assert notes(ax) == ["1 incident, longest 1 h 00 min", "none"]
    assert [bars.get_label() for bars in plots.uptime_timeline(uptime.states(checks)).containers] == list(
        hours
    )


def test_an_incident_that_goes_on_is_said() -> None:
    """Beside the row of its service."""
    checks = pd.DataFrame(
        {
            "service": "a",
            "checked_at": pd.to_datetime(["2026-05-10T00:00Z", "2026-05-10T01:00Z"]),
            "status": "unhealthy",
        }
    )
    ax = plots.uptime_timeline(uptime.states(checks), incidents=uptime.incidents(checks))
    assert notes(ax) == ["1 incident, longest 1 h 00 min, one goes on"]


def test_budgets_burn_down_and_say_what_is_left(checks: pd.DataFrame) -> None:
    """A line per service that spent something, one for all others, each with its name and what is left."""
    table = uptime.error_budget(checks, target=0.9, window=48 * 3600, until="2026-10-26T22:00Z")
    ax = plots.error_budget(table)
    lines = {
        line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")
    }
    assert lines["mail"] == [1, 1, pytest.approx(1 - 1 / 4.8), pytest.approx(1 - 1 / 4.8)]
    assert notes(ax) == ["mail  79 %", "shop  100 %"]
    broken = plots.error_budget(uptime.error_budget(checks, target=0.999, window=48 * 3600))
    assert notes(broken)[0] == "mail  −1983 %"
    assert broken.get_ylim()[0] == pytest.approx(-1.1)


def test_of_many_budgets_the_worst_are_drawn() -> None:
    """And those that spent nothing are one line with their number."""
    moments = pd.to_datetime(["2026-05-10T00:00Z", "2026-05-10T01:00Z"])
    tables = [
        pd.DataFrame(
            {"service": f"s{number:02}", "moment": moments, "remaining_share": [1.0, min(1, number / 10)]}
        )
        for number in range(13)
    ]
    ax = plots.error_budget(pd.concat(tables), most=4)
    assert notes(ax) == ["s00  0 %", "s01  10 %", "s02  20 %", "s03  30 %", "3 services  100 %"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1, "100 %"),
        (0.99999999, "99.999 %"),
        (0.9999, "99.99 %"),
        (0.9995, "99.95 %"),
        (0.5, "50 %"),
        (0, "0 %"),
    ],
)
def test_a_share_near_one_is_told_from_one(share: float, text: str) -> None:
    """As many digits as it takes, but none without meaning."""
    from orchkit.views.plots.uptime import percent

    assert percent(share) == text
