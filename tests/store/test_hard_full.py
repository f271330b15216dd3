"""A disk that is full at each moment at which it can be: opening, running, ingesting, closing."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import StoreError, StoreFullError
from orchkit.store.store import Store

STEPS = 200
# Half of its events are in the history, the others and the write-ahead files of both are left behind.
WRITE_AND_DIE = """
import os, sys
from orchkit.store.store import Store
store = Store(sys.argv[1])
for number in range(100):
    store.record("x", {"n": number, "noise": os.urandom(200).hex()}, run_id="run_1")
    if number == 49:
        store.ingest()
os._exit(0)
"""


def numbers(store: Store) -> list[int]:
    """The numbers of the events, in order."""
    return [event.payload["n"] for event in store.events("run_1")]


@pytest.mark.parametrize("leave", [0, 4_096, 8_192, 20_000, 40_960, 70_000])
def test_opening_a_new_store(disk: Any, open_store: Callable[..., Store], leave: int) -> None:
    """However little there is: the disk is full, nothing else, and what was begun is no obstacle later."""
    path = disk.folder / "runs.duckdb"
    disk.fill(leave)
    with pytest.raises(StoreFullError, match="free space"):
        open_store(path)
    disk.grow()
    store = open_store(path)
    store.record("x", {"n": 1}, run_id="run_1")
    assert numbers(store) == [1]


@pytest.mark.parametrize("index", [True, False], ids=["with index", "without index"])
def test_opening_what_a_dead_process_left(
    disk: Any, start: Callable[..., subprocess.Popen[str]], open_store: Callable[..., Store], index: bool
) -> None:
    """It can be opened, or the disk is said to be full; all of it is there when there is room."""
    path = disk.folder / "runs.duckdb"
    assert start(WRITE_AND_DIE, path).wait() == 0
    if not index:
        path.with_name("runs.duckdb-log-shm").unlink()
    disk.fill()
    last = [99]
    try:
        store = open_store(path)
    except StoreFullError:
        assert not index
    else:
        store.record("x", {"n": 100}, run_id="run_1")  # goes into what the log has already
        last = [99, 100]
        with pytest.raises(StoreFullError):
            store.query("SELECT 1")
    disk.grow()
    assert numbers(open_store(path)) == list(range(last[-1] + 1))


def test_the_log_leaves_the_last_space_to_others(disk: Any, open_store: Callable[..., Store]) -> None:
    """It takes space in advance only where there is plenty: a new store on an almost full disk works."""
    disk.fill(1_500_000)
    store = open_store(disk.folder / "runs.duckdb")
    store.record("x", {"n": 1}, run_id="run_1")
    assert numbers(store) == [1]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_run_that_fills_the_disk(disk: Any, durability: Any, mode: Any) -> None:
    """The caller is told; what a step was promised to be on disk is there; the same kit goes on with room."""
    told: list[int] = []
    values = [os.urandom(24_000).hex() for _ in range(STEPS)]

    def step(n: int) -> str:
        if mode == "sequential" and n > 0 and durability != "exit":
            told.append(n - 1)  # the result of the step before is on disk when this one begins
        return values[n]

    with ok.open(disk.folder / "runs.duckdb", durability=durability) as kit:
        kit.registry.methods.register_method(step)
        flow = kit.workflow("fills").with_execution_mode(mode)
        for n in range(STEPS):
            flow.add_step("step", {"n": n}, step_id=f"s{n}")
        workflow = flow.build()
        with pytest.raises(StoreFullError, match="nothing acknowledged is lost"):
            kit.run(workflow)
        promised = {(f"s{n}", values[n]) for n in told}
        disk.grow()
        again = kit.run(workflow)
        assert again.success
        statuses = dict(kit.store.query("SELECT run_id, status FROM runs"))
        assert statuses.pop(again.run_id) == "success"
        # Steps that all began before the disk was full can all be done: only the telling had to wait.
        began_late = mode == "sequential" and durability != "exit"
        assert list(statuses.values()) == ["failed" if began_late else "success"]
        query = "SELECT step_id, output FROM steps WHERE run_id <> $1 AND status = 'success'"
        found = {(step, text.strip('"')) for step, text in kit.store.query(query, [again.run_id])}
        assert promised <= found
        assert len(promised) > 20 if began_late else len(found) == STEPS
        ((count, distinct),) = kit.store.query("SELECT count(*), count(DISTINCT seq) FROM events")
        assert count == distinct


def checkpoint(store: Store, ready: threading.Barrier) -> None:
    """Have DuckDB tidy up its file once everybody is inside."""
    with store.history.borrow() as connection:
        ready.wait()
        connection.execute("FORCE CHECKPOINT")


def test_duckdb_gives_up_on_the_file(disk: Any, open_store: Callable[..., Store]) -> None:
    """A checkpoint without space is fatal to DuckDB: the file is closed and opened anew, for all threads."""
    store = open_store(disk.folder / "runs.duckdb")
    for number in range(1_000):
        store.append("x", f'{{"n": {number}, "noise": "{os.urandom(400).hex()}"}}', run_id="run_1")
    store.commit()
    store.ingest()
    disk.fill()
    wrong: list[BaseException] = []
    asked, go_on = threading.Barrier(3), threading.Event()

    def ask() -> None:
        try:
            with store.history.borrow() as connection:
                asked.wait()
                go_on.wait()
                connection.execute("SELECT count(*) FROM event").fetchall()
        except StoreError:
            pass  # the file it was using has become unusable
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    with pytest.raises(StoreFullError):
        checkpoint(store, asked)
    go_on.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not store.history.is_open
    disk.grow()
    assert numbers(store) == list(range(1_000))


def test_closing_when_the_history_finds_no_space(disk: Any, open_store: Callable[..., Store]) -> None:
    """It is said, everything is let go of, and the log keeps what was recorded."""
    store = open_store(disk.folder / "runs.duckdb")
    for number in range(200):
        store.append("x", f'{{"n": {number}, "noise": "{os.urandom(400).hex()}"}}', run_id="run_1")
    store.commit()
    disk.fill()
    with pytest.raises(StoreFullError):
        store.close()
    assert (store.closed, store.log._file.closed) == (True, True)
    store.close()
    disk.grow()
    assert numbers(open_store(disk.folder / "runs.duckdb")) == list(range(200))


def test_closing_when_the_log_finds_no_space(disk: Any, open_store: Callable[..., Store]) -> None:
    """What was acknowledged is there afterwards; how much was not, and is dropped, is said."""
    store = open_store(disk.folder / "runs.duckdb")
    store.record("x", {"n": 0}, run_id="run_1")
    disk.fill()
    for number in range(1, 6):
        store.append("x", f'{{"n": {number}, "noise": "{os.urandom(1_000_000).hex()}"}}', run_id="run_1")
    with pytest.raises(StoreFullError) as caught:
        store.close()
    assert caught.value.__notes__ == ["5 events that were not yet acknowledged are dropped"]
    disk.grow()
    assert numbers(open_store(disk.folder / "runs.duckdb")) == [0]
