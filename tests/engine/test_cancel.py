"""Ending a run early, holding it, letting it go on: from outside, from inside, and by Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchkit.engine.execution import Execution
from orchkit.engine.handle import RunHandle
from orchkit.engine.options import RunOptions
from orchkit.model.policy import RetryPolicy
from orchkit.model.result import WorkflowResult
from orchkit.store.store import Store
from orchkit.testing import FakeClock

WAIT_S = 60
"""How long a test waits for another thread before it says that it hangs."""


def until(condition: Callable[[], Any]) -> None:
    """Wait for another thread to get somewhere."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.001)


class Stage:
    """Tools that stop in the middle: ``entered`` counts who has begun, ``gate`` lets sync ones go."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.calls: list[str] = []
        for function in (self.forever, self.stuck, self.fails, self.quick):
            lab.tool(function)

    async def forever(self, name: str = "") -> None:
        self.calls.append(name)
        self.entered.release()
        await asyncio.get_running_loop().create_future()

    def stuck(self) -> None:
        self.entered.release()
        self.gate.wait(WAIT_S)

    async def fails(self) -> None:
        self.entered.release()
        raise OSError("down")

    async def quick(self, name: str = "") -> str:
        self.calls.append(name)
        self.entered.release()
        return name

    def start(self, flow: Any, begun: int = 1) -> RunHandle:
        """Start in the background and return when so many tools have begun."""
        handle: RunHandle = self.lab.engine.start(flow.build())
        for _ in range(begun):
            assert self.entered.acquire(timeout=WAIT_S)
        return handle


@pytest.fixture
def stage(make_lab: Any) -> Iterator[Stage]:
    """A stage on a clock that does not move by itself."""
    made = Stage(make_lab(clock=FakeClock(autojump=False)))
    yield made
    made.gate.set()


def statuses(result: WorkflowResult) -> dict[str, str]:
    """The status of each step."""
    return {step_id: step.status for step_id, step in result.steps.items()}


def check_cancelled(lab: Any, result: WorkflowResult, reason: str) -> None:
    """The run says in every way that it was cancelled and why."""
    assert (result.status, result.error) == ("cancelled", reason)
    events = lab.events(result.run_id)
    assert [e.payload for e in events if e.kind == "run.cancelled"] == [{"reason": reason}]
    assert lab.decisions(result.run_id, "cancel") == [(None, "cancel", "cancel")]
    assert events[-1].kind == "run.finished"
    assert events[-1].payload["status"] == "cancelled"
    assert {e.step_id for e in events if e.kind == "step.scheduled"} <= {
        e.step_id for e in events if e.kind == "step.finished"
    }


# --- cancelling a handle -------------------------------------------------------------------


def test_cancelling_during_an_async_step(stage: Stage) -> None:
    """The step ends as cancelled with the reason, those after it are skipped."""
    flow = stage.lab.flow().add_step("forever").add_step("quick", depends_on="forever")
    handle = stage.start(flow)
    handle.cancel()
    result = handle.result(WAIT_S)
    check_cancelled(stage.lab, result, "cancelled by the user")
    assert statuses(result) == {"forever": "cancelled", "quick": "skipped"}
    assert result.steps["forever"].reason == "cancelled by the user"
    assert stage.lab.attempts(result.run_id, "forever") == ["cancelled"]


def test_cancelling_during_a_sync_step(stage: Stage) -> None:
    """The thread is abandoned, the run does not wait for it."""
    handle = stage.start(stage.lab.flow().add_step("stuck"))
    handle.cancel("not needed any more")
    result = handle.result(WAIT_S)
    check_cancelled(stage.lab, result, "not needed any more")
    (end,) = stage.lab.events(result.run_id, "attempt.finished")
    assert (end.payload["status"], end.payload["abandoned"]) == ("cancelled", True)


def test_cancelling_during_the_wait_before_a_retry(stage: Stage) -> None:
    """The backoff ends at once; the attempt before it stays failed."""
    retry = RetryPolicy(strategy="fixed", delay=3600, max_delay=3600, jitter="none")
    handle = stage.start(stage.lab.flow().add_step("fails", retry=retry))
    until(lambda: 3600 in stage.lab.clock.sleeps)
    handle.cancel()
    result = handle.result(WAIT_S)
    check_cancelled(stage.lab, result, "cancelled by the user")
    assert stage.lab.attempts(result.run_id, "fails") == ["failed"]
    assert statuses(result) == {"fails": "cancelled"}


def test_cancelling_during_a_map(stage: Stage) -> None:
    """Items that have begun are cancelled, the others never begin, and the map itself is cancelled."""
    flow = stage.lab.flow().add_map("forever", [str(n) for n in range(5)], step_id="map", max_concurrency=2)
    handle = stage.start(flow, begun=2)
    handle.cancel()
    result = handle.result(WAIT_S)
    check_cancelled(stage.lab, result, "cancelled by the user")
    ends = stage.lab.events(result.run_id, "step.finished")
    assert {end.payload["status"] for end in ends} == {"cancelled"}
    *items, last = [end.step_id for end in ends]
    assert (sorted(items), last) == (["map[0]", "map[1]"], "map")
    assert stage.calls == ["0", "1"]


def test_cancelling_during_a_sub_workflow(stage: Stage) -> None:
    """Both runs are recorded as cancelled, the inner one with the reason of the outer one."""
    inner = stage.lab.flow("inner").add_step("forever").add_step("quick", depends_on="forever").build()
    handle = stage.start(stage.lab.flow("outer").add_workflow(inner).add_step("quick", depends_on="inner"))
    handle.cancel("enough")
    result = handle.result(WAIT_S)
    check_cancelled(stage.lab, result, "enough")
    assert statuses(result) == {"inner": "cancelled", "quick": "skipped"}
    (child,) = [e for e in stage.lab.events(None, "run.started") if e.payload["parent_run_id"]]
    (end,) = stage.lab.events(child.run_id, "run.finished")
    assert end.payload["status"] == "cancelled"
    assert end.payload["error"] == "the run above it was stopped: enough"
    assert [(e.step_id, e.payload["status"]) for e in stage.lab.events(child.run_id, "step.finished")] == [
        ("forever", "cancelled"),
        ("quick", "skipped"),
    ]


def test_cancelling_twice_is_cancelling_once(stage: Stage) -> None:
    """The first reason stays."""
    handle = stage.start(stage.lab.flow().add_step("forever"))
    handle.cancel("first")
    handle.cancel("second")
    check_cancelled(stage.lab, handle.result(WAIT_S), "first")
    handle.cancel("third")


def test_cancelling_after_the_end_changes_nothing(stage: Stage) -> None:
    """The result stays what it was."""
    handle = stage.start(stage.lab.flow().add_step("quick"))
    assert handle.result(WAIT_S).success
    handle.cancel()
    handle.pause()
    assert handle.done
    assert (handle.status, handle.result().status) == ("success", "success")
    assert stage.lab.events(handle.run_id, "run.cancelled") == []


def test_cancelling_before_the_start(lab: Any) -> None:
    """Nothing runs; the record has the run, and each step as skipped."""
    stage = Stage(lab)

    async def main() -> WorkflowResult:
        workflow = lab.flow().add_step("quick", step_id="a").add_step("quick", step_id="b").build()
        execution = Execution(lab.orchestrator, lab.engine._compiled.get(workflow), RunOptions())
        execution.cancel("never mind")
        assert execution.status == "pending"
        return await execution.run()

    result = lab.run(main())
    check_cancelled(lab, result, "never mind")
    assert statuses(result) == {"a": "skipped", "b": "skipped"}
    assert {step.reason for step in result.steps.values()} == {"never mind"}
    assert stage.calls == []


def test_a_step_that_swallows_its_cancellation(stage: Stage) -> None:
    """It may go on and finish; the run is cancelled all the same, and nothing starts after it."""
    told = asyncio.Event()

    async def stubborn() -> str:
        stage.entered.release()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await told.wait()
        return "finished anyway"

    stage.lab.tool(stubborn)
    handle = stage.start(stage.lab.flow().add_step("stubborn").add_step("quick", depends_on="stubborn"))
    handle.cancel()
    handle._loop.call_soon_threadsafe(told.set)
    result = handle.result(WAIT_S)
    check_cancelled(stage.lab, result, "cancelled by the user")
    assert statuses(result) == {"stubborn": "success", "quick": "skipped"}
    assert result.outputs == {"stubborn": "finished anyway"}


# --- cancelling the awaiting task ----------------------------------------------------------


def cancel_the_task(stage: Stage, flow: Any, *, times: int = 1) -> list[Any]:
    """Execute in a task, cancel it once something runs; the events of the run."""
    lab = stage.lab

    async def main() -> None:
        task = asyncio.ensure_future(lab.aexecute(flow))
        await asyncio.to_thread(stage.entered.acquire, timeout=WAIT_S)
        for _ in range(times):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    events: list[Any] = lab.events()
    return events


@pytest.mark.parametrize("tool", ["forever", "stuck"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_cancelling_the_awaiting_task_is_recorded_and_raised(
    make_lab: Any, tool: str, durability: Any
) -> None:
    """``await execute`` writes the end down before CancelledError goes on, in every durability."""
    stage = Stage(make_lab(durability=durability))
    events = cancel_the_task(stage, stage.lab.flow().add_step(tool))
    stage.gate.set()
    assert [(e.kind, e.payload.get("status")) for e in events[-3:]] == [
        ("attempt.finished", "cancelled"),
        ("step.finished", "cancelled"),
        ("run.finished", "cancelled"),
    ]
    assert events[-1].payload["error"] == "the awaiting task was cancelled"


def test_cancelling_the_task_again_hurries_steps_that_take_their_time(stage: Stage) -> None:
    """A second cancellation is passed on to the steps, and the record is still complete."""

    async def slow_to_stop() -> None:
        stage.entered.release()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.get_running_loop().create_future()

    stage.lab.tool(slow_to_stop)
    events = cancel_the_task(stage, stage.lab.flow().add_step("slow_to_stop"), times=2)
    assert [(e.kind, e.payload.get("status")) for e in events[-2:]] == [
        ("step.finished", "cancelled"),
        ("run.finished", "cancelled"),
    ]


def test_cancelling_the_task_reaches_a_sub_workflow(stage: Stage) -> None:
    """The inner run is on the record as cancelled before the outer one ends."""
    inner = stage.lab.flow("inner").add_step("forever").build()
    events = cancel_the_task(stage, stage.lab.flow("outer").add_workflow(inner))
    ends = [e for e in events if e.kind == "run.finished"]
    assert [end.payload["status"] for end in ends] == ["cancelled", "cancelled"]
    assert ends[0].payload["error"] == "the run above it was stopped: the awaiting task was cancelled"


def test_a_limit_around_execute_raises_its_timeout(lab: Any) -> None:
    """``asyncio.timeout`` (here that of the clock) around execute works, and the run is cancelled."""

    async def nap() -> None:
        await lab.clock.sleep(100)

    async def main() -> None:
        async with lab.clock.timeout(5):
            await lab.aexecute(lab.flow().add_step("nap"))

    lab.tool(nap)
    with pytest.raises(TimeoutError):
        lab.run(main())
    assert lab.events()[-1].payload["status"] == "cancelled"


def test_a_run_that_nobody_awaits_is_recorded_when_the_loop_ends(stage: Stage) -> None:
    """``asyncio.run`` cancels what is left, and the run ends on the record."""
    lab = stage.lab

    async def main() -> None:
        task = asyncio.ensure_future(lab.aexecute(lab.flow(mode="parallel").add_step("forever")))
        await asyncio.to_thread(stage.entered.acquire, timeout=WAIT_S)
        assert not task.done()

    asyncio.run(main())
    assert lab.events()[-1].kind == "run.finished"
    assert lab.events()[-1].payload["status"] == "cancelled"


def test_a_step_task_that_somebody_else_cancels_fails_the_run(stage: Stage) -> None:
    """Cancelling the task of a step, and not the run, is not a success."""
    lab = stage.lab

    async def victim() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    lab.tool(victim)
    result = lab.execute(lab.flow().add_step("victim").add_step("quick", depends_on="victim"))
    assert (result.status, statuses(result)) == ("failed", {"victim": "cancelled", "quick": "skipped"})
    assert result.steps["victim"].reason == "its task was cancelled"
    assert result.error == "step 'victim' was cancelled"


def test_ctrl_c_inside_a_step_ends_the_run_and_is_raised(lab: Any) -> None:
    """KeyboardInterrupt on the loop is no failure of the step: it is recorded as cancelled, and raised."""

    async def interrupted() -> None:
        raise KeyboardInterrupt

    lab.tool(interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.execute(lab.flow().add_step("interrupted"))
    assert [(e.kind, e.payload.get("status")) for e in lab.events()[-3:]] == [
        ("attempt.finished", "cancelled"),
        ("step.finished", "cancelled"),
        ("run.finished", "cancelled"),
    ]


def test_the_background_loop_survives_ctrl_c_inside_a_step(stage: Stage) -> None:
    """The caller of `run` gets it, and the next run works."""

    async def interrupted() -> None:
        raise KeyboardInterrupt

    stage.lab.tool(interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage.lab.engine.run(stage.lab.flow().add_step("interrupted").build())
    assert stage.lab.engine.start(stage.lab.flow().add_step("quick").build()).result(WAIT_S).success


def test_ctrl_c_while_the_record_is_written_leaves_nobody_waiting(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a loop that goes on after it, as that of a notebook does, the run ends as cancelled."""
    stage = Stage(lab)
    commit = lab.store.commit

    def interrupted() -> None:
        monkeypatch.setattr(lab.store, "commit", commit)
        raise KeyboardInterrupt

    monkeypatch.setattr(lab.store, "commit", interrupted)
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(lab.aexecute(lab.flow().add_step("quick")))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.wait_for(task, WAIT_S))
    finally:
        loop.close()
    assert stage.calls == []
    assert lab.events()[-1].payload["status"] == "cancelled"


# --- pausing -------------------------------------------------------------------------------


def sequence(lab: Any, names: str = "abcd") -> Any:
    """Quick steps one after the other, in dag mode."""
    flow = lab.flow()
    for before, name in zip([None, *names], names, strict=False):
        flow.add_step("quick", {"name": name}, step_id=name, depends_on=before)
    return flow


def on_loop(lab: Any, flow: Any, script: Callable[[Execution, Callable[[], Any]], Any]) -> WorkflowResult:
    """Run an execution beside a script that gets it and a function that waits until all is quiet."""

    async def main() -> WorkflowResult:
        execution = Execution(lab.orchestrator, lab.engine._compiled.get(flow.build()), RunOptions())
        execution.gate.pause()
        task = asyncio.ensure_future(execution.run())
        await script(execution, lab.clock.settle)
        return await task

    result: WorkflowResult = lab.run(main())
    return result


def test_a_paused_run_starts_nothing_and_goes_on_when_resumed(lab: Any) -> None:
    """The status is paused, both moments are events, and the outcome is that of any run."""
    stage = Stage(lab)

    async def script(execution: Execution, quiet: Callable[[], Any]) -> None:
        await quiet()
        assert (execution.status, stage.calls) == ("paused", [])
        execution.gate.resume()
        assert execution.status == "running"

    result = on_loop(lab, sequence(lab), script)
    assert result.success
    assert [e.kind for e in lab.events(result.run_id) if e.kind.startswith("run.")] == [
        "run.started",
        "run.paused",
        "run.resumed",
        "run.finished",
    ]


def test_stepping_starts_one_step_at_a_time(lab: Any) -> None:
    """Each call lets one more step start, also when several are ready."""
    stage = Stage(lab)

    async def script(execution: Execution, quiet: Callable[[], Any]) -> None:
        seen = []
        for _ in range(3):
            execution.gate.step()
            await quiet()
            seen.append(list(stage.calls))
            assert execution.status == "paused"
        assert seen == [["a"], ["a", "b"], ["a", "b", "c"]]
        execution.gate.step()
        execution.gate.step()

    flow = lab.flow(mode="parallel")
    for name in "abcd":
        flow.add_step("quick", {"name": name}, step_id=name)
    assert on_loop(lab, flow, script).success


def test_stepping_does_not_count_steps_that_are_passed_over(lab: Any) -> None:
    """A step whose predecessors did not run needs no permission to be skipped."""
    stage = Stage(lab)

    async def script(execution: Execution, quiet: Callable[[], Any]) -> None:
        execution.gate.step()
        await quiet()
        assert stage.calls == []
        execution.gate.step()
        await quiet()
        assert stage.calls == ["c"]

    flow = lab.flow(mode="sequential").add_step("quick", {"name": "a"}, step_id="a", when="false")
    flow.add_step("quick", {"name": "b"}, step_id="b", depends_on="a")
    flow.add_step("quick", {"name": "c"}, step_id="c")
    assert on_loop(lab, flow, script).success


def test_stepping_while_not_paused_changes_nothing(lab: Any) -> None:
    """A step that was let start before the pause is not saved up for it."""
    stage = Stage(lab)

    async def script(execution: Execution, quiet: Callable[[], Any]) -> None:
        await quiet()
        execution.gate.resume()
        for _ in range(5):
            execution.gate.step()
        execution.gate.pause()
        execution.gate.pause()
        await quiet()
        assert stage.calls == ["a"]
        execution.gate.resume()
        execution.gate.resume()

    result = on_loop(lab, sequence(lab), script)
    assert result.success
    assert len(lab.events(result.run_id, "run.paused")) == len(lab.events(result.run_id, "run.resumed")) == 2


def test_cancelling_a_paused_run(lab: Any) -> None:
    """It ends at once; all steps are skipped with the reason."""
    stage = Stage(lab)

    async def script(execution: Execution, quiet: Callable[[], Any]) -> None:
        await quiet()
        execution.cancel("changed my mind")

    result = on_loop(lab, sequence(lab), script)
    check_cancelled(lab, result, "changed my mind")
    assert set(statuses(result).values()) == {"skipped"}
    assert stage.calls == []


def test_a_failure_ends_a_paused_run(lab: Any) -> None:
    """With stop_on_failure nothing is left to be let on."""
    stage = Stage(lab)

    async def script(execution: Execution, quiet: Callable[[], Any]) -> None:
        execution.gate.step()
        await quiet()

    flow = lab.flow(mode="sequential").add_step("fails").add_step("quick")
    result = on_loop(lab, flow, script)
    assert statuses(result) == {"fails": "failed", "quick": "skipped"}
    assert stage.calls == []


def test_a_handle_pauses_and_resumes_from_another_thread(stage: Stage) -> None:
    """The same through a handle: what runs goes on, the next step waits."""
    release = asyncio.Event()

    async def first() -> None:
        stage.entered.release()
        await release.wait()

    stage.lab.tool(first)
    handle = stage.start(stage.lab.flow().add_step("first").add_step("quick", depends_on="first"))
    handle.pause()
    until(lambda: handle.status == "paused")
    handle._loop.call_soon_threadsafe(release.set)
    until(lambda: handle._job.results.get("first"))
    assert not handle.done
    assert stage.calls == []
    handle.step()
    assert handle.result(WAIT_S).success


# --- Ctrl-C from the keyboard --------------------------------------------------------------

SCRIPT = """
import asyncio, sys, time
import orchkit as ok

@ok.method
def in_thread() -> None:
    print("ready", flush=True)
    time.sleep(600)

@ok.method
async def on_loop() -> None:
    print("ready", flush=True)
    await asyncio.sleep(600)

kit = ok.open(sys.argv[1])
flow = kit.workflow("flow").add_step(sys.argv[3])
flow = flow.add_step("on_loop", step_id="later", depends_on=sys.argv[3]).build()
try:
    if sys.argv[2] == "run":
        kit.run(flow)
    else:
        asyncio.run(kit.execute(flow))
except KeyboardInterrupt:
    print("interrupted", kit.last.status, flush=True)
    raise
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("door", ["run", "execute"])
@pytest.mark.parametrize("tool", ["in_thread", "on_loop"])
def test_ctrl_c_cancels_the_run_and_ends_the_process(tmp_path: Path, door: str, tool: str) -> None:
    """The record says cancelled, KeyboardInterrupt reaches the script, and the process ends promptly."""
    path = tmp_path / "runs.duckdb"
    command = [sys.executable, "-c", SCRIPT, str(path), door, tool]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)  # a tenth of what the tool would take
    assert out == "interrupted cancelled\n"
    assert process.returncode in (-signal.SIGINT, 130, 1)
    assert "KeyboardInterrupt" in err
    with Store(path) as store:
        assert store.query("SELECT status FROM runs") == [("cancelled",)]
        assert store.query("SELECT step_id, status FROM steps ORDER BY step_id") == sorted(
            [(tool, "cancelled"), ("later", "skipped")]
        )
        assert store.query("SELECT status, abandoned FROM attempts") == [("cancelled", tool == "in_thread")]
