"""Capturing what a function traces, in a test that calls it outside any run."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

import orchkit as ok
from orchkit.testing import BundledEvidence, MemoryStore, ReportedProgress, TracedDecision, Traces, capture


def points(traces: Traces) -> list[str]:
    """The points of the captured decisions, in order."""
    return [decision.point for decision in traces.decisions]


def test_a_decision_is_captured_with_all_its_parts() -> None:
    """Every argument is found under its own name, values as the record would show them."""
    with capture() as traces:
        ok.trace_decision(
            "carrier",
            "rail",
            "by weight",
            alternatives=("road", "air"),
            input_data={"on": date(2025, 3, 1), "cost": Decimal("1.50")},
            output_data=[1, 2],
            duration_ms=3,
            evidence="evd_1",
        )
    assert traces.decisions == [
        TracedDecision(
            point="carrier",
            decision="rail",
            rationale="by weight",
            alternatives=["road", "air"],
            input_data={"on": "2025-03-01", "cost": "1.50"},
            output_data=[1, 2],
            duration_ms=3.0,
            evidence=("evd_1",),
        )
    ]


def test_what_is_not_given_is_none() -> None:
    """The shortest calls are captured too, and nothing is made up."""
    with capture() as traces:
        ok.trace_decision("p", "d")
        ok.bundle_evidence("t", None)
        ok.report_progress(0.5)
        ok.report_progress(message="half")
    assert traces.decisions == [TracedDecision("p", "d", None, None, None, None, None, ())]
    (bundle,) = traces.evidence
    assert (bundle.data, bundle.source, bundle.confidence_score, bundle.metadata) == (None, None, None, None)
    assert traces.progress == [ReportedProgress(0.5, None), ReportedProgress(None, "half")]
    assert repr(traces) == "<Traces: 1 decisions, 1 evidence, 2 progress>"


def test_evidence_is_captured_as_the_record_has_it(memory: MemoryStore) -> None:
    """Id, data, hash and the rest are those that the same call leaves on the record of a run."""

    def look() -> str:
        return ok.bundle_evidence(
            "letter", {"to": {"a"}, "n": 7}, source="L:1", confidence_score=1, metadata={"page": 2}
        )

    with capture() as traces:
        evidence_id = look()
    with ok.Kit(memory) as kit:
        kit.registry.methods.register_method(look)
        kit.run(kit.workflow("w").add_step("look").build()).raise_for_status()
        (recorded,) = memory.log_events("evidence")
    expected = BundledEvidence(
        evidence_id=evidence_id,
        type=recorded.payload["type"],
        data=recorded.payload["data"],
        source=recorded.payload["source"],
        confidence_score=recorded.payload["confidence_score"],
        metadata=recorded.payload["metadata"],
        content_hash=recorded.payload["hash"],
    )
    assert traces.evidence == [expected]


def test_the_one_decision_of_a_point() -> None:
    """`decision` gives it, and otherwise says what there was instead."""
    with capture() as traces:
        ok.trace_decision("carrier", "rail")
        ok.trace_decision("retry", "again")
        ok.trace_decision("retry", "give up")
    assert traces.decision("carrier").decision == "rail"
    with pytest.raises(AssertionError, match="2 decisions were traced at 'retry': 'again', 'give up'"):
        traces.decision("retry")
    with pytest.raises(AssertionError, match=r"at 'carier'; there were: 'carrier' \('rail'\), 'retry'"):
        traces.decision("carier")
    with pytest.raises(AssertionError, match="no decision was traced at 'x'; there were: none at all"):
        Traces().decision("x")


def test_an_unstorable_value_fails_as_in_a_run() -> None:
    """The error names the path of the culprit, and nothing is captured."""
    with capture() as traces:
        with pytest.raises(ok.CodecError, match=r"input_data\.lock"):
            ok.trace_decision("p", "d", input_data={"lock": threading.Lock()})
        with pytest.raises(ok.CodecError, match=r"data\[0\]"):
            ok.bundle_evidence("t", [threading.Lock()])
    assert (traces.decisions, traces.evidence) == ([], [])


def test_later_changes_do_not_reach_what_was_captured() -> None:
    """A value is kept as it was at the moment of the call."""
    rows: list[Any] = [1]
    with capture() as traces:
        ok.trace_decision("p", "d", input_data=rows)
        rows.append(2)
    assert traces.decision("p").input_data == [1]


def test_nothing_is_captured_outside_the_block() -> None:
    """Before and after, and after an exception, calls leave no trace."""
    kept: list[Traces] = []

    def fail_inside() -> None:
        with capture() as traces:
            kept.append(traces)
            ok.trace_decision("inside", "d")
            raise RuntimeError

    ok.trace_decision("before", "d")
    with pytest.raises(RuntimeError):
        fail_inside()
    ok.trace_decision("after", "d")
    assert points(kept[0]) == ["inside"]


def test_the_inner_of_two_captures_takes_them() -> None:
    """The outer one goes on where the inner one ends."""
    with capture() as outer:
        ok.trace_decision("a", "d")
        with capture() as inner:
            ok.trace_decision("b", "d")
        ok.trace_decision("c", "d")
    assert (points(outer), points(inner)) == (["a", "c"], ["b"])


def test_it_reaches_tasks_and_threads_that_carry_the_context() -> None:
    """Tasks, `to_thread` and copied contexts are captured; tasks beside the block are not."""

    async def trace(point: str) -> None:
        await asyncio.sleep(0)
        ok.trace_decision(point, "d")

    async def scene() -> Traces:
        beside = asyncio.create_task(trace("beside"))
        with capture() as traces:
            await asyncio.gather(trace("gather"), trace("gather"))
            await asyncio.to_thread(ok.trace_decision, "to_thread", "d")
            with ThreadPoolExecutor(1) as pool:
                context = contextvars.copy_context()
                pool.submit(context.run, ok.trace_decision, "pool", "d").result()
            await beside
        return traces

    assert points(asyncio.run(scene())) == ["gather", "gather", "to_thread", "pool"]


def test_captures_at_the_same_time_do_not_mix() -> None:
    """Each task has its own."""

    async def one(name: str) -> list[str]:
        with capture() as traces:
            for _ in range(3):
                await asyncio.sleep(0)
                ok.trace_decision(name, "d")
        return points(traces)

    async def scene() -> list[list[str]]:
        return await asyncio.gather(*(one(name) for name in "abc"))

    assert asyncio.run(scene()) == [[name] * 3 for name in "abc"]


def test_inside_a_step_a_capture_hides_what_it_takes_from_the_record(memory: MemoryStore) -> None:
    """What the step traces itself is recorded; what it does in the block is captured alone."""
    captured: list[str] = []

    def step() -> None:
        ok.trace_decision("recorded", "d")
        with capture() as traces:
            ok.trace_decision("captured", "d")
        captured.extend(points(traces))

    with ok.Kit(memory) as kit:
        kit.registry.methods.register_method(step)
        kit.run(kit.workflow("w").add_step("step").build()).raise_for_status()
        recorded = [
            e.payload["point"] for e in memory.log_events("decision") if e.payload["origin"] == "user"
        ]
    assert (captured, recorded) == (["captured"], ["recorded"])


@pytest.mark.parametrize("door", ["run", "execute"])
def test_a_run_inside_a_capture_records_its_own(memory: MemoryStore, door: str) -> None:
    """The steps' decisions are on the record of the run; the capture has what was traced around it."""

    async def step() -> None:
        ok.trace_decision("of the run", "d")

    with ok.Kit(memory) as kit, capture() as traces:
        kit.registry.methods.register_method(step)
        flow = kit.workflow("w").add_step("step").build()
        ok.trace_decision("before", "d")
        (kit.run(flow) if door == "run" else asyncio.run(kit.execute(flow))).raise_for_status()
        ok.trace_decision("after", "d")
        recorded = [
            e.payload["point"] for e in memory.log_events("decision") if e.payload["origin"] == "user"
        ]
    assert (points(traces), recorded) == (["before", "after"], ["of the run"])
