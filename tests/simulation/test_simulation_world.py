"""The same seed is the same world: equal records, and the same luck for every policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orchkit as ok
from orchkit.simulation import (
    Bursts,
    Failures,
    FaultModel,
    Latency,
    Outages,
    SimulatedCall,
    Simulation,
    SlowDowns,
)
from orchkit.store import codec

if TYPE_CHECKING:
    import pandas as pd

BROKEN = [Latency(0.3, 0.8), Failures(0.2), Bursts(600, 120), SlowDowns([(0, 300)], 1.5, every=1_800)]
RETRY = {"policies": {"default": {"retry": {"max_attempts": 4, "delay": 2}, "timeout": 1.0, "breaker": 3}}}
REAL = ("pid", "host", "born")
"""Facts of the process that simulates."""


def policies(**parts: Any) -> dict[str, Any]:
    """These policies around every operation."""
    return {"policies": {"default": parts}}


def record(simulation: Simulation) -> list[tuple[Any, ...]]:
    """All events in order, without what differs between two simulations: ids and the process."""
    rows = simulation.kit.store.query(
        "SELECT ts, kind, run_id, step_id, attempt, payload FROM event ORDER BY seq"
    )
    numbers: dict[str, int] = {}
    return [
        (ts, kind, numbers.setdefault(run_id, len(numbers)), step_id, attempt, *_payload(payload, numbers))
        for ts, kind, run_id, step_id, attempt, payload in rows
    ]


def _payload(text: str, numbers: dict[str, int]) -> Iterable[Any]:
    for run_id, number in numbers.items():
        text = text.replace(run_id, f"run {number}")
    yield {name: value for name, value in codec.loads(text).items() if name not in REAL}


def attempts(simulation: Simulation) -> pd.DataFrame:
    """Status, begin and length of all attempts by run number, step and number."""
    return simulation.kit.sql("""
        SELECT CAST(e.payload ->> '$.simulated.number' AS BIGINT) AS run, a.step_id, a.attempt, a.status,
               a.error_type, epoch_us(a.started_at) AS began, a.duration_ms
        FROM attempts a JOIN events e ON e.run_id = a.run_id AND e.kind = 'run.started'
    """).set_index(["run", "step_id", "attempt"])


# --- the same seed -------------------------------------------------------------------------


@pytest.mark.parametrize("arrivals", ["regular", "poisson"])
def test_the_same_seed_gives_the_same_record(kit: ok.Kit, arrivals: Any) -> None:
    """All events are equal, in content, order and virtual time; only ids and the process differ."""
    flow = (
        kit.workflow("two")
        .add_step("fetch", {"n": 1}, step_id="fetch")
        .add_step("send", {"n": 2}, step_id="send", depends_on=["fetch"])
        .build()
    )
    one, two = (
        ok.simulate(
            flow, kit=kit, faults=BROKEN, policies=RETRY, runs=60, every=20, arrivals=arrivals, seed=5
        )
        for _ in range(2)
    )
    assert len(record(one)) > 60 * 6
    assert record(one) == record(two)
    other = ok.simulate(
        flow, kit=kit, faults=BROKEN, policies=RETRY, runs=60, every=20, arrivals=arrivals, seed=6
    )
    assert record(one) != record(other)


# --- another policy ------------------------------------------------------------------------

POLICIES = {
    "nothing": policies(),
    "retries": policies(retry={"strategy": "fixed", "delay": 1, "max_attempts": 5}),
    "jitter": policies(retry={"max_attempts": 3, "delay": 5}),
    "breaker": policies(breaker=2, retry={"max_attempts": 2}),
    "hedge": policies(hedge=0.4),
}


@pytest.mark.parametrize("name", POLICIES)
def test_the_kth_attempt_is_as_lucky_under_every_policy(
    kit: ok.Kit, one_step: ok.Workflow, name: str
) -> None:
    """Where failures depend on the call alone, each attempt that both policies make ends the same."""
    faults = [Latency(0.3, 0.8), Failures(0.4)]
    base = attempts(
        ok.simulate(
            one_step,
            kit=kit,
            faults=faults,
            runs=80,
            policies=policies(retry={"max_attempts": 6, "delay": 0.5}),
        )
    )
    other = attempts(ok.simulate(one_step, kit=kit, faults=faults, runs=80, policies=POLICIES[name]))
    both = base.join(other, how="inner", suffixes=("_base", ""))
    both = both[both.status != "cancelled"]  # by a hedge that was first
    assert len(both) >= 40
    assert (both.status == both.status_base).all()
    assert (both.duration_ms == both.duration_ms_base).all()


@pytest.mark.parametrize("name", POLICIES)
def test_outages_are_at_the_same_times_under_every_policy(
    kit: ok.Kit, one_step: ok.Workflow, name: str
) -> None:
    """What is down is down for whoever calls then: no attempt within an outage succeeds, all others do."""
    outages = Outages([(100, 300), (1_000, 60)])
    found = attempts(
        ok.simulate(one_step, kit=kit, faults=outages, runs=100, every=13, policies=POLICIES[name])
    )
    at = found.began / 1e6 - 1_735_689_600
    inside = at.between(100, 399.999) | at.between(1_000, 1_059.999)
    assert ((found.status == "failed") == inside).all()


def test_the_world_at_a_time_is_the_same_whoever_looks(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """Of a service that is up and down at random, two calls at the same time see the same."""
    seen = {}
    for chosen in POLICIES.values():
        simulation = ok.simulate(
            one_step, kit=kit, faults=Bursts(200, 100), runs=200, every=10, policies=chosen
        )
        found = attempts(simulation)
        for began, status in zip(found.began, found.status, strict=True):
            assert seen.setdefault(began, status) == status
    assert {"success", "failed"} <= set(seen.values())


def test_equal_policies_wait_equally_long_whatever_else_there_is(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """The jitter of the n-th wait of a step is the same with a breaker as without one."""
    waits = []
    for breaker in (None, {"failure_threshold": 4, "reset_timeout": 120}):
        retry = {"max_attempts": 4, "delay": 3, "multiplier": 3}
        simulation = ok.simulate(
            one_step,
            kit=kit,
            faults=Bursts(300, 200),
            runs=60,
            every=30,
            policies=policies(retry=retry, breaker=breaker),
        )
        waits.append(
            simulation.kit.sql("""
                SELECT CAST(e.payload ->> '$.simulated.number' AS BIGINT) AS run,
                       row_number() OVER (PARTITION BY d.run_id ORDER BY d.seq) AS number,
                       CAST(d.input_data ->> '$.delay_s' AS DOUBLE) AS delay_s
                FROM decision_traces d JOIN events e ON e.run_id = d.run_id AND e.kind = 'run.started'
                WHERE d.decision_point = 'retry' AND d.decision = 'retry'
            """).set_index(["run", "number"])
        )
    both = waits[0].join(waits[1], how="inner", suffixes=("_without", ""))
    assert len(both) > 30
    assert (both.delay_s == both.delay_s_without).all()


def test_calls_of_sub_workflows_and_items_have_luck_of_their_own(kit: ok.Kit) -> None:
    """Steps of one id below several steps, and the items of a map, are as many different calls."""
    seen: list[SimulatedCall] = []

    class Watching:
        def start(self, luck: Any) -> Any:
            return lambda call: (seen.append(call), Latency(0.1).start(luck)(call))[1]

    child = kit.workflow("child").add_step("send", step_id="send").build()
    flow = (
        kit.workflow("parent")
        .add_workflow(child, step_id="one")
        .add_workflow(child, step_id="two")
        .add_step("send", step_id="send")
        .add_map("send", [1, 2, 3], {"n": "${item}"}, step_id="each")
        .build()
    )
    ok.simulate(flow, kit=kit, faults=Watching(), runs=2)
    steps = {"one/send", "two/send", "send", "each[0]", "each[1]", "each[2]"}
    assert {(call.run, call.step) for call in seen} == {(run, step) for run in (0, 1) for step in steps}
    assert {call.attempt for call in seen} == {1}


MODELS: st.SearchStrategy[FaultModel] = st.one_of(
    st.builds(Failures, st.floats(0, 1)),
    st.builds(Latency, st.floats(0, 2), st.floats(0, 1)),
    st.builds(Bursts, st.floats(1, 600), st.floats(1, 600), st.floats(0, 1)),
    st.builds(Outages, st.just([(10.0, 100.0)]), rate=st.floats(0, 1)),
)


@settings(max_examples=20)
@given(models=st.lists(MODELS, max_size=3), name=st.sampled_from(sorted(POLICIES)), seed=st.integers(0, 9))
def test_first_attempts_are_the_same_under_every_policy(
    models: list[FaultModel], name: str, seed: int
) -> None:
    """The first call of a run is made at the same time and sees the same, whatever the world is like."""
    with ok.open() as kit:
        kit.registry.methods.register_method(_nothing, name="send", idempotent=True)
        flow = kit.workflow("one").add_step("send", step_id="send").build()
        one, other = (
            attempts(ok.simulate(flow, kit=kit, faults=models, runs=12, every=25, seed=seed, policies=chosen))
            for chosen in (POLICIES["nothing"], POLICIES[name])
        )
    firsts = one.join(other, how="inner", suffixes=("_one", "")).query(
        "attempt == 1 and status != 'cancelled'"
    )
    assert (firsts.began == firsts.began_one).all()
    assert (firsts.status == firsts.status_one).all()
    assert (firsts.duration_ms == firsts.duration_ms_one).all()


def _nothing() -> None:
    pytest.fail("it was called")
