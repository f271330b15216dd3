"""The ways into a run: awaited, blocking, in the background; from threads, loops, steps and scripts."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.engine.execution import Execution
from orchkit.errors import (
    ExecutionError,
    StoreClosedError,
    WorkflowExecutionError,
    WorkflowValidationError,
)
from orchkit.model.request import Request

WAIT_S = 60
"""How long a test waits for another thread before it says that it hangs."""


class Bench:
    """A kit with tools: ``add``, ``add_in_thread``, ``hold`` (waits for ``gate``), ``fail``."""

    def __init__(self, kit: ok.Kit) -> None:
        self.kit = kit
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.calls: list[str] = []
        for function in (self.add, self.add_in_thread, self.hold, self.fail, self.note):
            kit.registry.methods.register_method(function)

    async def add(self, x: int, y: int = 1) -> int:
        return x + y

    def add_in_thread(self, x: int, y: int = 1) -> int:
        return x + y

    async def hold(self) -> str:
        self.entered.release()
        while not self.gate.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.001)
        return "let go"

    async def fail(self) -> None:
        raise ValueError("broken")

    async def note(self, text: str) -> None:
        self.calls.append(text)

    def flow(self, name: str = "flow") -> Any:
        """A builder over the tools."""
        return self.kit.workflow(name).with_execution_mode("dag")

    def sum(self) -> ok.Workflow:
        """``1 + 1 + 1``, on the loop and in a thread."""
        flow = self.flow("sum").add_step("add", {"x": "${context.x ?? 1}"})
        built: ok.Workflow = flow.add_step("add_in_thread", {"x": "${steps.add}"}).build()
        return built

    def held(self) -> ok.Workflow:
        """Waits for the gate, then notes that it went on."""
        flow = self.flow("held").add_step("hold").add_step("note", {"text": "on"}, depends_on="hold")
        built: ok.Workflow = flow.build()
        return built


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A bench on a kit in memory."""
    with ok.open() as kit:
        made = Bench(kit)
        yield made
        made.gate.set()


# --- the three doors -----------------------------------------------------------------------


def test_all_doors_give_the_same_result(bench: Bench) -> None:
    """Awaited, blocking, in the background and awaited, in the background and waited for."""
    kit, workflow = bench.kit, bench.sum()

    async def in_a_loop() -> list[Any]:
        return [await kit.execute(workflow), await kit.start(workflow)]

    results = [kit.run(workflow), kit.start(workflow).result(WAIT_S), *asyncio.run(in_a_loop())]
    assert [result.outputs for result in results] == [{"add": 2, "add_in_thread": 3}] * 4
    assert len({result.run_id for result in results}) == 4


def test_blocking_inside_a_running_loop(bench: Bench) -> None:
    """As in a notebook cell: the loop of the cell waits, the run has a loop of its own."""

    async def cell() -> Any:
        return bench.kit.run(bench.sum(), context={"x": 5})

    assert asyncio.run(cell()).outputs["add_in_thread"] == 7


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12")
def test_a_loop_with_eager_tasks(bench: Bench) -> None:
    """Where tasks begin at once, steps still begin after they are known, and long chains do not recurse."""

    async def main() -> Any:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        flow = bench.flow().add_step("add", {"x": 0}, step_id="s0", when="${context.on}")
        for n in range(1, 500):
            flow.add_step("add", {"x": 0}, step_id=f"s{n}", depends_on=f"s{n - 1}", when="${context.on}")
        flow.add_map("add_in_thread", [1, 2, 3], {"x": "${item}"}, step_id="map")
        workflow = flow.build()
        return [await bench.kit.execute(workflow, context={"on": on}) for on in (True, False)]

    on, off = asyncio.run(main())
    assert on.success
    assert len(on.outputs) == 501
    assert off.outputs == {"map": [2, 3, 4]}


def test_runs_from_many_threads(bench: Bench) -> None:
    """They share the loop thread and do not mix."""
    workflow = bench.sum()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: bench.kit.run(workflow, context={"x": x}), range(40)))
    assert [result.outputs["add_in_thread"] for result in results] == [x + 2 for x in range(40)]


def test_runs_on_several_loops_at_once(bench: Bench) -> None:
    """A kit belongs to no loop."""
    workflow = bench.sum()

    def on_its_own_loop(x: int) -> list[int]:
        async def main() -> list[int]:
            results = await asyncio.gather(*(bench.kit.execute(workflow, context={"x": x}) for _ in range(5)))
            return [result.outputs["add"] for result in results]

        return asyncio.run(main())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(on_its_own_loop, range(8))) == [[x + 1] * 5 for x in range(8)]


def test_a_definition_that_is_not_sound_is_refused_by_every_door(bench: Bench) -> None:
    """All its problems at once, and nothing runs."""
    bad = ok.Workflow.from_dict({"name": "bad", "steps": [{"id": "a", "tool": "nope"}]})
    for door in (bench.kit.run, bench.kit.start, lambda flow: asyncio.run(bench.kit.execute(flow))):
        with pytest.raises(WorkflowValidationError, match="unknown tool or method 'nope'"):
            door(bad)
    assert bench.kit.store.query("SELECT count(*) FROM runs") == [(0,)]


# --- handles -------------------------------------------------------------------------------


def test_a_handle_knows_its_run_from_the_start(bench: Bench) -> None:
    """Id, status and name; it says so when it is printed."""
    handle = bench.kit.start(bench.held())
    assert bench.entered.acquire(timeout=WAIT_S)
    assert handle.run_id.startswith("run_")
    assert (handle.status, handle.done) == ("running", False)
    assert repr(handle) == f"<RunHandle {handle.run_id} of 'held': running>"
    bench.gate.set()
    assert handle.result(WAIT_S).run_id == handle.run_id
    assert (handle.status, handle.done) == ("success", True)


def test_waiting_for_a_handle_with_a_limit(bench: Bench) -> None:
    """TimeoutError, and the run goes on; so it does when somebody else gives up awaiting it."""
    handle = bench.kit.start(bench.held())
    with pytest.raises(TimeoutError):
        handle.result(0.01)

    async def impatient() -> None:
        await asyncio.wait_for(handle, 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    assert handle.status == "running"
    bench.gate.set()
    assert handle.result(WAIT_S).success
    assert bench.calls == ["on"]


def test_a_handle_can_be_awaited_by_many(bench: Bench) -> None:
    """On other loops than its own, several times, also after the end."""
    handle = bench.kit.start(bench.held())

    async def wait() -> Any:
        return await asyncio.gather(handle, handle)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(asyncio.run, wait()) for _ in range(2)]
        bench.gate.set()
        results = [result for future in waiting for result in future.result(WAIT_S)]
    assert all(result is results[0] for result in results)
    assert asyncio.run(wait())[0] is results[0]


def test_a_failed_run_is_a_result_not_an_error(bench: Bench) -> None:
    """By every door; raise_for_status raises."""
    result = bench.kit.start(bench.flow().add_step("fail").build()).result(WAIT_S)
    assert result.status == "failed"
    with pytest.raises(WorkflowExecutionError, match="ValueError: broken"):
        result.raise_for_status()


# --- runs inside of steps ------------------------------------------------------------------


def test_a_sync_step_can_run_a_workflow(bench: Bench) -> None:
    """From its thread, by the blocking door; by every outer door."""
    kit, inner = bench.kit, bench.sum()

    def outer(x: int) -> int:
        return int(kit.run(inner, context={"x": x}).outputs["add_in_thread"])

    kit.registry.methods.register_method(outer)
    workflow = bench.flow().add_step("outer", {"x": 3}).build()
    assert kit.run(workflow).outputs == {"outer": 5}
    assert asyncio.run(kit.execute(workflow)).outputs == {"outer": 5}


def test_sync_steps_that_run_workflows_do_not_starve_them() -> None:
    """More of them than there are threads, with sync steps inside: the waiting ones give up their places."""
    with ok.open(max_threads=2) as kit:
        bench = Bench(kit)
        inner = bench.sum()

        def outer(x: int) -> int:
            return int(kit.run(inner, context={"x": x}).outputs["add_in_thread"])

        kit.registry.methods.register_method(outer)
        handle = kit.start(bench.flow().add_map("outer", list(range(20)), step_id="map").build())
        assert handle.result(WAIT_S).outputs["map"] == [x + 2 for x in range(20)]


@pytest.mark.parametrize("door", ["run", "start"])
@pytest.mark.parametrize("executor", ["async", "inline"])
def test_a_step_on_the_loop_of_the_background_cannot_block_it(bench: Bench, door: str, executor: str) -> None:
    """Instead of waiting for itself for ever, it is told what to do."""
    kit, inner = bench.kit, bench.sum()

    async def on_loop() -> None:
        getattr(kit, door)(inner)

    def inline() -> None:
        getattr(kit, door)(inner)

    kit.registry.methods.register_method(on_loop)
    kit.registry.methods.register_method(inline, executor="inline")
    tool = "on_loop" if executor == "async" else "inline"
    result = kit.start(bench.flow().add_step(tool).build()).result(WAIT_S)
    assert isinstance(result.steps[tool].exception, ExecutionError)
    assert "await" in str(result.steps[tool].error)


def test_waiting_for_a_handle_on_the_loop_of_the_background_is_refused(bench: Bench) -> None:
    """A step that got a handle from elsewhere awaits it; blocking is refused."""
    handles = [bench.kit.start(bench.held())]
    assert bench.entered.acquire(timeout=WAIT_S)

    async def wait(blocking: bool) -> str:
        result = handles[0].result() if blocking else await handles[0]
        return str(result.status)

    bench.kit.registry.methods.register_method(wait)
    result = bench.kit.start(bench.flow().add_step("wait", {"blocking": True}).build()).result(WAIT_S)
    assert "await the handle instead" in str(result.steps["wait"].error)
    handle = bench.kit.start(bench.flow().add_step("wait", {"blocking": False}).build())
    bench.gate.set()
    assert handle.result(WAIT_S).outputs == {"wait": "success"}


def test_an_async_step_can_await_a_run(bench: Bench) -> None:
    """On the same loop."""

    async def outer() -> int:
        return int((await bench.kit.execute(bench.sum())).outputs["add"])

    bench.kit.registry.methods.register_method(outer)
    workflow = bench.flow().add_step("outer").build()
    assert bench.kit.run(workflow).outputs == {"outer": 2}
    assert asyncio.run(bench.kit.execute(workflow)).outputs == {"outer": 2}


# --- the record of a run -------------------------------------------------------------------


def test_a_result_leads_to_its_record(bench: Bench) -> None:
    """``result.run``, ``kit.last`` and ``kit.runs[…]`` are the same run."""
    first, second = bench.kit.run(bench.sum()), bench.kit.run(bench.sum())
    assert first.run.id == bench.kit.runs[first.run_id].id == first.run_id
    assert bench.kit.last.id == second.run_id
    assert bench.kit.last.status == "success"


def test_the_last_run_is_the_one_that_ended_last(bench: Bench) -> None:
    """Also when it was cancelled, and also when it was a single operation."""
    bench.kit.run(bench.sum())

    async def interrupted() -> None:
        task = asyncio.ensure_future(bench.kit.execute(bench.held()))
        await asyncio.to_thread(bench.entered.acquire, timeout=WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    assert (bench.kit.last.name, bench.kit.last.status) == ("held", "cancelled")
    response = asyncio.run(bench.kit.dispatch(Request("add", {"x": 1})))
    assert bench.kit.last.id == response.metadata["run_id"]


def test_an_engine_without_a_kit_has_no_records_to_show() -> None:
    """The result says so instead of failing oddly."""
    registry = ok.Registry()
    registry.methods.register_method(lambda: 1, name="one")
    engine = ok.WorkflowEngine(method_registry=registry)
    workflow = ok.WorkflowBuilder("w", registry=registry).add_step("one").build()
    result = engine.run(workflow)
    assert result.outputs == {"one": 1}
    with pytest.raises(WorkflowExecutionError, match="not recorded"):
        _ = result.run
    engine.orchestrator.store.close()


def test_finished_runs_are_forgotten(bench: Bench) -> None:
    """Neither the kit nor the loop thread keeps what a run needed while it ran."""
    kept: list[weakref.ref[Execution]] = []
    for _ in range(5):
        handle = bench.kit.start(bench.sum())
        kept.append(weakref.ref(handle._job))
        handle.result(WAIT_S)
    del handle
    deadline = time.monotonic() + WAIT_S
    while any(reference() for reference in kept[:-1]):
        gc.collect()
        assert time.monotonic() < deadline


def test_closed_loops_are_forgotten(bench: Bench) -> None:
    """A kit that is used by many short-lived loops does not keep them."""
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await bench.kit.execute(bench.sum())

    for _ in range(5):
        asyncio.run(main())
    gc.collect()
    assert sum(reference() is not None for reference in loops) <= 1


# --- the end of a kit ----------------------------------------------------------------------


@pytest.mark.parametrize("on_disk", [False, True])
def test_closing_a_kit_ends_its_runs_with_a_clear_error(tmp_path: Path, on_disk: bool) -> None:
    """What is under way cannot be recorded any more: no further step runs, and whoever waits is told why."""
    kit = ok.open(tmp_path / "runs.duckdb" if on_disk else None)
    bench = Bench(kit)
    handle = kit.start(bench.held())
    assert bench.entered.acquire(timeout=WAIT_S)
    kit.close()
    bench.gate.set()
    with pytest.raises(StoreClosedError, match="closed"):
        handle.result(WAIT_S)
    assert bench.calls == []
    assert handle.status == "failed"


@pytest.mark.parametrize("action", ["cancel", "resume", "step"])
def test_a_run_of_a_closed_kit_can_still_be_ended(action: str) -> None:
    """Cancelling it, or letting it on after a pause, does not leave anybody waiting."""
    kit = ok.open()
    bench = Bench(kit)
    handle = kit.start(bench.held())
    assert bench.entered.acquire(timeout=WAIT_S)
    if action != "cancel":
        handle.pause()
        bench.gate.set()
        while "hold" not in handle._job.results:
            time.sleep(0.001)
    kit.close()
    getattr(handle, action)()
    with pytest.raises(StoreClosedError):
        handle.result(WAIT_S)
    assert bench.calls == []


def test_a_closed_kit_starts_nothing() -> None:
    """The error comes before anything runs; closing twice is closing once."""
    kit = ok.open()
    bench = Bench(kit)
    workflow = bench.flow().add_step("note", {"text": "ran"}).build()
    kit.close()
    kit.close()
    for door in (kit.run, kit.start, lambda flow: asyncio.run(kit.execute(flow))):
        with pytest.raises(StoreClosedError):
            door(workflow)
    with pytest.raises(StoreClosedError):
        asyncio.run(kit.dispatch(Request("note", {"text": "ran"})))
    assert bench.calls == []


def test_two_kits_on_one_path(tmp_path: Path) -> None:
    """In one process, at the same time: each sees the runs of both."""
    path = tmp_path / "runs.duckdb"
    with ok.open(path) as one, ok.open(path) as two:
        for kit in (one, two, one):
            bench = Bench(kit)
            assert kit.run(bench.sum()).success
        for kit in (one, two):
            assert kit.store.query("SELECT count(*) FROM runs WHERE status = 'success'") == [(3,)]
    with ok.open(path) as kit:
        assert len(kit.sql("SELECT * FROM runs")) == 3


FORK = """
import os, sys
import orchkit as ok

@ok.method
async def add(x: int) -> int:
    return x + 1

kit = ok.open(sys.argv[1])
workflow = kit.workflow("w").add_step("add", {"x": 1}).build()
kit.run(workflow)
child = os.fork()
if child == 0:
    try:
        kit.run(workflow)
    except ok.ForkedStoreError as error:
        os.write(1, b"refused")
    os._exit(0)
os.waitpid(child, 0)
kit.run(workflow)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_is_told_to_open_its_own_kit(tmp_path: Path) -> None:
    """It can neither write into its parent's store nor spoil it."""
    path = tmp_path / "runs.duckdb"
    command = [sys.executable, "-c", FORK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "refused"
    with ok.open(path) as kit:
        assert kit.store.query("SELECT status, count(*) FROM runs GROUP BY status") == [("success", 2)]


SCRIPT = """
import asyncio, sys, threading, time
import orchkit as ok

@ok.method
async def add(x: int) -> int:
    return x + 1

@ok.method
def sleep_long() -> None:
    time.sleep(600)

@ok.method
async def wait_long() -> None:
    await asyncio.sleep(600)

kit = ok.open(sys.argv[1])
print(kit.run(kit.workflow("w").add_step("add", {"x": 1}).build()).outputs)
if sys.argv[2] == "busy":
    handles = [kit.start(kit.workflow("w").add_step(tool).build()) for tool in ("sleep_long", "wait_long")]
    while any(handle.status == "pending" for handle in handles):
        time.sleep(0.001)
"""


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_a_script_that_does_not_close_its_kit_ends(tmp_path: Path, how: str) -> None:
    """Promptly, with exit code 0 and nothing on stderr, also with runs under way; its records are there."""
    path = tmp_path / "runs.duckdb"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(path), how],
        capture_output=True,
        text=True,
        timeout=120,  # a fifth of what the runs would take
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'add': 2}\n", "")
    with ok.open(path) as kit:
        finished = kit.store.query("SELECT count(*) FROM runs WHERE status = 'success'")
    assert finished == [(1,)]
