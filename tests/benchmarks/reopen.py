"""Opening a store whose log is full: what a crash before the ingest leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from task import Stopwatch, Task

import orchkit as ok
from orchkit.store.log import SqliteLog

BATCH = 10_000


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Milliseconds until the kit is there, and seconds until the first question is answered."""
    path = folder / "runs.duckdb"
    with ok.open(path):
        pass
    subprocess.run([sys.executable, __file__, str(path), str(task.size)], check=True)
    with Stopwatch() as watch:
        kit = ok.open(path)
    try:
        with Stopwatch() as asked:
            ((count,),) = kit.store.query("SELECT count(*) FROM attempts")
    finally:
        kit.close()
    assert count == task.size // 4, count
    with Stopwatch() as again:
        ok.open(path).close()
    return {"open_ms": watch.seconds * 1000, "first_s": asked.seconds, "emptied_ms": again.seconds * 1000}


def fill(path: Path, size: int) -> None:
    """So many events of runs of one step, written to the log and not ingested."""
    log = SqliteLog(path.with_name(path.name + "-log"))
    for number in range(0, size, 4):
        run_id = f"run_{number:012}"
        ended = '{"status":"success","started_us":0,"duration_us":100}'
        events = [
            ("step.scheduled", "s", None, '{"name":"t","node_type":"task","input":{"x":1}}'),
            ("attempt.started", "s", 1, "{}"),
            ("attempt.finished", "s", 1, ended),
            ("step.finished", "s", None, '{"status":"success","name":"t","node_type":"task","output":2}'),
        ]
        for offset, (kind, step_id, attempt, payload) in enumerate(events):
            log.append((number + offset, kind, run_id, step_id, attempt, payload), durable=False)
        if log.pending >= BATCH:
            log.commit()
    log.close()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
