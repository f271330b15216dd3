"""How runs show themselves whose process is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from orchkit.store.process import this_process
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.bundle import bundle
from orchkit.views.run import Run
from orchkit.views.runs import Runs

NOBODY = 2**22 + 1
"""A process id that Linux does not give."""
GONE = replace(this_process(), pid=NOBODY).facts
HERE = this_process().facts
STEPS = {"name": "etl", "steps": [{"step_id": "finish", "tool_name": "t"}]}


@pytest.fixture
def run(recording: Any, store: Store, clock: FakeClock) -> Run:
    """A run that was killed in its only step, beside one that goes on."""
    killed = recording("run_1").start("etl", definition=STEPS, **GONE)
    killed.begin("finish", "t").add("attempt.started", "finish", 1, ms=5).store(store, clock)
    recording("run_2").start("alive", **HERE).store(store, clock)
    return Run(store, "run_1")


def test_the_status_stays_what_is_on_record(run: Run) -> None:
    """That it was cut off is known beside it, and is what the repr says."""
    assert (run.status, run.cut_off) == ("running", True)
    assert repr(run) == "<Run etl cut off run_1>"
    assert run.explain().startswith("etl was cut off after 5 ms: process")


def test_a_run_that_goes_on_is_running(run: Run, store: Store) -> None:
    """Its process exists."""
    alive = Run(store, "run_2")
    assert not alive.cut_off
    assert repr(alive) == "<Run alive running run_2>"


def test_the_card_of_a_run_says_what_is_in_doubt(run: Run) -> None:
    """Nothing in it claims that something still runs."""
    shown = bundle(run)
    assert "▶" not in shown["text/html"] + shown["text/plain"]
    assert "↯ cut off" in shown["text/html"]
    assert f"Cut off: process {NOBODY} on this machine is gone. In doubt: finish" in shown["text/html"]
    assert "↯ finish (t) cut off" in shown["text/plain"]


def test_the_picture_has_a_look_for_it(run: Run) -> None:
    """The node has a class of its own, which the style sheet knows, and its own sign."""
    svg = run.dag().svg
    assert "status_cut_off" in run.dag().diagram.nodes[0].classes
    assert ".status_cut_off .box{" in svg
    assert 'class="icon icon_cut_off"' in svg
    assert run.dag().diagram.caption == "etl: 1 step, sequential, cut off"


def test_lists_of_runs_tell_it(run: Run, store: Store) -> None:
    """The table of runs, that of a kit, and the counts."""
    runs = Runs(store)
    assert runs.counts() == {"running": 2}
    assert runs.standings() == {"cut off": 1, "running": 1}
    shown = bundle(runs)
    assert "↯ cut off" in shown["text/html"]
    assert "cut off" in shown["text/plain"]
    registry = SimpleNamespace(
        tools=SimpleNamespace(list_tools=list), methods=SimpleNamespace(list_methods=list)
    )
    kit = bundle(SimpleNamespace(store=store, runs=runs, registry=registry))
    assert kit["text/html"].count("↯ cut off") == 2


def test_an_imported_run_tells_where_it_came_from(recording: Any, store: Store, clock: FakeClock) -> None:
    """Cut off, though a process of this machine has its number; when it began and ended is as it was."""
    record = recording("run_3").start("etl", definition=STEPS, **HERE)
    record.add("run.imported", ms=5, file="run.orchkit", host="lab-7", exported_at="2025").store(store, clock)
    run = Run(store, "run_3")
    assert run.cut_off
    assert Runs(store).standings() == {"cut off": 1}
    assert "run.orchkit, exported on lab-7 at 2025" in bundle(run)["text/html"]
    assert Runs(store).frame().imported.tolist() == [True]
    recording("run_4").start("done").end(ms=7).add("run.imported", ms=100).store(store, clock)
    facts = Run(store, "run_4").to_dict()
    took = datetime.fromisoformat(facts["finished_at"]) - datetime.fromisoformat(facts["started_at"])
    assert took == timedelta(milliseconds=7)
    assert "exported at ?" in bundle(Run(store, "run_4"))["text/html"]


def test_a_step_in_the_hand_says_it(run: Run) -> None:
    """Its status is the recorded one; the repr tells."""
    step = run.step("finish")
    assert (step.status, step.cut_off) == ("running", True)
    assert repr(step).split("\n") == ["step finish (t): cut off", "  attempts   cut off"]
