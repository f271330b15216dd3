"""Who may resume a run: at most one, nobody while it goes on, and only what can go on by itself."""

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

import orchkit as ok
from orchkit.engine.resume import load_run
from orchkit.errors import (
    CodeChangedError,
    DefinitionError,
    ExecutionError,
    ParameterError,
    RunInProgressError,
    UnknownNameError,
    WorkflowValidationError,
)
from orchkit.model import event as ev

# What every process of this file runs: two steps, each of which leaves a line in a file. The second one
# waits until a file `go` is there.
TOOLS = """
import os, sys, time
from pathlib import Path
import orchkit as ok

folder = Path(sys.argv[1])

def tell(*words):
    file = os.open(folder / "told.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)

@ok.method
async def first(x: int) -> int:
    tell("first")
    return x + 1

@ok.method
def second(x: int) -> int:
    tell("second", os.getpid())
    while not (folder / "go").exists():
        time.sleep(0.005)
    return x * 10

def flow(kit):
    built = kit.workflow("two").add_step("first", {"x": 1}, step_id="a")
    return built.add_step("second", {"x": "${steps.a}"}, step_id="b").build()
"""
RUN = (
    TOOLS
    + """
with ok.open(folder / "runs.duckdb") as kit:
    kit.run(flow(kit))
"""
)
RESUME = (
    TOOLS
    + """
kit = ok.open(folder / "runs.duckdb")
print("ready", flush=True)
sys.stdin.readline()
try:
    print(kit.engine.resume(sys.argv[2]).result(30).status, flush=True)
except ok.RunInProgressError as error:
    print("RunInProgressError", error.run_id, flush=True)
    tell("refused")
kit.close()
"""
)


def told(folder: Path) -> list[str]:
    """The effects so far."""
    file = folder / "told.txt"
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    """Wait for what other processes do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A starter of processes, which are gone when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def begin(script: str, *args: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", script, str(tmp_path), *args]
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def begun(tmp_path: Path, start: Callable[..., Any]) -> Any:
    """A process whose run waits in its second step."""
    process = start(RUN)
    until(lambda: "second" in told(tmp_path))
    return process


def said(process: Any) -> str:
    """What it says at its end."""
    process.stdin.close()
    text = process.stdout.read()
    process.wait(60)
    return str(text).strip()


def only_run(kit: Any) -> str:
    """The id of the one run in the store."""
    ((run_id,),) = kit.store.query("SELECT run_id FROM runs")
    return str(run_id)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Any]:
    """A kit on the same store, with tools that do nothing to be told of."""
    registry = ok.Registry()
    registry.methods.register_method(lambda x: x + 1, name="first")
    registry.methods.register_method(lambda x: x * 10, name="second")
    with ok.open(tmp_path / "runs.duckdb", registry=registry) as made:
        yield made


def test_a_run_of_a_process_that_lives_is_not_taken_from_it(kit: Any, begun: Any) -> None:
    """Nor of one that was stopped: it may go on any moment. Nothing is written."""
    run_id = only_run(kit)
    events = len(kit.store.events(run_id))
    for stop in (False, True):
        if stop:
            begun.send_signal(signal.SIGSTOP)
        with pytest.raises(RunInProgressError, match=f"process {begun.pid} ") as caught:
            kit.engine.resume(run_id)
        assert caught.value.run_id == run_id
    assert len(kit.store.events(run_id)) == events
    begun.kill()
    begun.wait()
    assert kit.engine.resume(run_id, on_change="keep").result(30).outputs == {"a": 2, "b": 20}


def test_of_several_processes_one_resumes(kit: Any, begun: Any, start: Any, tmp_path: Path) -> None:
    """The step in doubt runs once more, in one of four; the others are told who has it."""
    begun.kill()
    begun.wait()
    run_id = only_run(kit)
    others = [start(RESUME, run_id) for _ in range(4)]
    for other in others:
        assert other.stdout.readline() == "ready\n"
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    until(lambda: told(tmp_path).count("refused") == 3)
    (tmp_path / "go").touch()
    outcomes = sorted(said(other) for other in others)
    assert outcomes == [f"RunInProgressError {run_id}"] * 3 + ["success"]
    assert [line for line in told(tmp_path) if line != "refused"] == ["first", "second", "second"]


def test_of_several_processes_one_resumes_a_run_that_is_soon_over(
    kit: Any, begun: Any, start: Any, tmp_path: Path
) -> None:
    """Who comes when another one has ended it gets its result, and does nothing of it again."""
    (tmp_path / "go").touch()
    begun.wait()
    (tmp_path / "told.txt").unlink()
    (tmp_path / "go").unlink()
    process = start(RUN)
    until(lambda: "second" in told(tmp_path))
    process.kill()
    process.wait()
    (tmp_path / "go").touch()
    ((run_id,),) = kit.store.query("SELECT run_id FROM runs WHERE status = 'running'")
    others = [start(RESUME, run_id) for _ in range(6)]
    for other in others:
        assert other.stdout.readline() == "ready\n"
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    outcomes = {said(other) for other in others}
    assert outcomes in ({"success"}, {"success", f"RunInProgressError {run_id}"})
    assert [line for line in told(tmp_path) if line != "refused"] == ["first", "second", "second"]


# --- in one process ------------------------------------------------------------------------


@pytest.fixture
def cut_off(lab: Any) -> Any:
    """``(lab, run_id)``: a lab with the record of a run that was cut off in the second of three steps."""

    async def give(value: Any = None) -> Any:
        return value

    lab.tool(give)
    flow = lab.flow(mode="sequential")
    for name in "abc":
        flow.add_step("give", {"value": name}, step_id=name)
    run_id = lab.execute(flow).run_id
    return lab.cut_after("attempt.started", "b"), run_id


def test_of_many_threads_one_resumes(cut_off: Any) -> None:
    """The others are told, or get the result when they come late; each step runs once."""
    lab, run_id = cut_off
    outcomes: list[str] = []

    def resume() -> None:
        try:
            outcomes.append(lab.resume(run_id).status)
        except RunInProgressError:
            outcomes.append("in progress")

    threads = [threading.Thread(target=resume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "success" in outcomes
    assert set(outcomes) <= {"success", "in progress"}
    assert lab.attempts(run_id, "b") == ["running", "success"]
    assert lab.attempts(run_id, "c") == ["success"]
    assert lab.store.open_runs.all() == []


def test_what_was_read_before_another_one_resumed_it_is_not_gone_by(
    cut_off: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read, goes on elsewhere and ends, and only then it is taken up: nothing is repeated."""
    lab, run_id = cut_off
    stale = load_run(lab.store, run_id)
    assert lab.resume(run_id).success
    monkeypatch.setattr("orchkit.engine.runner.load_run", lambda *_: stale)
    result = lab.resume(run_id)
    assert (result.status, result.replayed) == ("success", True)
    assert lab.attempts(run_id, "c") == ["success"]
    assert len(lab.events(run_id, "run.resumed")) == 1
    assert lab.store.open_runs.all() == []


def test_what_failed_meanwhile_is_tried_as_it_stands_now(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a run that had failed and failed again: the attempts are numbered on."""
    tries: list[int] = []

    async def fail() -> None:
        tries.append(1)
        raise ValueError("broken")

    lab.tool(fail)
    run_id = lab.execute(lab.flow().add_step("fail")).run_id
    stale = load_run(lab.store, run_id)
    assert lab.resume(run_id).status == "failed"
    monkeypatch.setattr("orchkit.engine.runner.load_run", lambda *_: stale)
    assert lab.resume(run_id).status == "failed"
    assert [event.attempt for event in lab.events(run_id, "attempt.started")] == [1, 2, 3]
    assert len(tries) == 3


def test_a_run_that_goes_on_here_is_not_resumed(lab: Any) -> None:
    """The process itself is named; the run is not disturbed, and can be resumed when it has failed."""
    go_on = threading.Event()

    def wait(times: list[int] = []) -> str:  # noqa: B006 - how often it was called
        times.append(1)
        if len(times) == 1:
            go_on.wait(30)
            raise ValueError("broken")
        return "done"

    lab.tool(wait)
    handle = lab.engine.start(lab.flow().add_step("wait").build())
    until(lambda: lab.events(handle.run_id, "attempt.started"))
    with pytest.raises(RunInProgressError, match=f"process {os.getpid()} "):
        lab.engine.resume(handle.run_id)
    go_on.set()
    assert handle.result(30).status == "failed"
    assert lab.resume(handle.run_id).outputs == {"wait": "done"}


def test_a_resumed_run_that_goes_on_is_not_resumed(cut_off: Any) -> None:
    """Not even before its first step has begun."""
    lab, run_id = cut_off
    first = lab.engine.resume(run_id)
    try:
        with pytest.raises(RunInProgressError):
            lab.engine.resume(run_id)
    except BaseException:
        assert lab.resume(run_id).replayed  # it was over by then
    assert first.result(30).success


def test_it_can_be_awaited_where_a_loop_is_running(cut_off: Any) -> None:
    """In a cell, ``await engine.resume(...)``."""
    lab, run_id = cut_off

    async def cell() -> Any:
        return await lab.engine.resume(run_id)

    assert asyncio.run(cell()).outputs == {"a": "a", "b": "b", "c": "c"}


def test_a_step_in_a_thread_may_resume_another_run_but_not_its_own(cut_off: Any) -> None:
    """Its own goes on; another one is waited for as usual."""
    lab, run_id = cut_off

    def resume(run_id: str) -> str:
        return str(lab.engine.resume(run_id).result(30).status)

    lab.tool(resume)
    flow = lab.flow().add_step("resume", {"run_id": "${context.other}"}, step_id="other")
    flow.add_step("resume", {"run_id": "${run.id}"}, step_id="own", depends_on=["other"])
    result = lab.engine.run(flow.build(), context={"other": run_id})
    assert result.steps["other"].output == "success"
    assert isinstance(result.steps["own"].exception, RunInProgressError)


def test_an_async_step_on_the_loop_of_its_run_cannot_resume(cut_off: Any) -> None:
    """Waiting for it would block the loop that it runs on: it is told so, and what it can do."""
    lab, run_id = cut_off

    async def resume(run_id: str) -> str:
        return str((await lab.engine.resume(run_id)).status)

    lab.tool(resume)
    result = lab.engine.run(lab.flow().add_step("resume", {"run_id": run_id}).build())
    assert isinstance(result.steps["resume"].exception, ExecutionError)
    assert "sync" in result.steps["resume"].error
    assert lab.resume(run_id).success


def test_only_runs_of_workflows_are_resumed(lab: Any) -> None:
    """An operation is asked for again instead, and an unknown id is unknown."""

    async def give() -> int:
        return 1

    lab.tool(give)
    response = lab.dispatch("give")
    with pytest.raises(ExecutionError, match="not of a workflow: make its request again"):
        lab.engine.resume(response.metadata["run_id"])
    with pytest.raises(UnknownNameError, match="unknown run 'run_nowhere'"):
        lab.engine.resume("run_nowhere")


def test_a_run_below_another_is_resumed_with_that_one(lab: Any) -> None:
    """The error names the run above."""

    async def fail() -> None:
        raise ValueError("broken")

    lab.tool(fail)
    inner = lab.flow("inner").add_step("fail").build()
    result = lab.execute(lab.flow("outer").add_workflow(inner, {}, step_id="sub"))
    (child,) = (e.run_id for e in lab.events(None, "run.started") if e.run_id != result.run_id)
    with pytest.raises(ExecutionError, match=f"{child} belongs to {result.run_id}: resume that one"):
        lab.engine.resume(child)


def test_a_run_of_another_store_is_not_resumed_here(cut_off: Any) -> None:
    """Where it comes from it may still go on; a fork goes on from what it left."""
    lab, run_id = cut_off
    lab.store.record(ev.RUN_IMPORTED, {"file": "run.orchkit"}, run_id=run_id)
    with pytest.raises(ExecutionError, match=r"was imported.*: fork it"):
        lab.engine.resume(run_id)
    assert lab.store.open_runs.all() == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"on_change": "ask"}, ParameterError),
        ({"workflow": "flow"}, DefinitionError),
        ({"workflow": "no such tool"}, WorkflowValidationError),
    ],
)
def test_what_cannot_be_resumed_is_left_as_it_was(cut_off: Any, arguments: Any, error: Any) -> None:
    """Nothing is written, nobody is kept from resuming it rightly, in this process or another."""
    lab, run_id = cut_off
    if arguments.get("workflow") == "no such tool":
        arguments = {
            "workflow": ok.Workflow.from_dict({"name": "w", "steps": [{"id": "a", "tool": "no_such"}]})
        }
    count = len(lab.events())
    with pytest.raises(error):
        lab.engine.resume(run_id, **arguments)
    assert len(lab.events()) == count
    assert all(map(lab.store.open_runs.is_cut_off, lab.store.open_runs.all()))
    assert lab.resume(run_id).success


def test_a_run_whose_code_changed_is_left_as_it_was(cut_off: Any) -> None:
    """``on_change="error"`` writes nothing and keeps nobody from resuming it otherwise."""
    lab, run_id = cut_off
    lab.registry.methods.unregister("give")

    async def give(value: Any = None) -> Any:
        return [value]

    lab.tool(give)
    count = len(lab.events())
    with pytest.raises(CodeChangedError):
        lab.engine.resume(run_id, on_change="error")
    assert len(lab.events()) == count
    assert lab.resume(run_id, on_change="keep").outputs == {"a": "a", "b": ["b"], "c": ["c"]}


def test_a_failed_run_that_is_left_as_it_was_does_not_count_as_open(lab: Any) -> None:
    """One that had ended is not listed among those that were cut off because somebody failed to resume it."""

    async def fail() -> None:
        raise ValueError("broken")

    lab.tool(fail)
    run_id = lab.execute(lab.flow().add_step("fail")).run_id
    with pytest.raises(DefinitionError):
        lab.engine.resume(run_id, workflow="flow")
    assert lab.store.open_runs.all() == []
