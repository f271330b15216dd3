"""Attempts, retries and limits of steps and runs, under virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import StoreFullError, TimeoutExceededError
from orchkit.model.policy import RetryPolicy, TimeoutPolicy
from orchkit.model.result import WorkflowResult

ERRORS: dict[str, Any] = {
    "OSError": OSError,
    "TimeoutError": TimeoutError,
    "StoreFullError": StoreFullError,
}
TWICE = RetryPolicy(strategy="fixed", delay=2, max_attempts=2, jitter="none")


class Stuck:
    """A sync function that does not come back until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.left = threading.Semaphore(0)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        call = self.calls
        self.entered.release()
        self.gate.wait(10)
        ok.trace_decision("late", f"call {call}")
        self.left.release()
        return f"late result of call {call}"


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """It is let go at the end, so that no thread is left behind."""
    function = Stuck()
    yield function
    function.gate.set()


@pytest.fixture
def tools(lab: Any, stuck: Stuck) -> Callable[..., Any]:
    """``nap`` sleeps, ``flaky`` fails as often as told, ``stick`` is stuck in its thread the first time."""
    failures = {"left": 0}

    async def nap(seconds: float) -> float:
        await lab.clock.sleep(seconds)
        return seconds

    async def flaky(failures_left: int = 0, error: str = "OSError", seconds: float = 0) -> int:
        await lab.clock.sleep(seconds)
        failures["left"] += 1
        if failures["left"] <= failures_left:
            raise {"OSError": OSError, "TimeoutError": TimeoutError, "StoreFullError": StoreFullError}[error](
                "no"
            )
        return failures["left"]

    def stick() -> str:
        if stuck.calls:
            return "prompt"
        return stuck()

    for function in (nap, flaky, stick):
        lab.tool(function)
    return failures  # type: ignore[return-value]


def execute_and_advance(lab: Any, flow: Any, stuck: Stuck, seconds: float) -> WorkflowResult:
    """Execute; once the sync function is in its thread, let so much time pass."""

    async def main() -> WorkflowResult:
        task = asyncio.ensure_future(lab.aexecute(flow))
        assert await asyncio.to_thread(stuck.entered.acquire, timeout=60)
        lab.clock.advance(seconds)
        result: WorkflowResult = await task
        return result

    return asyncio.run(main())


# --- async steps ---------------------------------------------------------------------------


def test_an_async_step_that_overruns_fails_with_a_timeout(lab: Any, tools: Any) -> None:
    """Its attempt is a timeout, the step has failed, and the error names limit and scope."""
    result = lab.execute(lab.flow().add_step("nap", {"seconds": 60}, timeout=5))
    step = result.steps["nap"]
    assert (result.status, step.status) == ("failed", "failed")
    assert step.error == "TimeoutExceededError: attempt exceeded its timeout of 5 s"
    assert isinstance(step.exception, TimeoutExceededError)
    assert lab.attempts(result.run_id, "nap") == ["timeout"]
    assert lab.clock.monotonic() == 5


def test_the_limits_of_a_definition_survive_its_text(lab: Any, tools: Any) -> None:
    """A workflow read from JSON has the same limits and retries."""
    flow = lab.flow().add_step("nap", {"seconds": 60}, timeout=TimeoutPolicy(attempt=5, total=9), retry=TWICE)
    workflow = ok.Workflow.from_json(flow.build().to_json())
    result = lab.execute(workflow)
    assert lab.attempts(result.run_id, "nap") == ["timeout", "timeout"]
    assert lab.clock.monotonic() == 9


@pytest.mark.parametrize("mode", ["sequential", "dag", "parallel"])
@pytest.mark.parametrize(
    ("handling", "status", "other"),
    [("stop_on_failure", "failed", "skipped"), ("continue_on_failure", "partial", "success")],
)
def test_a_run_goes_on_after_a_timeout_as_its_policy_says(
    lab: Any, tools: Any, mode: Any, handling: Any, status: str, other: str
) -> None:
    """A timeout is a failure like any other: it stops the run or not, in every mode."""
    flow = lab.flow(mode=mode).with_error_handling(handling)
    flow.add_step("nap", {"seconds": 60}, step_id="a", timeout=5)
    flow.add_step("nap", {"seconds": 20}, step_id="b")
    result = lab.execute(flow)
    if mode != "sequential" and other == "skipped":
        other = "cancelled"  # it was running
    assert (result.status, result.steps["a"].status, result.steps["b"].status) == (status, "failed", other)


def test_a_timeout_is_retried(lab: Any, tools: Any) -> None:
    """The retry policy sees it as TimeoutError; each attempt is on the record."""
    retry = RetryPolicy(strategy="fixed", delay=1, max_attempts=3, jitter="none", retry_on=("TimeoutError",))
    result = lab.execute(lab.flow().add_step("nap", {"seconds": 60}, timeout=5, retry=retry))
    assert lab.attempts(result.run_id, "nap") == ["timeout"] * 3
    assert result.steps["nap"].attempts == 3
    assert lab.clock.monotonic() == 17
    assert lab.decisions(result.run_id, "retry") == [
        ("nap", "retry", "retry"),
        ("nap", "retry", "retry"),
        ("nap", "retry", "give_up"),
    ]


def test_a_timeout_that_is_not_among_the_retried_errors_ends_the_step(lab: Any, tools: Any) -> None:
    """Giving up names the rule."""
    retry = RetryPolicy(max_attempts=3, retry_on=("OSError",), give_up_on=("KeyError",))
    # TimeoutError is an OSError in Python, so that a timeout is retried by this policy …
    result = lab.execute(lab.flow().add_step("nap", {"seconds": 60}, timeout=5, retry=retry))
    assert result.steps["nap"].attempts == 3
    # … and not by this one.
    retry = RetryPolicy(max_attempts=3, retry_on=("OSError",), give_up_on=("TimeoutError",))
    result = lab.execute(lab.flow().add_step("nap", {"seconds": 60}, timeout=5, retry=retry))
    assert result.steps["nap"].attempts == 1


def test_a_timeout_error_of_the_step_itself_is_a_failure(lab: Any, tools: Any) -> None:
    """Only our limit makes an attempt a ``timeout``."""
    flow = lab.flow().add_step("flaky", {"failures_left": 1, "error": "TimeoutError"}, timeout=5, retry=TWICE)
    result = lab.execute(flow)
    assert result.success
    assert lab.attempts(result.run_id, "flaky") == ["failed", "success"]


def test_a_full_store_is_not_a_reason_to_try_again(lab: Any, tools: Any) -> None:
    """A StoreError inside a step ends it at once: a repeated effect would have no record."""
    flow = lab.flow().add_step("flaky", {"failures_left": 1, "error": "StoreFullError"}, retry=9)
    result = lab.execute(flow)
    assert lab.attempts(result.run_id, "flaky") == ["failed"]
    assert result.steps["flaky"].status == "failed"


def test_the_total_timeout_holds_for_all_attempts_and_waits(lab: Any, tools: Any) -> None:
    """It cuts the attempt that is running, and says on the record which one that was."""
    retry = RetryPolicy(strategy="immediate", max_attempts=99)
    params = {"failures_left": 99, "seconds": 3}
    result = lab.execute(lab.flow().add_step("flaky", params, retry=retry, timeout={"total": 8}))
    assert lab.attempts(result.run_id, "flaky") == ["failed", "failed", "timeout"]
    assert result.steps["flaky"].error == "TimeoutExceededError: total exceeded its timeout of 8 s"
    assert lab.decisions(result.run_id, "timeout") == [("flaky", "timeout", "stop")]


def test_the_waits_of_a_retry_are_those_of_the_policy(lab: Any, tools: Any) -> None:
    """Two failures of an exponential policy without jitter wait one and two seconds."""
    retry = RetryPolicy(strategy="exponential", delay=1, max_attempts=3, jitter="none")
    result = lab.execute(lab.flow().add_step("flaky", {"failures_left": 2}, retry=retry))
    assert result.outputs == {"flaky": 3}
    assert [pause for pause in lab.clock.sleeps if pause] == [1, 2]
    assert result.steps["flaky"].duration_ms == 3000


def test_other_steps_run_while_one_waits_for_its_retry(lab: Any, tools: Any) -> None:
    """A backoff blocks nobody."""
    retry = RetryPolicy(strategy="fixed", delay=50, max_delay=50, max_attempts=2, jitter="none")
    flow = lab.flow(mode="parallel").add_step("flaky", {"failures_left": 1}, retry=retry)
    result = lab.execute(flow.add_step("nap", {"seconds": 10}))
    assert result.success
    assert result.steps["nap"].duration_ms == 10_000
    assert lab.clock.monotonic() == 50


# --- sync steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sequential", "dag", "parallel"])
def test_a_sync_step_that_overruns_is_abandoned_and_retried(
    lab: Any, tools: Any, stuck: Stuck, mode: Any
) -> None:
    """The first call stays in its thread, the second one gives the output; the late result is dropped."""
    flow = lab.flow(mode=mode).add_step("stick", timeout=5, retry=TWICE)
    result = execute_and_advance(lab, flow, stuck, 6)
    assert result.outputs == {"stick": "prompt"}
    assert lab.attempts(result.run_id, "stick") == ["timeout", "success"]
    ends = lab.events(result.run_id, "attempt.finished")
    assert [end.payload.get("abandoned", False) for end in ends] == [True, False]
    stuck.gate.set()
    assert stuck.left.acquire(timeout=60)
    assert result.outputs == {"stick": "prompt"}


def test_what_an_abandoned_function_says_later_belongs_to_its_own_attempt(
    lab: Any, tools: Any, stuck: Stuck
) -> None:
    """A decision that it traces after the next attempt succeeded is on record under the first one."""
    result = execute_and_advance(lab, lab.flow().add_step("stick", timeout=5, retry=TWICE), stuck, 6)
    stuck.gate.set()
    assert stuck.left.acquire(timeout=60)
    lab.store.commit()
    (late,) = [e for e in lab.events(result.run_id, "decision") if e.payload["point"] == "late"]
    assert (late.step_id, late.attempt, late.payload["decision"]) == ("stick", 1, "call 1")


@pytest.mark.parametrize(
    ("handling", "status"), [("stop_on_failure", "failed"), ("continue_on_failure", "partial")]
)
def test_a_run_goes_on_after_a_sync_step_was_given_up(
    lab: Any, tools: Any, stuck: Stuck, handling: Any, status: str
) -> None:
    """The thread that never comes back holds up neither the run nor the steps after it."""
    flow = lab.flow(mode="sequential").with_error_handling(handling)
    flow.add_step("nap", {"seconds": 0}, step_id="first").add_step("stick", timeout=5)
    flow.add_step("nap", {"seconds": 1}, step_id="last")
    result = execute_and_advance(lab, flow, stuck, 6)
    assert result.status == status
    assert result.steps["stick"].error == "TimeoutExceededError: attempt exceeded its timeout of 5 s"
    assert result.steps["last"].status == ("success" if status == "partial" else "skipped")


def test_a_total_timeout_gives_up_a_sync_step(lab: Any, tools: Any, stuck: Stuck) -> None:
    """The attempt is an abandoned timeout."""
    flow = lab.flow().add_step("stick", timeout={"total": 5}, retry=9)
    result = execute_and_advance(lab, flow, stuck, 6)
    assert lab.attempts(result.run_id, "stick") == ["timeout"]
    (end,) = lab.events(result.run_id, "attempt.finished")
    assert end.payload["abandoned"] is True


def test_a_sync_step_inline_cannot_be_cut(lab: Any) -> None:
    """On the loop it runs to its end; the limit cannot be noticed before that."""

    def work() -> str:
        lab.clock.advance(60)
        return "done"

    lab.tool(work, executor="inline")
    result = lab.execute(lab.flow().add_step("work", timeout=5))
    assert result.outputs == {"work": "done"}


# --- runs ----------------------------------------------------------------------------------


def test_a_run_that_overruns_fails(lab: Any, tools: Any) -> None:
    """What runs is cancelled, what waits is skipped, both with the reason; the choice is on the record."""
    flow = lab.flow().with_timeout(7)
    flow.add_step("nap", {"seconds": 5}, step_id="a").add_step(
        "nap", {"seconds": 5}, step_id="b", depends_on="a"
    )
    flow.add_step("nap", {"seconds": 5}, step_id="c", depends_on="b")
    result = lab.execute(flow)
    reason = "the run exceeded its timeout of 7 s"
    assert (result.status, result.error) == ("failed", reason)
    assert {id_: (step.status, step.reason) for id_, step in result.steps.items()} == {
        "a": ("success", None),
        "b": ("cancelled", reason),
        "c": ("skipped", "step 'b', which it depends on, did not succeed"),
    }
    assert lab.decisions(result.run_id, "timeout") == [(None, "timeout", "stop")]
    assert lab.clock.monotonic() == 7


def test_a_run_that_overruns_does_not_wait_for_a_sync_step(lab: Any, tools: Any, stuck: Stuck) -> None:
    """Its thread is abandoned."""
    result = execute_and_advance(lab, lab.flow().with_timeout(7).add_step("stick"), stuck, 8)
    assert (result.status, result.steps["stick"].status) == ("failed", "cancelled")
    (end,) = lab.events(result.run_id, "attempt.finished")
    assert (end.payload["status"], end.payload["abandoned"]) == ("cancelled", True)


def test_a_run_that_ends_in_time_has_no_timeout(lab: Any, tools: Any) -> None:
    """The limit leaves no trace."""
    result = lab.execute(lab.flow().with_timeout(7).add_step("nap", {"seconds": 6}))
    assert result.success
    assert lab.decisions(result.run_id, "timeout") == []


@pytest.mark.parametrize(
    ("limits", "error", "child_status", "attempt"),
    [
        ((2, 20, 30), "TimeoutExceededError: attempt exceeded its timeout of 2 s", "failed", "timeout"),
        ((None, 5, 30), "the run exceeded its timeout of 5 s", "failed", "cancelled"),
        (
            (None, 20, 3),
            "the run above it was stopped: the run exceeded its timeout of 3 s",
            "cancelled",
            "cancelled",
        ),
    ],
)
def test_the_tightest_of_nested_limits_ends_the_work(
    lab: Any, tools: Any, limits: tuple[Any, float, float], error: str, child_status: str, attempt: str
) -> None:
    """Limits of a step in a sub-workflow, of the sub-workflow, and of the run around it, each in its turn."""
    of_step, of_child, of_run = limits
    inner = lab.flow("inner").with_timeout(of_child).add_step("nap", {"seconds": 60}, timeout=of_step).build()
    result = lab.execute(lab.flow("outer").with_timeout(of_run).add_workflow(inner, step_id="sub"))
    assert lab.clock.monotonic() == min(limit for limit in limits if limit)
    (child,) = [e for e in lab.events(None, "run.started") if e.payload["parent_run_id"] == result.run_id]
    (end,) = lab.events(child.run_id, "run.finished")
    assert (end.payload["status"], end.payload["error"]) == (child_status, error)
    assert lab.attempts(child.run_id, "nap") == [attempt]
    assert result.status == "failed"


def test_a_directive_overrides_the_limits_of_the_steps(lab: Any, tools: Any) -> None:
    """``ExecutionDirective(timeout=)`` holds for each operation of the run."""
    flow = lab.flow().add_step("nap", {"seconds": 4}, timeout=60)
    result = lab.execute(flow, directives=ok.ExecutionDirective(timeout=3))
    assert result.steps["nap"].error == "TimeoutExceededError: attempt exceeded its timeout of 3 s"
