"""Processes that are killed at any moment: what was acknowledged is there, exactly once."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from orchkit.store.store import Store

ROUNDS = 30
LANES = 2
# Appends two steps at a time, and says the number and name of each only after the commit.
WORKER = """
import sys, threading, time
from orchkit.store import codec
from orchkit.store.store import Store

path, name, ingests = sys.argv[1], sys.argv[2], sys.argv[3] == "ingests"
store = Store(path)
committed = []
store.subscribe(committed.extend)

def ingest():
    while True:
        store.ingest()
        time.sleep(0.002)

if ingests:
    threading.Thread(target=ingest, daemon=True).start()
number = 0
while True:
    for _ in range(2):
        payload = {"status": "success", "name": "f", "started_us": 1, "attempts": 1, "output": {"n": number}}
        if number % 20 == 0:
            payload["output"] = {"$blob": store.put_blob(codec.dumps([name, number] * 50)), "bytes": 1}
        store.append("step.finished", codec.dumps(payload), run_id=name, step_id=f"s{number}")
        number += 1
    store.commit()
    print("".join(f"{row[0]} {row[4]};" for row in committed), flush=True)
    committed.clear()
"""
Acknowledged = dict[int, tuple[str, str]]
"""Number in the log: run and step."""


def _one_life(
    start: Callable[..., subprocess.Popen[str]], path: Path, name: str, rng: random.Random
) -> Acknowledged:
    """Start a worker, kill it after a while; what it had acknowledged until then."""
    worker = start(WORKER, path, name, rng.choice(["ingests", "only writes"]))
    assert worker.stdout is not None
    first = worker.stdout.readline()
    time.sleep(rng.uniform(0.0, 0.2))
    worker.kill()
    out, err = worker.communicate()
    assert worker.returncode == -9, err
    # The last line may be cut off: that acknowledgement was not given.
    complete = (first + out).rpartition("\n")[0]
    said = [part.split() for part in complete.replace("\n", "").split(";") if part]
    return {int(seq): (name, step) for seq, step in said}


def test_thirty_kills_lose_nothing(
    path: Path, start: Callable[..., subprocess.Popen[str]], open_store: Callable[..., Store]
) -> None:
    """Every acknowledged step of thirty killed processes is in the history once, and the file opens clean.

    They share one store, two at a time, half of them ingesting meanwhile; each is killed at a random moment.
    """
    acknowledged: Acknowledged = {}
    failures: list[BaseException] = []

    def lane(number: int) -> None:
        rng = random.Random(number)
        try:
            for life in range(ROUNDS // LANES):
                acknowledged.update(_one_life(start, path, f"run_{number}_{life}", rng))
        except BaseException as error:
            failures.append(error)

    lanes = [threading.Thread(target=lane, args=(number,)) for number in range(LANES)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    if failures:
        raise failures[0]

    assert len(acknowledged) > ROUNDS * 10
    store = open_store()
    found = {seq: (run, step) for seq, run, step in store.query("SELECT seq, run_id, step_id FROM step_end")}
    assert acknowledged.items() <= found.items()
    counts = "count(*), count(DISTINCT seq), count(DISTINCT (run_id, step_id))"
    assert store.query(f"SELECT {counts} FROM step_end") == [(len(found),) * 3]
    assert store.query(f"SELECT {counts} FROM events") == [(len(found),) * 3]
    for run in {run for run, _ in acknowledged.values()}:
        outputs = [event.payload["output"] for event in store.events(run)]
        assert [output["n"] if n % 20 else output[1] for n, output in enumerate(outputs)] == list(
            range(len(outputs))
        )
    store.close()
    assert list(path.parent.glob("*damaged*")) == []
    with duckdb.connect(str(path)) as connection:
        connection.execute("CHECKPOINT")
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (len(found),)


@pytest.mark.parametrize("moment", range(6))
def test_a_store_whose_first_process_is_killed(
    path: Path, start: Callable[..., subprocess.Popen[str]], open_store: Callable[..., Store], moment: int
) -> None:
    """Killed while both files are being created, a store can be opened, and goes on."""
    worker = start(WORKER, path, "run_1", "ingests")
    while not path.with_name("runs.duckdb-log").exists():
        time.sleep(0.0005)
    time.sleep(moment * 0.008)
    worker.kill()
    worker.communicate()
    store = open_store()
    store.record("x", {}, run_id="run_2")
    assert len(store.events("run_2")) == 1
