"""A record that ends after any event, and after any event of the resumed run: what is done stays done."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

PAIRS = 15
"""How many pairs (cut off, and cut off again after having been resumed) are tried per mode."""


class World:
    """What the steps have done so far, by label; it survives every crash."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()

    def do(self, label: str) -> int:
        """Have an effect; how often it was had by now."""
        self.done[label] += 1
        return self.done[label]


def label_of(step_id: str, given: Any) -> str:
    """The label of a step; of a compensation, that of what it undoes."""
    return f"undo {given['label']}" if step_id.startswith("compensate:") else str(given["label"])


def labelled(lab: Any, kind: str) -> list[tuple[str, Any]]:
    """``(label, event)`` for the events of a kind, where the step has a label."""
    labels = {
        (event.run_id, event.step_id): label_of(event.step_id, event.payload["input"])
        for event in lab.events(None, "step.scheduled")
        if "label" in (event.payload["input"] or {})
    }
    events = ((labels.get((event.run_id, event.step_id)), event) for event in lab.events(None, kind))
    return [(label, event) for label, event in events if label is not None]


def begun(lab: Any) -> Counter[str]:
    """The effects at the end of a record: every attempt that had begun had its own, the worst that may be."""
    return Counter(label for label, _ in labelled(lab, "attempt.started"))


def over(lab: Any) -> set[str]:
    """The labels of the steps whose success or failure is on record."""
    ends = labelled(lab, "step.finished")
    return {label for label, event in ends if event.payload["status"] in ("success", "failed")}


def in_doubt(lab: Any) -> set[str]:
    """The labels of the steps whose last attempt had begun, and no more is known."""
    ends = {
        (label, event.attempt): event.payload["status"] for label, event in labelled(lab, "attempt.finished")
    }
    last = {label: event.attempt for label, event in labelled(lab, "attempt.started")}
    return {label for label, n in last.items() if ends.get((label, n), "success") == "success"} - over(lab)


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


@pytest.fixture(params=["dag", "sequential"])
def recorded(request: pytest.FixtureRequest, lab: Any, world: World) -> Any:
    """``(lab, result)`` of an undisturbed run with every kind of step."""

    async def on_loop(label: str, value: int = 0) -> int:
        await lab.clock.sleep(1)
        world.do(label)
        return value + 1

    def in_thread(label: str, value: int = 0) -> int:
        world.do(label)
        return value + 10

    async def flaky(label: str, failures: int) -> str:
        if world.do(label) <= failures:
            raise ConnectionError("not yet")
        return label

    async def broken(label: str) -> None:
        world.do(label)
        raise ValueError("broken")

    def undo(label: str, value: int = 0) -> None:
        world.do(f"undo {label}")

    for function in (on_loop, in_thread, flaky, broken, undo):
        lab.tool(function)
    result = lab.execute(_flow(lab, request.param), context={"n": 3})
    assert result.status == "partial"
    assert begun(lab) == world.done
    return lab, result


def _flow(lab: Any, mode: Any) -> Any:
    def label(name: str, **more: Any) -> dict[str, Any]:
        return {"label": name, **more}

    inmost = lab.flow("inmost").add_step("in_thread", label("x", value="${context.v}"), step_id="x")
    inner = lab.flow("inner").add_step("on_loop", label("a", value="${context.v}"), step_id="a")
    inner.add_workflow(inmost.build(), {"v": "${steps.a}"}, step_id="deep")
    inner.add_step("on_loop", label("b", value="${steps.deep.x}"), step_id="b")
    failing = lab.flow("failing")
    undo = {"tool": "undo", "params": label("done", value="${steps.too}")}
    failing.add_step("in_thread", label("done"), step_id="done", compensate=undo)
    failing.add_step("in_thread", label("done too"), step_id="too", compensate="undo")
    failing.add_step("broken", label("broken"), step_id="broken", depends_on=["done", "too"])
    flow = lab.flow("outer", mode).with_error_handling("continue_on_failure")
    flow.add_step("on_loop", label("first", value="${context.n}"), step_id="first")
    retry = {"max_attempts": 3, "delay": 1}
    flow.add_step("flaky", label("flaky", failures=2), step_id="flaky", retry=retry)
    each = label("item ${item}", value="${steps.first}")
    flow.add_map("in_thread", [1, 2, 3], each, step_id="map", max_concurrency=2)
    flow.add_step("on_loop", label("never"), step_id="never", when="${context.n} > 5")
    often = label("always", value="${steps.map[1]}")
    flow.add_step("on_loop", often, step_id="always", when="${context.n} < 5")
    flow.add_workflow(inner.build(), {"v": "${steps.always}"}, step_id="sub")
    flow.add_workflow(failing.build(), {}, step_id="failing")
    flow.add_step("on_loop", label("after", value="${steps.sub.b}"), step_id="after")
    return flow


def check(before: Any, after: Any, world: World, result: Any, undisturbed: Any) -> None:
    """What was over is not done again, what was not is done, and the record says what was in doubt."""
    had, total = begun(before), world.done
    assert result.outputs == undisturbed.outputs
    assert {s.step_id: s.status for s in result.steps.values()} == {
        s.step_id: s.status for s in undisturbed.steps.values()
    }
    assert {label for label in over(before) if total[label] != had[label]} == set()
    assert total == begun(after)
    news = after.events()[len(before.events()) :]
    doubts = {
        label_of(event.step_id, after.states()[event.run_id].steps[event.step_id].input)
        for event in news
        if event.kind == "decision" and event.payload["point"] == "resume" and event.step_id is not None
    }
    assert doubts == in_doubt(before)
    assert after.store.open_runs.all() == []
    assert {state.status for state in after.states().values()} <= {"success", "partial", "failed"}


def test_a_run_that_was_cut_off_anywhere_ends_as_if_it_had_not_been(recorded: Any, world: World) -> None:
    """After each event in turn: the same outputs and statuses, and nothing that was over done again."""
    lab, undisturbed = recorded
    once = Counter(world.done)
    for count in range(1, len(lab.events()) - 1):
        before, after = lab.cut(count), lab.cut(count)
        world.done = begun(before)
        result = after.go_on(undisturbed.run_id)
        check(before, after, world, result, undisturbed)
        more = {label: world.done[label] - n for label, n in once.items() if world.done[label] != n}
        # Where an attempt had failed, and that the step had failed with it is not on record: one more, too.
        unfinished = begun(before).keys() - over(before)
        assert all(n == 1 and label in unfinished for label, n in more.items()), (more, unfinished)
        before.store.close()
        after.store.close()


def test_a_run_that_is_cut_off_again_and_again_ends_all_the_same(recorded: Any, world: World) -> None:
    """Cut off, resumed, and the record of that cut off again: nothing that was over is ever done again."""
    lab, undisturbed = recorded
    rng = Random(5)
    for _ in range(PAIRS):
        current, known = lab, 0
        for _life in range(rng.choice((2, 2, 3))):
            last = min(known + 60, len(current.events()) - 1)
            known = rng.randrange(known + 1, last) if known + 1 < last else known
            before, current = current.cut(known), current.cut(known)
            world.done = begun(current)
            result = current.go_on(undisturbed.run_id)
            check(before, current, world, result, undisturbed)
