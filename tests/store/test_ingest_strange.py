"""Events that are not what they should be, on their way into the history."""

from __future__ import annotations

import pytest

from orchkit.store import codec
from orchkit.store.store import Store

STRANGE = [
    "not JSON at all",
    "",
    '{"n": 1',
    '{"text": "\\ud800"}',
    '{"value": NaN, "other": -Infinity}',
    '{"text": "a\\u0000b", "status": "a\\u0000b"}',
    '{"status": {"not": "a text"}, "attempts": "many", "started_us": 1e300, "name": [1]}',
    '"a text"',
    "[1, 2]",
    "null",
    "{}",
]


KINDS = ["x", "run.started", "run.finished", "step.finished", "attempt.finished", "decision", "evidence"]


@pytest.mark.parametrize("payload", STRANGE)
def test_strange_events_do_not_hold_up_the_others(memory: Store, payload: str) -> None:
    """An event that is not what it should be is kept as it can be; all the others come over as ever."""
    for number, kind in enumerate(KINDS):
        memory.append("x", f'{{"n": {number}}}', run_id="run_1")
        memory.append(kind, payload, run_id="run_2", step_id="s", attempt=2**31 + 5)
        memory.append("attempt.finished", '{"status": "success"}', run_id="run_1", step_id="s", attempt=1)
        memory.commit()
        assert memory.ingest() == 3
    for view in ("runs", "steps", "attempts", "decision_traces", "evidence_bundles", "events"):
        memory.sql(f"SELECT * FROM {view}")
    assert memory.query("SELECT count(*) FROM events WHERE run_id = 'run_1'") == [(2 * len(KINDS),)]
    assert memory.query("SELECT count(*) FROM attempts WHERE run_id = 'run_1'") == [(len(KINDS),)]
    for (found,) in memory.query("SELECT payload FROM events WHERE run_id = 'run_2'"):
        assert payload in (found, codec.loads(found).get("malformed") if "malformed" in found else None)


def test_columns_in_which_nothing_is(store: Store) -> None:
    """Batches in which no event has a run, a step or an attempt, or only one of them, come over right."""
    for number in range(3_000):
        store.append("x", "{}", run_id="run_1" if number == 1_777 else None)
    store.commit()
    store.ingest()
    assert store.query("SELECT count(*), count(run_id), count(step_id), max(attempt) FROM events") == [
        (3_000, 1, 0, None)
    ]
    store.record("x", {})
    store.append("x", "{}", run_id="", step_id="", attempt=0)
    store.commit()
    assert store.query("SELECT run_id, step_id, attempt FROM events WHERE seq > 3000 ORDER BY seq") == [
        (None, None, None),
        ("", "", 0),
    ]
