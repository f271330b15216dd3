"""Runs that were cut off: listed with how far they had come, and told when a store is opened."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import orchkit as ok
from orchkit.analysis.incomplete import INCOMPLETE, incomplete, remark
from orchkit.errors import StoreError
from orchkit.model.workflow import Workflow
from orchkit.store import codec
from orchkit.store.openruns import OpenRun, OpenRuns
from orchkit.store.process import this_process
from orchkit.store.store import Store
from orchkit.testing import FakeClock

US = this_process()
GONE = replace(US, pid=2**22 + 1)
"""A process with a number that Linux does not give."""
FLOW = Workflow.from_dict(
    {"name": "etl", "steps": [{"id": step, "tool": "t"} for step in ("load", "clean", "store")]}
)
KILLED = """
import os, signal
import orchkit as ok

def load(): return 1
def charge(n): os.kill(os.getpid(), signal.SIGKILL)

inner = ok.WorkflowBuilder("pay").add_step(charge, {"n": "${context.n}"}).build()
flow = ok.WorkflowBuilder("etl").add_step(load)
ok.open("runs.duckdb").run(flow.add_workflow(inner, {"n": "${steps.load}"}).add_step(load).build())
"""


@pytest.fixture
def killed(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which the process of a run was killed in a sub-workflow."""
    monkeypatch.chdir(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(repository)!r})\n{KILLED}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    return tmp_path / "runs.duckdb"


def test_without_such_runs_the_frame_is_empty(store: Store) -> None:
    """With the same columns and dtypes."""
    frame = incomplete(store)
    assert list(frame.columns) == list(INCOMPLETE)
    assert frame.empty
    assert frame.dtypes.astype(str).to_dict() == {
        "run_id": "str", "kind": "str", "name": "str", "started_at": "datetime64[us, UTC]",
        "last_event_at": "datetime64[us, UTC]", "steps_done": "Int64", "steps": "Int64",
        "in_doubt": "object", "pid": "Int64", "host": "object",
    }  # fmt: skip


def test_how_far_a_run_had_come(recording: Any, store: Store, clock: FakeClock) -> None:
    """Steps that are over and all that are defined, the last event, and the steps in doubt."""
    run = recording("run_1").start(FLOW, **GONE.facts).ran("load", "t", ms=30)
    run.begin("clean", "t").add("attempt.started", "clean", 1, ms=70).store(store, clock)
    recording("run_2").start(FLOW, **US.facts).ran("load", "t").store(store, clock)
    recording("run_3").start(FLOW, **GONE.facts).end("failed").store(store, clock)
    recording("run_4").start("sums", kind="orchestrator", **GONE.facts).begin("sums").store(store, clock)
    frame = incomplete(store)
    assert frame["run_id"].tolist() == ["run_1", "run_4"]
    first = frame.iloc[0].to_dict()
    times = {name: first.pop(name) for name in ("started_at", "last_event_at")}
    assert first == {
        "run_id": "run_1", "kind": "workflow", "name": "etl", "steps_done": 1, "steps": 3,
        "in_doubt": ["clean"], "pid": GONE.pid, "host": GONE.host,
    }  # fmt: skip
    assert times["last_event_at"] - times["started_at"] == pd.Timedelta(milliseconds=100)
    assert frame.iloc[1][["kind", "steps_done", "steps", "in_doubt"]].tolist() == ["orchestrator", 0, 1, []]
    assert frame.dtypes.equals(incomplete(Store()).dtypes)


@pytest.mark.parametrize(
    ("attempts", "doubtful"),
    [
        ([], False),
        (["failed"], False),
        (["success"], True),
        (["timeout", None], True),
        ([None], True),
    ],
    ids=["none", "failed", "lost with its output", "in the second", "in the first"],
)
def test_what_is_in_doubt(
    recording: Any, store: Store, clock: FakeClock, attempts: list[str | None], doubtful: bool
) -> None:
    """A step whose last attempt had begun, unless it is on record that it failed."""
    run = recording().start(FLOW, **GONE.facts).begin("load", "t")
    for number, status in enumerate(attempts, 1):
        if status is None:
            run.add("attempt.started", "load", number)
        else:
            run.attempt("load", number, status)
    run.store(store, clock)
    assert incomplete(store)["in_doubt"].tolist() == [["load"] if doubtful else []]
    assert ("In doubt: load" in ok.Run(store, "run_1").explain()) is doubtful


def test_a_step_can_stay_in_doubt(recording: Any, store: Store, clock: FakeClock) -> None:
    """The run was taken up, and cut off again before the step was."""
    run = recording().start(FLOW, **GONE.facts).begin("load", "t").add("attempt.started", "load", 1)
    run.add("run.resumed", **GONE.facts).store(store, clock)
    assert incomplete(store)["in_doubt"].tolist() == [["load"]]
    assert "In doubt: load" in ok.Run(store, "run_1").explain()


def test_a_result_that_does_not_count_any_more_is_not_in_doubt(
    recording: Any, store: Store, clock: FakeClock
) -> None:
    """The step was to run again when the run was taken up, and its process ended before."""
    run = recording().start(FLOW, **GONE.facts).ran("load", "t", ms=5).ran("clean", "t", ms=5)
    run.add("run.resumed", ms=5, again=["load", "clean"], **GONE.facts).store(store, clock)
    frame = incomplete(store)
    assert frame["in_doubt"].tolist() == [[]]
    assert "In doubt" not in ok.Run(store, "run_1").explain()


def test_a_large_definition_is_counted(recording: Any, store: Store, clock: FakeClock) -> None:
    """Also where it is kept apart, by its content hash; an edited one that the run went on with counts."""
    digest = store.put_blob(codec.dumps({"name": "etl", "steps": [{}] * 5}))
    run = recording().start("etl", definition={"$blob": digest, "bytes": 1}, **GONE.facts)
    run.store(store, clock)
    assert incomplete(store)["steps"].tolist() == [5]
    recording().add("run.resumed", definition=FLOW.to_dict(), **GONE.facts).store(store, clock)
    assert incomplete(store)["steps"].tolist() == [3]


def test_the_log_knows_who_was_given_up(recording: Any, store: Store, clock: FakeClock) -> None:
    """A store that was closed over a run, in a process that is still there."""
    recording("run_1").start(FLOW, **US.facts).store(store, clock)
    store.open_runs.begin("run_1", "workflow", "etl")
    store.commit()
    assert incomplete(store).empty
    store.open_runs.close()
    assert incomplete(store)["run_id"].tolist() == ["run_1"]


# --- when a store is opened ----------------------------------------------------------------


def _open_run(number: int, kind: str = "workflow") -> OpenRun:
    return OpenRun(f"run_{number}", kind, "w", None, 1, "h", None, 0, 0)


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([], None),
        (
            [_open_run(1)],
            (
                "1 run was cut off when its process ended: kit.incomplete() shows it, "
                'kit.resume("run_1") goes on, kit.give_up("run_1") ends it'
            ),
        ),
        (
            [_open_run(1, "orchestrator")],
            (
                "1 run was cut off when its process ended: kit.incomplete() shows it, "
                'kit.give_up("run_1") ends it'
            ),
        ),
        (
            [_open_run(1), _open_run(2)],
            (
                "2 runs were cut off when their process ended: kit.incomplete() shows them, "
                "kit.resume(run_id) goes on, kit.give_up(run_id) ends one"
            ),
        ),
    ],
    ids=["none", "one", "no workflow", "two"],
)
def test_the_line_about_them(runs: list[OpenRun], text: str | None) -> None:
    """How many, where to look, what to do."""
    assert remark(runs) == text


def test_opening_a_store_tells_of_runs_that_were_cut_off(
    killed: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line to the logger, without asking the history; the run is as it was."""
    with caplog.at_level(logging.WARNING, "orchkit"), ok.open(killed) as kit:
        assert [(one.name, one.levelname) for one in caplog.records] == [("orchkit", "WARNING")]
        run_id = kit.incomplete()["run_id"].tolist()[0]
        assert f'kit.resume("{run_id}") goes on' in caplog.text
        assert kit.incomplete()[["steps_done", "steps", "in_doubt"]].to_numpy().tolist() == [
            [1, 3, ["pay › charge"]]
        ]
        assert (kit.runs[run_id].status, kit.runs[run_id].cut_off) == ("running", True)
        assert "In doubt: pay › charge" in kit.runs[run_id].explain()
    assert capsys.readouterr().out == ""


def test_in_a_notebook_it_is_printed(
    killed: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where IPython runs the cell; where it is only imported, the logger has it."""
    for shell, where in ((object(), "out"), (None, "log")):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "orchkit"):
            ok.open(killed).close()
        printed = capsys.readouterr().out
        assert printed.count("\n") == (where == "out")
        assert ("1 run was cut off" in printed, "1 run was cut off" in caplog.text) == (
            where == "out",
            where == "log",
        )


@pytest.mark.parametrize("error", [StoreError("no"), RuntimeError("no"), ValueError("no")])
def test_what_goes_wrong_there_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The store is opened all the same."""

    def fail(self: OpenRuns) -> list[OpenRun]:
        raise error

    monkeypatch.setattr(OpenRuns, "cut_off", fail)
    with ok.open(tmp_path / "runs.duckdb") as kit:
        assert len(kit.runs) == 0


def test_without_such_runs_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of runs that go on, or that have ended, nothing."""
    with ok.open(tmp_path / "runs.duckdb") as kit:
        kit.store.open_runs.begin("run_1", "workflow", "w")
        kit.store.commit()
        ok.open(tmp_path / "runs.duckdb").close()
        kit.store.open_runs.end("run_1")
        kit.store.commit()
    ok.open(tmp_path / "runs.duckdb").close()
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
