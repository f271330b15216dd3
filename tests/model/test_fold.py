"""The fold: the state of a run out of its events."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchkit.model.event import Event
from orchkit.model.state import RunState, fold


def story() -> list[Event]:
    """A run with a retried step, a skipped one, a decision and evidence."""
    rows: list[tuple[str, str | None, int | None, dict[str, Any]]] = [
        (
            "run.started",
            None,
            None,
            {"name": "w", "definition": {"steps": [{"step_id": "a", "tool_name": "t"}]}},
        ),
        ("step.scheduled", "a", None, {"name": "t", "node_type": "task", "input": {"x": 1}}),
        ("attempt.started", "a", 1, {}),
        ("attempt.finished", "a", 1, {"status": "failed", "error": "E: no", "error_type": "E"}),
        ("decision", "a", 1, {"point": "retry", "decision": "retry", "rationale": "E", "origin": "engine"}),
        ("attempt.started", "a", 2, {}),
        ("progress", "a", 2, {"fraction": 0.5, "message": "half"}),
        ("evidence", "a", 2, {"evidence_id": "evd_1", "type": "t", "data": 1}),
        ("attempt.finished", "a", 2, {"status": "success"}),
        ("step.finished", "a", None, {"status": "success", "name": "t", "output": 2}),
        ("run.paused", None, None, {}),
        ("run.resumed", None, None, {}),
        ("step.finished", "b", None, {"status": "skipped", "name": "u", "reason": "not needed"}),
        ("run.finished", None, None, {"status": "success"}),
    ]
    return [
        Event(seq, 1_000_000 + seq, kind, "run_1", step_id, attempt, payload)
        for seq, (kind, step_id, attempt, payload) in enumerate(rows, 1)
    ]


def test_a_finished_run_is_told_completely() -> None:
    """Status, steps, attempts, decisions and evidence are all in the state."""
    state = fold(story())
    assert (state.run_id, state.name, state.status) == ("run_1", "w", "success")
    a, b = state.steps["a"], state.steps["b"]
    assert [(attempt.number, attempt.status) for attempt in a.attempts] == [(1, "failed"), (2, "success")]
    assert (a.status, a.input, a.output, a.progress) == ("success", {"x": 1}, 2, 0.5)
    assert (b.status, b.reason) == ("skipped", "not needed")
    assert [(d.point, d.by_engine) for d in state.decisions] == [("retry", True)]
    assert [event.payload["evidence_id"] for event in state.evidence] == ["evd_1"]


@given(st.integers(0, len(story())))
def test_folding_in_two_parts_is_folding_at_once(cut: int) -> None:
    """Any position of a run can be reached by going on from any earlier one."""
    events = story()
    assert fold(events[cut:], fold(events[:cut])) == fold(events)


@given(st.integers(0, len(story())))
def test_the_events_are_not_changed(cut: int) -> None:
    """Folding is a pure reading: the same events give the same state again."""
    events = story()
    before = deepcopy(events)
    first = fold(events[:cut])
    assert events == before
    assert fold(events[:cut]) == first


def test_the_steps_of_the_definition_are_pending_at_the_start() -> None:
    """A view can draw the whole workflow before anything has run."""
    state = fold(story()[:1])
    assert {step_id: step.status for step_id, step in state.steps.items()} == {"a": "pending"}
    assert (state.status, state.position) == ("running", 1)


def test_pausing_shows_in_the_status() -> None:
    """A paused run says so until it goes on."""
    events = story()
    assert fold(events[:11]).status == "paused"
    assert fold(events[:12]).status == "running"


def test_unknown_kinds_are_passed_over_but_counted() -> None:
    """A record with events of a later version can still be read."""
    state = fold([Event(1, 5, "later.kind", "run_1", None, None, {})], RunState())
    assert (state.position, state.last_us) == (1, 5)
