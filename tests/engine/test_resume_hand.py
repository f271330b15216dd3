"""Runs that somebody led by hand, and that were cut off: what was decided holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens on the loop of the run."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def calls(lab: Any) -> list[str]:
    """What the tool ``work`` was asked to do; it fails when it is told to."""
    made: list[str] = []

    async def work(name: str, amount: int = 1, fails: bool = False) -> int:
        made.append(f"{name} {amount}")
        if fails:
            raise ValueError("not like this")
        return amount

    lab.tool(work)
    return made


def flow(lab: Any) -> Any:
    """``a → b → c``; b refers to a with a default, c to nothing."""
    built = lab.flow(mode="sequential").add_step("work", {"name": "a"}, step_id="a")
    built.add_step("work", {"name": "b", "amount": "${steps.a ?? 7}"}, step_id="b")
    return built.add_step("work", {"name": "c"}, step_id="c").build()


def test_a_step_that_was_passed_over_stays_so(lab: Any, calls: list[str]) -> None:
    """Somebody did not want it to run: it does not when the run goes on, nor when all of it is tried anew."""
    handle = lab.engine.start(flow(lab), pause="before_each")
    until(lambda: handle.waiting == ("a",))
    handle.skip("a")
    until(lambda: handle.waiting == ("b",))
    handle.resume()
    done = handle.result(60)
    assert calls == ["b 7", "c 1"]
    for event, step_id in (("step.finished", "a"), ("attempt.started", "b"), ("step.finished", "b")):
        rest = lab.cut_after(event, step_id)
        calls.clear()
        result = rest.go_on(done.run_id)
        assert {s.step_id: (s.status, s.reason) for s in result.steps.values()} == {
            "a": ("skipped", "passed over by hand"),
            "b": ("success", None),
            "c": ("success", None),
        }
        assert calls == (["c 1"] if (event, step_id) == ("step.finished", "b") else ["b 7", "c 1"])
        again = rest.cut_after("run.resumed")
        calls.clear()
        assert again.go_on(done.run_id).outputs == done.outputs
        assert "a 1" not in calls


def test_it_stays_so_when_a_run_that_failed_is_tried_again(lab: Any, calls: list[str]) -> None:
    """The record and its views say so, too."""
    built = lab.flow(mode="sequential").add_step("work", {"name": "a"}, step_id="a")
    built.add_step("work", {"name": "b", "fails": True}, step_id="b")
    handle = lab.engine.start(built.build(), pause="before_each")
    until(lambda: handle.waiting == ("a",))
    handle.skip("a")
    handle.resume()
    run_id = handle.result(60).run_id
    for life in (2, 3):
        assert lab.resume(run_id).status == "failed"
        assert calls == ["b 1"] * life
        state = lab.states()[run_id]
        assert (state.steps["a"].status, state.steps["a"].reason) == ("skipped", "passed over by hand")
    rest = lab.cut_after("run.resumed", nth=3)  # the first one let the run go on that was paused
    assert rest.store.query("SELECT step_id, status FROM steps") == [("a", "skipped")]


def test_a_step_that_was_given_other_parameters_has_them_still(lab: Any, calls: list[str]) -> None:
    """It was cut off in it: it is not done with its own, which somebody had replaced."""
    handle = lab.engine.start(flow(lab), pause="before_each")
    until(lambda: handle.waiting == ("a",))
    handle.step({"amount": 5})
    until(lambda: handle.waiting == ("b",))
    handle.resume()
    done = handle.result(60)
    assert calls == ["a 5", "b 5", "c 1"]
    rest = lab.cut_after("attempt.started", "a")
    calls.clear()
    assert rest.go_on(done.run_id).outputs == done.outputs
    assert calls == ["a 5", "b 5", "c 1"]
    again = rest.cut_after("run.resumed")
    calls.clear()
    assert again.go_on(done.run_id).outputs == done.outputs
    assert calls == ["a 5", "b 5", "c 1"]


def test_attempts_before_a_retry_by_hand_are_forgiven(lab: Any, calls: list[str]) -> None:
    """The limit was fresh then, and the attempts before do not count after a crash either."""
    built = lab.flow()
    retry = {"max_attempts": 2, "delay": 0}
    built.add_step("work", {"name": "a", "fails": True}, step_id="a", retry=retry)
    handle = lab.engine.start(built.build(), break_on=["failure"])
    until(lambda: handle.held == ("a",))
    handle.retry("a")
    until(lambda: calls == ["a 1"] * 4 and handle.held == ("a",))
    handle.resume()
    run_id = handle.result(60).run_id
    rest = lab.cut_after("attempt.started", "a", 3)
    calls.clear()
    assert rest.go_on(run_id).status == "failed"
    assert calls == ["a 1"]  # the third was the first of two, the fourth is the second
    assert len(rest.attempts(run_id, "a")) == 4
