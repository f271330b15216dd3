"""Comparing two runs of a store: by object, result and id; as tables, text and card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import orchkit as ok
from orchkit.analysis.aligned import Side
from orchkit.analysis.diff import Diff
from orchkit.analysis.known import NOTHING
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.registry.registry import Registry
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.comparecards import marked, of_comparison
from orchkit.views.comparison import Comparison, compare
from orchkit.views.run import Run


def _load(months: int) -> int:
    return months


def _write(tone: str) -> str:
    return f"Dear customer ({tone})"


def _write_anew(tone: str) -> str:
    return f"Dear client ({tone})"


def _decide(months: int) -> str:
    tone = "firm" if months > 2 else "friendly"
    piece = ok.bundle_evidence("invoice", {"months": months}, source="ledger", confidence_score=0.9)
    ok.trace_decision("tone", tone, input_data={"months_open": months}, evidence=piece)
    return tone


@pytest.fixture
def kit() -> Any:
    """A kit in memory."""
    with ok.open() as kit:
        yield kit


def perform(kit: ok.Kit, months: int, write: Callable[[str], str] = _write) -> ok.WorkflowResult:
    """A run of a small workflow in which a tone is decided."""
    registry = Registry()
    for name, function in (("load", _load), ("decide", _decide), ("write", write)):
        ok.register_method(name, registry=registry)(function)
    flow = (
        ok.WorkflowBuilder("letter", registry=registry)
        .add_step("load", {"months": "${context.months}"})
        .add_step("decide", {"months": "${steps.load}"})
        .add_step("write", {"tone": "${steps.decide}"})
        .build()
    )
    other = ok.Kit(kit.store, registry=registry)
    return other.run(flow, context={"months": months})


def test_runs_results_and_ids(kit: ok.Kit) -> None:
    """A run, its result and, with a kit, its id or the begin of it stand for the same."""
    a, b = perform(kit, 1), perform(kit, 3)
    by_result, by_id = ok.compare(a, b), kit.compare(a.run_id, b.run_id)
    assert (by_result.a, by_result.b) == (by_id.a, by_id.b) == (a.run, b.run)
    assert ok.compare(a.run, b.run_id, kit=kit).b == b.run
    assert isinstance(by_id, ok.Comparison)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("run_1", "is an id, and no kit is given"),
        (None, "must be a run"),
        (7, "must be a run"),
        ({}, "got {}"),
    ],
)
def test_what_is_no_run(kit: ok.Kit, given: Any, told: str) -> None:
    """The error says which of the two it is about, and what to give."""
    run = perform(kit, 1)
    with pytest.raises(ParameterError, match=f"compare: b: .*{told}"):
        ok.compare(run, given)


def test_a_run_that_is_not_there(kit: ok.Kit, store: Store) -> None:
    """An unknown run is an error at once, not in the first table."""
    with pytest.raises(UnknownNameError, match="run_none"):
        kit.compare("run_none", "run_other")
    with pytest.raises(UnknownNameError, match="run_none"):
        compare(Run(store, "run_none"), Run(store, "run_none"))


def test_where_they_part(kit: ok.Kit) -> None:
    """The first decision in which they part, its reason, and the text of it all."""
    found = ok.compare(perform(kit, 1), perform(kit, 3))
    assert found.parting is not None
    assert (found.parting.step, found.parting.changes[0].place) == ("decide", "tone")
    assert found.first is not None
    assert found.first.cause == "context"
    assert not found.same
    assert str(found.explain()).split("\n")[0] == (
        "The runs part at decision 'tone' of step 'decide': B chose firm instead of friendly, "
        "because input months_open was 3 instead of 1."
    )
    assert "B chose firm instead of friendly" in repr(found)


def test_the_tables(kit: ok.Kit) -> None:
    """One row per step, per place that differs, per decision; documented columns, also without rows."""
    found = ok.compare(perform(kit, 1), perform(kit, 3))
    steps = found.steps().set_index("step_id")
    assert steps["differs"].tolist() == [True, True, True]
    assert steps.loc["load", ["cause", "parameters", "output"]].tolist() == ["parameters", 1, 1]
    assert steps.loc["decide", "decisions"] == 1
    assert steps["duration_delta_ms"].tolist() == pytest.approx(
        (steps["duration_ms_b"] - steps["duration_ms_a"]).tolist()
    )
    changes = found.differences()
    assert changes.iloc[0].tolist() == [None, "context", "months", 1, 3]
    assert changes.query("cause == 'decision'")[["step_id", "a", "b"]].to_numpy().tolist() == [
        ["decide", "friendly", "firm"]
    ]
    tone = found.decisions().query("decision_point == 'tone'").iloc[0]
    assert (tone["decision_a"], tone["decision_b"], tone["because"]) == (
        "friendly",
        "firm",
        "because input months_open was 3 instead of 1",
    )
    assert steps.loc["decide", "evidence"] == 1
    piece = found.evidence().iloc[0]
    assert piece.drop(["data_a", "data_b"]).tolist() == [
        "decide", "invoice", 1, True, False, "ledger", "ledger", 0.9, 0.9,
    ]  # fmt: skip
    assert (piece["data_a"], piece["data_b"]) == ({"months": 1}, {"months": 3})
    alike = ok.compare(found.a, found.a)
    assert not alike.evidence()["differs"].any()
    assert alike.differences().empty
    assert list(alike.differences().columns) == list(changes.columns)
    assert alike.differences().dtypes.astype(str).tolist() == ["object", "str", "str", "object", "object"]
    assert alike.frame().equals(alike.steps())


def test_code_that_was_edited(kit: ok.Kit) -> None:
    """The step is marked, and the edit can be read as a difference of the sources."""
    found = ok.compare(perform(kit, 1), perform(kit, 1, _write_anew))
    assert found.first is not None
    assert (found.first.step, found.first.cause) == ("write", "code")
    change = found.code_changes()["write"]
    assert '-    return f"Dear customer ({tone})"' in change
    assert '+    return f"Dear client ({tone})"' in change
    card = of_comparison(found)["text/html"]
    assert "The code of write" in card
    assert "Dear client ({tone})" in card


def test_code_that_must_not_be_seen(kit: ok.Kit) -> None:
    """A redactor is asked about the source of functions, too; that the code differs is said."""

    def redact(path: str, value: Any) -> Any:
        return "…" if path == "code.write" else value

    found = ok.compare(perform(kit, 1), perform(kit, 1, _write_anew), redact=redact)
    assert found.first is not None
    assert (found.first.step, found.first.cause) == ("write", "code")
    assert "Dear" not in str(found.code_changes())


def test_the_picture_marks_what_differs(kit: ok.Kit) -> None:
    """Only steps that differ are marked, the one at which they part with a sign of its own."""
    found = ok.compare(perform(kit, 1), perform(kit, 1, _write_anew))
    diagram = marked(found.b.dag().diagram, found.diff)
    badges = {node.title: (node.badges, "differs" in node.classes) for node in diagram.nodes}
    assert badges == {"load": ((), False), "decide": ((), False), "write": (("◆ code",), True)}


def test_the_card(kit: ok.Kit) -> None:
    """It keeps to what untrusted notebooks keep: an image, tables and details; text for terminals."""
    bundle = ok.compare(perform(kit, 1), perform(kit, 3))._repr_mimebundle_()
    card = bundle["text/html"]
    assert "data:image/svg+xml" in card
    assert "<details" in card
    assert not any(tag in card for tag in ("<script", "<style", "<svg"))
    assert "B chose firm instead of friendly" in card
    assert "1 piece of evidence" in card
    assert "invoice.data.months" in card
    assert bundle["text/plain"].startswith("The runs part at decision 'tone'")


def test_two_pictures_where_the_steps_are_others(recording: Any, store: Store, clock: FakeClock) -> None:
    """Runs with other steps are both drawn."""
    recording("run_a").start("one").ran("x").end().store(store, clock)
    recording("run_b").start("two").ran("y").end().store(store, clock)
    card = of_comparison(Comparison(Run(store, "run_a"), Run(store, "run_b")))["text/html"]
    assert card.count("data:image/svg+xml") == 2
    assert "one and two" in card


def test_hostile_texts_are_inert(
    hostile_run: Any, recording: Any, store: Store, clock: FakeClock, hostile: str
) -> None:
    """Whatever users wrote stands there as text, in the card as in a terminal."""
    state = hostile_run.state
    other = recording("run_2").start(hostile).ran(hostile, hostile, output=[hostile]).end().state
    comparison = Comparison(Run(store, "run_a"), Run(store, "run_b"))
    comparison.diff = Diff(Side(state, NOTHING), Side(other, NOTHING))
    bundle = of_comparison(comparison)
    assert "cannot be shown" not in bundle["text/html"]
    assert "<script>alert" not in bundle["text/html"]
    assert "<img src=x" not in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"]
    assert "\u202e" not in bundle["text/plain"]


def test_a_comparison_that_cannot_be_shown(store: Store) -> None:
    """Showing never raises: it says what was wrong."""
    found = Comparison(Run(store, "run_none"), Run(store, "run_none"))
    assert "cannot be shown" in of_comparison(found)["text/html"]
    assert "run_none" in repr(found)
