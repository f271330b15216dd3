"""Where runs and their results come from: keys, forks, the cache; and who shares them."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from orchkit.analysis import frames, sharing
from orchkit.analysis.explain import explain_run, explain_step
from orchkit.analysis.known import Known
from orchkit.analysis.origins import fork_start, key_of
from orchkit.model.workflow import Workflow
from orchkit.store.process import this_process
from orchkit.store.store import Store
from orchkit.testing import FakeClock

FLOW = Workflow.from_dict(
    {
        "name": "etl",
        "steps": [{"id": "a", "tool": "t"}, {"id": "b", "tool": "t"}, {"id": "c", "tool": "t"}],
    }
)


def shared(run: Any, step: str, how: str = "fork", of: str = "run_0", of_step: str | None = None) -> Any:
    """A step that shows the result of another one."""
    run.begin(step, "t").finish(step, tool="t", attempts=0, output=1)
    return run.add("step.reused", step, how=how, run_id=of, step_id=of_step or step)


def forked(recording: Any, run_id: str = "run_1", **overrides: Any) -> Any:
    """A fork of ``run_0`` that shares one step, was given another one, and ran the third."""
    source = {"run_id": "run_0", "from_step": ["c"]}
    run = recording(run_id).start(FLOW, forked_from=source)
    inputs = {**source, "shared": ["a"], "overrides": overrides}
    run.decided(None, "fork", "from c", "1 result is that of run_0", input_data=inputs)
    shared(run, "a")
    run.decided("b", "fork", "given", "its output was given instead of running it")
    return run.begin("b", "t").finish("b", tool="t", attempts=0, output=2).ran("c", "t", ms=5)


def test_a_fork_tells_what_it_shares(recording: Any) -> None:
    """From which run and step, whose results, what is different; and so does each step."""
    run = forked(recording, b={"output": 2}, c={"input": {"n": 1}, "function": "f"}).end()
    assert explain_run(run.state) == dedent(
        """\
        etl succeeded after 5 ms: all 3 steps succeeded.
        It was forked from run_0 at c and shares the result of a with it.
        Different in the fork: b, whose output was given and c with another input and another function.
        On the record: 2 decisions by the engine."""
    )
    assert explain_step(run.state, "a") == (
        "a was not run: its result is that of a in run_0, from which this run was forked."
    )
    assert explain_step(run.state, "b").startswith(
        "b was not run: its output was given when the run was forked."
    )
    assert explain_step(run.state, "c").startswith("c called t and succeeded on the first attempt")
    assert "fork" not in explain_step(run.state, "c")


@pytest.mark.parametrize(
    ("start", "found"), [("b", ["b"]), (["b", "c"], ["b", "c"]), ([], []), (None, []), (7, [])]
)
def test_where_a_fork_begins(recording: Any, start: Any, found: list[str]) -> None:
    """At one step, at several, or at the beginning; sharing nothing is said, too."""
    run = recording().start(FLOW, forked_from={"run_id": "run_0", "from_step": start})
    assert fork_start(run.state) == found
    where = f" at {' and '.join(found)}" if found else ""
    assert f"It was forked from run_0{where} and shares nothing with it." in explain_run(run.state)
    assert fork_start(recording().start("w").state) == []


def test_results_from_the_cache(recording: Any) -> None:
    """Whose they are; where the step has another name there, with that."""
    run = shared(recording().start(FLOW), "a", "cache")
    shared(run, "b", "cache", "run_9", "parse").ran("c", "t").end()
    assert "2 results from the cache: a (of run_0) and b (of parse in run_9)." in explain_run(run.state)
    assert explain_step(run.state, "b") == (
        "b was not run: its result is that of parse in run_9, which had the same code and the same input."
    )


def test_a_shared_step_that_ran_itself_since(recording: Any) -> None:
    """Its result is its own then: in words and in the view."""
    run = shared(recording().start(FLOW), "a").add("run.resumed", ms=9, **this_process().facts).ran("a", "t")
    assert run.state.steps["a"].source is None
    assert explain_step(run.state, "a").startswith("a called t and succeeded")
    assert "shares nothing" not in explain_run(run.state)


@pytest.mark.parametrize(
    ("execution", "why", "more"),
    [
        (1, "no earlier request has this key", ""),
        (3, "the earlier request with this key failed", "; it is execution 3 of that request"),
    ],
)
def test_why_a_request_was_executed(recording: Any, execution: int, why: str, more: str) -> None:
    """Under which key, as the how-many-eth execution, and how often its result was given again."""
    run = recording().start("w")
    run.decided(None, "idempotency", "execute", why, input_data={"key": "k-1", "execution": execution}).end()
    assert key_of(run.state) == "k-1"
    told = f"It was executed under the idempotency key k-1 because {why}{more}."
    assert told in explain_run(run.state).split("\n")
    assert "Its recorded result has answered 1 later request with this key." in (
        explain_run(run.state, Known(replays=1))
    )
    assert key_of(recording().start("w").state) is None


def test_an_orchestrator_tells_of_its_workflows(recording: Any) -> None:
    """That they ran within its pipeline; the steps say which runs they are."""
    run = (
        recording().start("sums", kind="orchestrator").begin("sums", "sums").add("attempt.started", "sums", 1)
    )
    run.begin("add", "add", "workflow", child_run_id="run_a").finish("add", node_type="workflow", ms=5)
    assert explain_step(run.state, "add").split("\n")[1] == (
        "It is a workflow that the pipeline ran with a run of its own, run_a."
    )
    run.begin("twice", "twice", "workflow", child_run_id="run_b").finish("twice", node_type="workflow")
    run.finish("sums", tool="sums").end()
    assert explain_run(run.state) == (
        "The orchestrator sums succeeded after 5 ms; both workflows that it ran succeeded."
    )
    assert "It is the pipeline of the orchestrator, which ran add and twice." in explain_step(
        run.state, "sums"
    )


@pytest.mark.parametrize(
    ("kind", "key", "way_on"),
    [
        ("workflow", None, 'kit.resume("run_1") goes on from there: what was completed is not repeated.'),
        ("orchestrator", "k", "Make the request again, with its key k: that goes on with this run."),
        ("operation", None, "It had no idempotency key, so nobody can go on with it: make the request anew."),
    ],
)
def test_what_to_do_about_a_run_that_was_cut_off(
    recording: Any, kind: str, key: str | None, way_on: str
) -> None:
    """A workflow is resumed; of everything else the request is made again."""
    run = recording().start("w", kind=kind)
    if key is not None:
        run.decided(None, "idempotency", "execute", "no earlier request has it", input_data={"key": key})
    assert way_on in explain_run(run.state, Known(given_up={"run_1"})).split("\n")


def test_a_part_of_a_run_goes_on_with_it(recording: Any) -> None:
    """The run of a sub-workflow is not resumed by itself; what is in doubt in it is told above."""
    part = recording("run_2").start("inner", parent_run_id="run_1", parent_step_id="s")
    part.begin("x", "t").add("attempt.started", "x", 1)
    assert "It goes on with the run that it is part of, run_1." in (
        explain_run(part.state, Known(given_up={"run_2"}))
    )
    run = recording().start("outer").begin("s", "inner", "workflow", child_run_id="run_2")
    known = Known(given_up={"run_1", "run_2"}, below={("s",): part.state})
    assert "In doubt: s › x, whose first attempt had begun and whose end is not on record." in (
        explain_run(run.state, known)
    )


def test_lineage_in_both_directions(recording: Any, store: Store, clock: FakeClock) -> None:
    """Which results are those of other runs, and which runs show ours; a step that ran since is not."""
    recording("run_0").start(FLOW).ran("a", "t").ran("b", "t").ran("c", "t").end().store(store, clock)
    forked(recording).end().store(store, clock)
    again = forked(recording, "run_2").add("run.resumed", **this_process().facts).ran("a", "t").end()
    again.store(store, clock)
    shared(recording("run_3").start(FLOW), "b", "cache", "run_0", "a").end().store(store, clock)
    lineage = frames.lineage(store, "run_3")
    assert lineage.drop(columns="reused_at").to_numpy().tolist() == [["b", "cache", "run_0", "a"]]
    assert frames.lineage(store, "run_2").empty
    used = frames.shared(store, "run_0")
    assert used.drop(columns="reused_at").to_numpy().tolist() == [
        ["a", "fork", "run_1", "a"],
        ["a", "cache", "run_3", "b"],
    ]
    assert sharing.shared_by(store, "run_0") == {"run_1": 1, "run_3": 1}
    assert sharing.resumptions(store, ["run_1", "run_2"]) == {"run_2": 1}
    steps = frames.steps(store, "run_1").set_index("step_id")
    assert steps["source_run_id"].to_dict() == {"a": "run_0", "b": None, "c": None}
    assert list(frames.lineage(store, "run_0").columns) == list(frames.LINEAGE)
    assert frames.shared(store, "run_1").dtypes.astype(str).to_dict()["reused_at"] == "datetime64[us, UTC]"
    told = explain_run(recording("run_0").start(FLOW).end().state, Known(shared_by={"run_1": 1, "run_3": 2}))
    assert "Its results are shared by 2 other runs: run_1 (1 step) and run_3 (2 steps)." in told


def test_replays_are_counted_by_run(store: Store) -> None:
    """Of each run that answered a request again; of a run that was executed anew only its own."""
    for run_id in ("run_1", "run_1", "run_2"):
        store.record("claim.replayed", {"key": "k", "name": "w", "run_id": run_id})
    assert sharing.replays(store, ["run_1", "run_2", "run_3"]) == {"run_1": 2, "run_2": 1}
    assert sharing.replays(store, []) == {}
