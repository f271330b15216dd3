"""Several processes, and plain DuckDB shells, on one history file."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchkit.errors import StoreBusyError
from orchkit.store.process import process_alive
from orchkit.store.store import Store

Process = subprocess.Popen[str]
Start = Callable[..., Process]
NextLine = Callable[[Process], str]
Finish = Callable[[Process], list[str]]

WRITE_AND_READ = """
import sys, time
from orchkit.store.store import Store
name, seconds = sys.argv[2], float(sys.argv[3])
with Store(sys.argv[1]) as store:
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end or number < 2:
        store.record("x", {"n": number}, run_id=name)
        number += 1
        found = store.query("SELECT count(*) FROM events WHERE run_id = ?", [name])
        assert found == [(number,)], (found, number)
print(number)
"""
READ = """
import sys, time
from orchkit.store.store import Store
with Store(sys.argv[1]) as store:
    end, counts = time.monotonic() + float(sys.argv[2]), [0, 0]
    while time.monotonic() < end or len(counts) < 4:
        counts.append(store.query("SELECT count(*) FROM events")[0][0])
assert counts == sorted(counts)
print(len(counts))
"""
HOLD = """
import sys, time
from orchkit.store.store import Store
store = Store(sys.argv[1])
store._lease._ttl_us = 600_000_000  # so long that nobody waits for its end
store.record("x", {}, run_id="run_1")
with store.history.borrow():
    print("holding", flush=True)
    time.sleep(600)
"""
SHELL = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("holding", flush=True)
time.sleep(float(sys.argv[2]))
connection.close()
print("done")
"""
BUSY = """
import sys, threading
from orchkit.store.store import Store
store = Store(sys.argv[1])
def ask():
    while True:
        store.query("SELECT count(*) FROM events")
for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
print("asking", flush=True)
ask()
"""


def test_processes_take_turns(
    path: Path, start: Start, finish: Finish, open_store: Callable[..., Store]
) -> None:
    """Two processes that write and read in turns while a third one reads: no error, and all is there."""
    processes = [start(WRITE_AND_READ, path, name, 1.5) for name in ("run_a", "run_b")]
    reader = start(READ, path, 1.5)
    written = {
        name: int(finish(process)[0]) for name, process in zip(("run_a", "run_b"), processes, strict=True)
    }
    finish(reader)
    store = open_store()
    for name, count in written.items():
        assert [event.payload["n"] for event in store.events(name)] == list(range(count))


def test_who_asks_gets_a_turn_between_those_who_ask_all_the_time(
    path: Path, start: Start, next_line: NextLine, open_store: Callable[..., Store]
) -> None:
    """A process that queries from four threads without a pause gives way to another process soon."""
    next_line(start(BUSY, path))
    store = open_store(busy_timeout_s=60.0)
    for number in range(3):
        store.record("x", {}, run_id="run_1")
        assert len(store.events("run_1")) == number + 1


def test_a_holder_that_is_killed_is_forgotten_at_once(
    path: Path, start: Start, next_line: NextLine, open_store: Callable[..., Store]
) -> None:
    """After SIGKILL of the process that holds the file the next one gets in without waiting for its lease."""
    holder = start(HOLD, path)
    next_line(holder)
    store = open_store()
    found = store.holder()
    assert found is not None
    assert (found.pid, process_alive(found.pid)) == (holder.pid, True)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert len(store.events("run_1")) == 1


def test_a_plain_shell_is_waited_for(
    path: Path, start: Start, next_line: NextLine, finish: Finish, open_store: Callable[..., Store]
) -> None:
    """While somebody has the file open in a DuckDB shell, readers wait, and succeed when it is closed."""
    store = open_store()
    store.record("x", {}, run_id="run_1")
    store.query("SELECT 1")
    store.close()
    shell = start(SHELL, path, 1.0)
    next_line(shell)
    again = open_store()
    again.record("x", {}, run_id="run_1")
    assert len(again.events("run_1")) == 2
    assert finish(shell) == ["done"]


@pytest.mark.parametrize("code", [HOLD, SHELL], ids=["orchkit", "shell"])
def test_waiting_ends(
    path: Path, start: Start, next_line: NextLine, open_store: Callable[..., Store], code: str
) -> None:
    """Who holds the file for longer than the timeout is named, with its process; what was written is safe."""
    with Store(path) as store:
        store.query("SELECT 1")
    holder = start(code, path, 600)
    next_line(holder)
    store = open_store(busy_timeout_s=0.3)
    store.record("x", {}, run_id="run_2")
    with pytest.raises(
        StoreBusyError, match=rf"(?i)held by .*(process|PID) {holder.pid}.* \d+\.\d s"
    ) as caught:
        store.query("SELECT 1")
    assert caught.value.waited_s >= 0.3
    holder.kill()
    holder.wait()
    assert len(store.events("run_2")) == 1


def test_closing_does_not_wait_for_a_shell(
    path: Path,
    start: Start,
    next_line: NextLine,
    open_store: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store closes though somebody holds its history; what was written is found at the next opening."""
    monkeypatch.setattr("orchkit.store.store.CLOSE_WAIT_S", 0.2)
    with Store(path) as store:
        store.query("SELECT 1")
    shell = start(SHELL, path, 600)
    next_line(shell)
    with Store(path) as store:
        store.record("x", {}, run_id="run_1")
    shell.kill()
    shell.wait()
    assert len(open_store().events("run_1")) == 1


def test_the_file_is_free_soon_after_a_query(path: Path, start: Start, finish: Finish, store: Store) -> None:
    """A DuckDB shell that keeps trying gets the file when the store has not been asked for a while."""
    store.record("x", {})
    store.query("SELECT 1")
    code = """
import sys, time, duckdb
began = time.monotonic()
while True:
    try:
        print(duckdb.connect(sys.argv[1]).execute("SELECT count(*) FROM events").fetchone()[0])
        break
    except duckdb.IOException:
        time.sleep(0.02)
print(time.monotonic() - began < 30)
"""
    assert finish(start(code, path)) == ["1", "True"]


def test_threads_of_one_process_read_at_the_same_time(store: Store) -> None:
    """Every thread gets the results of its own query, however many ask at once."""
    for number in range(200):
        store.append("x", "{}", run_id=f"run_{number % 8}")
    store.commit()
    wrong: list[object] = []

    def ask(thread: int) -> None:
        for _ in range(15):
            rows = store.query(
                "SELECT run_id, count(*) FROM events WHERE run_id = ? GROUP BY 1", [f"run_{thread}"]
            )
            if rows != [(f"run_{thread}", 25)]:
                wrong.append(rows)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
