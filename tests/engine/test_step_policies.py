"""Policies at work in runs: around steps, items of maps and operations, and what the record says of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import BreakerOpenError
from orchkit.model.policy import OperationPolicy
from orchkit.testing import FakeClock


class Flaky:
    """Fails as long as told, then succeeds."""

    def __init__(self) -> None:
        self.failures, self.calls = 0, 0

    async def __call__(self, n: int = 0) -> int:
        self.calls += 1
        if self.failures > 0:
            self.failures -= 1
            raise ConnectionError("down")
        return n


@pytest.fixture
def flaky(lab: Any) -> Flaky:
    """A tool ``flaky``, and one ``cached`` that takes the same parameters."""
    function = Flaky()

    async def flaky(n: int = 0) -> int:
        return await function(n)

    def cached(n: int = 0, age: int = 9) -> str:
        return f"cached {n} of age {age}"

    lab.tool(flaky, idempotent=True)
    lab.tool(cached)
    return function


def test_a_breaker_is_shared_by_the_runs_of_a_kit(lab: Any, flaky: Flaky) -> None:
    """Opened by one run it rejects the next; the transition is an event of the run that caused it."""
    flaky.failures = 9
    flow = lab.flow().add_step("flaky", retry={"strategy": "immediate", "max_attempts": 3}, breaker=3).build()
    first, second = lab.execute(flow), lab.execute(flow)
    assert isinstance(second.steps["flaky"].exception, BreakerOpenError)
    assert (flaky.calls, second.steps["flaky"].attempts) == (3, 0)
    transitions = lab.events(None, "breaker.transition")
    assert [event.run_id for event in transitions] == [first.run_id]
    assert transitions[0].payload["name"] == "flaky"
    assert transitions[0].payload["causes"][0] == {
        "run_id": first.run_id,
        "step_id": "flaky",
        "attempt": 1,
    }
    assert lab.decisions(second.run_id, "breaker") == [("flaky", "breaker", "rejected")]


def test_breaker_transitions_can_be_asked_for_in_sql(lab: Any, flaky: Flaky) -> None:
    """One row each, with the attempts that caused it, beside the other views."""
    flaky.failures = 2
    retry = {"strategy": "circuit_breaker", "max_attempts": 5, "delay": 1}
    flow = lab.flow().add_step("flaky", retry=retry, breaker={"failure_threshold": 2, "success_threshold": 1})
    lab.execute(flow)
    rows = lab.store.query(
        "SELECT breaker, from_state, to_state, generation, manual, step_id, attempt, "
        "len(CAST(causes AS JSON[])), until IS NULL FROM breaker_transitions ORDER BY seq"
    )
    assert rows == [
        ("flaky", "closed", "open", 1, False, "flaky", 2, 2, False),
        ("flaky", "open", "half_open", 2, False, "flaky", 3, 1, False),
        ("flaky", "half_open", "closed", 3, False, "flaky", 3, 1, True),
    ]
    reason = lab.store.query("SELECT reason FROM breaker_transitions ORDER BY seq LIMIT 1")
    assert reason == [("2 failures in a row",)]


def test_a_fallback_makes_the_step_a_success(lab: Any, flaky: Flaky) -> None:
    """A tool gets the parameters of the step; the attempts stay failed and the decision says why it is so."""
    flaky.failures = 9
    flow = lab.flow().add_step("flaky", {"n": 4}, retry=2, fallback="cached")
    flow.add_step("flaky", {"n": 1}, step_id="next", depends_on="flaky", fallback={"value": -1})
    result = lab.execute(
        flow.add_step("flaky", step_id="own", fallback={"tool": "cached", "params": {"n": 7}})
    )
    outputs = {step_id: step.output for step_id, step in result.steps.items()}
    assert outputs == {"flaky": "cached 4 of age 9", "next": -1, "own": "cached 7 of age 9"}
    assert result.success
    assert lab.attempts(result.run_id, "flaky") == ["failed", "failed"]
    assert sorted(lab.decisions(result.run_id, "fallback")) == [
        (step_id, "fallback", "used") for step_id in ("flaky", "next", "own")
    ]


def test_items_of_a_map_share_a_bulkhead_and_a_rate(lab: Any) -> None:
    """Eight items, two at a time, four starts per second: three waves."""
    begun: list[float] = []

    async def work(n: int) -> int:
        begun.append(lab.clock.monotonic())
        await lab.clock.sleep(0.4)
        return n

    lab.tool(work)
    flow = lab.flow().add_map("work", list(range(8)), bulkhead=2, rate_limit={"limit": 4, "period": 1})
    result = lab.execute(flow)
    assert result.steps["work"].output == list(range(8))
    assert begun == [0, 0, 0.4, 0.4, 1, 1, 1.4, 1.4]


def test_the_policy_of_an_operation_holds_for_all_its_steps(make_lab: Any) -> None:
    """All parts in one YAML entry; a step goes its own way where it says so."""
    policies = ok.PolicyEngine.from_yaml(
        """
policies:
  flaky: {preset: gateway, retry: {delay: 5}, fallback: {value: 0}, bulkhead: 3, hooks: []}
"""
    )
    lab = make_lab(policies=policies.policies)
    function = Flaky()

    async def flaky() -> int:
        return await function()

    lab.tool(flaky)
    function.failures = 99
    flow = lab.flow().add_step("flaky").add_step("flaky", breaker=False, fallback={"value": 1}, retry=1)
    result = lab.execute(flow)
    assert (result.steps["flaky"].output, result.steps["flaky_2"].output) == (0, 1)
    assert function.calls == 4
    assert lab.clock.monotonic() == 10
    chosen = next(event.payload for event in lab.events(result.run_id, "decision"))
    assert chosen["input_data"]["retry"]["delay"] == 5
    assert chosen["input_data"]["breaker"]["failure_threshold"] == 3


def test_a_dispatched_operation_has_them_too(make_lab: Any) -> None:
    """A single operation is called through the same pipeline."""
    policy = OperationPolicy(pattern="flaky", fallback={"value": 5}, breaker=1)  # type: ignore[arg-type]
    lab = make_lab(policies=[policy])

    def flaky() -> int:
        raise OSError("no")

    lab.tool(flaky)
    assert [lab.dispatch("flaky").output for _ in range(2)] == [5, 5]
    assert lab.orchestrator.guards.breakers["flaky"].state == "open"


def test_only_what_is_declared_idempotent_is_hedged(make_lab: Any) -> None:
    """A policy for many operations hedges those that may be; for the others the record says why not."""
    lab = make_lab(policies=[OperationPolicy(pattern="default", hedge=1)])  # type: ignore[arg-type]
    calls: list[str] = []

    async def once() -> None:
        calls.append("once")
        await lab.clock.sleep(3)

    async def twice() -> None:
        calls.append("twice")
        await lab.clock.sleep(3)

    lab.tool(once)
    lab.tool(twice, idempotent=True)
    result = lab.execute(lab.flow(mode="sequential").add_step("once").add_step("twice"))
    assert calls == ["once", "twice", "twice"]
    assert lab.attempts(result.run_id, "twice") == ["success", "cancelled"]
    selected = [event.payload["input_data"] for event in lab.events(result.run_id, "decision")]
    assert "not declared idempotent" in selected[0]["warnings"][0]


def test_injected_faults_are_told_from_real_ones(lab: Any, flaky: Flaky) -> None:
    """The record of the attempt says so."""
    flaky.failures = 1
    flow = lab.flow().add_step("flaky").add_step("flaky", step_id="b", faults=1)
    lab.execute(flow.with_error_handling("continue_on_failure"))
    marked = {
        event.step_id: event.payload.get("injected", False) for event in lab.events(None, "attempt.finished")
    }
    assert marked == {"flaky": False, "b": True}


def test_equal_seeds_give_equal_records(make_lab: Any) -> None:
    """Faults, jitter and breakers: two kits with the same seed write down the same."""

    def story() -> list[Any]:
        lab = make_lab()

        async def work(n: int) -> int:
            return n

        lab.tool(work)
        policies = {
            "faults": {"rate": 0.6, "latency": (0, 3), "seed": 5},
            "retry": {"max_attempts": 4, "budget": 40},
            "breaker": {"failure_rate": 0.5, "window_size": 10, "minimum_calls": 5, "reset_timeout": 2},
            "timeout": 2.5,
            "fallback": {"value": -1},
        }
        result = lab.execute(lab.flow().add_map("work", list(range(25)), max_concurrency=5, **policies))
        return [
            (event.ts, event.kind, event.step_id, event.attempt, _without_ids(event.payload))
            for event in lab.events(result.run_id)
            if event.kind.startswith(("attempt", "breaker", "decision", "step"))
        ]

    first = story()
    assert first == story()
    assert {kind for _, kind, *_ in first} >= {"attempt.finished", "breaker.transition", "decision"}


def _without_ids(payload: Any) -> Any:
    """The same without what is made anew in each run."""
    if isinstance(payload, dict):
        return {name: _without_ids(value) for name, value in payload.items() if name != "run_id"}
    return [_without_ids(value) for value in payload] if isinstance(payload, list) else payload


def test_cancelling_during_an_hour_of_backoff_returns_at_once() -> None:
    """In real time: the hour is not waited for, and the run is on the record as cancelled."""

    async def fails() -> None:
        raise OSError("no")

    with ok.open() as kit:
        kit.registry.methods.register_method(fails)
        retry = {"strategy": "fixed", "delay": 3600, "max_delay": 3600}
        flow = kit.workflow("w").add_step("fails", retry=retry).build()

        async def scenario() -> float:
            handle = kit.start(flow)
            asked = "SELECT 1 FROM decision_traces WHERE decision_point = 'retry' AND run_id = ?"
            while not kit.store.query(asked, [handle.run_id]):  # noqa: ASYNC110 - the run is on another thread's loop
                await asyncio.sleep(0.01)
            begin = time.perf_counter()
            handle.cancel("enough")
            result = await handle
            took = time.perf_counter() - begin
            assert result.status == "cancelled"
            return took

        # A machine that is busy with something else may be late, but not each of ten times.
        assert any(asyncio.run(scenario()) < 0.1 for _ in range(10))


@pytest.mark.parametrize("waiting", [{"bulkhead": {"name": "b", "max_concurrent": 1}}, {"rate_limit": "1/h"}])
def test_cancelling_during_any_other_wait_returns_too(lab: Any, waiting: Any) -> None:
    """In the queue of a bulkhead, or before its turn: nothing is begun, and the place is free again."""

    async def work() -> None:
        await lab.clock.sleep(1000)

    lab.tool(work)
    flow = lab.flow().add_step("work", step_id="a", **waiting).add_step("work", step_id="b", **waiting)

    async def scenario() -> Any:
        task = asyncio.ensure_future(lab.aexecute(flow.with_timeout(50)))
        return await task

    result = asyncio.run(scenario())
    assert result.status == "failed"
    assert lab.attempts(result.run_id, "b") == []
    assert lab.clock.monotonic() == 50
    bulkheads = lab.orchestrator.guards.bulkheads
    assert all(one.running == one.waiting == 0 for one in bulkheads.values())


def test_a_kit_remembers_its_breakers(tmp_path: Any) -> None:
    """A new process on the same store finds a breaker as it was left."""
    clock = FakeClock()
    calls = []

    async def fails() -> None:
        calls.append(1)
        raise OSError("no")

    for expected in (1, 1):
        with ok.open(tmp_path / "runs.duckdb", clock=clock) as kit:
            kit.registry.methods.register_method(fails)
            flow = kit.workflow("w").add_step("fails", breaker=1).build()
            asyncio.run(kit.execute(flow))
            assert len(calls) == expected
