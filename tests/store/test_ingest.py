"""From the log to the history: exactly once, whatever comes in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pytest

from orchkit.errors import StoreError, StoreFullError
from orchkit.store import ingest
from orchkit.store.store import Store


class Crash(BaseException):
    """The process ends here."""


class Meddler:
    """A cursor that raises before or after it executes what begins with ``when``."""

    def __init__(self, cursor: Any, when: str, error: BaseException, *, after: bool) -> None:
        self._cursor, self._when, self._error, self._after = cursor, when, error, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, *args: Any) -> Any:
        wanted = " ".join(sql.split()).startswith(self._when)
        if wanted and not self._after:
            raise self._error
        result = self._cursor.execute(sql, *args)
        if wanted:
            raise self._error
        return result


@pytest.fixture
def meddle(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the next borrower of a store's history fail once at a statement."""

    def meddle_(store: Store, when: str, error: BaseException, *, after: bool = False) -> None:
        borrow = store.history.borrow

        @contextmanager
        def meddled() -> Iterator[Any]:
            monkeypatch.setattr(store.history, "borrow", borrow)
            with borrow() as cursor:
                yield Meddler(cursor, when, error, after=after)

        monkeypatch.setattr(store.history, "borrow", meddled)

    return meddle_


def fill(store: Store, count: int, first: int = 0) -> None:
    """Commit numbered events, every third one the end of a step."""
    for number in range(first, first + count):
        kind = "step.finished" if number % 3 == 0 else "x"
        payload = json.dumps({"n": number, "status": "success", "name": "f", "started_us": 1, "attempts": 1})
        store.append(kind, payload, run_id="run_1", step_id=f"s{number}")
    store.commit()


def numbers(store: Store) -> list[int]:
    """The numbers of the events in the history, in order; and that the typed rows fit them."""
    rows = store.query("SELECT CAST(payload ->> '$.n' AS INTEGER), kind FROM events ORDER BY seq")
    steps = store.query("SELECT step_id FROM step_end ORDER BY seq")
    assert steps == [(f"s{number}",) for number, kind in rows if kind == "step.finished"]
    return [number for number, _ in rows]


def test_own_writes_are_read(store: Store) -> None:
    """Every read sees all that was appended before it, also what was not committed yet."""
    fill(store, 3)
    assert numbers(store) == [0, 1, 2]
    store.append("x", '{"n": 3}')
    assert numbers(store) == [0, 1, 2, 3]
    assert store.sql("SELECT count(*) AS n FROM events")["n"].tolist() == [4]


def test_ingested_events_leave_the_log(store: Store) -> None:
    """The log holds only what is not in the history yet."""
    fill(store, 10)
    assert store.ingest() == 10
    assert store.log.read_after(0, 100) == []
    assert store.ingest() == 0


@pytest.mark.parametrize(
    ("when", "after"),
    [
        ("BEGIN", True),
        ("CREATE OR REPLACE TEMP TABLE batch", True),
        ("INSERT INTO event", True),
        ("INSERT INTO step_end", False),
        ("INSERT INTO ingest", True),
        ("COMMIT", False),
        ("COMMIT", True),
    ],
)
@pytest.mark.parametrize("same_store", [True, False])
def test_a_crash_at_any_statement_repeats_and_loses_nothing(
    open_store: Callable[..., Store], meddle: Callable[..., None], when: str, after: bool, same_store: bool
) -> None:
    """Wherever an ingest is cut off, the next one, by whichever store, brings everything exactly once."""
    store = open_store()
    fill(store, 5)
    store.ingest()
    fill(store, 7, first=5)
    meddle(store, when, Crash(), after=after)
    with pytest.raises(Crash):
        store.ingest()
    again = store if same_store else open_store()
    fill(again, 3, first=12)
    assert numbers(again) == list(range(15))
    assert again.log.read_after(0, 100) == []


def test_a_crash_before_the_log_forgets_repeats_nothing(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are in the history and still in the log are not ingested again, and then forgotten."""
    store = open_store()
    fill(store, 5)

    def crash(seq: int, blobs: list[str]) -> None:
        raise Crash

    monkeypatch.setattr(store.log, "trim", crash)
    with pytest.raises(Crash):
        store.ingest()
    assert len(store.log.read_after(0, 100)) == 5
    again = open_store()
    fill(again, 1, first=5)
    assert numbers(again) == list(range(6))
    assert again.log.read_after(0, 100) == []


def test_stores_that_ingest_at_the_same_time(open_store: Callable[..., Store]) -> None:
    """Two stores on one path that write and ingest in turns, in threads, bring everything exactly once."""
    stores = [open_store(), open_store()]

    def work(place: int) -> None:
        for part in range(4):
            fill(stores[place], 25, first=place * 1000 + part * 25)
            stores[place].ingest()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers(stores[0])) == [*range(100), *range(1000, 1100)]


@pytest.mark.parametrize(("rows", "transaction"), [(1, 3), (4, 4), (7, 10_000)])
def test_batches_and_transactions_may_end_anywhere(
    store: Store, monkeypatch: pytest.MonkeyPatch, rows: int, transaction: int
) -> None:
    """However the events are cut into batches and transactions, all of them come over, in order."""
    monkeypatch.setattr(ingest, "FETCH_ROWS", rows)
    monkeypatch.setattr(store._ingest, "_fetch_rows", rows)
    monkeypatch.setattr(ingest, "TRANSACTION_ROWS", transaction)
    fill(store, 29)
    assert store.ingest() == 29
    assert numbers(store) == list(range(29))


def test_batches_of_large_events_are_small(store: Store) -> None:
    """How many events are fetched at once depends on how large they are, so that memory is bounded."""
    fill(store, 3)
    store.ingest()
    assert store._ingest._fetch_rows == ingest.FETCH_ROWS
    store.record("x", {"n": 3, "data": "x" * 40_000_000})
    store.ingest()
    assert store._ingest._fetch_rows == 1
    fill(store, 3, first=4)
    assert numbers(store) == list(range(7))


def test_the_log_keeps_what_came_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that are committed while others are ingested stay in the log until it is their turn."""
    trim = store.log.trim

    def late(seq: int, blobs: list[str]) -> None:
        fill(store, 2, first=10)
        trim(seq, blobs)

    fill(store, 10)
    with monkeypatch.context() as patch:
        patch.setattr(store.log, "trim", late)
        patch.setattr("orchkit.store.log.TRIM_ROWS", 3)
        assert store.ingest() == 10
    assert [row[0] for row in store.log.read_after(0, 100)] == [11, 12]
    assert numbers(store) == list(range(12))


def test_the_log_is_on_disk_before_the_history_says_so(store: Store, meddle: Callable[..., None]) -> None:
    """Before the history commits, the log is synced: after a power loss it cannot give a number twice."""
    statements: list[str] = []
    store.append("x", "{}", durable=False)
    store.commit()
    store.log._file._writer.set_trace_callback(statements.append)
    meddle(store, "COMMIT", Crash())
    with pytest.raises(Crash):
        store.ingest()
    assert "PRAGMA synchronous=FULL" in statements
    assert statements[-1] == "COMMIT"
    assert store.log._file.read("SELECT value FROM meta WHERE key = 'hardened'") == [("1",)]


@pytest.mark.parametrize(
    ("error", "text", "expected"),
    [
        (duckdb.TransactionException, "Failed to commit: No space left on device", StoreFullError),
        (duckdb.IOException, "Could not write file: disk is full", StoreFullError),
        (duckdb.OutOfMemoryException, "out of memory", StoreError),
        (duckdb.FatalException, "database has been invalidated", StoreError),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_errors_of_the_history_are_errors_of_the_store(
    store: Store,
    meddle: Callable[..., None],
    error: type[duckdb.Error],
    text: str,
    expected: type[StoreError],
    after: bool,
) -> None:
    """What DuckDB raises is a StoreError; nothing is lost, and the next ingest brings all of it."""
    fill(store, 5)
    meddle(store, "COMMIT", error(text), after=after)
    with pytest.raises(expected) as caught:
        store.ingest()
    assert type(caught.value) is expected
    fill(store, 2, first=5)
    assert numbers(store) == list(range(7))


def test_ctrl_c_is_not_hidden(store: Store, meddle: Callable[..., None]) -> None:
    """An interrupt during the commit comes out as an interrupt, and nothing is there twice."""
    fill(store, 5)
    meddle(store, "COMMIT", KeyboardInterrupt(), after=True)
    with pytest.raises(KeyboardInterrupt):
        store.query("SELECT 1")
    assert numbers(store) == list(range(5))
