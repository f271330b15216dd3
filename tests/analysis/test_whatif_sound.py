"""What another policy would have done lies within the bounds that the record gives: asked, then tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orchkit as ok
from orchkit.analysis import whatif
from orchkit.analysis.whatif.asked import as_policy
from orchkit.analysis.whatif.asking import Question, question
from orchkit.simulation import Bursts, Failures, FaultModel, Latency, Outages, Simulation, SlowDowns

ROUNDED_MS = 0.02
"""Times stand on record to the microsecond, and their sums are rounded."""
Policy = Mapping[str, Any]


class Busy(Exception):  # noqa: N818 - as services name it
    """An answer that asks to wait."""

    retry_after = 2.5


THREE = {"strategy": "fixed", "delay": 1, "jitter": "none", "max_attempts": 3}
IN_A_ROW = {"failure_threshold": 3, "reset_timeout": 60, "success_threshold": 1}
BY_RATE = {"failure_rate": 0.5, "window_size": 10, "minimum_calls": 5, "reset_timeout": 60}
POLICIES: Mapping[str, Policy] = {
    "nothing": {},
    "three": {"retry": THREE},
    "two": {"retry": {**THREE, "max_attempts": 2}},
    "unasked": {"retry": {**THREE, "retry_after": False}},
    "immediate": {"retry": {"strategy": "immediate", "max_attempts": 4}},
    "full jitter": {"retry": {"delay": 0.5, "max_attempts": 5, "jitter": "full"}},
    "equal jitter": {"retry": {"strategy": "linear", "delay": 0.5, "max_attempts": 3, "jitter": "equal"}},
    "decorrelated": {"retry": {"strategy": "fibonacci", "delay": 0.5, "jitter": "decorrelated"}},
    "custom": {"retry": {"strategy": "custom", "wait": (0.5, 2.0), "max_attempts": 3}},
    "in 4 s": {"retry": {"strategy": "linear", "jitter": "none", "max_attempts": 6, "max_elapsed": 4}},
    "gives up": {"retry": {**THREE, "give_up_on": ("TimeoutError", "timeout")}},
    "budget": {"retry": {**THREE, "budget": {"capacity": 20, "cost": 5}}},
    "refilled": {"retry": {**THREE, "budget": {"capacity": 10, "cost": 5, "refill": 0.05, "refund": "last"}}},
    "per attempt": {"timeout": 0.5, "retry": THREE},
    "in all": {"timeout": {"attempt": 0.5, "total": 2.5}, "retry": THREE},
    "total alone": {"timeout": {"total": 0.4}},
    "hedge": {"hedge": 0.4},
    "two hedges": {"hedge": {"delay": 0.2, "max_hedges": 2}, "retry": {**THREE, "max_attempts": 2}},
    "in a row": {"breaker": IN_A_ROW},
    "by rate": {"breaker": BY_RATE},
    "by slowness": {
        "breaker": {**BY_RATE, "window": "time", "slow_call_rate": 0.5, "slow_call_duration": 0.5}
    },
    "retried breaker": {"retry": THREE, "breaker": IN_A_ROW, "timeout": 2},
    "awaited breaker": {"retry": {"strategy": "circuit_breaker", "delay": 1}, "breaker": IN_A_ROW},
    "shared breaker": {"retry": THREE, "breaker": {**IN_A_ROW, "name": "both"}},
    "fallback": {"retry": THREE, "fallback": {"value": 1}},
    "gateway": ok.policies.gateway().model_dump(exclude_none=True, exclude={"pattern"}),
    "aws_standard": ok.policies.aws_standard().model_dump(exclude_none=True, exclude={"pattern"}),
}
RECORDED_ONLY: Mapping[str, Policy] = {
    "queued": {"retry": THREE, "bulkhead": {"max_concurrent": 1, "max_wait": 2}},
    "limited": {"retry": THREE, "rate_limit": {"limit": 1, "period": 2, "max_wait": 5}},
    "sabotaged": {"retry": THREE, "faults": {"rate": 0.2, "seed": 1}},
}
"""Policies that cannot be asked about."""
WORLDS: Mapping[str, Sequence[FaultModel]] = {
    "losses": [Latency(0.3, 0.8), Failures(0.3)],
    "bursts": [Latency(0.3, 0.8), Bursts(400, 100, error="TimeoutError")],
    "outages": [Latency(0.2, 0.5), Outages([(100, 100), (500, 60)], error="TimeoutError"), Failures(0.1)],
    "slow": [Latency(0.2, 0.5), SlowDowns([(100, 200)], 3.0), Failures(0.1, after=0.1)],
    "asking": [Latency(0.2, 0.5), Failures(0.3, error=Busy)],
}


async def send(n: int = 0) -> None:
    """Never called."""


async def other(n: int = 0) -> None:
    """Never called."""


KIT = ok.open()
KIT.registry.methods.register_method(send, idempotent=True)
KIT.registry.methods.register_method(other, idempotent=True)


def flows() -> Iterator[ok.Workflow]:
    """One step; a chain; steps side by side; items of a map; a compensation; a flow in a flow; a limit."""
    build = KIT.workflow
    yield build("one").add_step("send", step_id="a").build()
    yield (
        build("chain").add_step("send", step_id="a").add_step("other", step_id="b", depends_on=["a"]).build()
    )
    beside = build("beside").add_step("send", step_id="a").add_step("send", step_id="b")
    beside = beside.add_step("other", step_id="c", depends_on=["a"]).with_execution_mode("dag")
    yield beside.build()
    yield beside.with_error_handling("continue_on_failure").build().model_copy(update={"name": "steadfast"})
    mapped = build("map").add_map("send", [1, 2, 3, 4], {"n": "${item}"}, step_id="m", max_concurrency=2)
    yield mapped.add_step("send", step_id="z", depends_on=["m"]).build()
    undone = build("undone").add_step("send", step_id="a", compensate="other")
    yield undone.add_step("send", step_id="b", depends_on=["a"]).build()
    below = build("below").add_step("send", step_id="x").add_step("other", step_id="y", depends_on=["x"])
    nested = build("nested").add_step("send", step_id="a")
    yield nested.add_workflow(below.build(), step_id="w", depends_on=["a"]).build()
    limited = build("limited").add_step("send", step_id="a").add_step("send", step_id="b", depends_on=["a"])
    yield limited.with_timeout(4.0).build()


FLOWS = {flow.name: flow for flow in flows()}


@dataclass(frozen=True)
class World:
    """A flow in a world: everything but the policy."""

    flow: str
    faults: str
    runs: int = 18
    every: float = 7.0
    seed: int = 1

    def under(self, policy: Policy) -> Simulation:
        """What happens there under a policy."""
        return ok.simulate(
            FLOWS[self.flow],
            kit=KIT,
            policies={"policies": {"default": policy}},
            faults=WORLDS[self.faults],
            runs=self.runs,
            every=self.every,
            arrivals="poisson",
            seed=self.seed,
        )


CASES = """
WITH numbers AS (
    SELECT run_id, CAST(payload ->> '$.simulated.number' AS BIGINT) AS number FROM events
    WHERE kind = 'run.started'
), called AS (
    SELECT run_id, step_id, count(*) AS calls, bool_or(status = 'success') AS good FROM attempts GROUP BY ALL
)
SELECT run_id, n.number, s.step_id,
       -- what a fallback gave is no success of the call
       CASE WHEN s.status = 'success' AND NOT coalesce(c.good, FALSE) THEN 'failed' ELSE s.status END,
       coalesce(c.calls, 0) AS calls,
       coalesce(c.good, FALSE) AS good, s.duration_ms
FROM steps s JOIN numbers n USING (run_id) LEFT JOIN called c USING (run_id, step_id)
WHERE s.status <> 'skipped' AND s.node_type NOT IN ('map', 'workflow')
"""


@dataclass(frozen=True)
class Truth:
    """What became of a case; one that never began was cancelled before."""

    status: str = "never"
    calls: int = 0
    good: bool = False
    took_ms: float = 0.0


class Played:
    """What happened under a policy: its record to be asked, and what became of each case."""

    def __init__(self, simulation: Simulation) -> None:
        rows = [tuple(row) for row in simulation.kit.sql(CASES).itertuples(index=False)]
        self.numbers = {row[0]: row[1] for row in rows}
        self.truths = {(number, step_id): Truth(*rest) for _, number, step_id, *rest in rows}
        self._kit = simulation.kit

    @cached_property
    def question(self) -> Question:
        """Its record, read once, as `compare` does."""
        return question(self._kit, {"estimate": None})


@cache
def known(world: World, name: str) -> Played:
    """What happened under a policy of the table."""
    return Played(world.under({**POLICIES, **RECORDED_ONLY}[name]))


def pairs_of(answer: whatif.Replay, asked: Played, tried: Played) -> list[tuple[Any, Truth]]:
    """Every case of an answer, and what became of it when the policy was really there."""
    cases = answer.cases().itertuples(index=False)
    return [(case, tried.truths.get((asked.numbers[case.run_id], case.step_id), Truth())) for case in cases]


def outside(case: Any, truth: Truth) -> list[str]:
    """In what a case is not as the answer says."""
    allowed = {
        "success": truth.good,
        "failed": truth.status == "failed",
        "cancelled": truth.status in ("cancelled", "never"),
        "unknown": case.may_succeed or not truth.good,
    }
    early, late = case.latency_low_ms - ROUNDED_MS, case.latency_high_ms + ROUNDED_MS
    checks = {
        "status": allowed[case.status],
        "calls": case.calls_low <= truth.calls <= case.calls_high,
        "latency": early <= truth.took_ms <= late,
    }
    return [name for name, holds in checks.items() if not holds]


def check(asked: Played, policy: Policy, tried: Played) -> whatif.Replay:
    """Ask one record what a policy would have done, and compare with what it did, in each case and in sum."""
    answer = asked.question.replay(as_policy(policy))
    pairs = pairs_of(answer, asked, tried)
    wrong = [(outside(case, truth), case, truth) for case, truth in pairs if outside(case, truth)]
    assert not wrong, wrong[:3]
    took = [truth.took_ms for _, truth in pairs]
    sums = {
        "success": sum(truth.good for _, truth in pairs),
        "failed": sum(truth.status == "failed" for _, truth in pairs),
        "calls": sum(truth.calls for _, truth in pairs),
        **{f"p{share}_ms": float(np.quantile(took, share / 100)) for share in (50, 95, 99)},
    }
    found = answer.summary()
    for name, value in sums.items():
        assert found[f"{name}_low"] - ROUNDED_MS <= value <= found[f"{name}_high"] + ROUNDED_MS, name
    return answer


# --- the table -------------------------------------------------------------------------------

ON_RECORD = {"nothing": "losses", "three": "outages", "retried breaker": "bursts"}
FEW = ("nothing", "full jitter", "per attempt", "two hedges", "by slowness", "shared breaker", "aws_standard")


@pytest.mark.parametrize("asked", POLICIES)
@pytest.mark.parametrize("recorded", ON_RECORD)
def test_the_truth_lies_within_the_bounds(recorded: str, asked: str) -> None:
    """Whatever was around single calls, and whatever is asked: in each case and in sum."""
    world = World("one", ON_RECORD[recorded])
    check(known(world, recorded), POLICIES[asked], known(world, asked))


@pytest.mark.parametrize("asked", FEW)
@pytest.mark.parametrize("recorded", ["in all", "hedge", "full jitter"])
def test_limits_and_hedges_on_record(recorded: str, asked: str) -> None:
    """Calls that were cut off, or raced each other, tell less."""
    world = World("one", "slow")
    check(known(world, recorded), POLICIES[asked], known(world, asked))


@pytest.mark.parametrize("asked", ["nothing", "full jitter", "in a row"])
@pytest.mark.parametrize("recorded", RECORDED_ONLY)
def test_records_of_calls_that_had_to_wait_or_were_broken(recorded: str, asked: str) -> None:
    """Calls that stood in a queue, or had a fault injected, say less, and nothing wrong."""
    world = World("one", "losses", every=1.0)
    check(known(world, recorded), POLICIES[asked], known(world, asked))


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        ("three", "two"),
        ("two", "three"),
        ("nothing", "retried breaker"),
        ("retried breaker", "nothing"),
        ("in all", "shared breaker"),
        ("hedge", "per attempt"),
        ("fallback", "two"),
        ("three", "fallback"),
        ("queued", "three"),
        ("limited", "per attempt"),
    ],
)
@pytest.mark.parametrize("flow", [name for name in FLOWS if name != "one"])
def test_runs_of_several_steps_may_go_another_way(flow: str, recorded: str, asked: str) -> None:
    """A step that ends otherwise may end its run, or begin another step: the bounds know."""
    world = World(flow, "outages", runs=14)
    check(known(world, recorded), POLICIES[asked], known(world, asked))


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        ("three", "two"),
        ("three", "nothing"),
        ("three", "gives up"),
        ("three", "budget"),
        ("nothing", "total alone"),
        ("nothing", "in a row"),
        ("nothing", "by rate"),
        ("three", "retried breaker"),
        ("full jitter", "full jitter"),
        ("hedge", "hedge"),
        ("in all", "in all"),
        ("gateway", "gateway"),
        ("aws_standard", "aws_standard"),
    ],
)
def test_common_questions_have_exact_answers(recorded: str, asked: str) -> None:
    """Fewer attempts, shorter limits, a breaker around lone calls, the same once more: all is known."""
    world = World("one", "outages")
    answer = check(known(world, recorded), POLICIES[asked], known(world, asked))
    assert answer.summary().on_bounds == 0


@pytest.mark.parametrize("flow", ["beside", "map", "nested"])
def test_fewer_attempts_of_lone_steps_are_known_in_flows_that_go_on(flow: str) -> None:
    """What was not touched by the change is exactly what it was, also where runs have many steps."""
    world = World(flow, "losses", runs=25, every=60)
    answer = check(known(world, "three"), POLICIES["two"], known(world, "two"))
    assert answer.summary().on_bounds_share < 0.5


@pytest.mark.parametrize("flow", ["beside", "map", "undone", "limited"])
def test_an_estimate_is_possible(flow: str) -> None:
    """What is guessed lies within the bounds, in each case and in sum."""
    asked = replace(known(World(flow, "outages", runs=14), "retried breaker").question, estimate="nearby")
    answer = asked.replay(as_policy(POLICIES["full jitter"]))
    cases, found = answer.cases(), answer.summary()
    assert cases.calls_estimate.between(cases.calls_low, cases.calls_high).all()
    assert cases.latency_estimate_ms.between(cases.latency_low_ms, cases.latency_high_ms).all()
    assert ((cases.status == "unknown") | (cases.status == cases.status_estimate)).all()
    for name in ("success", "failed", "calls", "p50_ms", "p99_ms", "waited_ms"):
        assert found[f"{name}_low"] <= found[f"{name}_estimate"] <= found[f"{name}_high"], name


# --- policies nobody thought of ----------------------------------------------------------------


def policies() -> st.SearchStrategy[Policy]:
    """Retries, limits, hedges and breakers, each there or not."""
    retry = st.fixed_dictionaries(
        {
            "strategy": st.sampled_from(("immediate", "fixed", "linear", "exponential", "fibonacci")),
            "max_attempts": st.integers(1, 5),
            "delay": st.sampled_from((0.0, 0.2, 1.0, 3.0)),
        },
        optional={
            "jitter": st.sampled_from(("none", "full", "equal", "decorrelated")),
            "max_elapsed": st.sampled_from((1.0, 3.0, 8.0)),
            "budget": st.sampled_from(({"capacity": 10, "cost": 5}, {"capacity": 20, "refill": 0.1})),
        },
    ).map(lambda one: one if one["strategy"] != "immediate" else {**one, "jitter": "none"})
    breaker = st.one_of(
        st.fixed_dictionaries(
            {"failure_threshold": st.integers(1, 4), "reset_timeout": st.sampled_from((5, 30))}
        ),
        st.fixed_dictionaries(
            {
                "failure_rate": st.sampled_from((0.3, 0.6)),
                "window": st.sampled_from(("count", "time")),
                "window_size": st.sampled_from((5, 20)),
                "minimum_calls": st.sampled_from((2, 5)),
            }
        ),
    )
    timeout = st.sampled_from((0.3, 1.0, {"attempt": 0.5, "total": 2.0}, {"total": 3.0}))
    hedge = st.sampled_from((0.2, {"delay": 0.0}, {"delay": 0.3, "max_hedges": 2}))
    return st.fixed_dictionaries(
        {}, optional={"retry": retry, "timeout": timeout, "hedge": hedge, "breaker": breaker}
    )


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    recorded=policies(),
    asked=policies(),
    flow=st.sampled_from(sorted(FLOWS)),
    faults=st.sampled_from(sorted(WORLDS)),
    every=st.sampled_from((0.0, 0.5, 7.0)),
)
def test_any_policy_of_any_record(
    recorded: Policy, asked: Policy, flow: str, faults: str, every: float
) -> None:
    """Whatever the two policies, the flow and the world, also where runs overlap or begin at once."""
    world = World(flow, faults, runs=10, every=every)
    check(Played(world.under(recorded)), asked, Played(world.under(asked)))
