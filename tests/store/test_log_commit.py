"""The log: group commit, its order, and what happens when a commit fails."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchkit.errors import StoreClosedError, StoreError, StoreFullError
from orchkit.store.log import SqliteLog, StoredRow
from orchkit.store.store import Store


class Meddler:
    """A connection that raises before or after it does what it is asked."""

    def __init__(self, store: Store, when: str, error: BaseException, *, after: bool = False) -> None:
        self._file = store.log._file
        self._real: Any = self._file._writer
        self._when, self._error, self._after = when, error, after
        self._file._writer = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *args: Any) -> Any:
        if sql.startswith(self._when) and not self._after:
            self._raise()
        result = self._real.execute(sql, *args)
        if sql.startswith(self._when):
            self._raise()
        return result

    def _raise(self) -> None:
        self._file._writer = self._real
        raise self._error


def append(store: Store, *numbers: int, durable: bool = True) -> None:
    """Append an event for each number."""
    for number in numbers:
        store.append("x", json.dumps({"n": number}), run_id="run_1", durable=durable)


def numbers(store: Store) -> list[int]:
    """The numbers of all events, in the order of the log."""
    return [payload["n"] for payload in map(json.loads, (row[6] for row in store.log.read_after(0, 10**6)))]


def test_events_are_numbered_without_gaps_in_the_order_of_appending(store: Store) -> None:
    """Every commit writes what was appended, in order, with the next consecutive numbers."""
    for first in range(0, 30, 10):
        append(store, *range(first, first + 10))
        store.commit()
    assert [row[0] for row in store.log.read_after(0, 100)] == list(range(1, 31))
    assert numbers(store) == list(range(30))


def test_nothing_is_written_before_the_commit(store: Store, open_store: Callable[..., Store]) -> None:
    """Appending only buffers; after the commit every other reader sees the events."""
    other = open_store()
    append(store, 1)
    assert (store.log.pending, numbers(other)) == (1, [])
    store.commit()
    assert (store.log.pending, numbers(other)) == (0, [1])


def test_threads_share_commits(store: Store) -> None:
    """Threads that append and commit at once: all is there once, each thread's events in its order."""

    def work(thread: int) -> None:
        for number in range(200):
            append(store, thread * 1000 + number)
            if number % 3 == 0:
                store.commit()
        store.commit()

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = numbers(store)
    assert sorted(found) == [thread * 1000 + number for thread in range(6) for number in range(200)]
    for thread in range(6):
        own = [number for number in found if number // 1000 == thread]
        assert own == sorted(own)
    assert [row[0] for row in store.log.read_after(0, 10_000)] == list(range(1, 1201))


def test_a_commit_covers_what_another_thread_is_writing(store: Store) -> None:
    """When commit returns, everything that was appended before the call is on disk, whoever writes it."""
    writing, go_on, seen = threading.Event(), threading.Event(), []

    def slow(rows: list[StoredRow]) -> None:
        writing.set()
        go_on.wait(10)

    unsubscribe = store.subscribe(slow)
    append(store, 1)
    first = threading.Thread(target=store.commit)
    first.start()
    writing.wait(10)
    unsubscribe()
    second = threading.Thread(target=lambda: (store.commit(), seen.append(numbers(store))))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert seen == [[1]]


@pytest.mark.parametrize(
    ("durable", "mode"), [([True], "FULL"), ([False, True, False], "FULL"), ([False], "NORMAL")]
)
def test_the_strictest_event_decides_how_durable_a_commit_is(
    store: Store, durable: list[bool], mode: str
) -> None:
    """A commit is synced when any of its events must survive a power loss, and only then."""
    modes = {1: "NORMAL", 2: "FULL"}
    append(store, 0, durable=mode != "FULL")
    store.commit()
    for flag in durable:
        append(store, 1, durable=flag)
    store.commit()
    found = store.log._file._writer.execute("PRAGMA synchronous").fetchone()[0]
    assert modes[found] == mode


def test_a_full_disk_loses_nothing(store: Store) -> None:
    """A commit that finds no space raises StoreFullError; once there is space, all is written in order."""
    append(store, 0)
    store.commit()
    writer = store.log._file._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count={pages + 2}")
    append(store, *range(1, 2_000))
    with pytest.raises(StoreFullError, match="free space"):
        store.commit()
    assert (numbers(store), store.log.pending) == ([0], 1_999)
    append(store, 2_000)
    with pytest.raises(StoreFullError):
        store.commit()
    writer.execute("PRAGMA max_page_count=1000000")
    store.commit()
    assert numbers(store) == list(range(2_001))


@pytest.mark.parametrize("when", ["BEGIN", "SELECT last_insert_rowid", "COMMIT"])
@pytest.mark.parametrize("error", [sqlite3.OperationalError, KeyboardInterrupt])
def test_a_commit_that_fails_keeps_the_events(store: Store, when: str, error: type[BaseException]) -> None:
    """Whatever goes wrong before the commit is through: nothing is written, everything is kept, in order."""
    store.log.put_blob("hash", "data")
    append(store, 1, 2)
    Meddler(store, when, error("disk I/O error"))
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else StoreError):
        store.commit()
    assert numbers(store) == []
    append(store, 3)
    store.commit()
    assert numbers(store) == [1, 2, 3]
    assert list(store.log.blobs()) == [("hash", "data")]


@pytest.mark.parametrize(
    ("step", "attempt", "kept"), [("caf\udce9", 1, ("caf?", 1)), ("s", 2**70, ("s", None))], ids=repr
)
def test_an_event_that_sqlite_cannot_take_does_not_stop_the_others(
    store: Store, step: str, attempt: int, kept: tuple[str, int | None]
) -> None:
    """A name that cannot be encoded, or a number that is too large, is written as well as can be."""
    append(store, 1)
    store.append("x", '{"n": 2}', run_id="run_1", step_id=step, attempt=attempt)
    append(store, 3)
    store.commit()
    assert numbers(store) == [1, 2, 3]
    assert store.log.read_after(0, 10)[1][4:6] == kept


def test_ctrl_c_during_the_commit_writes_nothing_twice(store: Store) -> None:
    """An interrupt that arrives while the disk works finds the events written: they are not written again."""
    append(store, 1, 2)
    Meddler(store, "COMMIT", KeyboardInterrupt(), after=True)
    with pytest.raises(KeyboardInterrupt):
        store.commit()
    assert store.log.pending == 0
    append(store, 3)
    store.commit()
    assert numbers(store) == [1, 2, 3]


class Interrupted(SqliteLog):
    """Another thread wants to write at the very moment when a commit has landed."""

    landed: Callable[[], None] | None = None

    @contextmanager
    def writing(self, *, strict: bool) -> Iterator[sqlite3.Connection]:
        with super().writing(strict=strict) as connection:
            yield connection
        if self.landed is not None:
            self.landed()


def test_a_commit_is_not_mistaken_for_the_next_one(open_store: Callable[..., Store]) -> None:
    """What has landed is not written again because another thread's transaction has begun meanwhile."""
    store = open_store(None, make_log=Interrupted)
    inside, go_on = threading.Event(), threading.Event()

    def meddle() -> None:
        with store.log.exclusive():
            inside.set()
            assert go_on.wait(30)

    def landed() -> None:
        meddler.start()
        inside.wait(0.1)  # it must not get in before the commit is done with

    meddler = threading.Thread(target=meddle)
    log = store.log
    assert isinstance(log, Interrupted)
    append(store, 1)
    log.landed = landed
    log.commit()
    log.landed = None
    go_on.set()
    meddler.join(30)
    store.commit()
    assert numbers(store) == [1]


def test_listeners_get_the_rows_of_every_commit(store: Store) -> None:
    """A listener is told each commit's rows with their numbers in the log, until it unsubscribes."""
    told: list[StoredRow] = []
    unsubscribe = store.subscribe(told.extend)
    append(store, 1, 2)
    store.commit()
    store.commit()
    store.record("y", {"n": 3}, run_id="run_2")
    assert told == store.log.read_after(0, 10)
    assert [(row[0], row[2], row[3]) for row in told] == [
        (1, "x", "run_1"),
        (2, "x", "run_1"),
        (3, "y", "run_2"),
    ]
    unsubscribe()
    unsubscribe()
    store.record("y", {"n": 4})
    assert len(told) == 3


def test_listeners_count_right_when_others_write_too(store: Store, open_store: Callable[..., Store]) -> None:
    """The numbers that a listener is told are the log's, also when another writer's events lie in between."""
    other, told = open_store(), []
    store.subscribe(told.extend)
    store.record("x", {"n": 1})
    other.record("x", {"n": 2})
    store.record("x", {"n": 3})
    assert [row[0] for row in told] == [1, 3]


def test_a_listener_that_fails_is_dropped(store: Store) -> None:
    """A listener that raises is warned about once; the commit stands and the others are told."""
    told: list[StoredRow] = []

    def broken(rows: list[StoredRow]) -> None:
        raise ValueError("cannot draw")

    store.subscribe(broken)
    store.subscribe(told.extend)
    with pytest.warns(UserWarning, match="cannot draw"):
        store.record("x", {"n": 1})
    store.record("x", {"n": 2})
    assert (numbers(store), len(told)) == ([1, 2], 2)


def test_a_listener_may_leave_while_it_is_told(store: Store) -> None:
    """Unsubscribing inside a call does not make another listener miss the rows."""
    told: list[StoredRow] = []
    unsubscribe: list[Callable[[], None]] = []
    unsubscribe.append(store.subscribe(lambda rows: unsubscribe[0]()))
    store.subscribe(told.extend)
    store.record("x", {"n": 1})
    assert len(told) == 1


def test_closing_commits_what_is_buffered(open_store: Callable[..., Store]) -> None:
    """Events that were appended and not committed are written by close; closing twice is fine."""
    store = open_store()
    append(store, 1, 2)
    store.close()
    store.close()
    assert store.closed
    assert [event.payload for event in open_store().events("run_1")] == [{"n": 1}, {"n": 2}]


CALLS: dict[str, Callable[[Store], Any]] = {
    "append": lambda store: store.append("x", "{}"),
    "record": lambda store: store.record("x", {}),
    "query": lambda store: store.query("SELECT 1"),
    "sql": lambda store: store.sql("SELECT 1"),
    "events": lambda store: store.events("run_1"),
    "ingest": lambda store: store.ingest(),
    "get_state": lambda store: store.get_state("k", "a"),
    "list_state": lambda store: store.list_state("k"),
    "put_state": lambda store: store.put_state("k", "a", {}),
    "blob": lambda store: store.blob("hash"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_closed_store_says_so(
    open_store: Callable[..., Store], path: Path, where: str, call: Callable[[Store], Any]
) -> None:
    """Everything that needs a closed store raises StoreClosedError."""
    store = open_store(path if where == "file" else None)
    store.close()
    with pytest.raises(StoreClosedError, match="closed"):
        call(store)


def test_a_store_that_cannot_write_closes_all_the_same(open_store: Callable[..., Store]) -> None:
    """Closing on a full disk raises, and lets go of the files: they can be opened again."""
    store = open_store()
    append(store, *range(2_000))
    writer = store.log._file._writer
    writer.execute(f"PRAGMA max_page_count={writer.execute('PRAGMA page_count').fetchone()[0] + 2}")
    with pytest.raises(StoreFullError):
        store.close()
    assert store.log._file.closed
    assert open_store().query("SELECT count(*) FROM events") == [(0,)]
