"""The lease of the history by itself, and a history that is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from orchkit.clock import SystemClock
from orchkit.store.lease import Lease
from orchkit.store.log import SqliteLog
from orchkit.store.process import process_alive
from orchkit.store.store import Store
from orchkit.testing import FakeClock

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def log() -> Iterator[SqliteLog]:
    """A log in memory."""
    log = SqliteLog(None)
    yield log
    log.close()


def test_a_lease_has_one_holder(log: SqliteLog) -> None:
    """The second one is told who has it, and the first one that somebody waits, until it lets go."""
    first, second = Lease(log, "a", SystemClock()), Lease(log, "a", SystemClock())
    assert first.acquire() is None
    assert (first.acquire(), first.wanted()) == (None, False)
    holder = second.acquire()
    assert holder is not None
    assert (holder.pid, str(holder).split()[:2]) == (os.getpid(), ["process", str(os.getpid())])
    assert first.wanted()
    assert Lease(log, "b", SystemClock()).acquire() is None
    first.release()
    assert second.acquire() is None
    first.release()
    found = second.holder()
    assert found is not None
    assert found.owner == holder.owner or not second.wanted()


def test_a_lease_runs_out(log: SqliteLog) -> None:
    """A holder that does not renew loses it, and learns that; renewing keeps it."""
    clock = FakeClock()
    first, second = Lease(log, "a", clock, ttl_s=10), Lease(log, "a", clock, ttl_s=10)
    first.acquire()
    with log.exclusive() as connection:
        connection.execute("UPDATE lease SET host = 'elsewhere'")
    clock.advance(9)
    first.renew()
    clock.advance(9)
    assert second.acquire() is not None
    clock.advance(2)
    assert second.acquire() is None
    assert first.wanted()
    assert not second.wanted()
    first.release()
    assert second.acquire() is None


def test_a_dead_process_holds_nothing(log: SqliteLog, start: Start) -> None:
    """The lease of a process that does not exist any more is free."""
    process = start("")
    process.wait()
    lease = Lease(log, "a", SystemClock())
    lease.acquire()
    with log.exclusive() as connection:
        connection.execute("UPDATE lease SET owner = 'owner_x', pid = ?", (process.pid,))
    assert Lease(log, "a", SystemClock()).acquire() is None
    with log.exclusive() as connection:
        connection.execute("UPDATE lease SET owner = 'owner_x', pid = ?, host = 'elsewhere'", (process.pid,))
    assert Lease(log, "a", SystemClock()).acquire() is not None
    assert process_alive(1)


def _leave_wal(path: Path, start: Start) -> Path:
    """Write to the file and end without closing it, so that its write-ahead log stays; gives that."""
    with Store(path) as store:
        store.record("x", {}, run_id="run_1")
    code = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE extra AS SELECT 1")
os._exit(0)
"""
    start(code, path).wait()
    return path.with_name("runs.duckdb.wal")


def test_a_damaged_write_ahead_log_is_set_aside(
    path: Path, start: Start, open_store: Callable[..., Store]
) -> None:
    """A history whose last changes cannot be read opens without them, says so, and keeps them."""
    wal = _leave_wal(path, start)
    data = bytearray(wal.read_bytes())
    data[-20:] = bytes(20)
    wal.write_bytes(data)
    store = open_store()
    with pytest.warns(UserWarning, match=r"set aside as runs\.duckdb\.wal\.damaged-\d+"):
        assert len(store.events("run_1")) == 1
    (kept,) = path.parent.glob("runs.duckdb.wal.damaged-*")
    assert kept.read_bytes() == bytes(data)
    store.record("x", {}, run_id="run_1")
    assert len(store.events("run_1")) == 2


def test_after_a_fatal_error_the_file_is_opened_again(store: Store) -> None:
    """When DuckDB declares its instance unusable it is closed, and the next borrower opens it anew."""
    store.record("x", {}, run_id="run_1")
    with pytest.raises(Exception, match="invalidated"), store.history.borrow():
        raise duckdb.FatalException("database has been invalidated")
    assert not store.history.is_open
    assert len(store.events("run_1")) == 1


def test_a_process_that_nobody_has_waited_for_is_not_alive() -> None:
    """A killed child whose parent has not noticed holds nothing any more."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert process_alive(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still there for its parent
        assert not process_alive(child.pid)
    finally:
        child.communicate()
    assert not process_alive(child.pid)
