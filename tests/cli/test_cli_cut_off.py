"""Runs whose process is gone, on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socket import gethostname

import pytest
from typer.testing import Result

import orchkit as ok
from orchkit.store.process import this_process
from orchkit.store.store import Store

Orchkit = Callable[..., Result]
NOBODY = 2**22 + 1
"""A process id that Linux does not give."""

KILLED = """
import os, signal
import orchkit as ok

def load(): return {"n": 1}
def unload(): pass
def finish(n): os.kill(os.getpid(), signal.SIGKILL)

flow = ok.WorkflowBuilder("etl").add_step(load, compensate=unload).add_step(finish, {"n": "${steps.load.n}"})
ok.open("runs.duckdb").run(flow.build())
"""


@pytest.fixture
def recorded(folder: Path) -> Path:
    """A store with a run that was killed, one that goes on and one that ended."""
    steps = [{"step_id": "finish", "tool_name": "t"}]
    with Store("runs.duckdb") as store:
        for name, pid in (("killed", NOBODY), ("alive", os.getpid()), ("over", NOBODY)):
            facts = {"kind": "workflow", "name": name, **this_process().facts, "pid": pid}
            definition = {"name": name, "steps": steps}
            store.record("run.started", {**facts, "definition": definition}, run_id=f"run_{name}")
            scheduled = {"name": "t", "node_type": "task", "input": {}}
            for kind, payload in (("step.scheduled", scheduled), ("attempt.started", {})):
                store.append(kind, json.dumps(payload), run_id=f"run_{name}", step_id="finish", attempt=1)
        store.record("run.finished", {"status": "failed", "error": None}, run_id="run_over")
    return folder


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["cut-off"], ["killed"]),
        (["running"], ["alive"]),
        (["running", "cut-off"], ["alive", "killed"]),
        (["cut-off", "failed"], ["over", "killed"]),
        (["success"], []),
    ],
)
def test_runs_are_filtered_by_how_they_stand(
    recorded: Path, orchkit: Orchkit, filters: list[str], names: list[str]
) -> None:
    """What was cut off is not what is running."""
    options = [part for status in filters for part in ("--status", status)]
    rows = json.loads(orchkit("runs", *options, "--json").stdout)
    assert [row["name"] for row in rows] == names
    assert [row["cut_off"] for row in rows] == [name == "killed" for name in names]


def test_the_list_of_runs_says_which_was_cut_off(recorded: Path, orchkit: Orchkit) -> None:
    """In the column of statuses, and below the table what to do about it."""
    *lines, hint = orchkit("runs").stdout.splitlines()
    assert hint == "1 run cut off: orchkit resume run_killed goes on"
    assert {line.split()[1]: "cut off" in line for line in lines[1:]} == {
        "over": False,
        "alive": False,
        "killed": True,
    }


def test_showing_a_run_that_was_cut_off(recorded: Path, orchkit: Orchkit) -> None:
    """Head, process, story, steps and attempts agree; nothing claims that something runs."""
    shown = orchkit("show", "killed").stdout
    assert f"{NOBODY} on {gethostname()}, which is gone" in shown
    assert "In doubt: finish, whose first attempt had begun" in shown
    assert shown.count("↯ cut off") == 2
    assert "running" not in shown
    step = orchkit("show", "killed", "--step", "finish").stdout
    assert step.count("↯ cut off") == 2
    assert "finish was cut off on the first attempt" in step
    answer = json.loads(orchkit("show", "killed", "--json").stdout)
    assert (answer["run"]["status"], answer["run"]["cut_off"]) == ("running", True)


def test_a_process_that_is_really_killed(folder: Path, environment: dict[str, str], orchkit: Orchkit) -> None:
    """Python and the command line tell the same of it: the code is one."""
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=folder, env=environment, check=False)
    assert done.returncode == -9
    with ok.open("runs.duckdb") as kit:
        run = kit.last
        assert (run.status, run.cut_off) == ("running", True)
        story = run.explain()
    assert "In doubt: finish, whose first attempt had begun and whose end is not on record." in story
    assert "Compensations did not run: what load did still stands." in story
    shown = " ".join(orchkit("show", "last").stdout.split())
    assert " ".join(story.split()) in shown
