"""Retry analytics of runs that the engine has really made, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.analysis import retries
from orchkit.testing import FakeClock

FIXED = {"strategy": "fixed", "delay": 2, "max_attempts": 3}


@pytest.fixture
def clock() -> FakeClock:
    """Virtual time."""
    return FakeClock()


def service(clock: FakeClock, failures: float) -> Callable[[], Any]:
    """A function that takes a second, fails so many times, and then works."""
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        await clock.sleep(1)
        if calls <= failures:
            raise ConnectionError("not yet")
        return "done"

    return call


@pytest.fixture
def kit(clock: FakeClock) -> Iterator[ok.Kit]:
    """A kit in memory with services that fail twice, always and never."""
    with ok.open(clock=clock, registry=ok.Registry()) as kit:
        for name, failures in (("twice", 2), ("always", float("inf")), ("never", 0)):
            kit.registry.methods.register_method(service(clock, failures), name=name)
        yield kit


def flow(kit: ok.Kit, **steps: dict[str, Any]) -> Any:
    """A workflow that goes on after failures: steps by tool, with their policies."""
    builder = kit.workflow("calls").with_error_handling("continue_on_failure")
    for tool, policies in steps.items():
        builder.add_step(tool, **policies)
    return builder.build()


def test_retries_of_the_engine_are_counted(kit: ok.Kit) -> None:
    """Rates, waste, waits and times are those that the policies and the services make."""
    kit.run(flow(kit, twice={"retry": FIXED}, always={"retry": FIXED}, never={"retry": FIXED}))
    rates = retries.success_rates(kit, by="tool").set_index("tool")
    assert rates.attempts.to_dict() == {"always": 3, "twice": 3, "never": 1}
    assert rates[["first_try", "rescued", "failed"]].to_dict("index") == {
        "always": {"first_try": 0, "rescued": 0, "failed": 1},
        "twice": {"first_try": 0, "rescued": 1, "failed": 0},
        "never": {"first_try": 1, "rescued": 0, "failed": 0},
    }
    (waste,) = retries.waste(kit).to_dict("records")
    assert (waste["error_type"], waste["calls"], waste["retries"]) == ("ConnectionError", 5, 3)
    assert (waste["in_vain"], waste["in_vain_ms"]) == (3, pytest.approx(3000))
    waits = retries.waits(kit)
    assert waits[["attempt", "basis", "waits"]].to_numpy().tolist() == [
        [1, "decision", 2],
        [2, "decision", 2],
    ]
    assert waits.p50_ms.tolist() == [2000, 2000]
    took = retries.time_to_success(kit).set_index("attempts").p50_ms
    assert took.to_dict() == {1: pytest.approx(1000), 3: pytest.approx(3 * 1000 + 2 * 2000)}


def test_a_single_operation_is_counted_under_its_name(kit: ok.Kit) -> None:
    """An operation that was dispatched alone is the only step of its run."""
    kit.policies.set_policy(ok.OperationPolicy(pattern="twice", retry=FIXED))
    response = asyncio.run(kit.dispatch(ok.Request("twice", {})))
    assert response.status == "success"
    rates = retries.success_rates(kit, by=["tool", "step"])
    assert rates[["tool", "step_id", "attempts", "rescued"]].to_numpy().tolist() == [["twice", "twice", 3, 1]]
    assert retries.waits(kit, by="tool").waits.tolist() == [2]


def test_injected_faults_are_told_from_real_ones(kit: ok.Kit) -> None:
    """The service never failed by itself: without what was injected, everything succeeded at once."""
    faults = {"rate": 0.5, "seed": 4}
    for _ in range(10):
        kit.run(flow(kit, never={"retry": {**FIXED, "max_attempts": 10}, "faults": faults}))
    whole = retries.success_rates(kit).iloc[0]
    left = retries.success_rates(kit, include_injected=False).iloc[0]
    assert whole.rescued > 0
    assert (left.first_try, left.rescued, left.attempts) == (10, 0, 10)
    assert retries.waste(kit).error_type.tolist() == ["InjectedFaultError"]
    assert len(retries.waste(kit, include_injected=False)) == 0


def test_a_breaker_that_opened_is_on_the_record(kit: ok.Kit) -> None:
    """It opened after two failures, rejected the third try, and was asked again when its time was over."""
    breaker = {"name": "calls", "failure_threshold": 2, "reset_timeout": 30, "success_threshold": 1}
    retry = {"strategy": "fixed", "delay": 10, "max_attempts": 8, "retry_on": ["Exception"]}
    result = kit.run(flow(kit, twice={"retry": retry, "breaker": breaker}))
    assert result.status == "success"
    (row,) = retries.breaker_open_time(kit).to_dict("records")
    assert (row["breaker"], row["state"], row["opened"], row["reopened"]) == ("calls", "closed", 1, 0)
    assert row["rejected"] > 0
    assert (row["steps_lost"], row["open_ms"]) == (0, row["longest_open_ms"])
    assert row["open_ms"] >= 30_000
    assert row["saved_ms_at_most"] == pytest.approx(row["rejected"] * 1000)
    assert row["late_ms_at_most"] == row["open_ms"]
    assert retries.breaker_periods(kit.last).state.tolist() == ["open", "half_open", "closed"]


def test_a_simulation_is_counted_where_it_is_alone_and_left_out_where_it_is_not(kit: ok.Kit) -> None:
    """Its own store has nothing else; in a store of real runs it counts when it is asked for."""
    calls = flow(kit, never={"retry": FIXED})
    kit.run(calls)
    simulation = ok.simulate(calls, kit=kit, outputs={"never": "done"}, runs=5, into=kit)
    assert retries.success_rates(simulation.kit).steps[0] == 5
    assert retries.success_rates(simulation.kit, origins=["live"]).steps[0] == 0
    assert retries.success_rates(kit).steps[0] == 1
    assert retries.success_rates(kit, origins=["simulated"]).steps[0] == 5


def test_one_run_is_named_in_many_ways(kit: ok.Kit) -> None:
    """A single id, run, result or origin is as good as a list; results and simulations can be asked."""
    kit.run(flow(kit, never={}))
    result = kit.run(flow(kit, twice={"retry": FIXED}))
    for runs in (result.run_id, result.run, result, [result.run_id], [result]):
        assert retries.success_rates(kit, runs=runs).attempts[0] == 3
    assert retries.success_rates(result).attempts[0] == 3
    assert retries.success_rates(kit, origins="live").attempts[0] == 4
    simulation = ok.simulate(flow(kit, never={}), kit=kit, outputs={"never": "done"}, runs=5)
    assert retries.success_rates(simulation).steps[0] == 5


def test_runs_that_are_not_there_are_told(kit: ok.Kit) -> None:
    """An id that the store does not have is an error that offers near ones; a wrong type says what fits."""
    run_id = kit.run(flow(kit, never={})).run_id
    with pytest.raises(ok.UnknownNameError, match=f"unknown run '{run_id}x'; did you mean '{run_id}'"):
        retries.success_rates(kit, runs=f"{run_id}x")
    with pytest.raises(ok.ParameterError, match=r"there is a int .*by its id"):
        retries.waste(kit, runs=7)  # type: ignore[arg-type]
    with pytest.raises(ok.ParameterError, match=r"is a str .*a simulation or a DataFrame"):
        retries.waste("run_1")  # type: ignore[arg-type]
