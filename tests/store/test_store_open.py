"""Opening a store: fresh, again, in memory, beside an old history, by several at once, or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from orchkit.errors import StoreBusyError, StoreError, StoreVersionError
from orchkit.store.log import SqliteLog
from orchkit.store.schema import migrations
from orchkit.store.sqlite import SqliteFile
from orchkit.store.store import Store

CREATE = """
import sys, time
from orchkit.store.store import Store
while time.time() < float(sys.argv[2]):
    pass
with Store(sys.argv[1]) as store:
    for number in range(5):
        store.record("x", {"n": number}, run_id="run_1")
    print(len(store.events("run_1")) >= 5)
"""


def test_a_store_is_found_again(open_store: Callable[..., Store]) -> None:
    """What was written is there after closing and opening; numbers go on where they were."""
    with open_store() as store:
        store.record("x", {"n": 1}, run_id="run_1")
    with open_store() as store:
        store.record("x", {"n": 2}, run_id="run_1")
        assert [(event.seq, event.payload) for event in store.events("run_1")] == [
            (1, {"n": 1}),
            (2, {"n": 2}),
        ]


def test_numbers_are_never_given_twice(store: Store) -> None:
    """Also after all events have left the log, new ones get new numbers."""
    for number in range(3):
        store.record("x", {"n": number})
        assert store.ingest() == 1
        assert store.log.read_after(0, 10) == []
    assert store.query("SELECT seq FROM events ORDER BY seq") == [(1,), (2,), (3,)]


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path everything works, and no file appears."""
    monkeypatch.chdir(tmp_path)
    with Store() as store, Store() as other:
        store.record("x", {"a": [1]}, run_id="run_1")
        digest = store.put_blob('"large"')
        store.record("x", {"output": {"$blob": digest, "bytes": 7}}, run_id="run_1")
        store.put_state("k", "a", {})
        assert [event.payload for event in store.events("run_1")] == [{"a": [1]}, {"output": "large"}]
        assert other.events("run_1") == []
        assert (store.holder(), repr(store)) == (None, "<Store in memory>")
    assert list(tmp_path.iterdir()) == []


def test_two_stores_in_one_process(store: Store, open_store: Callable[..., Store]) -> None:
    """The same path may be opened twice in a process: both see what either wrote."""
    other = open_store()
    store.record("x", {"n": 1}, run_id="run_1")
    other.record("x", {"n": 2}, run_id="run_1")
    assert len(store.events("run_1")) == len(other.events("run_1")) == 2


def test_many_processes_create_a_store_at_once(
    path: Path,
    start: Callable[..., subprocess.Popen[str]],
    finish: Callable[[subprocess.Popen[str]], list[str]],
    open_store: Callable[..., Store],
) -> None:
    """Five processes that create the same store at the same moment all write to it and read from it."""
    begin = time.time() + 0.5
    processes = [start(CREATE, path, begin) for _ in range(5)]
    assert [finish(process) for process in processes] == [["True"]] * 5
    assert open_store().query("SELECT count(*), count(DISTINCT seq), max(seq) FROM events") == [(25, 25, 25)]


def test_the_log_waits_for_others_that_set_it_up(tmp_path: Path) -> None:
    """While another process switches the file to WAL, SQLite says 'locked' at once: opening tries again."""
    path = tmp_path / "log"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.execute("COMMIT")

    log = SqliteFile(path, wait=wait, busy_timeout_s=0.05)
    log.close()
    other.close()
    assert len(waits) == 3


def test_a_log_that_stays_locked_is_given_up(tmp_path: Path) -> None:
    """Waiting for the log ends at some point, with an error that says what for."""
    path = tmp_path / "log"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusyError, match="another process"):
        SqliteFile(path, wait=lambda seconds: None, busy_timeout_s=0.02)
    other.close()


def test_a_new_log_goes_on_after_the_history(path: Path, open_store: Callable[..., Store]) -> None:
    """When the log is lost or left behind, new events are numbered after those of the history."""
    with open_store() as store:
        for number in range(5):
            store.record("x", {"n": number}, run_id="run_1")
    path.with_name("runs.duckdb-log").unlink()
    with pytest.warns(UserWarning, match="-log was missing: a new one goes on after event 5"):
        store = open_store()
    with store:
        store.record("x", {"n": 5}, run_id="run_1")
        assert [event.seq for event in store.events("run_1")] == [1, 2, 3, 4, 5, 6]
        store.record("x", {"n": 6}, run_id="run_1")
    assert open_store().query("SELECT count(*), max(seq) FROM events") == [(7, 7)]


def test_a_new_history_beside_the_log(path: Path, open_store: Callable[..., Store]) -> None:
    """When the history is moved away the log goes on: numbers continue, and what is gone with it is said."""
    with open_store() as store:
        store.record("x", {"n": 0}, run_id="run_1")
        store.ingest()
    path.unlink()
    with open_store() as store:
        store.record("x", {"n": 1}, run_id="run_1")
        with pytest.warns(UserWarning, match="1 event is missing that had been moved into it, seq 1 to 1"):
            assert [event.seq for event in store.events("run_1")] == [2]


def test_a_history_is_created_whole_or_not_at_all(path: Path, open_store: Callable[..., Store]) -> None:
    """What a process left behind that was killed while it created the history is no obstacle."""
    begun = path.with_name("runs.duckdb.new")
    begun.write_bytes(b"\0" * 4_096)
    store = open_store()
    store.record("x", {}, run_id="run_1")
    assert len(store.events("run_1")) == 1
    assert not begun.exists()


def test_the_numbers_of_a_new_log_are_settled_with_its_creation(tmp_path: Path) -> None:
    """A crash between creating the log and finding out how to number leaves no log that numbers wrongly."""
    path = tmp_path / "log"

    def crash() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SqliteLog(path, first_after=crash)
    log = SqliteLog(path, first_after=lambda: 41)
    log.append((0, "x", None, None, None, "{}"), durable=False)
    log.commit()
    assert [row[0] for row in log.read_after(0, 10)] == [42]
    log.close()
    again = SqliteLog(path, first_after=crash)
    assert (again.log_id, again.last_seq()) == (log.log_id, 42)
    again.close()


def test_a_log_of_a_newer_orchkit_is_refused(path: Path) -> None:
    """A log with a newer schema is not touched; the error says what to do."""
    Store(path).close()
    with sqlite3.connect(path.with_name("runs.duckdb-log")) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreVersionError, match="upgrade orchkit") as caught:
        Store(path)
    assert (caught.value.found, caught.value.supported) == (99, migrations("log")[-1][0])


def test_a_history_of_a_newer_orchkit_is_refused(path: Path, open_store: Callable[..., Store]) -> None:
    """A history with a newer schema cannot be read; what is written meanwhile stays in the log."""
    with Store(path) as old:
        old.query("SELECT 1")
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO meta SELECT 'was', value FROM meta WHERE key = 'schema_version'")
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    store = open_store()
    store.record("x", {})
    with pytest.raises(StoreVersionError):
        store.query("SELECT 1")
    assert len(store.log.read_after(0, 10)) == 1
    with duckdb.connect(str(path)) as connection:
        was = "(SELECT value FROM meta WHERE key = 'was')"
        connection.execute(f"UPDATE meta SET value = {was} WHERE key = 'schema_version'")
    assert store.query("SELECT count(*) FROM events") == [(1,)]


def test_views_are_brought_up_to_date(path: Path, open_store: Callable[..., Store]) -> None:
    """A history whose views were written by another version gets this version's."""
    with Store(path) as old:
        old.query("SELECT 1")
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE OR REPLACE VIEW runs AS SELECT 1 AS old")
        connection.execute("UPDATE meta SET value = 'old' WHERE key = 'views'")
    assert "run_id" in open_store().sql("SELECT * FROM runs").columns


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: path.mkdir(), "is a folder: name a file in it"),
        (lambda path: path.with_name("runs.duckdb-log").mkdir(), "unable to open database file"),
        (lambda path: path.with_name("runs.duckdb-log").write_bytes(b"x" * 5_000), "file is not a database"),
        (lambda path: path.write_bytes(b"x" * 50_000), "is no DuckDB database"),
    ],
    ids=["folder", "folder as log", "no log", "no history"],
)
def test_a_path_that_cannot_be_a_store(path: Path, make: Callable[[Path], object], match: str) -> None:
    """What cannot be opened is a StoreError that says why, at once."""
    make(path)
    with pytest.raises(StoreError, match=match) as caught:
        Store(path)
    assert str(path) in str(caught.value)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    """The folder of a store is not created behind one's back."""
    with pytest.raises(StoreError, match="does not exist: create it first"):
        Store(tmp_path / "typo" / "runs.duckdb")


def test_an_error_that_only_mentions_locks_is_not_waited_for(tmp_path: Path) -> None:
    """A broken history in a folder called 'clocks' is an error at once, not after the busy timeout."""
    folder = tmp_path / "clocks"
    folder.mkdir()
    (folder / "runs.duckdb").write_bytes(b"x" * 50_000)
    with pytest.raises(StoreError, match="is no DuckDB database"):
        Store(folder / "runs.duckdb")
