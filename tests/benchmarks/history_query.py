"""Questions to a long history, which is made through the same door as any other: the log and the ingest."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from task import Stopwatch, Task, expect

from orchkit.model import event as ev
from orchkit.store.store import Store

STEPS_PER_RUN = 1_000
COMMIT_EVENTS = 100_000
REPEATS = 5
# Of twenty steps, fifteen succeed at once, four at the second attempt and one at the third.
ATTEMPTS = (1, 1, 2, 1, 1, 1, 2, 1, 1, 3, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1)

BY_STEP = """
SELECT step_id, count(*) AS attempts, count(*) FILTER (attempt > 1) AS retries,
       count(*) FILTER (status = 'failed') AS failed, avg(duration_ms) AS mean_ms
FROM attempts GROUP BY step_id ORDER BY retries DESC, step_id
"""
ONE_RUN = "SELECT step_id, status, attempts, duration_ms FROM steps WHERE run_id = ? ORDER BY step_id"

_Event = tuple[str, str, str, str | None, int | None]
"""Kind, payload, run, step, attempt."""


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Events per second of the ingest, and seconds of each question over ``task.size`` attempts."""
    path = folder / "history.duckdb"
    numbers = _fill(path, task.size)
    with Store(path) as store:
        with Stopwatch() as watch:
            _ask_by_step(store, task.size)
        numbers["first_s"] = watch.seconds
        numbers["by_step_s"] = statistics.median(_timed_by_step(store, task.size) for _ in range(REPEATS))
        run_id = f"run_{task.size // STEPS_PER_RUN // 3:08d}"
        numbers["one_run_s"] = statistics.median(_timed_one_run(store, run_id) for _ in range(REPEATS))
    numbers["file_mb"] = path.stat().st_size / 1e6
    return numbers


def _ask_by_step(store: Store, attempts: int) -> None:
    answer = store.sql(BY_STEP)
    expect("the attempts counted", int(answer["attempts"].sum()), attempts + 1)  # one is still running


def _timed_by_step(store: Store, attempts: int) -> float:
    with Stopwatch() as watch:
        _ask_by_step(store, attempts)
    return watch.seconds


def _timed_one_run(store: Store, run_id: str) -> float:
    with Stopwatch() as watch:
        answer = store.sql(ONE_RUN, [run_id])
    expect("whether the run has steps", len(answer) > 0, True)
    return watch.seconds


def _fill(path: Path, attempts: int) -> dict[str, float]:
    """Write the events of so many attempts; seconds are counted of the ingest alone."""
    events = _events(attempts)
    total, seconds = 0, 0.0
    with Store(path) as store:
        while batch := list(islice(events, COMMIT_EVENTS)):
            for kind, payload, run_id, step_id, attempt in batch:
                store.append(kind, payload, run_id=run_id, step_id=step_id, attempt=attempt, durable=False)
            store.commit()
            with Stopwatch() as watch:
                total += store.ingest()
            seconds += watch.seconds
    return {"events": total, "events_per_s": total / seconds}


def _events(attempts: int) -> Iterator[_Event]:
    """The events of runs of `STEPS_PER_RUN` steps, ``attempts`` in all, and of one more that still runs."""
    left, pattern, run = attempts, cycle(ATTEMPTS), 0
    while left:
        run_id = f"run_{run:08d}"
        yield ev.RUN_STARTED, _json(kind="workflow", name="history", durability="sync"), run_id, None, None
        for index in range(STEPS_PER_RUN):
            needed = min(left, next(pattern))
            left -= needed
            yield from _step(run_id, f"s{index}", needed)
            if not left:
                break
        yield ev.RUN_FINISHED, _json(status="success", error=None, duration_us=1000), run_id, None, None
        run += 1
    yield ev.RUN_STARTED, _json(kind="workflow", name="history", durability="sync"), "run_open", None, None
    yield from list(_step("run_open", "s0", 1))[:2]


def _step(run_id: str, step_id: str, attempts: int) -> Iterator[_Event]:
    yield ev.STEP_SCHEDULED, _SCHEDULED, run_id, step_id, None
    for attempt in range(1, attempts + 1):
        yield ev.ATTEMPT_STARTED, "{}", run_id, step_id, attempt
        last = attempt == attempts
        yield ev.ATTEMPT_FINISHED, _SUCCEEDED if last else _FAILED, run_id, step_id, attempt
        if not last:
            yield ev.DECISION, _RETRIED, run_id, step_id, attempt
    yield ev.STEP_FINISHED, _FINISHED[attempts], run_id, step_id, None


def _json(**fields: object) -> str:
    return json.dumps(fields)


_SCHEDULED = _json(name="bench_add", node_type="task", input={"x": 41})
_SUCCEEDED = _json(status="success", started_us=1_760_000_000_000_000, duration_us=250)
_FAILED = _json(
    status="failed",
    started_us=1_760_000_000_000_000,
    duration_us=900,
    error="not yet",
    error_type="ConnectionError",
)
_RETRIED = _json(
    point="retry",
    decision="retry",
    rationale="ConnectionError on attempt 1 of 3",
    input_data={"attempt": 1, "max_attempts": 3, "strategy": "fixed", "delay_s": 0.0},
    origin="engine",
)
_FINISHED = {
    attempts: _json(
        status="success",
        name="bench_add",
        node_type="task",
        started_us=1_760_000_000_000_000,
        attempts=attempts,
        output=42,
    )
    for attempts in (1, 2, 3)
}
