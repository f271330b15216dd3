"""A run in the hand: breakpoints, single steps, skipping, retrying with other parameters."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok

WAIT_S = 60.0


def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens on the loop of the run."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


class Bench:
    """Three steps in a row, the second of which fails while it is told to."""

    def __init__(self) -> None:
        self.kit = ok.open()
        self.calls: list[str] = []
        self.fails = 0
        for function in (self.first, self.second, self.third):
            self.kit.registry.methods.register_method(function, name=function.__name__)

    def first(self, x: int) -> int:
        self.calls.append(f"first {x}")
        ok.trace_decision("size", "small")
        return x

    def second(self, x: int) -> int:
        self.calls.append(f"second {x}")
        if self.fails > 0:
            self.fails -= 1
            raise ValueError("not like this")
        return x * 10

    def third(self, x: int) -> int:
        self.calls.append(f"third {x}")
        return -x

    def flow(self) -> ok.Workflow:
        return (
            self.kit.workflow("three")
            .add_step("first", {"x": 1})
            .add_step("second", {"x": "${steps.first}"})
            .add_step("third", {"x": "${steps.second ?? 0}"})
            .build()
        )

    def operator(self, run_id: str) -> list[tuple[str | None, str]]:
        """What somebody decided, in order."""
        return [
            (step_id, decision)
            for step_id, decision in self.kit.store.query(
                "SELECT step_id, decision FROM decision_traces "
                "WHERE run_id = ? AND decision_point = 'operator' ORDER BY seq",
                [run_id],
            )
        ]


@pytest.fixture
def bench() -> Iterator[Bench]:
    """The same, closed afterwards."""
    bench = Bench()
    with bench.kit:
        yield bench


def test_a_run_can_begin_paused(bench: Bench) -> None:
    """With ``pause="before_each"`` nothing starts by itself; each `step` lets one go, `resume` the rest."""
    handle = bench.kit.start(bench.flow(), pause="before_each")
    until(lambda: handle.waiting == ("first",))
    assert (handle.status, handle.paused_because, bench.calls) == ("paused", "before each step", [])
    handle.step()
    until(lambda: handle.waiting == ("second",))
    assert bench.calls == ["first 1"]
    handle.resume()
    assert handle.result(WAIT_S).outputs == {"first": 1, "second": 10, "third": -10}
    assert (handle.waiting, handle.paused_because) == ((), None)


def test_a_step_can_be_given_other_parameters(bench: Bench) -> None:
    """They take the place of its own, are what the record says it was given, and are a decision."""
    handle = bench.kit.start(bench.flow(), pause="before_each")
    until(lambda: handle.waiting == ("first",))
    handle.step({"x": 7})
    until(lambda: handle.waiting == ("second",))
    handle.resume()
    result = handle.result(WAIT_S)
    assert result.outputs["third"] == -70
    assert result.run.step("first").input == {"x": 7}
    assert bench.operator(result.run_id) == [("first", "edit")]


def test_a_waiting_step_can_be_passed_over(bench: Bench) -> None:
    """Its output is missing then: what refers to it with a default goes on without."""
    handle = bench.kit.start(bench.flow(), break_on=["step"])
    until(lambda: handle.waiting == ("first",))
    handle.step()
    until(lambda: handle.waiting == ("second",))
    handle.skip()
    until(lambda: handle.waiting == ("third",))
    handle.step()
    result = handle.result(WAIT_S)
    assert result.outputs == {"first": 1, "third": 0}
    assert (result.steps["second"].status, result.steps["second"].reason) == (
        "skipped",
        "passed over by hand",
    )
    assert bench.operator(result.run_id) == [("second", "skip")]


@pytest.mark.parametrize(
    ("act", "outputs", "operator"),
    [
        (lambda handle: handle.retry(), {"first": 1, "second": 10, "third": -10}, [("second", "retry")]),
        (
            lambda handle: handle.retry("second", {"x": 5}),
            {"first": 1, "second": 50, "third": -50},
            [("second", "edit"), ("second", "retry")],
        ),
        (lambda handle: handle.skip("second"), {"first": 1, "third": 0}, [("second", "skip")]),
        (lambda handle: handle.resume(), {"first": 1}, [(None, "accept")]),
        (lambda handle: handle.cancel(), {"first": 1}, []),
    ],
    ids=["retry", "retry with others", "skip", "accept", "cancel"],
)
def test_a_failure_is_held(
    bench: Bench, act: Callable[[ok.RunHandle], None], outputs: dict[str, int], operator: list[Any]
) -> None:
    """With ``break_on="failure"`` a failed step waits for somebody: nothing after it starts or is skipped."""
    bench.fails = 1
    handle = bench.kit.start(bench.flow(), break_on="failure")
    until(lambda: handle.held == ("second",))
    assert (handle.status, handle.paused_because) == ("paused", "step 'second' failed")
    assert not handle.done
    act(handle)
    result = handle.result(WAIT_S)
    assert result.outputs == outputs
    assert bench.operator(result.run_id) == operator
    steps = result.run.steps().set_index("step_id").status.to_dict()
    assert steps["second"] == (
        "skipped" if "skip" in str(operator) else "success" if "second" in outputs else "failed"
    )


def test_attempts_by_hand_are_numbered_on(bench: Bench) -> None:
    """A retried step has all its attempts on record, and its limit anew each time."""
    bench.fails = 3
    handle = bench.kit.start(bench.flow(), break_on="failure")
    for _ in range(3):
        until(lambda: handle.held == ("second",))
        handle.retry()
    result = handle.result(WAIT_S)
    assert result.success
    attempts = result.run.attempts().query("step_id == 'second'")
    assert attempts.attempt.tolist() == [1, 2, 3, 4]
    assert attempts.status.tolist() == ["failed", "failed", "failed", "success"]


def test_a_decision_can_be_a_breakpoint(bench: Bench) -> None:
    """When a decision of that point is made, nothing further starts; the step that made it ends."""
    handle = bench.kit.start(bench.flow(), break_on=["decision:size"])
    until(lambda: handle.waiting == ("second",))
    assert handle.paused_because == "decision 'size' was made"
    handle.resume()
    assert handle.result(WAIT_S).success


def test_a_pause_reaches_sub_workflows(bench: Bench) -> None:
    """Their steps wait at the same gate, and are led one by one like those of the run itself."""
    outer = bench.kit.workflow("outer").add_workflow(bench.flow(), step_id="inner").build()
    handle = bench.kit.start(outer, pause="before_each")
    seen = []
    for _ in range(4):
        until(lambda: handle.waiting and (not seen or handle.waiting != seen[-1]))
        seen.append(handle.waiting)
        handle.step()
    assert handle.result(WAIT_S).success
    assert seen == [("inner",), ("first",), ("second",), ("third",)]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"pause": "sometimes"}, "pause: unknown value 'sometimes'"),
        ({"break_on": ["step", "fail"]}, "break_on: unknown breakpoint 'fail'"),
        ({"break_on": 3}, "break_on"),
    ],
)
def test_what_means_nothing_is_named(bench: Bench, arguments: dict[str, Any], fault: str) -> None:
    """Before anything is run."""
    with pytest.raises(ok.ParameterError, match=fault):
        bench.kit.start(bench.flow(), **arguments)
    assert bench.calls == []


def test_nobody_could_lead_a_run_that_is_waited_for(bench: Bench) -> None:
    """`run` and `execute` refuse breakpoints and say where they belong."""
    with pytest.raises(ok.ParameterError, match="use start"):
        bench.kit.run(bench.flow(), pause="before_each")


def test_what_does_not_wait_cannot_be_led(bench: Bench) -> None:
    """Skipping or retrying something else is an error that names what waits; after the end, too."""
    handle = bench.kit.start(bench.flow(), pause="before_each")
    until(lambda: handle.waiting == ("first",))
    with pytest.raises(ok.ExecutionError, match="step 'third' does not wait here; there are first"):
        handle.skip("third")
    with pytest.raises(ok.ExecutionError, match="no step waits here"):
        handle.retry()
    handle.resume()
    handle.result(WAIT_S)
    with pytest.raises(ok.ExecutionError, match="is over"):
        handle.skip()


def test_what_led_to_a_pause_is_on_disk(tmp_path: Path) -> None:
    """While a run waits for people, another process sees that it began, what failed, and that it waits."""

    def broken() -> None:
        raise ValueError("not like this")

    with ok.open(tmp_path / "runs.duckdb") as kit:
        flow = kit.workflow("w").add_step(broken, step_id="a").build()

        def on_disk() -> list[str]:
            with closing(sqlite3.connect(tmp_path / "runs.duckdb-log")) as log:
                return [kind for (kind,) in log.execute("SELECT kind FROM event ORDER BY seq")]

        handle = kit.start(flow, pause="before_each", break_on=["failure"])
        until(lambda: "run.paused" in on_disk())
        handle.step()
        until(lambda: "attempt.finished" in on_disk())
        assert handle.held == ("a",)
        handle.cancel()
        handle.result(WAIT_S)
