"""Random workflows against a model that decides one step after the other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchkit.engine.execution import Execution
from orchkit.engine.options import RunOptions
from orchkit.engine.plan import compile_plan
from orchkit.model.event import Event
from orchkit.model.result import WorkflowResult
from orchkit.model.state import fold
from orchkit.model.workflow import ErrorHandling, ExecutionMode, Workflow
from orchkit.testing import FakeClock


@dataclass(frozen=True)
class Plan:
    """One random step: what it depends on and how, and what becomes of it."""

    depends_on: tuple[int, ...]
    needs: tuple[int, ...]
    may_use: tuple[int, ...]
    wanted: bool
    fails: bool
    seconds: int
    in_thread: bool


@st.composite
def plans(draw: st.DrawFn) -> list[Plan]:
    """Up to eight steps, which depend on earlier ones: by order, by reference, by reference with default."""
    made: list[Plan] = []
    for index in range(draw(st.integers(1, 8))):
        earlier = st.lists(st.integers(0, index - 1), max_size=2, unique=True) if index else st.just([])
        made.append(
            Plan(
                tuple(draw(earlier)),
                tuple(draw(earlier)),
                tuple(draw(earlier)),
                draw(st.sampled_from([True, True, True, False])),
                draw(st.sampled_from([False, False, False, True])),
                draw(st.integers(0, 3)),
                draw(st.booleans()),
            )
        )
    return made


def build(lab: Any, steps: list[Plan], mode: ExecutionMode, handling: ErrorHandling) -> Workflow:
    """The workflow of random steps; in definition order, or turned around where the mode allows it."""
    flow = lab.flow(mode=mode).with_error_handling(handling)
    numbered = list(enumerate(steps))
    for index, step in numbered if mode == "sequential" else reversed(numbered):
        inputs = [f"${{steps.s{other}}}" for other in step.needs]
        inputs += [f"${{steps.s{other} ?? 0}}" for other in step.may_use]
        flow.add_step(
            "in_thread" if step.in_thread else "on_loop",
            {"inputs": inputs, "seconds": step.seconds, "fails": step.fails},
            step_id=f"s{index}",
            depends_on=[f"s{other}" for other in step.depends_on],
            when="${context.yes}" if step.wanted else "not ${context.yes}",
        )
    built: Workflow = flow.build()
    return built


def model(steps: list[Plan]) -> dict[str, str]:
    """The status of each step when nothing but its own predecessors can stop it."""
    state: list[str] = []
    for step in steps:
        needed = {*step.depends_on, *step.needs, *step.may_use}
        if any(state[other] in ("failed", "blocked") for other in needed):
            state.append("blocked")
        elif (
            any(state[other] == "passed over" for other in step.needs)
            or (
                step.depends_on
                and not step.needs
                and all(state[other] == "passed over" for other in step.depends_on)
            )
            or not step.wanted
        ):
            state.append("passed over")
        else:
            state.append("failed" if step.fails else "success")
    shown = {"blocked": "skipped", "passed over": "skipped"}
    return {f"s{index}": shown.get(status, status) for index, status in enumerate(state)}


def with_tools(lab: Any) -> Any:
    """A lab with the two tools of random steps."""

    async def on_loop(inputs: list[int], seconds: int, fails: bool) -> int:
        await lab.clock.sleep(seconds)
        if fails:
            raise ValueError("as planned")
        return sum(inputs) + 1

    def in_thread(inputs: list[int], seconds: int, fails: bool) -> int:
        if fails:
            raise ValueError("as planned")
        return sum(inputs) + 1

    lab.tool(on_loop)
    lab.tool(in_thread)
    return lab


def run(make_lab: Any, steps: list[Plan], mode: Any, handling: Any) -> tuple[Any, Workflow, WorkflowResult]:
    """Execute random steps in a lab of their own."""
    lab = with_tools(make_lab())
    workflow = build(lab, steps, mode, handling)
    result = lab.execute(workflow, context={"yes": True})
    lab.store.close()
    return lab, workflow, result


def check_events(lab: Any, workflow: Workflow, result: WorkflowResult) -> None:
    """The order in which a run is written down, whatever happens in it."""
    events: list[Event] = lab.events(result.run_id)
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    assert events[0].kind == "run.started"
    assert [index for index, event in enumerate(events) if event.kind == "run.finished"] == [len(events) - 1]
    nodes = compile_plan(workflow, lab.registry).nodes
    finished: set[str | None] = set()
    scheduled: set[str] = set()
    running: dict[str | None, int] = {}
    for event in events:
        if event.kind == "step.scheduled":
            assert event.step_id not in scheduled | finished
            assert set(nodes[event.step_id].after) <= finished
            scheduled.add(event.step_id)
        elif event.kind == "step.finished":
            assert event.step_id not in finished
            assert event.step_id not in running
            finished.add(event.step_id)
        elif event.kind == "attempt.started":
            assert event.step_id in scheduled - finished
            assert event.step_id not in running
            running[event.step_id] = event.attempt
        elif event.kind == "attempt.finished":
            assert running.pop(event.step_id) == event.attempt
    assert finished == set(nodes)
    assert not running


def check_fold(lab: Any, result: WorkflowResult) -> None:
    """The state folded from the events is what the run returned."""
    state = fold(lab.events(result.run_id))
    assert state.status == result.status
    assert {step_id: step.status for step_id, step in state.steps.items()} == {
        step_id: step.status for step_id, step in result.steps.items()
    }
    assert {id_: step.output for id_, step in state.steps.items() if step.output is not None} == {
        id_: output for id_, output in result.outputs.items() if output is not None
    }


quick = settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@quick
@given(plans(), st.sampled_from(["dag", "sequential"]))
def test_what_can_be_finished_is_finished(make_lab: Any, steps: list[Plan], mode: ExecutionMode) -> None:
    """With continue_on_failure the statuses are those of the model, in whatever order steps ended."""
    lab, workflow, result = run(make_lab, steps, mode, "continue_on_failure")
    expected = model(steps)
    assert {step_id: step.status for step_id, step in result.steps.items()} == expected
    found = set(expected.values())
    if "failed" in found:
        assert result.status == ("partial" if "success" in found else "failed")
    else:
        assert result.status == "success"
    check_events(lab, workflow, result)
    check_fold(lab, result)


@quick
@given(plans())
def test_a_sequence_stops_at_its_first_failure(make_lab: Any, steps: list[Plan]) -> None:
    """With stop_on_failure steps before the first failure are as in the model, those after it are skipped."""
    lab, workflow, result = run(make_lab, steps, "sequential", "stop_on_failure")
    expected = model(steps)
    failed = [step_id for step_id, status in expected.items() if status == "failed"]
    if failed:
        first = int(failed[0][1:])
        expected |= {f"s{later}": "skipped" for later in range(first + 1, len(steps))}
    assert {step_id: step.status for step_id, step in result.steps.items()} == expected
    assert result.status == ("failed" if failed else "success")
    check_events(lab, workflow, result)
    check_fold(lab, result)


@quick
@given(plans())
def test_a_graph_stops_at_once(make_lab: Any, steps: list[Plan]) -> None:
    """With stop_on_failure nothing runs that the model would not run, and nothing after the failure."""
    lab, workflow, result = run(make_lab, steps, "dag", "stop_on_failure")
    expected = model(steps)
    actual = {step_id: step.status for step_id, step in result.steps.items()}
    assert result.status == ("failed" if "failed" in expected.values() else "success")
    for step_id, status in actual.items():
        # What was stopped early may be cancelled or skipped; all else is as it would have been.
        assert status == expected[step_id] or status in ("cancelled", "skipped")
    events = lab.events(result.run_id)
    failure = next((e.seq for e in events if e.payload.get("status") == "failed"), None)
    later = [e.seq for e in lab.events(result.run_id, "attempt.started") if failure and e.seq > failure]
    assert not later
    check_events(lab, workflow, result)
    check_fold(lab, result)


ACTIONS = ("pause", "resume", "step", "cancel")


@quick
@given(
    plans(),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(ACTIONS)), max_size=8),
    st.sampled_from(["stop_on_failure", "continue_on_failure"]),
)
def test_whatever_is_done_to_a_run_it_ends_and_its_record_is_complete(
    make_lab: Any, steps: list[Plan], actions: list[tuple[int, str]], handling: ErrorHandling
) -> None:
    """Pausing, resuming, stepping and cancelling at any moment, in any order, also before the start."""
    lab = with_tools(make_lab())
    workflow = build(lab, steps, "dag", handling)

    async def main() -> WorkflowResult:
        options = RunOptions(context={"yes": True})
        execution = Execution(lab.orchestrator, lab.engine._compiled.get(workflow), options)
        task = asyncio.ensure_future(execution.run())
        for seconds, action in actions:
            await lab.clock.sleep(seconds) if seconds else await asyncio.sleep(0)
            if action == "cancel":
                execution.cancel("by chance")
            else:
                getattr(execution.gate, action)()
        execution.gate.resume()
        return await task

    result = lab.run(main())
    lab.store.close()
    expected = model(steps)
    if result.status == "cancelled":
        assert "cancel" in {action for _, action in actions}
        assert lab.decisions(result.run_id, "cancel") == [(None, "cancel", "cancel")]
    elif handling == "continue_on_failure":
        assert {step_id: step.status for step_id, step in result.steps.items()} == expected
    check_events(lab, workflow, result)
    check_fold(lab, result)


def test_three_hundred_runs_at_once_do_not_mix(make_lab: Any) -> None:
    """Runs on one engine share a loop and a store, and each is complete and in order on its own."""
    lab, rng = make_lab(), Random(5)

    async def add(x: int, seconds: float) -> int:
        await lab.clock.sleep(seconds)
        return x + 1

    lab.tool(add)
    flow = lab.flow().add_step("add", {"x": "${context.start}", "seconds": 1}, step_id="s0")
    for n in range(1, 5):
        seconds = f"${{context.pauses[{n}]}}"
        flow.add_step("add", {"x": f"${{steps.s{n - 1}}}", "seconds": seconds}, step_id=f"s{n}")
    workflow = flow.build()

    async def all_of_them() -> list[WorkflowResult]:
        contexts = [{"start": n, "pauses": [rng.random() for _ in range(5)]} for n in range(300)]
        return await asyncio.gather(*(lab.aexecute(workflow, context=context) for context in contexts))

    results = lab.run(all_of_them())
    assert [result.outputs["s4"] for result in results] == [n + 5 for n in range(300)]
    for result in results[::30]:
        check_events(lab, workflow, result)


def test_runs_that_are_cancelled_at_random_moments_from_another_thread(make_lab: Any) -> None:
    """A hundred runs in the background, with threads and nested runs: each ends, complete and in order."""
    lab, rng = with_tools(make_lab(clock=FakeClock(grace=0.0))), Random(9)

    def busy(seconds: float) -> None:
        time.sleep(seconds)

    async def idle(seconds: float) -> None:
        await asyncio.sleep(seconds)

    lab.tool(busy)
    lab.tool(idle)
    inner = lab.flow("inner").add_step("busy", {"seconds": 0.002}).build()
    flow = lab.flow().add_step("busy", {"seconds": 0.001}).add_step("idle", {"seconds": 0.002})
    flow.add_map("busy", [0.001] * 3, step_id="map", depends_on="idle").add_workflow(inner, depends_on="busy")
    workflow = flow.build()
    handles = [lab.engine.start(workflow) for _ in range(100)]
    for handle in handles:
        if rng.random() < 0.7:
            time.sleep(rng.random() * 0.004)
            handle.cancel()
    for handle in handles:
        result = handle.result(10)
        assert result.status in ("success", "cancelled")
        events = lab.events(result.run_id)
        scheduled = sorted(e.step_id for e in events if e.kind == "step.scheduled")
        ended = [e.step_id for e in events if e.kind == "step.finished"]
        assert len(ended) == len(set(ended))
        assert set(scheduled) <= set(ended)
        assert set(workflow_ids(workflow)) <= set(ended)
        begun = [(e.step_id, e.attempt) for e in events if e.kind == "attempt.started"]
        assert sorted(begun) == sorted((e.step_id, e.attempt) for e in events if e.kind == "attempt.finished")
        assert events[-1].kind == "run.finished"
    started = {e.run_id for e in lab.events(None, "run.started")}
    assert started == {e.run_id for e in lab.events(None, "run.finished")}


def workflow_ids(workflow: Workflow) -> list[str]:
    """The ids of its steps."""
    return [step.step_id for step in workflow.steps]
