"""Undoing what was done when a run fails: the last first, each on the record."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from orchkit.model.result import WorkflowResult


class Books:
    """Tools that do and undo; ``log`` has what happened, in order."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.log: list[str] = []
        self.entered = threading.Semaphore(0)
        for function in (self.book, self.unbook, self.cancel_by_id, self.fail, self.stick):
            lab.tool(function)

    async def book(self, name: str, seconds: float = 0) -> dict[str, str]:
        await self.lab.clock.sleep(seconds)
        self.log.append(f"book {name}")
        return {"id": f"id-{name}"}

    async def unbook(self, name: str, seconds: float = 0) -> str:
        self.log.append(f"unbook {name}")
        return name

    async def cancel_by_id(self, booking: str) -> None:
        self.log.append(f"cancel {booking}")

    async def fail(self, name: str = "", seconds: float = 0) -> Any:
        await self.lab.clock.sleep(seconds)
        raise ValueError(f"fail {name}")

    async def stick(self, name: str = "", seconds: float = 0) -> None:
        self.entered.release()
        await asyncio.get_running_loop().create_future()


@pytest.fixture
def books(lab: Any) -> Books:
    """The tools and their log."""
    return Books(lab)


def undone(lab: Any, result: WorkflowResult) -> dict[str, str]:
    """The status of each compensation, in the order in which they ended."""
    return {
        event.step_id: event.payload["status"]
        for event in lab.events(result.run_id, "step.finished")
        if event.payload["node_type"] == "compensation"
    }


def test_completed_steps_are_undone_the_last_completed_first(lab: Any, books: Books) -> None:
    """The order is that of completion, whatever the order of definition."""
    flow = lab.flow(mode="dag")
    for name, seconds in (("slow", 3), ("quick", 1), ("middle", 2)):
        flow.add_step("book", {"name": name, "seconds": seconds}, step_id=name, compensate="unbook")
    result = lab.execute(flow.add_step("fail", {"seconds": 5}))
    assert books.log == [
        "book quick",
        "book middle",
        "book slow",
        "unbook slow",
        "unbook middle",
        "unbook quick",
    ]
    assert undone(lab, result) == {
        "compensate:slow": "success",
        "compensate:middle": "success",
        "compensate:quick": "success",
    }
    assert [step for step, _, _ in lab.decisions(result.run_id, "compensation")] == [
        "slow",
        "middle",
        "quick",
    ]
    assert set(result.steps) == {"slow", "quick", "middle", "fail"}
    assert lab.events(result.run_id)[-1].kind == "run.finished"


def test_steps_that_completed_at_the_same_time_are_undone_backwards(lab: Any, books: Books) -> None:
    """The order does not depend on the resolution of the clock."""
    flow = lab.flow(mode="sequential")
    for name in "abcdef":
        flow.add_step("book", {"name": name}, step_id=name, compensate="unbook")
    lab.execute(flow.add_step("fail"))
    assert books.log[6:] == [f"unbook {name}" for name in "fedcba"]


def test_a_compensation_gets_the_parameters_of_its_step_or_its_own(lab: Any, books: Books) -> None:
    """By default what the step itself was given, references resolved; else references to any output."""
    flow = lab.flow(mode="sequential")
    flow.add_step("book", {"name": "${context.city}"}, step_id="hotel", compensate="unbook")
    undo = {"tool": "cancel_by_id", "params": {"booking": "${steps.flight.id}"}}
    flow.add_step("book", {"name": "flight"}, step_id="flight", compensate=undo)
    undo = {"tool": "cancel_by_id", "params": {"booking": "${steps.hotel.id} in ${context.city}"}}
    flow.add_step("book", {"name": "car"}, step_id="car", compensate=undo)
    lab.execute(flow.add_step("fail"), context={"city": "Lund"})
    assert books.log[3:] == ["cancel id-Lund in Lund", "cancel id-flight", "unbook Lund"]


def test_a_compensation_that_fails_does_not_stop_the_others(lab: Any, books: Books) -> None:
    """Its failure is on the record; so is one whose parameters do not resolve."""
    flow = lab.flow(mode="sequential")
    flow.add_step("book", {"name": "a"}, step_id="a", compensate="unbook")
    flow.add_step("book", {"name": "b"}, step_id="b", compensate="fail")
    undo = {"tool": "cancel_by_id", "params": {"booking": "${steps.fail.id}"}}
    flow.add_step("book", {"name": "c"}, step_id="c", compensate=undo)
    result = lab.execute(flow.add_step("fail"))
    assert undone(lab, result) == {
        "compensate:c": "failed",
        "compensate:b": "failed",
        "compensate:a": "success",
    }
    assert (result.status, result.error) == ("failed", "ValueError: fail ")


@pytest.mark.parametrize("status", ["success", "partial", "cancelled"])
def test_only_a_failed_run_is_undone(lab: Any, books: Books, status: str) -> None:
    """A run that succeeded, went on on purpose, or was cancelled keeps what it did."""
    flow = lab.flow(mode="sequential").add_step("book", {"name": "a"}, compensate="unbook")
    if status == "partial":
        flow.with_error_handling("continue_on_failure").add_step("fail")
    if status == "cancelled":
        handle = lab.engine.start(flow.add_step("stick").build())
        assert books.entered.acquire(timeout=60)
        handle.cancel()
        result = handle.result(10)
    else:
        result = lab.execute(flow)
    assert result.status == status
    assert books.log == ["book a"]
    assert undone(lab, result) == {}


def test_what_did_not_complete_is_not_undone(lab: Any, books: Books) -> None:
    """Not the step that failed, nor what was skipped or cancelled."""
    flow = lab.flow(mode="dag").add_step("fail", {"seconds": 1, "name": "x"}, compensate="unbook")
    flow.add_step("book", {"name": "later"}, step_id="later", depends_on="fail", compensate="unbook")
    flow.add_step("book", {"name": "slow", "seconds": 9}, step_id="slow", compensate="unbook")
    flow.add_step("book", {"name": "off"}, step_id="off", when="false", compensate="unbook")
    result = lab.execute(flow)
    assert books.log == []
    assert undone(lab, result) == {}


def test_a_run_that_overruns_is_undone(lab: Any, books: Books) -> None:
    """A timeout of the run is a failure of the run; undoing is not part of its time."""
    flow = lab.flow(mode="sequential").with_timeout(5)
    flow.add_step("book", {"name": "a"}, compensate="unbook").add_step("fail", {"seconds": 60})
    assert lab.execute(flow).status == "failed"
    assert books.log == ["book a", "unbook a"]


def test_a_map_is_undone_as_a_whole(lab: Any, books: Books) -> None:
    """Its compensation has parameters of its own and sees the list of outputs."""
    undo = {"tool": "cancel_by_id", "params": {"booking": "${steps.map[0].id} ${steps.map[1].id}"}}
    flow = lab.flow(mode="sequential").add_map(
        "book", ["a", "b"], {"name": "${item}"}, step_id="map", compensate=undo
    )
    lab.execute(flow.add_step("fail"))
    assert books.log == ["book a", "book b", "cancel id-a id-b"]


def test_a_sub_workflow_is_undone_by_itself_or_by_the_run_around_it(lab: Any, books: Books) -> None:
    """Its own failure undoes its own steps; a later failure undoes it as one step."""
    inner = lab.flow("inner", "sequential").add_step("book", {"name": "in"}, compensate="unbook")
    failing = lab.flow("failing", "sequential").add_step("book", {"name": "x"}, compensate="unbook")
    undo = {"tool": "cancel_by_id", "params": {"booking": "${steps.sub.book.id}"}}
    flow = lab.flow("outer", "sequential").add_workflow(inner.build(), step_id="sub", compensate=undo)
    lab.execute(flow.add_workflow(failing.add_step("fail").build()))
    assert books.log == ["book in", "book x", "unbook x", "cancel id-in"]


# --- cancelling the undoing ----------------------------------------------------------------


def two_to_undo(lab: Any) -> Any:
    """A run that fails after two steps, the last of which cannot be undone quickly."""
    flow = lab.flow(mode="sequential").add_step("book", {"name": "a"}, step_id="a", compensate="unbook")
    flow.add_step("book", {"name": "b"}, step_id="b", compensate="stick")
    return flow.add_step("fail").build()


def check_half_undone(lab: Any, books: Books, run_id: str, reason: str) -> None:
    """The stuck compensation was cancelled, the other one skipped, the run has failed."""
    assert books.log == ["book a", "book b"]
    ends = [e for e in lab.events(run_id, "step.finished") if e.payload["node_type"] == "compensation"]
    assert [(e.step_id, e.payload["status"], e.payload["reason"]) for e in ends] == [
        ("compensate:b", "cancelled", reason),
        ("compensate:a", "skipped", reason),
    ]
    last = lab.events(run_id)[-1]
    assert (last.kind, last.payload["status"], last.payload["error"]) == (
        "run.finished",
        "failed",
        "ValueError: fail ",
    )


def test_cancelling_a_handle_while_it_undoes(lab: Any, books: Books) -> None:
    """What is being undone is cancelled, the rest is left as it is, and the result still says failed."""
    handle = lab.engine.start(two_to_undo(lab))
    assert books.entered.acquire(timeout=60)
    handle.cancel("enough")
    result = handle.result(10)
    assert result.status == "failed"
    check_half_undone(lab, books, result.run_id, "enough")


def test_cancelling_the_task_while_it_undoes(lab: Any, books: Books) -> None:
    """The same, and CancelledError goes on to the caller."""

    async def main() -> None:
        task = asyncio.ensure_future(lab.engine.execute(two_to_undo(lab)))
        await asyncio.to_thread(books.entered.acquire, timeout=60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    run_id = lab.events()[0].run_id
    check_half_undone(lab, books, run_id, "the awaiting task was cancelled")
