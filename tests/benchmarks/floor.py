"""The floor: what bare SQLite and bare files take on this machine for a guarantee."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from task import Guarantee, Stopwatch, Task

ROW = "x" * 200
NAP_S = 0.05
RUN_STEPS = 5
TRIES = 3
"""Attempts that each step of the workload ``retries`` needs."""


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Milliseconds of one commit or sync, the mean of ``task.size``."""
    if task.workload == "fdatasync":
        seconds = _synced_appends(folder / "records", task.size)
    else:
        survives = "killed process" if task.workload == "normal" else "power loss"
        rows = [1] * task.size
        in_place = task.workload == "full_in_place"
        seconds = _commits(folder / "floor.db", rows, Guarantee("results", survives), in_place=in_place)
    return {"value": seconds / task.size * 1000}


def seconds_of(task: Task, folder: Path) -> float:
    """Seconds that bare SQLite takes for the writes of a workload, at the guarantee of the task."""
    assert task.guarantee is not None
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        pause = NAP_S if task.workload in ("naps", "naps_sync") else 0.0
        path = Path(fresh) / "floor.db"
        # In place, as orchkit does it: a floor that one can get below would be none.
        return _commits(path, transactions(task), task.guarantee, pause=pause, in_place=True)


def transactions(task: Task) -> list[int]:
    """How many rows each transaction has that the guarantee asks for, in order."""
    size, written = task.size, task.guarantee.written if task.guarantee else "results"
    tries = TRIES if written == "attempts" else 1
    by_step = {
        "chain": [1] * size,
        "chain_sync": [1] * size,
        "fan": [1, size, 1],
        "runs": [1] * (RUN_STEPS * size),
        "naps": [size, size],
        "naps_sync": [size, size],
        "retries": [1] * (tries * size),
    }[task.workload]
    if written != "run":
        return by_step
    return [RUN_STEPS] * size if task.workload == "runs" else [sum(by_step)]


def _commits(
    path: Path, rows: Sequence[int], guarantee: Guarantee, *, pause: float = 0.0, in_place: bool = False
) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if guarantee.survives == 'power loss' else 'NORMAL'}")
        connection.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, payload TEXT)")
        if in_place:
            _grow_wal(connection)
        with Stopwatch() as watch:
            for index, count in enumerate(rows):
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT INTO record (payload) VALUES (?)", [(ROW,)] * count)
                connection.execute("COMMIT")
                if pause and index == 0:
                    asyncio.run(_nap_together(count, pause))
        return watch.seconds
    finally:
        connection.close()


def _grow_wal(connection: sqlite3.Connection) -> None:
    """Let the write-ahead log reach the size at which SQLite begins to overwrite it from its start."""
    connection.execute("CREATE TABLE filler (data BLOB)")
    connection.execute("INSERT INTO filler VALUES (zeroblob(5000000))")
    connection.execute("PRAGMA wal_checkpoint(RESTART)")


async def _nap_together(count: int, seconds: float) -> None:
    await asyncio.gather(*(asyncio.sleep(seconds) for _ in range(count)))


def _synced_appends(path: Path, count: int) -> float:
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        with Stopwatch() as watch:
            for _ in range(count):
                os.write(handle, ROW.encode())
                sync(handle)
        return watch.seconds
    finally:
        os.close(handle)
