"""How fast events move from the log into the history, and how fast the history answers.

``python tests/benchmarks/ingest.py --steps 100000`` by hand; `run` for a table. A step is four events
(scheduled, attempt started, attempt finished, finished) and three more for each retry: about 4.3 on average.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchkit.ids import new_id
from orchkit.store import codec
from orchkit.store.store import Store

STEPS_PER_RUN = 1_000
RETRY_RATE = 0.1
MAX_ATTEMPTS = 3
COMMIT_EVENTS = 5_000
SLICE_STEPS = 100_000
"""So many steps are written to the log before it is ingested, so that the log stays small."""

QUESTIONS = {
    "attempts and retries by step": "SELECT step_id, count(*) AS attempts, "
    "count(*) FILTER (attempt > 1) AS retries FROM attempts GROUP BY step_id",
    "runs by status": "SELECT status, count(*) FROM runs GROUP BY status",
    "steps by status": "SELECT status, count(*), avg(duration_ms) FROM steps GROUP BY status",
    "decisions by point": "SELECT decision_point, count(*), max(sequence_number) FROM decision_traces "
    "GROUP BY decision_point",
    "steps of one run": "SELECT * FROM steps WHERE run_id = '{run}'",
    "decisions of one run": "SELECT * FROM decision_traces WHERE run_id = '{run}'",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One number of the result."""

    label: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.label:32} {self.value:14,.1f} {self.unit}"


def run(steps: int = 50_000, *, threads: int = 1, repeats: int = 3, folder: Path | None = None) -> list[Row]:
    """Fill a new store with so many steps and ask it; each number is the best of ``repeats``.

    Args:
        steps: Steps in all; one run of 1,000 of them stays unfinished.
        threads: Threads of DuckDB while it ingests; 1 for events per second of one core.
        repeats: How often the store is filled and each question asked.
        folder: Where the store goes; a temporary folder unless it is given.
    """
    rates, answers = [], dict.fromkeys(QUESTIONS, float("inf"))
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            path = Path(fresh) / "runs.duckdb"
            with Store(path) as store:
                events, seconds, open_run = _fill(store, steps, threads)
                rates.append(events / seconds)
                for question, best in answers.items():
                    answers[question] = min(
                        best, _ask(store, QUESTIONS[question].format(run=open_run), repeats)
                    )
            bytes_per_event = path.stat().st_size / events
    return [
        Row("ingest", max(rates), "events/s"),
        Row("size of the history", bytes_per_event, "bytes/event"),
        *(Row(question, best * 1000, "ms") for question, best in answers.items()),
    ]


def _fill(store: Store, steps: int, threads: int) -> tuple[int, float, str]:
    """Write and ingest; gives the number of events, the seconds of the ingests, and the unfinished run."""
    rng = random.Random(1)
    total, seconds, run_id = 0, 0.0, ""
    for first in range(0, steps, SLICE_STEPS):
        for begin in range(first, min(first + SLICE_STEPS, steps), STEPS_PER_RUN):
            run_id = new_id("run")
            count = min(STEPS_PER_RUN, steps - begin)
            total += _write(store, _events_of_run(run_id, count, rng, finished=begin + count < steps))
        with store.history.borrow() as connection:
            connection.execute(f"SET threads = {threads:d}")
        started = time.perf_counter()
        store.ingest()
        seconds += time.perf_counter() - started
    return total, seconds, run_id


def _write(store: Store, events: Iterator[tuple[str, dict[str, Any], str, str | None, int | None]]) -> int:
    count = 0
    for count, (kind, payload, run_id, step_id, attempt) in enumerate(events, 1):
        store.append(
            kind, codec.dumps(payload), run_id=run_id, step_id=step_id, attempt=attempt, durable=False
        )
        if count % COMMIT_EVENTS == 0:
            store.commit()
    store.commit()
    return count


def _events_of_run(
    run_id: str, steps: int, rng: random.Random, *, finished: bool
) -> Iterator[tuple[str, dict[str, Any], str, str | None, int | None]]:
    """What the engine writes for a run of so many steps; unfinished, its last attempt is still under way."""
    about = {"kind": "workflow", "name": "bench", "workflow_id": "wf_1", "definition_hash": "ab" * 32}
    started = {**about, "definition": {"name": "bench"}, "user_id": "u_1", "durability": "sync", "pid": 1}
    yield "run.started", started, run_id, None, None
    for number in range(steps):
        yield from _events_of_step(run_id, number, rng, time.time_ns() // 1000)
    if finished:
        yield "run.finished", {"status": "success", "error": None, "duration_us": 1}, run_id, None, None
    else:
        yield "attempt.started", {}, run_id, "step_last", 1


def _events_of_step(
    run_id: str, number: int, rng: random.Random, now: int
) -> Iterator[tuple[str, dict[str, Any], str, str | None, int | None]]:
    step, about = f"step_{number}", {"name": "fetch_order", "node_type": "task"}
    order = {"order_id": f"ord-{number}", "amount": number * 1.5, "currency": "EUR"}
    yield "step.scheduled", {**about, "input": order}, run_id, step, None
    attempt, ended = 1, {"started_us": now, "duration_us": 80}
    while attempt < MAX_ATTEMPTS and rng.random() < RETRY_RATE:
        yield "attempt.started", {}, run_id, step, attempt
        failed = {
            "status": "failed",
            **ended,
            "error": "connection reset by peer",
            "error_type": "ConnectionError",
        }
        yield "attempt.finished", failed, run_id, step, attempt
        inputs = {"attempt": attempt, "max_attempts": MAX_ATTEMPTS, "strategy": "exponential", "delay_s": 0.2}
        why = f"ConnectionError on attempt {attempt} of {MAX_ATTEMPTS}"
        choice = {
            "point": "retry",
            "decision": "retry",
            "rationale": why,
            "input_data": inputs,
            "origin": "engine",
        }
        yield "decision", choice, run_id, step, attempt
        attempt += 1
    yield "attempt.started", {}, run_id, step, attempt
    yield "attempt.finished", {"status": "success", **ended}, run_id, step, attempt
    output = {"order_id": f"ord-{number}", "total": number * 1.5, "items": [1, 2, 3], "state": "confirmed"}
    done = {"status": "success", **about, "started_us": now, "attempts": attempt, "output": output}
    yield "step.finished", done, run_id, step, None


def _ask(store: Store, query: str, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        store.sql(query)
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    for row in run(options.steps, threads=options.threads, repeats=options.repeats, folder=options.folder):
        print(row)


if __name__ == "__main__":
    main()
