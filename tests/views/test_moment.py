"""The picture of a run as it stood after one of its events."""

from __future__ import annotations

from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import UnknownNameError
from orchkit.model.workflow import Workflow
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.dag import Dag
from orchkit.views.run import Run

FLOW = {
    "name": "outer",
    "steps": [
        {"id": "a", "tool": "t", "compensate": "undo"},
        {"id": "sub", "workflow": {"name": "inner", "steps": [{"id": "x", "tool": "t"}]}},
        {"id": "b", "tool": "t"},
    ],
}


def statuses(dag: Dag) -> dict[str, str | None]:
    """How each step stands in a picture, those around others too."""
    drawn = dag.diagram
    return {node.title: node.status for node in drawn.nodes} | {
        one.title: one.status for one in drawn.clusters
    }


@pytest.fixture
def run(recording: Any, store: Store, clock: FakeClock) -> Run:
    """A run with a sub-workflow, in which the last step fails and the first is undone."""
    outer = recording("run_1").start(Workflow.from_dict(FLOW)).ran("a", "t")
    outer.begin("sub", "inner", "workflow", child_run_id="run_2").store(store, clock)
    inner = recording("run_2").start(Workflow.from_dict(FLOW["steps"][1]["workflow"]), parent_run_id="run_1")
    inner.ran("x", "t").end().store(store, clock)
    rest = recording("run_1").add("step.finished", "sub", status="success", name="inner")
    rest.failed("b", "ValueError: no", "t").ran("compensate:a", "undo").end("failed").store(store, clock)
    return Run(store, "run_1")


def test_each_event_has_its_picture(run: Run) -> None:
    """Steps begin and end where their events stand; what is inside is as far as it was at that moment."""
    kinds = run.events()["kind"].tolist()
    begun = kinds.index("step.scheduled")
    assert statuses(run.dag(at=0)) == {"a": "pending", "x": "pending", "b": "pending", "sub": "pending"}
    assert statuses(run.dag(at=begun))["a"] == "running"
    inside = [n for n, (kind, step) in enumerate(zip(kinds, run.events()["step_id"], strict=True))
              if (kind, step) == ("step.scheduled", "sub")]  # fmt: skip
    assert statuses(run.dag(at=inside[0])) | {"b": None} == {
        "a": "success", "sub": "running", "x": "pending", "b": None,
    }  # fmt: skip
    assert statuses(run.dag(at=inside[0] + 1))["x"] == "success"
    assert "undo: undo" not in statuses(run.dag(at=inside[0]))
    assert run.dag(at=begun).diagram.caption == (
        f"outer: 3 steps (4 with sub-workflows), sequential, running, after event {begun + 1} of "
        f"{len(kinds)}: a begins"
    )


def test_the_last_event_is_the_run_as_it_is(run: Run) -> None:
    """Counted from the front or from the end; with everything that the runs below did."""
    count = len(run.events())
    for at in (-1, count - 1):
        drawn, whole = run.dag(at=at).diagram, run.dag().diagram
        assert (drawn.nodes, drawn.edges, drawn.clusters) == (whole.nodes, whole.edges, whole.clusters)
    assert run.dag(at=-count).diagram == run.dag(at=0).diagram


def test_what_has_not_happened_yet_has_not_been_cut_off(
    recording: Any, store: Store, clock: FakeClock
) -> None:
    """A run whose process is gone went on until its last event."""
    told = recording().start("a run", pid=1, host="elsewhere").begin("a")
    told.add("attempt.started", "a", 1).add("run.imported", file="x.orchkit", host="elsewhere")
    told.store(store, clock)
    run = Run(store, "run_1")
    assert statuses(run.dag(at=2)) == {"a": "running"}
    assert statuses(run.dag(at=-1)) == statuses(run.dag()) == {"a": "cut off"}


@pytest.mark.parametrize("at", [16, 10**9, -17])
def test_a_position_that_is_none(run: Run, at: int) -> None:
    """The error says how many events there are and how they are counted."""
    told = rf"at: there is no event {at:,}: the run has 16 events, 0 to 15, or -1 to -16 from the end"
    with pytest.raises(IndexError, match=told):
        run.dag(at=at)


@pytest.mark.parametrize("at", [1.0, "1", "run.finished"])
def test_what_is_no_position(run: Run, at: Any) -> None:
    """Only whole numbers are."""
    with pytest.raises(TypeError, match="at: a position is a whole number, got "):
        run.dag(at=at)


def test_a_run_that_does_not_exist(store: Store) -> None:
    """It is named."""
    with pytest.raises(UnknownNameError, match="unknown run 'run_none'"):
        Run(store, "run_none").dag(at=0)


def test_a_shared_sub_workflow_is_shown_as_it_went() -> None:
    """In a fork it is the run of the original that stands inside, in the picture as in the replay."""
    with ok.open() as kit:
        inner = kit.workflow("inner").add_step(_same, {"n": 1}, step_id="deep").build()
        flow = kit.workflow("outer").add_workflow(inner, step_id="sub")
        flow.add_step(_same, {"n": "${steps.sub.deep}"}, step_id="last")
        first = kit.run(flow.build())
        fork = kit.engine.fork(first.run_id, from_step="last").result().run
        assert statuses(fork.dag()) == {"sub": "success", "deep": "success", "last": "success"}
        film = fork.replay().film
        child = fork.state.steps["sub"].child_run_id
        assert child in film["below"]
        assert statuses(fork.dag(at=0))["deep"] == "pending"


def _same(n: int) -> int:
    return n
