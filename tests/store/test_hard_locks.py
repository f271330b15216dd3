"""Locks that are dropped behind the store's back, and connections of other kinds to its files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchkit.store.store import Store

Start = Callable[..., subprocess.Popen[str]]
Finish = Callable[[subprocess.Popen[str]], list[str]]

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="locks of open files are Linux's")

VISITOR = """
import sys
from orchkit.store.store import Store
with Store(sys.argv[1]) as store:
    store.record("x", {}, run_id="run_visitor")
    print(store.query("SELECT count(*) FROM events")[0][0])
"""
COMES_AND_GOES = """
import sys
from pathlib import Path
from orchkit.store.log import SqliteLog
for number in range(60):
    log = SqliteLog(Path(sys.argv[1]))
    log.append((number, "visit", None, None, None, "{}"), durable=False)
    log.close()
"""
COPIES = """
import subprocess, sys
from pathlib import Path
from orchkit.store.log import SqliteLog
path, visitor = Path(sys.argv[1]), sys.argv[2]
log = SqliteLog(path)
other = subprocess.Popen([sys.executable, "-c", visitor, str(path)])
written = 0
while other.poll() is None:
    path.with_name("log-shm").read_bytes()
    log.append((0, "own", None, None, None, "{}"), durable=False)
    log.commit()
    written += 1
counts = dict(log.read("SELECT kind, count(*) FROM event GROUP BY kind"))
print(other.returncode, counts == {"own": written, "visit": 60})
log.close()
"""
SHELL = """
import duckdb, sys
try:
    duckdb.connect(sys.argv[1]).execute("SELECT count(*) FROM events")
    print("got in")
except duckdb.IOException:
    print("refused")
"""


def copy_all(path: Path) -> None:
    """What a backup in the same process does: open every file of the folder, read it and close it."""
    for file in path.parent.iterdir():
        file.read_bytes()


@only_linux
def test_reading_the_files_in_the_same_process_drops_no_lock(
    path: Path, start: Start, finish: Finish, open_store: Callable[..., Store]
) -> None:
    """Another process that comes and goes does not take the log away from one that has copied its files."""
    store = open_store()
    files = [path.with_name(f"runs.duckdb-log{name}") for name in ("", "-wal", "-shm")]
    for round_ in range(2):
        store.record("x", {"n": round_}, run_id="run_1")
        copy_all(path)
        before = [file.stat().st_ino for file in files]
        assert finish(start(VISITOR, path)) == [str(2 * round_ + 2)]
        assert [file.stat().st_ino for file in files] == before
    assert [event.payload["n"] for event in store.events("run_1")] == [0, 1]
    store.close()
    assert [file.exists() for file in files] == [True, False, False]


@only_linux
def test_reading_the_shared_memory_is_not_the_end_of_the_process(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    """Who opens the log after its index was copied does not cut that off under the one who works with it.

    (The operating system ends a process that touches shared memory which is not there any more.)
    """
    assert finish(start(COPIES, tmp_path / "log", COMES_AND_GOES)) == ["0 True"]


@only_linux
def test_one_of_two_stores_in_a_process_closes(
    path: Path, start: Start, finish: Finish, open_store: Callable[..., Store]
) -> None:
    """The locks of the other one last: a process that comes and goes does not take its log away."""
    first, second = open_store(), open_store()
    first.record("x", {}, run_id="run_1")
    first.close()
    second.record("x", {}, run_id="run_1")
    finish(start(VISITOR, path))
    second.record("x", {}, run_id="run_1")
    assert [event.seq for event in second.events("run_1")] == [1, 2, 4]
    finish(start(VISITOR, path))
    assert len(second.events("run_1")) == 3


def test_nothing_of_ours_opens_the_history_while_it_is_held(
    path: Path, start: Start, finish: Finish, store: Store
) -> None:
    """Whatever is asked of the store, a DuckDB shell cannot get in while this process has the file."""
    store.record("run.started", {"kind": "workflow", "name": "w"}, run_id="run_1")
    digest = store.put_blob('"large"')
    with store.history.borrow():
        pass
    assert store.history.is_open
    store.sql("FROM runs")
    store.events("run_1")
    store.record("x", {"output": {"$blob": digest, "bytes": 7}}, run_id="run_1")
    store.blob(digest)
    with store.history.borrow() as connection:  # held until the shell has tried
        connection.execute("SELECT 1")
        assert finish(start(SHELL, path)) == ["refused"]


def test_reading_the_history_while_it_is_held_costs_no_record(
    path: Path, start: Start, finish: Finish, store: Store
) -> None:
    """Other processes of ours wait for the lease all the same; all that is written is there once."""
    store.record("x", {"n": 0}, run_id="run_1")
    store.query("SELECT 1")
    path.read_bytes()  # a DuckDB shell would get in now, until the file is closed a second later
    store.record("x", {"n": 1}, run_id="run_1")
    assert finish(start(VISITOR, path)) == ["3"]
    store.record("x", {"n": 2}, run_id="run_1")
    assert [event.payload["n"] for event in store.events("run_1")] == [0, 1, 2]
    assert store.query("SELECT count(*), count(DISTINCT seq) FROM events") == [(4, 4)]
