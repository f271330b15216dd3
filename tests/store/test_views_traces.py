"""The views of decisions, evidence and sessions, and all views against the fold over the same events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchkit.ids import new_id
from orchkit.model.state import fold
from orchkit.store import codec
from orchkit.store.store import Store

Emit = Callable[..., None]


def test_decisions_are_numbered_without_gaps(memory: Store, emit: Emit) -> None:
    """The decisions of each run are numbered from 1 in the order of recording, whatever lies between."""
    for number in range(12):
        emit("decision", f"run_{number % 3}", "s", 1, point="p", decision=str(number))
        emit("progress", f"run_{number % 3}", "s", fraction=0.5)
        if number == 5:
            memory.ingest()
    rows = memory.query("SELECT run_id, sequence_number, decision FROM decision_traces ORDER BY seq")
    assert rows == [(f"run_{number % 3}", number // 3 + 1, str(number)) for number in range(12)]


def test_all_that_a_decision_says(memory: Store, emit: Emit) -> None:
    """A decision with all its parts, and one with hardly any; the request is that of its run."""
    emit("run.started", kind="orchestrator", name="o", request_id="rq_1")
    texts = {"point": "carrier", "decision": "DHL", "rationale": "cheap", "origin": "user"}
    data = {"alternatives": ["UPS"], "input_data": {"kg": 2}, "output_data": None, "evidence": ["evd_1"]}
    emit("decision", "run_1", "s", 2, **texts, **data, duration_ms=1.5)
    emit("decision", "run_2", point="skip", decision="skip", rationale=None, origin="engine")
    columns = "request_id, step_id, attempt, decision_point, decision, rationale, origin"
    assert memory.query(f"SELECT {columns} FROM decision_traces ORDER BY seq") == [
        ("rq_1", "s", 2, "carrier", "DHL", "cheap", "user"),
        (None, None, None, "skip", "skip", None, "engine"),
    ]
    columns = "alternatives, input_data, output_data, evidence, duration_ms"
    assert memory.query(f"SELECT {columns} FROM decision_traces ORDER BY seq") == [
        ('["UPS"]', '{"kg":2}', None, '["evd_1"]', 1.5),
        (None, None, None, None, None),
    ]


def test_all_that_evidence_says(memory: Store, emit: Emit) -> None:
    """Evidence with its data, source, confidence, metadata and hash, and the request of its run."""
    emit("run.started", kind="orchestrator", name="o", request_id="rq_1")
    more = {"data": {"a": [1]}, "source": "Doc:1", "confidence_score": 0.75, "metadata": {"page": 3}}
    emit("evidence", "run_1", "s", 1, evidence_id="evd_1", type="text", hash="abc", **more)
    emit("evidence", evidence_id="evd_2", type="flag", data=None, hash="def")
    columns = (
        "evidence_id, request_id, step_id, attempt, evidence_type, evidence_data, source, confidence_score"
    )
    assert memory.query(f"SELECT {columns}, metadata, content_hash FROM evidence_bundles ORDER BY seq") == [
        ("evd_1", "rq_1", "s", 1, "text", '{"a":[1]}', "Doc:1", 0.75, '{"page":3}', "abc"),
        ("evd_2", "rq_1", None, None, "flag", None, None, None, None, "def"),
    ]


def test_sessions(memory: Store, emit: Emit) -> None:
    """A session with its user, the last casefile it was linked to, its executions, and its end."""
    for session, user in (("ses_1", "u_1"), ("ses_2", "u_2")):
        emit("session.created", None, session_id=session, user_id=user, casefile_id="cf_0")
    emit("session.linked", None, session_id="ses_1", casefile_id="cf_1")
    for _ in range(3):
        emit("session.execution", "run_1", session_id="ses_1", run_id="run_1")
    emit("session.closed", None, session_id="ses_1")
    columns = "session_id, user_id, casefile_id, status, executions, closed_at IS NULL, created_at IS NULL"
    assert memory.query(f"SELECT {columns} FROM sessions ORDER BY session_id") == [
        ("ses_1", "u_1", "cf_1", "closed", 3, False, False),
        ("ses_2", "u_2", "cf_0", "open", 0, True, False),
    ]


# --- any course of a run -----------------------------------------------------------------------

Event = tuple[str, str | None, int | None, dict[str, Any]]
"""Kind, step, attempt and payload."""
MORE = {"name": "f", "node_type": "task"}


@st.composite
def steps(draw: st.DrawFn, step: str, life: int, first_attempt: int) -> tuple[list[Event], int]:
    """The events of one step in one life of the run, which may be cut off; and how many attempts it had."""
    events: list[Event] = [("step.scheduled", step, None, {**MORE, "input": {"life": life}})]
    attempts = draw(st.integers(0, 2))
    for number in range(first_attempt, first_attempt + attempts):
        status = draw(st.sampled_from(["success", "failed", "timeout"]))
        events.append(("attempt.started", step, number, {}))
        events.append(
            ("attempt.finished", step, number, {"status": status, "started_us": 1, "duration_us": 5})
        )
        events.append(("decision", step, number, {"point": "p", "decision": f"{step} {number}"}))
    if draw(st.booleans()):
        events.append(_finished(step, life, draw(st.sampled_from(["success", "failed", "skipped"]))))
    return events, attempts


def _finished(step: str, life: int, status: str) -> Event:
    return (
        "step.finished",
        step,
        None,
        {**MORE, "status": status, "started_us": 1, "attempts": 1, "output": life},
    )


@st.composite
def runs(draw: st.DrawFn) -> list[Event]:
    """The events of one run: lives that end or are cut off, each but the last one resumed."""
    events: list[Event] = [("run.started", None, None, {"kind": "workflow", "name": "w", "user_id": "u"})]
    tries: dict[str, int] = {}
    under_way: set[str] = set()
    for life in range(draw(st.integers(1, 3))):
        if life:
            events.append(("run.resumed", None, None, {}))
        for step in draw(st.lists(st.sampled_from(["a", "b", "c", "m[0]"]), unique=True)):
            more, attempts = draw(steps(step, life, tries.get(step, 0) + 1))
            tries[step] = tries.get(step, 0) + attempts
            events.extend(more)
            under_way.discard(step) if more[-1][0] == "step.finished" else under_way.add(step)
            if draw(st.integers(0, 5)) == 0:
                events.extend(
                    [("run.paused", None, None, {})] + draw(st.booleans()) * [("run.resumed", None, None, {})]
                )
        if draw(st.booleans()):
            events.extend(_finished(step, life, "cancelled") for step in sorted(under_way))
            under_way.clear()
            events.append(
                ("run.finished", None, None, {"status": draw(st.sampled_from(["success", "failed"]))})
            )
    return events


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    """One store in memory for all examples, so that each costs only its own run."""
    with Store() as store:
        yield store


@given(runs(), st.integers(1, 30))
@settings(max_examples=60)
def test_views_say_what_the_fold_says(shared: Store, events: list[Event], ingest_at: int) -> None:
    """For any course of a run, resumed or not, SQL and the fold over its events tell the same story."""
    run = new_id("run")

    def ask(columns: str, view: str, order: str = "1") -> list[tuple[Any, ...]]:
        return shared.query(f"SELECT {columns} FROM {view} WHERE run_id = ? ORDER BY {order}", [run])

    for number, (kind, step, attempt, payload) in enumerate(events):
        shared.append(kind, codec.dumps(payload), run_id=run, step_id=step, attempt=attempt)
        if number == ingest_at:
            shared.ingest()
    state = fold(shared.events(run))
    assert ask("status, name, user_id", "runs") == [(state.status, "w", "u")]
    assert [
        (step, status, codec.loads(given), output and codec.loads(output))
        for step, status, given, output in ask("step_id, status, input, output", "steps")
    ] == [
        # What a step put out in an earlier life is not the output of one that is running again.
        (s.step_id, s.status, s.input, None if s.status == "running" else s.output)
        for s in sorted(state.steps.values(), key=lambda step: step.step_id)
    ]
    tries = [(s.step_id, a.number, a.status) for s in state.steps.values() for a in s.attempts]
    assert ask("step_id, attempt, status", "attempts", "1, 2") == sorted(tries)
    traces = [(number, made.decision) for number, made in enumerate(state.decisions, 1)]
    assert ask("sequence_number, decision", "decision_traces") == traces


def test_all_that_health_checks_say(memory: Store, emit: Emit) -> None:
    """A look that did not take place has a reason and no status; of a window the last word counts."""
    found = {"status": "degraded", "performed": True, "response_ms": 12.5, "holds_us": 90_000_000}
    emit(
        "health.check", service="a", circuit_state="closed", consecutive_failures=0, details={"v": 1}, **found
    )
    emit("health.check", service="a", status=None, performed=False, reason="breaker_open")
    emit("health.maintenance", service="a", from_us=1_000_000, until_us=9_000_000, reason="move")
    emit("health.maintenance", service="a", from_us=1_000_000, until_us=None, reason="move, longer")
    columns = "service, status, performed, reason, response_ms, circuit_state, "
    columns += "consecutive_failures, holds_s, details"
    assert memory.query(f"SELECT {columns} FROM health_checks ORDER BY seq") == [
        ("a", "degraded", True, None, 12.5, "closed", 0, 90.0, '{"v":1}'),
        ("a", None, False, "breaker_open", None, None, None, None, None),
    ]
    columns = "seq, service, epoch_us(starts_at), ends_at, reason"
    assert memory.query(f"SELECT {columns} FROM maintenance_windows") == [
        (4, "a", 1_000_000, None, "move, longer")
    ]
