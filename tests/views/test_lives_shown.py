"""How runs show themselves that were resumed, forked or cached, what is in doubt, and orchestrators."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from orchkit.analysis.known import Known
from orchkit.model.state import RunState
from orchkit.model.workflow import Workflow
from orchkit.store.process import this_process
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.bundle import bundle
from orchkit.views.diagram import Node
from orchkit.views.picture import diagram_of
from orchkit.views.run import Run
from orchkit.views.runs import Runs

US = this_process().facts
GONE = replace(this_process(), pid=2**22 + 1).facts
"""A process with a number that Linux does not give."""
FLOW = Workflow.from_dict(
    {
        "name": "etl",
        "execution_mode": "dag",
        "steps": [
            {"id": "a", "tool": "t"},
            {"id": "m", "tool": "t", "over": "${steps.a}"},
            {"id": "s", "workflow": {"name": "inner", "steps": [{"id": "x", "tool": "t"}]}},
            {"id": "b", "tool": "t", "params": {"n": "${steps.a}"}},
        ],
    }
)


def forked(recording: Any) -> Any:
    """A fork of ``run_0`` that shares all but its last step."""
    run = recording("run_1").start(FLOW, forked_from={"run_id": "run_0", "from_step": ["b"]})
    shared = {"run_id": "run_0", "from_step": ["b"], "shared": ["a", "m", "s"], "overrides": {}}
    run.decided(None, "fork", "from b", "3 results are those of run_0", input_data=shared)
    for step, output in (("a", [1, 2]), ("m", [3, 4]), ("s", {"x": 5})):
        child = {"child_run_id": "run_0s"} if step == "s" else {}
        run.begin(step, "t", **child).finish(step, tool="t", attempts=0, output=output)
        run.add("step.reused", step, how="fork", run_id="run_0", step_id=step)
    return run.ran("b", "t", ms=5).end()


def nodes_of(state: RunState, known: Known | None = None) -> dict[str, Node]:
    """The nodes of its picture by title."""
    return {node.title: node for node in diagram_of(None, state, known=known or Known()).nodes}


# --- pictures ------------------------------------------------------------------------------


def test_shared_results_have_a_quiet_mark(recording: Any) -> None:
    """A dotted line within the box, a word in place of the duration, and whose result it is as a tooltip."""
    state = forked(recording).state
    nodes = nodes_of(state)
    assert {title: (node.note, "reused" in node.classes) for title, node in nodes.items()} == {
        "a": ("shared", True), "m": ("shared", True), "x": ("", False), "b": ("5 ms", False),
    }  # fmt: skip
    assert "result of a in run_0" in nodes["a"].tooltip
    assert nodes["m"].badges == ("×2",)
    diagram = diagram_of(None, state)
    assert diagram.caption.endswith(", success, forked from run_0")
    assert [("reused" in frame.classes, frame.note) for frame in diagram.clusters] == [(True, "shared")]


def test_the_mark_is_drawn(recording: Any, store: Store, clock: FakeClock) -> None:
    """In the SVG as an inner line, with its rule; in DOT as a dotted style."""
    forked(recording).store(store, clock)
    dag = Run(store, "run_1").dag()
    drawn = re.search(r'<g id="step_a" .*?</g>', dag.svg, re.DOTALL)
    assert drawn is not None
    assert 'class="inner"' in drawn[0]
    assert ".reused .inner{stroke-dasharray" in dag.svg
    assert re.search(r'"step_a" \[.*style="rounded,filled,dotted"', dag.dot)
    assert not re.search(r'"step_b" \[.*dotted', dag.dot)


@pytest.mark.parametrize(("how", "word"), [("cache", "cached"), ("fork", "shared"), ("other", "reused")])
def test_how_a_result_came_is_one_word(recording: Any, how: str, word: str) -> None:
    """Of ways that are not known here, too."""
    run = recording().start("w").begin("a", "t").finish("a", tool="t", attempts=0)
    run.add("step.reused", "a", how=how, run_id="run_0", step_id="p")
    assert nodes_of(run.state)["a"].note == word


def test_an_output_that_was_given(recording: Any) -> None:
    """Is nobody's result, and was not run."""
    run = recording().start("w", forked_from={"run_id": "run_0"}).decided("a", "fork", "given")
    node = nodes_of(run.begin("a", "t").finish("a", tool="t", attempts=0, output=1).state)["a"]
    assert (node.note, "reused" in node.classes) == ("given", True)


def test_what_is_in_doubt_has_a_badge(recording: Any) -> None:
    """While the run is cut off; afterwards it says how many attempts were."""
    run = recording().start(FLOW, **GONE).begin("a", "t").add("attempt.started", "a", 1)
    assert nodes_of(run.state)["a"].badges == ("in doubt",)
    run.attempt("a", 2, "failed")
    assert nodes_of(run.state)["a"].badges == ("try 2",)
    run.add("run.resumed", **US).begin("a", "t").attempt("a", 3).finish("a", tool="t", attempts=3)
    assert nodes_of(run.state)["a"].badges == ("try 3", "1 in doubt")
    assert nodes_of(run.end().state)["a"].badges == ("try 3", "1 in doubt")


def test_the_steps_of_a_shared_sub_workflow_are_those_of_its_run(
    recording: Any, store: Store, clock: FakeClock
) -> None:
    """Which belongs to another run; a later run of the step, when it was resumed, takes its place."""
    inner = {"name": "inner", "steps": [{"step_id": "x", "tool_name": "t"}]}
    part = recording("run_0s").start("inner", definition=inner, parent_run_id="run_0", parent_step_id="s")
    part.failed("x", "OSError: x").end("failed").store(store, clock)
    forked(recording).store(store, clock)
    nodes = {node.title: node.status for node in Run(store, "run_1").dag().diagram.nodes}
    assert nodes["x"] == "failed"


def orchestrated(recording: Any, *, together: bool = False) -> tuple[Any, Known]:
    """An orchestrator's run of two workflows, one after the other or at the same time."""
    run = recording("run_1").start("sums", kind="orchestrator", **US).begin("sums", "sums")
    run.add("attempt.started", "sums", 1)
    run.begin("add", "add", "workflow", child_run_id="run_a", ms=1)
    if together:
        run.begin("twice", "twice", "workflow", child_run_id="run_b", ms=1)
    run.finish("add", tool="add", node_type="workflow", ms=5)
    if not together:
        run.begin("twice", "twice", "workflow", child_run_id="run_b", ms=1)
    parts = {("add",): recording("run_a").start(FLOW).ran("a", "t").state, ("twice",): RunState()}
    return run, Known(below=parts)


def test_an_orchestrator_is_a_frame_around_what_it_ran(recording: Any) -> None:
    """Workflows are drawn with their own steps, as far as their definitions are on record."""
    run, known = orchestrated(recording)
    diagram = diagram_of(None, run.state, known=known)
    frames = {frame.title: (frame.parent, frame.status) for frame in diagram.clusters}
    assert frames == {
        "sums": (None, "running"),
        "add": ("cluster_step_sums", "success"),
        "s": ("cluster_step_add", "pending"),
    }
    nodes = {node.title: node for node in diagram.nodes}
    assert (nodes["a"].status, nodes["a"].cluster) == ("success", "cluster_step_add")
    assert (nodes["twice"].status, nodes["twice"].cluster) == ("running", "cluster_step_sums")
    assert diagram.caption == "sums: 2 workflows, running"


def test_workflows_that_ran_together_are_not_in_a_row(recording: Any) -> None:
    """Only what began when the other had ended comes after it."""
    for together in (False, True):
        run, known = orchestrated(recording, together=together)
        edges = diagram_of(None, run.state, known=known).edges
        rows = [edge.id for edge in edges if edge.kind == "order"]
        assert rows == ([] if together else ["edge_cluster_step_add_step_twice"])


def test_an_orchestrator_without_workflows_is_one_node(recording: Any) -> None:
    """As an operation is."""
    run = recording().start("sums", kind="orchestrator").ran("sums", "sums")
    diagram = diagram_of(None, run.state)
    assert ([node.title for node in diagram.nodes], diagram.clusters) == (["sums"], ())


# --- cards and tables ----------------------------------------------------------------------


def card_of(obj: object) -> str:
    """What a card says."""
    return " ".join(re.sub(r"<[^>]*>", " ", bundle(obj)["text/html"]).split())


def test_the_card_of_a_fork(recording: Any, store: Store, clock: FakeClock) -> None:
    """Its mark, its origin, and whose results its steps show, which took no time."""
    forked(recording).store(store, clock)
    words = card_of(Run(store, "run_1"))
    assert "✓ success etl fork run_1" in words
    assert "forked from run_0 at b" in words
    assert "a t ✓ success [1, 2] run_0" in words
    assert "b t ✓ success 1 5 ms" in words
    assert "It was forked from run_0 at b and shares the results of a, m and s with it." in words
    recording("run_0").start(FLOW).ran("a", "t").end().store(store, clock)
    assert "shared by run_1" in card_of(Run(store, "run_0"))


def test_the_card_of_a_resumed_run(recording: Any, store: Store, clock: FakeClock) -> None:
    """When it was taken up, and how many attempts are in doubt."""
    run = recording("run_1").start(FLOW, **GONE).begin("a", "t").add("attempt.started", "a", 1)
    run.add("run.resumed", ms=10_000, **US)
    run.decided(None, "resume", "go_on", "its process had ended: 0 kept", input_data={"in_doubt": ["a"]})
    run.begin("a", "t").attempt("a", 2).finish("a", tool="t", attempts=2).end("partial").store(store, clock)
    words = card_of(Run(store, "run_1"))
    assert "etl resumed run_1" in words
    assert "resumed 2025-03-12 14:03:32 UTC" in words
    assert "a t ✓ success 2 (1 in doubt)" in words


def test_the_card_of_a_run_that_was_cut_off_says_what_to_do(
    recording: Any, store: Store, clock: FakeClock
) -> None:
    """On a line of its own."""
    recording("run_1").start(FLOW, **GONE).store(store, clock)
    html = bundle(Run(store, "run_1"))["text/html"]
    assert "is gone<br>kit.resume(&quot;run_1&quot;) goes on from there" in html


def test_the_card_of_an_orchestrator(recording: Any, store: Store, clock: FakeClock) -> None:
    """Its key, its workflows in place of its steps, and how often its result was given again."""
    run, _ = orchestrated(recording)
    inputs = {"key": "sum-1", "execution": 1}
    run.decided(None, "idempotency", "execute", "no earlier request has this key", input_data=inputs)
    run.finish("twice", "failed", "twice", error="x").finish("sums", "failed", "sums", error="x")
    run.end("failed").store(store, clock)
    store.record("claim.replayed", {"key": "sum-1", "name": "sums", "run_id": "run_1"})
    words = card_of(Run(store, "run_1"))
    assert "sums 1 replay orchestrator run_1" in words
    assert "workflows 1 succeeded and 1 failed" in words
    assert "key sum-1" in words


def test_the_list_of_runs_has_marks(recording: Any, store: Store, clock: FakeClock) -> None:
    """What sets each apart from a plain one; also in the text."""
    forked(recording).add("run.resumed", **US).add("run.resumed", **US).end().store(store, clock)
    recording("run_2").start("sums", kind="orchestrator", **US).end().store(store, clock)
    recording("run_3").start("plain").end().store(store, clock)
    recording("run_4").start("from elsewhere").end().add("run.imported").store(store, clock)
    for _ in range(3):
        store.record("claim.replayed", {"key": "k", "name": "sums", "run_id": "run_2"})
    shown = bundle(Runs(store))
    for marks in ("(fork, resumed ×2)", "(3 replays, orchestrator)", "(imported)"):
        assert marks in shown["text/plain"]
    assert "plain\n" in shown["text/plain"]
    words = card_of(Runs(store))
    assert "etl ✓ success fork resumed ×2" in words
    assert "sums ✓ success 3 replays orchestrator" in words


def test_a_kit_says_what_to_do_about_runs_that_were_cut_off(
    recording: Any, store: Store, clock: FakeClock
) -> None:
    """And nothing where there are none."""
    registry = SimpleNamespace(
        tools=SimpleNamespace(list_tools=list), methods=SimpleNamespace(list_methods=list)
    )
    kit = SimpleNamespace(store=store, runs=Runs(store), registry=registry)
    recording("run_1").start("w", **US).store(store, clock)
    assert "cut off" not in card_of(kit)
    recording("run_2").start("w", **GONE).store(store, clock)
    assert "incomplete() shows the runs that were cut off, resume(run_id) goes on with one." in card_of(kit)


def test_runs_that_the_log_has_given_up(recording: Any, store: Store, clock: FakeClock) -> None:
    """Are cut off wherever they are shown, though their process is still there."""
    recording("run_1").start(FLOW, **US).begin("a", "t").store(store, clock)
    store.open_runs.begin("run_1", "workflow", "etl")
    store.commit()
    run = Run(store, "run_1")
    assert (run.cut_off, repr(run)) == (False, "<Run etl running run_1>")
    store.open_runs.close()
    assert (run.cut_off, repr(run)) == (True, "<Run etl cut off run_1>")
    assert run.explain().startswith("etl was cut off after 0 ms: the store was closed before it had ended.")
    assert run.step("a").cut_off
    assert run.dag().diagram.nodes[0].status == "cut off"
    assert Runs(store).standings() == {"cut off": 1}
    assert "↯ cut off" in card_of(Runs(store))
    assert "Cut off: the store was closed before it had ended" in card_of(run)


def test_a_step_in_the_hand_names_its_source(recording: Any, store: Store, clock: FakeClock) -> None:
    """Whose result it shows; which of its attempts are in doubt."""
    forked(recording).store(store, clock)
    step = Run(store, "run_1").step("a")
    assert step.source == {"how": "fork", "run_id": "run_0", "step_id": "a"}
    assert "  result of  a in run_0" in repr(step).split("\n")
    assert Run(store, "run_1").step("b").source is None
    run = (
        recording("run_2").start("w").begin("a", "t").add("attempt.started", "a", 1).add("run.resumed", **US)
    )
    run.begin("a", "t").attempt("a", 2).finish("a", tool="t", attempts=2).store(store, clock)
    assert "  attempts   in doubt, success" in repr(Run(store, "run_2").step("a")).split("\n")


def test_the_tables_of_lineage(recording: Any, store: Store, clock: FakeClock) -> None:
    """A run gives both directions; runs are filtered by what they were forked from."""
    forked(recording).store(store, clock)
    recording("run_0").start(FLOW).ran("a", "t").end().store(store, clock)
    fork, origin = Run(store, "run_1"), Run(store, "run_0")
    assert fork.lineage()["step_id"].tolist() == ["a", "m", "s"]
    assert origin.lineage().empty
    assert origin.shared()["used_by"].tolist() == ["run_1"] * 3
    assert fork.shared().empty
    assert Runs(store).frame(source_run_id="run_0")["run_id"].tolist() == ["run_1"]
