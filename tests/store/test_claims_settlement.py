"""A settlement and the events before it: both are on disk, or neither, whatever happens in between."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchkit.errors import StoreFullError
from orchkit.model.idempotency import RequestStatus
from orchkit.store.claims import Wanted
from orchkit.store.store import Store
from orchkit.testing import FaultyStore, crash_points

KEYS = 2

# Executes one key after another, and says which ones it was told are settled; a thread commits all the time.
WORKER = """
import itertools, sys, threading
from orchkit.model.idempotency import RequestStatus
from orchkit.store.claims import Wanted
from orchkit.store.store import Store

store = Store(sys.argv[1])

def commit():
    while True:
        store.commit()

threading.Thread(target=commit, daemon=True).start()
for number in itertools.count():
    key = f"{sys.argv[2]}_{number}"
    claim = store.claims.acquire(Wanted(key, "letters", "same", None, 10**12), f"run_{key}").claim
    with store.together():
        store.append("run.started", "{}", run_id=claim.run_id)
        store.open_runs.begin(claim.run_id, "workflow", "letters")
    with store.together():
        store.append("run.finished", "{}", run_id=claim.run_id)
        store.open_runs.end(claim.run_id)
        store.claims.settle(claim, RequestStatus.COMPLETED, result=f'"{key}"')
    store.commit()
    assert store.claims.finish(claim)
    print(key, flush=True)
"""


def wanted(key: str) -> Wanted:
    """Somebody asks for this key."""
    return Wanted(key, "letters", "same", None, 10**12)


def execute(store: Store, key: str) -> None:
    """Execute a key, or do nothing when that has been done."""
    answer = store.claims.acquire(wanted(key), f"run_{key}")
    if answer.verdict == "replay":
        return
    claim = answer.claim
    with store.together():
        store.append("run.started", "{}", run_id=claim.run_id)
        store.open_runs.begin(claim.run_id, "workflow", "letters")
    store.commit()
    with store.together():
        store.append("run.finished", "{}", run_id=claim.run_id)
        store.open_runs.end(claim.run_id)
        store.claims.settle(claim, RequestStatus.COMPLETED, result=f'"{key}"')
    store.commit()
    assert store.claims.finish(claim)


def job(store: FaultyStore) -> None:
    """Execute some keys."""
    for number in range(KEYS):
        execute(store, str(number))


def runs_of(store: Store, kind: str) -> set[str]:
    """The runs of which this event is on record."""
    return {run_id for (run_id,) in store.query("SELECT run_id FROM events WHERE kind = ?", [kind])}


def check(store: Store) -> tuple[set[str], set[str]]:
    """A run has an end on record exactly when its key is settled; those that ended, and those still open."""
    ended, begun = runs_of(store, "run.finished"), runs_of(store, "run.started")
    rows = store.query("SELECT run_id, status FROM idempotency_keys")
    assert {run_id for run_id, status in rows if status == "COMPLETED"} == ended
    claims = [store.claims.find(run_id.removeprefix("run_")) for run_id, _ in rows]
    assert {claim.run_id for claim in claims if claim and claim.status == "COMPLETED"} == ended
    assert all(
        claim and claim.result == f'"{claim.key}"' for claim in claims if claim and claim.run_id in ended
    )
    open_runs = {run.run_id for run in store.open_runs.all()}
    assert open_runs == begun - ended
    assert [run.run_id for run in store.open_runs.cut_off()] == sorted(open_runs)
    assert len(rows) - len(ended) <= 1
    return ended, open_runs


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_is_killed_at_each_of_its_commits(
    tmp_path: Path, when: Any, open_store: Callable[..., Store]
) -> None:
    """The record and the keys agree, and the next process ends what was begun, each run once."""
    crashes = 0
    for crash in crash_points(job, tmp_path, when=when):
        crashes += 1
        store = open_store(crash.path)
        ended, _ = check(store)
        assert len(ended) == (crash.number if when == "after" else crash.number - 1) // 3
        for number in range(KEYS):
            execute(store, str(number))
        assert check(store) == ({f"run_{number}" for number in range(KEYS)}, set())
        rows = store.query("SELECT request_id, executions FROM idempotency_keys ORDER BY request_id")
        assert rows == [(str(number), 1) for number in range(KEYS)]
        store.close()
    assert crashes == 3 * KEYS


def test_processes_that_are_killed_at_any_moment(
    path: Path, start: Callable[..., subprocess.Popen[str]], open_store: Callable[..., Store]
) -> None:
    """However the commits of another thread fall, an end and its settlement are never torn apart."""
    rng = random.Random(3)
    acknowledged = set()
    for life in range(6):
        worker = start(WORKER, path, life)
        assert worker.stdout is not None
        first = worker.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.2))
        worker.kill()
        out, err = worker.communicate()
        assert worker.returncode == -9, err
        acknowledged |= set((first + out).rpartition("\n")[0].split())
        store = open_store()
        for claim in [store.claims.find(key) for key in acknowledged]:
            assert claim is not None
            assert claim.status == "COMPLETED"
        rows = store.query(
            "SELECT e.run_id IS NOT NULL, status FROM idempotency_keys k "
            "LEFT JOIN (FROM events WHERE kind = 'run.finished') e USING (run_id)"
        )
        assert set(rows) <= {(True, "COMPLETED"), (False, "PROCESSING")}
        store.close()
    assert len(acknowledged) > 20


def write_for_ever(store: Store) -> None:
    """Until something stops it."""
    noise = random.Random(1)
    while True:
        store.append("x", f'"{noise.randbytes(400_000).hex()}"')
        store.commit()


def test_a_full_disk_at_the_settlement(disk: Any, open_store: Callable[..., Store]) -> None:
    """It is an error, not a loss: settlement and events go with the next commit that finds room."""
    store = open_store(disk.folder / "runs.duckdb")
    claim = store.claims.acquire(wanted("a"), "run_a").claim
    store.append("run.started", "{}", run_id="run_a")
    store.open_runs.begin("run_a", "workflow", "letters")
    store.commit()
    disk.fill()
    with pytest.raises(StoreFullError):
        write_for_ever(store)
    with store.together():
        store.append("run.finished", "{}", run_id="run_a")
        store.open_runs.end("run_a")
        store.claims.settle(claim, RequestStatus.COMPLETED, result='"a"')
    with pytest.raises(StoreFullError):
        store.commit()
    store.claims.give_up(claim)
    with pytest.raises(StoreFullError):
        store.claims.acquire(wanted("a"), "run_x")
    assert store.claims.find("a") == claim
    assert [run.run_id for run in store.open_runs.all()] == ["run_a"]
    disk.grow()
    assert store.claims.acquire(wanted("a"), "run_x").verdict == "replay"
    check(store)
    store.close()
