"""Runs that were cut off and are not to go on: given up, with the reason on their record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.engine.resume import give_up
from orchkit.errors import ExecutionError, RunInProgressError, UnknownNameError


async def give(value: Any = None) -> Any:
    """The tool of all these runs."""
    return value


@pytest.fixture
def cut_off(lab: Any) -> Any:
    """``(lab, run_id)``: a lab with the record of a run that was cut off in the second of three steps."""
    lab.tool(give)
    flow = lab.flow(mode="sequential")
    for name in "abc":
        flow.add_step("give", {"value": name}, step_id=name)
    run_id = lab.execute(flow).run_id
    return lab.cut_after("attempt.started", "b"), run_id


def test_a_run_that_is_given_up_has_ended(cut_off: Any) -> None:
    """As cancelled, with the reason; the step that was in doubt is cancelled, nothing counts as cut off."""
    lab, run_id = cut_off
    lab.engine.give_up(run_id, "the order was withdrawn")
    state = lab.states()[run_id]
    assert (state.status, state.error) == ("cancelled", "the order was withdrawn")
    statuses = {name: step.status for name, step in state.steps.items()}
    assert statuses == {"a": "success", "b": "cancelled", "c": "skipped"}
    assert lab.decisions(run_id, "operator") == [(None, "operator", "give_up")]
    assert lab.store.open_runs.all() == []
    with pytest.raises(ExecutionError, match="has ended: cancelled"):
        lab.engine.give_up(run_id)
    assert lab.store.open_runs.all() == []


def test_it_can_be_tried_again_all_the_same(cut_off: Any) -> None:
    """Who changes their mind resumes it, as any run that was cancelled."""
    lab, run_id = cut_off
    lab.engine.give_up(run_id)
    assert lab.resume(run_id).success
    assert lab.attempts(run_id, "a") == ["success"]


def test_runs_below_it_end_with_it(lab: Any) -> None:
    """A sub-workflow that was cut off in the middle is cancelled, too; alone it cannot be given up."""
    lab.tool(give)
    inner = lab.flow("inner").add_step("give", {"value": 1}, step_id="x").build()
    run_id = lab.execute(lab.flow().add_workflow(inner, step_id="below")).run_id
    lab = lab.cut_after("attempt.started", "x")
    (child,) = set(lab.states()) - {run_id}
    with pytest.raises(ExecutionError, match=f"belongs to {run_id}"):
        lab.engine.give_up(child)
    lab.engine.give_up(run_id)
    assert {state.status for state in lab.states().values()} == {"cancelled"}
    assert lab.states()[child].steps["x"].status == "cancelled"
    assert lab.store.open_runs.all() == []


def test_a_killed_run_is_not_told_of_any_more(tmp_path: Path) -> None:
    """It is not incomplete any more, and its key, which it had not completed, can be used again."""
    code = """
import os, signal, sys
import orchkit as ok

@ok.method
def work(x: int) -> int:
    if x:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

kit = ok.open(sys.argv[1])
flow = kit.workflow("w").add_step("work", {"x": "${context.x}"}).build()
kit.run(flow, context={"x": 1}, idempotency_key="order-1")
"""
    path = tmp_path / "runs.duckdb"
    subprocess.run([sys.executable, "-c", code, str(path)], timeout=60, check=False)

    def work(x: int) -> int:
        return x

    with ok.open(path) as kit:
        (run_id,) = kit.incomplete()["run_id"]
        kit.give_up(run_id)
        assert kit.incomplete().empty
        assert kit.store.open_runs.cut_off() == []
        kit.registry.methods.register_method(work)
        flow = kit.workflow("w").add_step("work", {"x": "${context.x}"}).build()
        again = kit.run(flow, context={"x": 0}, idempotency_key="order-1")
        assert (again.status, again.replayed) == ("success", False)
        assert again.run_id != run_id


def test_what_goes_on_or_is_not_there_is_not_given_up(lab: Any) -> None:
    """A run in progress is to be cancelled; an unknown one is named."""
    caught: list[BaseException] = []

    async def suicidal(run: str) -> None:
        try:
            give_up(lab.store, run)
        except RunInProgressError as error:
            caught.append(error)

    lab.tool(suicidal)
    result = lab.execute(lab.flow().add_step("suicidal", {"run": "${run.id}"}, step_id="a"))
    assert result.success
    assert len(caught) == 1
    with pytest.raises(UnknownNameError, match="run_nowhere"):
        lab.engine.give_up("run_nowhere")
