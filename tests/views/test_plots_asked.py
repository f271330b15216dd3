"""What plots are given: the table of their question, or what can be asked; all else is said to be none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

import orchkit as ok
from orchkit.analysis import retries, uptime, whatif
from orchkit.errors import ParameterError
from orchkit.views import plots

UPTIME: dict[str, Callable[..., pd.DataFrame]] = {
    "uptime_strip": uptime.availability_over_time,
    "uptime_hours": lambda kit: uptime.availability_over_time(kit, every="hour"),
    "uptime_timeline": uptime.states,
    "error_budget": uptime.error_budget,
}
RETRIES = {name: getattr(retries, name) for name in retries.__all__}
ANSWERS = {**UPTIME, **RETRIES}
WRONG = pd.DataFrame({"x": [1]})


@pytest.fixture(autouse=True)
def _agg(require: Callable[[str], str]) -> Iterator[None]:
    """Drawing without a screen; no figure is left behind."""
    require("matplotlib")
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def kit() -> Iterator[ok.Kit]:
    """A kit with a run that needed a second attempt, and with checks of a service."""
    calls = iter([OSError("away"), None])

    def fetch() -> str:
        if (error := next(calls)) is not None:
            raise error
        return "here"

    with ok.open() as kit:
        kit.registry.methods.register_method(fetch, name="fetch")
        retry = {"max_attempts": 2, "strategy": "immediate"}
        kit.run(kit.workflow("w").add_step("fetch", retry=retry).build())
        kit.health.watch({"mail": lambda: True}, interval=36_000)
        kit.health.check()
        yield kit


def drawn(ax: Any) -> list[Any]:
    """What is on the axes, as far as it can be compared."""
    bars = [[tuple(round(x, 6) for x in bar.get_bbox().bounds) for bar in one] for one in ax.containers]
    cells = [path.vertices.tolist() for one in ax.collections for path in one.get_paths()]
    return [bars, cells, [text.get_text() for text in ax.texts], len(ax.lines)]


def test_every_plot_is_here() -> None:
    """A plot that is added is added here."""
    assert sorted([*ANSWERS, "whatif"]) == sorted(plots.__all__)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_kit_is_asked(kit: ok.Kit, name: str) -> None:
    """It draws what its question answers with the usual settings."""
    plot = getattr(plots, name)
    table = ANSWERS[name](kit)
    assert drawn(plot(kit)) == drawn(plot(table))
    assert drawn(plot(kit.store)) == drawn(plot(table))


@pytest.mark.parametrize("name", RETRIES)
def test_a_run_and_its_result_are_asked_about_attempts(kit: ok.Kit, name: str) -> None:
    """As by the questions themselves."""
    plot, run = getattr(plots, name), kit.last
    assert drawn(plot(run)) == drawn(plot(RETRIES[name](run)))


@pytest.mark.parametrize("name", UPTIME)
def test_a_run_has_no_uptime(kit: ok.Kit, name: str) -> None:
    """Services are not looked at in runs."""
    with pytest.raises(
        ParameterError, match=r"expects the table of uptime\.\w+\(.*\) or a kit: a Run was given"
    ):
        getattr(plots, name)(kit.last)


@pytest.mark.parametrize("name", [*ANSWERS, "whatif"])
@pytest.mark.parametrize("wrong", [None, 5, {"service": []}, [1]], ids=str)
def test_what_is_no_table_is_said_so(name: str, wrong: Any) -> None:
    """The error names the plot, what it expects and what it was given."""
    said = rf"{name}: expects the table of \w+\.\w+\(kit.*: a {type(wrong).__name__} was given"
    with pytest.raises(ParameterError, match=said):
        getattr(plots, name)(wrong)


@pytest.mark.parametrize("name", [*ANSWERS, "whatif"])
@pytest.mark.parametrize("wrong", [WRONG, WRONG.head(0), pd.DataFrame()], ids=["other", "empty", "bare"])
def test_columns_that_are_missing_are_named(name: str, wrong: pd.DataFrame) -> None:
    """Also of an empty table: it is not the answer of this question."""
    said = rf"{name}: expects the table of \w+\.\w+\(kit.*\): columns '\w+', .* are missing"
    with pytest.raises(ParameterError, match=said):
        getattr(plots, name)(wrong)


def test_the_error_says_the_question() -> None:
    """Word for word, where one column is missing."""
    table = pd.DataFrame(columns=["service", "state", "began_at"])
    with pytest.raises(ParameterError) as caught:
        plots.uptime_timeline(table)
    said = "uptime_timeline: expects the table of uptime.states(kit): column 'ended_at' is missing"
    assert str(caught.value) == said


def test_what_is_marked_is_looked_at_as_well(kit: ok.Kit) -> None:
    """Incidents and storms come as tables or from a kit, too."""
    assert plots.uptime_timeline(kit, incidents=kit) is not None
    assert plots.retry_load(kit, storms=kit) is not None
    with pytest.raises(
        ParameterError, match=r"uptime_timeline: expects the table of uptime\.incidents\(kit\)"
    ):
        plots.uptime_timeline(kit, incidents=WRONG)
    with pytest.raises(
        ParameterError, match=r"retry_load: expects the table of retries\.retry_storms\(kit\)"
    ):
        plots.retry_load(kit, storms=WRONG)


def test_a_comparison_of_policies_cannot_be_guessed(kit: ok.Kit) -> None:
    """A kit does not say which policies are meant; the table of a comparison does."""
    said = r"whatif: expects the table of whatif\.compare\(kit, policies\): a Kit was given"
    with pytest.raises(ParameterError, match=said):
        plots.whatif(kit)  # type: ignore[arg-type]
    compared = whatif.compare(kit, {"once": {"retry": {"max_attempts": 1}}})
    assert plots.whatif(compared).get_xlabel() == "calls"


def test_the_hours_of_several_services_are_asked_of_one(kit: ok.Kit) -> None:
    """The hint is a question that can be asked as it stands."""
    with ok.open() as several:
        several.health.watch({"a": lambda: True, "b": lambda: True}, interval=36_000)
        several.health.check()
        with pytest.raises(ParameterError, match=r"kit, every=\"hour\", services=\"…\"\)"):
            plots.uptime_hours(several)
        plots.uptime_hours(uptime.availability_over_time(several, every="hour", services="a"))
