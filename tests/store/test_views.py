"""The views of runs, steps and attempts over hand-made events: their columns, types and values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchkit.store.store import Store
from orchkit.testing import START_US

Emit = Callable[..., None]
START = datetime.fromtimestamp(START_US / 1e6, UTC)
SECOND = 1_000_000

COLUMNS = {
    "events": """
        seq BIGINT, ts TIMESTAMPTZ, kind VARCHAR, run_id VARCHAR, step_id VARCHAR, attempt INTEGER,
        payload JSON""",
    "runs": """
        run_id VARCHAR, kind VARCHAR, name VARCHAR, workflow_id VARCHAR, definition_hash VARCHAR,
        status VARCHAR, user_id VARCHAR, session_id VARCHAR, casefile_id VARCHAR, request_id VARCHAR,
        durability VARCHAR, parent_run_id VARCHAR, parent_step_id VARCHAR, started_at TIMESTAMPTZ,
        finished_at TIMESTAMPTZ, duration_ms DOUBLE, error VARCHAR, pid INTEGER, host VARCHAR,
        born VARCHAR, source_run_id VARCHAR, imported BOOLEAN""",
    "steps": """
        run_id VARCHAR, step_id VARCHAR, name VARCHAR, node_type VARCHAR, parent VARCHAR, status VARCHAR,
        attempts INTEGER, scheduled_at TIMESTAMPTZ, finished_at TIMESTAMPTZ, duration_ms DOUBLE, input JSON,
        output JSON, error VARCHAR, error_type VARCHAR, reason VARCHAR""",
    "attempts": """
        run_id VARCHAR, step_id VARCHAR, attempt INTEGER, status VARCHAR, started_at TIMESTAMPTZ,
        finished_at TIMESTAMPTZ, duration_ms DOUBLE, error VARCHAR, error_type VARCHAR, abandoned BOOLEAN,
        injected BOOLEAN""",
    "decision_traces": """
        seq BIGINT, run_id VARCHAR, request_id VARCHAR, step_id VARCHAR, attempt INTEGER,
        sequence_number BIGINT, decision_point VARCHAR, decision VARCHAR, rationale VARCHAR,
        alternatives JSON, input_data JSON, output_data JSON, evidence JSON, duration_ms DOUBLE,
        origin VARCHAR, created_at TIMESTAMPTZ""",
    "evidence_bundles": """
        seq BIGINT, evidence_id VARCHAR, run_id VARCHAR, request_id VARCHAR, step_id VARCHAR,
        attempt INTEGER, evidence_type VARCHAR, evidence_data JSON, source VARCHAR, confidence_score DOUBLE,
        metadata JSON, content_hash VARCHAR, created_at TIMESTAMPTZ""",
    "sessions": """
        session_id VARCHAR, user_id VARCHAR, casefile_id VARCHAR, status VARCHAR, created_at TIMESTAMPTZ,
        closed_at TIMESTAMPTZ, executions BIGINT""",
    "idempotency_keys": """
        request_id VARCHAR, orchestrator_name VARCHAR, status VARCHAR, fingerprint VARCHAR, run_id VARCHAR,
        created_at TIMESTAMPTZ, expires_at TIMESTAMPTZ, completed_at TIMESTAMPTZ, error VARCHAR,
        replays BIGINT, executions BIGINT""",
    "lineage": """
        run_id VARCHAR, step_id VARCHAR, how VARCHAR, source_run_id VARCHAR, source_step_id VARCHAR,
        reused_at TIMESTAMPTZ""",
}


def at(seconds: float) -> datetime:
    """So many seconds after the start."""
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize("view", COLUMNS)
def test_columns_and_types(memory: Store, view: str) -> None:
    """Each view has its documented columns with real types, also while there is nothing in it."""
    found = ", ".join(f"{name} {kind}" for name, kind, *_ in memory.query(f"DESCRIBE {view}"))
    assert found.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") == " ".join(COLUMNS[view].split())
    assert memory.query(f"SELECT * FROM {view}") == []


START_RUN = ("run.started", {"kind": "workflow", "name": "w"})
DONE = ("run.finished", {"status": "success"})
FAILED = ("run.finished", {"status": "failed", "error": "boom"})
CANCELLED = ("run.finished", {"status": "cancelled"})
PAUSED: tuple[str, dict[str, Any]] = ("run.paused", {})
RESUMED: tuple[str, dict[str, Any]] = ("run.resumed", {})


@pytest.mark.parametrize(
    ("events", "status", "finished", "error"),
    [
        ([], "running", None, None),
        ([PAUSED], "paused", None, None),
        ([PAUSED, RESUMED], "running", None, None),
        ([PAUSED, RESUMED, PAUSED], "paused", None, None),
        ([DONE], "success", 1, None),
        ([PAUSED, CANCELLED], "cancelled", 2, None),
        ([FAILED], "failed", 1, "boom"),
        ([FAILED, RESUMED], "running", None, None),
        ([FAILED, RESUMED, PAUSED], "paused", None, None),
        ([FAILED, RESUMED, DONE], "success", 3, None),
    ],
    ids=str,
)
def test_the_state_of_a_run(
    memory: Store,
    emit: Emit,
    events: list[tuple[str, dict[str, Any]]],
    status: str,
    finished: int | None,
    error: str | None,
) -> None:
    """A run is what its last event says; an end counts until the run is taken up again."""
    for kind, payload in [START_RUN, *events]:
        emit(kind, **payload)
    end = None if finished is None else at(finished)
    duration = None if finished is None else finished * 1000.0
    found = memory.query("SELECT status, started_at, finished_at, duration_ms, error FROM runs")
    assert found == [(status, START, end, duration, error)]


def test_all_that_a_run_started_with(memory: Store, emit: Emit) -> None:
    """The columns of a run come from its first event; JSON null and what is missing are NULL."""
    texts = {
        "kind": "orchestrator",
        "name": "o",
        "workflow_id": "wf",
        "definition_hash": "ab",
        "user_id": "u_1",
        "request_id": "rq",
        "durability": "async",
        "parent_run_id": "run_0",
        "parent_step_id": "s",
        "host": "h",
    }
    emit("run.started", **texts, session_id=None, pid=42, definition={"a": 1}, context={})
    (row,) = memory.query(f"SELECT {', '.join(texts)}, session_id, casefile_id, pid FROM runs")
    assert row == (*texts.values(), None, None, 42)


def test_steps_in_every_state(memory: Store, emit: Emit) -> None:
    """Finished steps with input and output, running ones, skipped and never scheduled ones, map items."""
    more = {"name": "f", "node_type": "task"}
    emit("run.started", **START_RUN[1])
    emit("step.scheduled", "run_1", "a", **more, input={"id": 7})
    emit("step.finished", "run_1", "a", **more, status="success", started_us=START_US, attempts=2, output=[1])
    emit("step.scheduled", "run_1", "m[0]", **more, input=None, parent="m", index=0)
    failed = {"status": "failed", "error": "boom", "error_type": "ValueError", "output": None}
    emit("step.finished", "run_1", "b", **more, **failed, started_us=START_US + 4 * SECOND, attempts=1)
    skipped = {"status": "skipped", "reason": "'a' said no"}
    emit("step.finished", "run_1", "c", **more, **skipped, started_us=START_US + 5 * SECOND, attempts=0)
    times = "scheduled_at, finished_at, duration_ms"
    assert memory.query(f"SELECT step_id, parent, status, attempts, {times} FROM steps ORDER BY step_id") == [
        ("a", None, "success", 2, at(0), at(2), 2000.0),
        ("b", None, "failed", 1, at(4), at(4), 0.0),
        ("c", None, "skipped", 0, at(5), at(5), 0.0),
        ("m[0]", "m", "running", None, at(3), None, None),
    ]
    assert memory.query("SELECT input, output, error, error_type, reason FROM steps ORDER BY step_id") == [
        ('{"id":7}', "[1]", None, None, None),
        (None, None, "boom", "ValueError", None),
        (None, None, None, None, "'a' said no"),
        (None, None, None, None, None),
    ]
    emit(DONE[0], **DONE[1])
    assert memory.query("SELECT count(*) FROM steps WHERE status = 'running'") == [(0,)]


def test_a_step_of_a_resumed_run_is_there_once(memory: Store, emit: Emit) -> None:
    """A step that was cut off, or is run again after a resume, shows its last state only."""
    more = {"name": "f", "node_type": "task"}

    def finish(step: str, output: int) -> None:
        emit(
            "step.finished", "run_1", step, **more, status="success", output=output, started_us=1, attempts=1
        )

    def found() -> list[tuple[Any, ...]]:
        return memory.query("SELECT step_id, status, input ->> '$.life', output FROM steps ORDER BY step_id")

    emit("run.started", **START_RUN[1])
    for step in ("again", "cut", "kept"):
        emit("step.scheduled", "run_1", step, **more, input={"life": 1})
    finish("again", 1)
    finish("kept", 1)
    emit("run.resumed")
    for step in ("again", "cut"):
        emit("step.scheduled", "run_1", step, **more, input={"life": 2})
    kept = ("kept", "success", "1", "1")
    assert found() == [("again", "running", "2", None), ("cut", "running", "2", None), kept]
    finish("again", 2)
    finish("cut", 2)
    emit(DONE[0], **DONE[1])
    assert found() == [("again", "success", "2", "2"), ("cut", "success", "2", "2"), kept]


def test_attempts_in_every_state(memory: Store, emit: Emit) -> None:
    """Attempts that ended, with their times and errors, and those that are under way in an open run."""
    emit("run.started", **START_RUN[1])
    emit("attempt.started", "run_1", "a", 1)
    ended = {"status": "timeout", "error": "too long", "error_type": "TimeoutError"}
    ended |= {"abandoned": True, "injected": True}
    emit("attempt.finished", "run_1", "a", 1, **ended, started_us=START_US + SECOND, duration_us=1_500)
    emit("attempt.started", "run_1", "a", 2)
    emit("attempt.started", "run_2", "a", 1)  # of a run that is not known
    assert memory.query("SELECT * FROM attempts ORDER BY attempt") == [
        ("run_1", "a", 1, "timeout", at(1), at(2), 1.5, "too long", "TimeoutError", True, True),
        ("run_1", "a", 2, "running", at(3), None, None, None, None, False, False),
    ]
    emit("run.resumed")
    emit("attempt.started", "run_1", "a", 1)
    query = "SELECT attempt, status FROM attempts ORDER BY started_at"
    assert memory.query(query) == [(1, "timeout"), (2, "running"), (1, "running")]
    emit(DONE[0], **DONE[1])
    assert memory.query(query) == [(1, "timeout")]


def test_events_as_they_were_recorded(memory: Store, emit: Emit) -> None:
    """The view of all events has their time as a timestamp and their payload as JSON."""
    emit("x", None, a={"b": [1]})
    emit("y", "run_1", "s", 3)
    assert memory.query("SELECT * REPLACE (payload ->> '$.a.b[0]' AS payload) FROM events ORDER BY seq") == [
        (1, at(0), "x", None, None, None, "1"),
        (2, at(1), "y", "run_1", "s", 3, None),
    ]
