"""The workloads on DBOS with its SQLite system database, each in the shape that is fastest for it.

The variants: ``default`` leaves the file as DBOS makes it (a rollback journal), ``wal`` puts it in WAL
mode beforehand. Both sync every commit to the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID
from floor import NAP_S, RUN_STEPS, TRIES
from task import Stopwatch, Task, expect

WARM_UP = 20
_tries: Counter[int] = Counter()


@DBOS.step()
async def add(x: int) -> int:
    """One more."""
    return x + 1


@DBOS.step()
def add_sync(x: int) -> int:
    """One more, from a sync function."""
    return x + 1


@DBOS.step()
async def count(xs: list[int]) -> int:
    """How many there are."""
    return len(xs)


@DBOS.step()
async def nap(x: int) -> int:
    """Wait as for a slow service."""
    await asyncio.sleep(NAP_S)
    return x


@DBOS.step(retries_allowed=True, interval_seconds=0, max_attempts=TRIES)
def flaky(x: int) -> int:
    """Fail twice, then succeed."""
    _tries[x] += 1
    if _tries[x] < TRIES:
        raise ConnectionError("not yet")
    return x


@DBOS.workflow()
async def chain(size: int) -> int:
    """Each step takes the output of the one before."""
    x = 0
    for _ in range(size):
        x = await add(x)
    return x


@DBOS.workflow()
def chain_sync(size: int) -> int:
    """The same with sync functions."""
    x = 0
    for _ in range(size):
        x = add_sync(x)
    return x


@DBOS.workflow()
async def fan(size: int) -> int:
    """One, then many at once, then one."""
    x = await add(-1)
    return await count(list(await asyncio.gather(*(add(x) for _ in range(size)))))


@DBOS.workflow()
async def naps(size: int) -> int:
    """Many at once that wait."""
    return len(await asyncio.gather(*(nap(x) for x in range(size))))


@DBOS.workflow()
def retries(size: int) -> int:
    """Steps that fail twice, one after the other."""
    for x in range(size):
        flaky(x)
    return size


WORKFLOWS: dict[str, Any] = {
    "chain": chain,
    "chain_sync": chain_sync,
    "fan": fan,
    "runs": chain_sync,
    "naps": naps,
    "retries": retries,
}


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Seconds of the workload."""
    path = folder / "dbos.sqlite"
    if task.variant == "wal":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "CRITICAL"})
    DBOS.launch()
    try:
        if task.workload == "repeats":
            return _repeats(task)
        if task.workload in ("chain_sync", "runs", "retries"):
            return _sync(task)
        return asyncio.run(_async(task))
    finally:
        DBOS.destroy()


def _sync(task: Task) -> dict[str, float]:
    workflow = WORKFLOWS[task.workload]
    repeats, size = (task.size, RUN_STEPS) if task.workload == "runs" else (1, task.size)
    workflow(WARM_UP)
    _tries.clear()
    time.sleep(0.1)
    with Stopwatch() as watch:
        for _ in range(repeats):
            result = workflow(size)
    expect("the result", result, size)
    return {"seconds": watch.seconds}


def _repeats(task: Task) -> dict[str, float]:
    with SetWorkflowID("the-same"):
        chain_sync(1)
    with Stopwatch() as watch:
        for _ in range(task.size):
            with SetWorkflowID("the-same"):
                result = chain_sync(1)
    expect("the result", result, 1)
    return {"seconds": watch.seconds}


async def _async(task: Task) -> dict[str, float]:
    workflow = WORKFLOWS[task.workload]
    await workflow(WARM_UP)
    await asyncio.sleep(0.1)
    with Stopwatch() as watch:
        result = await workflow(task.size)
    expect("the result", result, task.size)
    return {"seconds": watch.seconds}
