"""Decisions, evidence and progress: from wherever user code runs, and those of the engine itself."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchkit as ok
from orchkit.errors import CodecError
from orchkit.model.policy import OperationPolicy, RetryPolicy
from orchkit.store import codec


def traced(lab: Any, run_id: str | None = None) -> list[tuple[str | None, int | None, str, str]]:
    """``(step, attempt, point, decision)`` of the decisions of user code, in order."""
    lab.store.commit()
    return [
        (e.step_id, e.attempt, e.payload["point"], e.payload["decision"])
        for e in lab.events(run_id, "decision")
        if e.payload["origin"] == "user"
    ]


# --- from where ----------------------------------------------------------------------------


async def in_a_coroutine() -> None:
    """Trace on the loop."""
    ok.trace_decision("where", "coroutine")


def in_a_worker_thread() -> None:
    """Trace in the thread of a sync step."""
    assert threading.current_thread() is not threading.main_thread()
    ok.trace_decision("where", "worker thread")


async def in_nested_tasks() -> None:
    """Trace in tasks that the step starts."""

    async def child(name: str) -> None:
        await asyncio.sleep(0)
        ok.trace_decision("where", name)

    await asyncio.gather(child("gather 1"), child("gather 2"))
    async with asyncio.TaskGroup() as group:
        group.create_task(child("task group"))


async def in_a_thread_of_asyncio() -> None:
    """Trace in a thread that carries the context by itself."""
    await asyncio.to_thread(ok.trace_decision, "where", "to_thread")


def in_a_thread_pool() -> None:
    """Trace in threads that are given the context."""
    with ThreadPoolExecutor(2) as pool:
        for n in range(3):
            pool.submit(contextvars.copy_context().run, ok.trace_decision, "where", f"pool {n}").result()


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        (in_a_coroutine, ["coroutine"]),
        (in_a_worker_thread, ["worker thread"]),
        (in_nested_tasks, ["gather 1", "gather 2", "task group"]),
        (in_a_thread_of_asyncio, ["to_thread"]),
        (in_a_thread_pool, ["pool 0", "pool 1", "pool 2"]),
    ],
)
def test_a_decision_is_recorded_from_wherever_a_step_works(lab: Any, tool: Any, names: list[str]) -> None:
    """It belongs to the step and the attempt, and is between their start and end."""
    lab.tool(tool)
    result = lab.execute(lab.flow().add_step(tool.__name__, step_id="s"))
    assert traced(lab, result.run_id) == [("s", 1, "where", name) for name in names]
    of_step = [e for e in lab.events(result.run_id) if e.step_id == "s"]
    mine = [e.seq for e in of_step if e.payload.get("origin") == "user"]
    (start,) = [e.seq for e in of_step if e.kind == "attempt.started"]
    (end,) = [e.seq for e in of_step if e.kind == "attempt.finished"]
    assert mine == sorted(mine)
    assert start < mine[0] <= mine[-1] < end


def test_steps_at_the_same_time_do_not_mix(lab: Any) -> None:
    """Each decision is under its own step, also from threads and items of maps."""

    async def on_loop(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            ok.trace_decision("who", name)

    def in_thread(name: str) -> None:
        for _ in range(3):
            ok.trace_decision("who", name)

    lab.tool(on_loop)
    lab.tool(in_thread)
    flow = lab.flow()
    for n in range(5):
        flow.add_step("on_loop", {"name": f"a{n}"}, step_id=f"a{n}")
        flow.add_step("in_thread", {"name": f"b{n}"}, step_id=f"b{n}")
    flow.add_map("on_loop", ["m[0]", "m[1]"], step_id="m")
    result = lab.execute(flow)
    found = traced(lab, result.run_id)
    assert len(found) == 36
    assert all(step_id == decision for step_id, _, _, decision in found)


def test_a_decision_belongs_to_its_attempt(lab: Any) -> None:
    """A retried step has the decisions of each attempt under its number."""
    attempts = []

    async def flaky() -> None:
        attempts.append(1)
        ok.trace_decision("try", f"number {len(attempts)}")
        if len(attempts) < 3:
            raise OSError

    lab.tool(flaky)
    retry = RetryPolicy(strategy="immediate", max_attempts=3)
    result = lab.execute(lab.flow().add_step("flaky", retry=retry))
    assert traced(lab, result.run_id) == [("flaky", n, "try", f"number {n}") for n in (1, 2, 3)]


def test_outside_of_a_run_nothing_is_recorded(lab: Any) -> None:
    """Functions can be called and tested on their own."""
    ok.trace_decision("point", "decision", input_data=object())
    ok.report_progress(0.5, "half")
    evidence_id = ok.bundle_evidence("type", {"a": 1})
    assert evidence_id.startswith("evd_")
    assert lab.events() == []


def test_a_plain_thread_belongs_to_no_step(lab: Any) -> None:
    """A thread that was not given the context records nothing, and does not fail."""

    def work() -> None:
        thread = threading.Thread(target=ok.trace_decision, args=("point", "decision"))
        thread.start()
        thread.join()

    lab.tool(work)
    result = lab.execute(lab.flow().add_step("work"))
    assert result.success
    assert traced(lab) == []


def test_a_nested_run_has_its_own_decisions(lab: Any) -> None:
    """A step that executes another workflow: each decision is under the run and step that made it."""

    async def inner() -> None:
        ok.trace_decision("level", "inner")

    async def outer() -> str:
        ok.trace_decision("level", "before")
        result = await lab.aexecute(lab.flow("nested").add_step("inner"))
        ok.trace_decision("level", "after")
        return str(result.run_id)

    lab.tool(inner)
    lab.tool(outer)
    result = lab.execute(lab.flow().add_step("outer"))
    nested = result.outputs["outer"]
    assert [decision for *_, decision in traced(lab, result.run_id)] == ["before", "after"]
    assert traced(lab, nested) == [("inner", 1, "level", "inner")]


# --- what ----------------------------------------------------------------------------------


def record(lab: Any, function: Any) -> Any:
    """The result of a run of this one function, in a step ``s``."""
    lab.tool(function, name="tool")
    return lab.execute(lab.flow().add_step("tool", step_id="s"))


def test_a_decision_keeps_all_that_it_was_given(lab: Any) -> None:
    """Rationale, alternatives, inputs, outputs, duration and evidence; what is left out is absent."""

    async def work() -> None:
        evidence = ok.bundle_evidence("quote", {"price": 3})
        ok.trace_decision(
            "carrier",
            "DHL",
            "cheapest",
            alternatives=["UPS", {"name": "post", "price": Decimal("4.20")}],
            input_data={"day": date(2025, 3, 1)},
            output_data=("a", 1),
            duration_ms=1.5,
            evidence=evidence,
        )
        ok.trace_decision("plain", "yes")

    result = record(lab, work)
    full, plain = (e.payload for e in lab.events(result.run_id, "decision") if e.payload["origin"] == "user")
    (evidence,) = lab.events(result.run_id, "evidence")
    assert full == {
        "point": "carrier",
        "decision": "DHL",
        "origin": "user",
        "rationale": "cheapest",
        "duration_ms": 1.5,
        "evidence": [evidence.payload["evidence_id"]],
        "alternatives": ["UPS", {"name": "post", "price": "4.20"}],
        "input_data": {"day": "2025-03-01"},
        "output_data": ["a", 1],
    }
    assert plain == {"point": "plain", "decision": "yes", "origin": "user"}


def test_evidence_keeps_all_that_it_was_given(lab: Any) -> None:
    """Type, data, source, confidence, metadata, and the SHA-256 of the data."""

    async def work() -> str:
        return ok.bundle_evidence(
            "document_text", {"text": "…"}, source="Document:42", confidence_score=1, metadata={"page": 3}
        )

    result = record(lab, work)
    (event,) = lab.events(result.run_id, "evidence")
    assert event.payload == {
        "evidence_id": result.outputs["s"],
        "type": "document_text",
        "data": {"text": "…"},
        "hash": codec.content_hash(codec.dumps({"text": "…"})),
        "source": "Document:42",
        "confidence_score": 1.0,
        "metadata": {"page": 3},
    }
    assert (event.step_id, event.attempt) == ("s", 1)


def test_equal_evidence_has_an_equal_hash(lab: Any) -> None:
    """The hash is one of the content: the id is not part of it."""

    async def work() -> list[str]:
        return [ok.bundle_evidence("a", {"x": [1, 2]}), ok.bundle_evidence("b", {"x": [1, 2]})]

    result = record(lab, work)
    first, second = lab.events(result.run_id, "evidence")
    assert first.payload["hash"] == second.payload["hash"]
    assert first.payload["evidence_id"] != second.payload["evidence_id"]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_confidence_is_within_zero_and_one(score: float) -> None:
    """Anything else is refused, also outside of a run; the bounds themselves are fine."""
    if 0 <= score <= 1:
        ok.bundle_evidence("type", {}, confidence_score=score)
    else:
        with pytest.raises(ValueError, match=r"confidence_score must be within \[0, 1\]"):
            ok.bundle_evidence("type", {}, confidence_score=score)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
def test_progress_is_within_zero_and_one(fraction: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"fraction must be within \[0, 1\]"):
        ok.report_progress(fraction)


def test_progress_is_recorded(lab: Any) -> None:
    """A fraction, a message, or both, in order."""

    async def work() -> None:
        ok.report_progress(0)
        ok.report_progress(message="reading")
        ok.report_progress(1, "done")

    result = record(lab, work)
    assert [e.payload for e in lab.events(result.run_id, "progress")] == [
        {"fraction": 0, "message": None},
        {"fraction": None, "message": "reading"},
        {"fraction": 1, "message": "done"},
    ]


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda bad: ok.trace_decision("p", "d", input_data={"rows": [bad]}), r"input_data\.rows\[0\]"),
        (lambda bad: ok.trace_decision("p", "d", alternatives=[bad]), r"alternatives\[0\]"),
        (lambda bad: ok.trace_decision("p", "d", output_data=bad), "output_data"),
        (lambda bad: ok.bundle_evidence("t", {"x": bad}), r"data\.x"),
        (lambda bad: ok.bundle_evidence("t", {}, metadata={"x": bad}), r"metadata\.x"),
    ],
)
def test_data_that_cannot_be_stored_fails_the_step_and_names_the_place(
    lab: Any, call: Any, path: str
) -> None:
    """The error is raised where the call is, is not retried, and nothing half is recorded."""
    calls = []

    async def work() -> None:
        calls.append(1)
        call(object())

    lab.tool(work)
    result = lab.execute(lab.flow().add_step("work", retry=5))
    error = result.steps["work"].exception
    assert isinstance(error, CodecError)
    with pytest.raises(CodecError, match=f"^{path} cannot be stored"):
        raise error
    assert calls == [1]
    assert traced(lab) == []
    assert lab.events(None, "evidence") == []


def test_large_values_are_kept_once_and_come_back(lab: Any) -> None:
    """Inputs, outputs, decisions and evidence beyond 64 KB are stored by hash, and read as they were."""
    text = "lorem ipsum " * 10_000

    async def work(text: str) -> dict[str, str]:
        ok.trace_decision("p", "d", input_data={"text": text}, output_data="small")
        ok.bundle_evidence("t", {"text": text})
        return {"text": text}

    lab.tool(work)
    flow = lab.flow().add_step("work", {"text": "${context.text}"}, step_id="a")
    result = lab.execute(
        flow.add_step("work", {"text": "${steps.a.text}"}, step_id="b"), context={"text": text}
    )
    stored = lab.events(result.run_id, "evidence")[0].payload["data"]
    assert set(stored) == {"$blob", "bytes"}
    assert lab.store.query("SELECT count(*) FROM blob WHERE length(data) > 65536")[0][0] == 1
    read = lab.store.events(result.run_id)
    by_kind = {(e.kind, e.step_id): e.payload for e in read if e.payload.get("origin") != "engine"}
    assert by_kind["run.started", None]["context"] == {"text": text}
    assert by_kind["step.scheduled", "b"]["input"] == {"text": text}
    assert by_kind["step.finished", "b"]["output"] == {"text": text}
    assert by_kind["evidence", "a"]["data"] == {"text": text}
    assert by_kind["decision", "a"]["input_data"] == {"text": text}
    assert by_kind["decision", "a"]["output_data"] == "small"


def test_decisions_and_evidence_can_be_queried(lab: Any) -> None:
    """The views have one row each, in order, with the columns that people ask for."""

    async def work() -> None:
        evidence = ok.bundle_evidence("quote", {"price": 3}, confidence_score=0.5)
        ok.trace_decision("carrier", "DHL", "cheapest", alternatives=["UPS"], evidence=[evidence])

    lab.tool(work)
    result = lab.execute(lab.flow().add_step("work"), request_id="req_9")
    decisions = lab.store.query(
        "SELECT request_id, step_id, attempt, decision_point, decision, rationale, alternatives, origin "
        "FROM decision_traces WHERE run_id = ? AND origin = 'user'",
        [result.run_id],
    )
    assert decisions == [("req_9", "work", 1, "carrier", "DHL", "cheapest", '["UPS"]', "user")]
    numbers = lab.store.query("SELECT sequence_number FROM decision_traces ORDER BY seq")
    assert [number for (number,) in numbers] == list(range(1, len(numbers) + 1))
    evidence = lab.store.query(
        "SELECT request_id, step_id, evidence_type, evidence_data, confidence_score FROM evidence_bundles"
    )
    assert evidence == [("req_9", "work", "quote", '{"price":3}', 0.5)]


# --- the choices of the engine -------------------------------------------------------------


def test_every_choice_of_the_engine_is_a_decision(make_lab: Any) -> None:
    """One run that makes most of them: each is on the record with what it was based on."""
    policies = [
        OperationPolicy(
            pattern="shop.*",
            retry=RetryPolicy(strategy="fixed", delay=1, max_attempts=2, jitter="none"),
        )
    ]
    lab = make_lab(policies=policies)

    async def fail() -> None:
        raise OSError("down")

    async def give(value: Any = None) -> Any:
        return value

    lab.tool(fail, domain="shop")
    lab.tool(give)
    undo = {"tool": "give", "params": {"value": "${steps.first}"}}
    flow = (
        lab.flow(mode="sequential")
        .add_step("give", {"value": 1}, step_id="first", compensate=undo)
        .add_step("give", step_id="never", when="${steps.first} > 5")
        .add_step("give", {"value": "${steps.never}"}, step_id="needs_never")
        .add_map("give", [1, 2], {"value": "${item}"}, step_id="both")
        .add_step("fail")
        .add_step("give", step_id="last")
    )
    result = lab.execute(flow)
    engine = [e for e in lab.events(result.run_id, "decision") if e.payload["origin"] == "engine"]
    assert [(e.step_id, e.payload["point"], e.payload["decision"]) for e in engine] == [
        ("first", "policy.selected", "default"),
        ("never", "condition", "false"),
        ("never", "skip", "skip"),
        ("needs_never", "skip", "skip"),
        ("both", "map.expanded", "2"),
        ("fail", "policy.selected", "shop.*"),
        ("fail", "retry", "retry"),
        ("fail", "retry", "give_up"),
        ("last", "skip", "skip"),
        ("first", "compensation", "give"),
    ]
    payloads = {(e.step_id, e.payload["decision"]): e.payload for e in engine}
    chosen = payloads["fail", "shop.*"]
    assert chosen["rationale"] == "'shop.*' is the longest pattern that fits"
    assert chosen["input_data"]["operation"] == "shop.fail"
    assert chosen["input_data"]["retry"]["max_attempts"] == 2
    assert payloads["fail", "retry"]["input_data"]["delay_s"] == 1
    assert payloads["fail", "give_up"]["rationale"] == "all 2 attempts are used up"
    assert all(e.payload["rationale"] for e in engine)


def test_the_policy_of_an_operation_is_recorded_once_per_run(lab: Any) -> None:
    """A hundred steps of one operation make one such decision; the next run makes its own."""

    async def give(value: int) -> int:
        return value

    lab.tool(give)
    workflow = (
        lab.flow().add_map("give", list(range(100)), step_id="map").add_step("give", {"value": 1}).build()
    )
    for _ in range(2):
        result = lab.execute(workflow)
        assert len(lab.decisions(result.run_id, "policy.selected")) == 1
