"""The durable hot path: an append-only SQLite log that any number of processes may share."""

from __future__ import annotations

import json
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from orchkit.clock import Clock, SystemClock
from orchkit.errors import StoreClosedError, StoreError
from orchkit.ids import new_id
from orchkit.store.filesystem import on_network
from orchkit.store.rescue import bring_over
from orchkit.store.sqlite import SqliteFile

Row = tuple[int, str, str | None, str | None, int | None, str]
"""``(ts, kind, run_id, step_id, attempt, payload)``: an event on its way into the log."""
StoredRow = tuple[int, int, str, str | None, str | None, int | None, str]
"""The same with its ``seq`` in front."""
Listener = Callable[[list[StoredRow]], None]
Change = Callable[[sqlite3.Connection], Sequence[Row]]
"""Changes other tables of the log in a transaction of events; gives the events that tell of it."""
T = TypeVar("T")

COUNT_SWEEP = "INSERT INTO meta VALUES ('sweeps', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1"
TRIM_ROWS = 5_000
TRUNCATE_ROWS = 1_000_000
_INSERT = "INSERT INTO event (ts, kind, run_id, step_id, attempt, payload) VALUES (?, ?, ?, ?, ?, ?)"
_READ = (
    "SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
)


class StateRecord(NamedTuple):
    """A small durable value and the version to name when replacing it."""

    version: int
    value: dict[str, Any]


class StateConflictError(StoreError):
    """A compare-and-set found another version than expected."""

    def __init__(self, kind: str, key: str, expected: int, found: int) -> None:
        self.kind, self.key, self.expected, self.found = kind, key, expected, found
        super().__init__(f"{kind} {key!r} is at version {found}, not {expected}: read it again and retry")


class EventLog(Protocol):
    """The port: what orchkit needs of a log; SQLite implements it for one machine."""

    log_id: str

    def append(self, row: Row, *, durable: bool) -> None:
        """Buffer one event; it is on disk after the next `commit`."""
        ...

    def put_blob(self, digest: str, data: str) -> None:
        """Buffer a large value under its content hash; written once, with the events that name it."""
        ...

    def together(self) -> AbstractContextManager[object]:
        """What this thread buffers inside is written in one transaction."""
        ...

    def commit(self) -> None:
        """Write everything buffered in one transaction, as durably as the strictest of it asks."""
        ...

    def read_after(self, seq: int, limit: int) -> list[StoredRow]:
        """Up to ``limit`` committed events with a larger ``seq``, in order."""
        ...

    def trim(self, seq: int, blob_hashes: Sequence[str] = ()) -> None:
        """Forget events up to ``seq`` and these large values: they are in the history."""
        ...


class SqliteLog:
    """The log as one SQLite file (or in memory when ``path`` is None).

    `append` only buffers; `commit` writes the buffer of all threads in one transaction (group
    commit). It is on disk then when any of the events asked for it; else it survives a killed
    process but not a power loss.

    ``first_after`` is asked once in the life of the file, when it is created: the ``seq`` after
    which its events are numbered.
    """

    def __init__(
        self, path: Path | None, *, clock: Clock | None = None, first_after: Callable[[], int] = lambda: 0
    ) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self._buffer: list[Row] = []
        self._blobs: list[tuple[str, str]] = []
        self._texts: dict[str, str] = {}
        self._written: set[str] = set()  # large values that were written and not swept since
        self._sweeps: object = None
        self._attached: list[Change] = []
        self._closed = False
        self._durable_to = 0  # the buffer up to here, or something before, must survive a power loss
        self._buffer_lock = threading.RLock()
        self._commit_lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._file = SqliteFile(path, alone=path is not None and on_network(path.parent))
        try:
            self._file.migrate("log", lambda connection: _begin(connection, first_after()))
            self.log_id: str = self._file.read("SELECT value FROM meta WHERE key = 'log_id'")[0][0]
            with self._file.transaction(strict=False) as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO meta VALUES ('opened_us', ?)", (self._clock.now_us(),)
                )
            self._file.extend_wal()
        except BaseException:
            self._file.close()
            raise

    # --- events ------------------------------------------------------------------------

    def append(self, row: Row, *, durable: bool) -> None:
        """Buffer one event; with ``durable`` the next commit survives a power loss."""
        if self._closed:
            raise StoreClosedError(f"the store {self._file.name} is closed")
        with self._buffer_lock:
            self._buffer.append(row)
            if durable:
                self._durable_to = len(self._buffer)

    def put_blob(self, digest: str, data: str) -> None:
        """Buffer a large value under its content hash, for an event that is appended `together` with it.

        It is written once. Who names it again later puts it again: a sweep may have removed it meanwhile.
        """
        with self._buffer_lock:
            # However often it is put until the next commit, it is in memory once.
            self._blobs.append((digest, self._texts.setdefault(digest, data)))

    def together(self) -> AbstractContextManager[object]:
        """What this thread appends, puts and attaches inside goes in one transaction, whoever commits."""
        return self._buffer_lock

    def attach(self, change: Change) -> None:
        """Buffer a change of another table of the log, to be made in the transaction of these events.

        It is made again after a transaction that failed. Only `sqlite3.Error` may come out of it: whatever
        else would keep all others from being written.
        """
        with self._buffer_lock:
            self._attached.append(change)

    @property
    def pending(self) -> int:
        """How many events are buffered and not yet committed."""
        return len(self._buffer)

    def commit(self) -> None:
        """Write everything buffered in one transaction.

        When it returns, everything appended before the call is committed, also what another thread
        was writing at that moment. On failure the events stay in the buffer, so that a later commit
        (after space was freed, say) still writes them. Raises `StoreError`.
        """
        with self._commit_lock:
            with self._buffer_lock:
                batch = _Batch(self._buffer[:], self._blobs[:], self._attached[:], self._durable_to > 0)
            if not batch:
                return
            with self._file.lock:
                try:
                    first, rows = self._write_all(batch)
                finally:
                    # Also when Ctrl-C interrupted it after the fact: what landed must not be written again.
                    if self._file.landed:
                        self._forget(batch)
            self._tell(first, rows)

    def _write_all(self, batch: _Batch) -> tuple[int, list[Row]]:
        try:
            return self._write(batch)
        except (UnicodeError, OverflowError):
            # One event that SQLite cannot take must not keep all the others from being written.
            return self._write(batch._replace(rows=list(map(_storable, batch.rows))))

    def writing(self, *, strict: bool) -> AbstractContextManager[sqlite3.Connection]:
        """The transaction of what somebody waits for: events, large values, claims, states.

        Not of housekeeping. A log that is to fail at a given moment, for a test, overrides it.
        """
        return self._file.transaction(strict=strict)

    def _write(self, batch: _Batch) -> tuple[int, list[Row]]:
        with self.writing(strict=batch.strict) as connection:
            if batch.blobs:
                connection.executemany(
                    "INSERT OR IGNORE INTO blob VALUES (?, ?)", self._missing(connection, batch.blobs)
                )
            told = [row for change in batch.attached for row in change(connection)]
            rows = [*batch.rows, *told] if told else batch.rows
            return _insert(connection, rows), rows

    def _missing(self, connection: sqlite3.Connection, blobs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those that are to be written: after a sweep, whoever made it, all of them once more."""
        sweeps = connection.execute("SELECT value FROM meta WHERE key = 'sweeps'").fetchone()
        if sweeps != self._sweeps:
            self._written.clear()
            self._sweeps = sweeps
        return [blob for blob in dict(blobs).items() if blob[0] not in self._written]

    def _forget(self, batch: _Batch) -> None:
        with self._buffer_lock:
            if batch.blobs:
                del self._blobs[: len(batch.blobs)]
                self._texts = dict(self._blobs)
                self._written.update(digest for digest, _ in batch.blobs)
            del self._buffer[: len(batch.rows)]
            del self._attached[: len(batch.attached)]
            self._durable_to = max(0, self._durable_to - len(batch.rows))

    def transact(
        self, decide: Callable[[sqlite3.Connection], tuple[T, list[Row]]], *, strict: bool = False
    ) -> T:
        """Decide something in a write transaction, and append what is to be said of it in the same one.

        What was buffered before is committed first, so that the decision sees it. Raises `StoreError`.
        """
        with self._commit_lock:
            self.commit()
            with self.writing(strict=strict) as connection:
                answer, rows = decide(connection)
                first = _insert(connection, rows)
            self._tell(first, rows)
        return answer

    def _tell(self, first: int, rows: list[Row]) -> None:
        if not rows or not self._listeners:
            return
        stored = [(first + index, *row) for index, row in enumerate(rows)]
        for listener in tuple(self._listeners):
            try:
                listener(stored)
            except Exception as error:
                # The commit stands: a picture that fails to draw must not fail the step that it shows.
                self._unsubscribe(listener)
                warnings.warn(
                    f"{listener!r} failed and is not told of commits any more: {error!r}", stacklevel=1
                )

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the rows of every commit of this process; returns the unsubscriber.

        It is called in the committing thread, in order; it must be quick and must not use the store.
        One that raises is warned about and not called again.
        """
        self._listeners.append(listener)
        return lambda: self._unsubscribe(listener)

    def _unsubscribe(self, listener: Listener) -> None:
        with suppress(ValueError):
            self._listeners.remove(listener)

    def read_after(self, seq: int, limit: int) -> list[StoredRow]:
        """Up to ``limit`` committed events with a larger ``seq``, in order."""
        return self._file.read(_READ, (seq, limit))

    def count_after(self, seq: int) -> int:
        """How many committed events with a larger ``seq`` it holds."""
        return int(self._file.read("SELECT count(*) FROM event WHERE seq > ?", (seq,))[0][0])

    def last_seq(self) -> int:
        """The largest ``seq`` ever given, 0 for a new log."""
        rows = self._file.read("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        return int(rows[0][0]) if rows else 0

    def sweeps(self) -> int:
        """How often something was removed from the record: who read it before has to look again."""
        rows = self._file.read("SELECT value FROM meta WHERE key = 'sweeps'")
        return int(rows[0][0]) if rows else 0

    def begin_sweep(self) -> None:
        """From now on every large value that an event names is written again, whether it was before or not.

        Committed before a sweep looks which values nobody names: one that it removes must not be taken for
        written by a process that put it long ago.
        """
        with self._file.transaction(strict=False) as connection:
            connection.execute(COUNT_SWEEP)

    def blobs(self) -> Iterator[tuple[str, str]]:
        """The ``(hash, data)`` of all large values that are not yet in the history, one by one."""
        for (digest,) in self._file.read("SELECT hash FROM blob"):
            for (data,) in self._file.read("SELECT data FROM blob WHERE hash = ?", (digest,)):
                yield digest, data

    def harden(self, seq: int) -> None:
        """Put all events up to ``seq`` on disk, also those that were committed only for a killed process.

        After a power loss the log would else give their numbers again, to events that a history which
        kept the first ones would take for known.
        """
        with self._file.transaction(strict=True) as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('hardened', ?)", (seq,))

    def trim(self, seq: int, blob_hashes: Sequence[str] = ()) -> None:
        """Forget events up to ``seq`` and these large values: they are in the history.

        In transactions so small that no other writer waits for long.
        """
        with self._file.transaction(strict=False) as connection:
            first, last = connection.execute("SELECT min(seq), max(seq) FROM event").fetchone()
            connection.executemany("DELETE FROM blob WHERE hash = ?", [(digest,) for digest in blob_hashes])
            if first is None or (last <= seq and last - first < TRUNCATE_ROWS):
                # Without a condition SQLite frees the pages as they are, ten times faster than row by row.
                connection.execute("DELETE FROM event")
                return
        for upper in range(first + TRIM_ROWS, seq + TRIM_ROWS, TRIM_ROWS):
            with self._file.transaction(strict=False) as connection:
                connection.execute("DELETE FROM event WHERE seq <= ?", (min(upper, seq),))

    def shrink(self) -> None:
        """Make the file smaller when it is mostly empty, unless there is no room or no time for that."""
        with suppress(StoreError):
            self._file.shrink()

    # --- small durable values with compare-and-set ---------------------------------------

    def get_state(self, kind: str, key: str) -> StateRecord | None:
        """The value and its version, or None."""
        rows = self._file.read("SELECT version, value FROM state WHERE kind = ? AND key = ?", (kind, key))
        return StateRecord(rows[0][0], json.loads(rows[0][1])) if rows else None

    def list_state(self, kind: str) -> list[tuple[str, int, dict[str, Any]]]:
        """All ``(key, version, value)`` of a kind, by key."""
        rows = self._file.read("SELECT key, version, value FROM state WHERE kind = ? ORDER BY key", (kind,))
        return [(key, version, json.loads(value)) for key, version, value in rows]

    def put_state(
        self, kind: str, key: str, value: dict[str, Any], *, expect_version: int | None = None
    ) -> int:
        """Set a value; with ``expect_version`` (0: must not exist) only if it is unchanged.

        Returns the new version. Raises `StateConflictError` when somebody else was faster.
        """
        with self.writing(strict=True) as connection:
            row = connection.execute(
                "SELECT version FROM state WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
            found = int(row[0]) if row else 0
            if expect_version is not None and found != expect_version:
                raise StateConflictError(kind, key, expect_version, found)
            connection.execute(
                "INSERT INTO state VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET "
                "version = excluded.version, value = excluded.value, updated_us = excluded.updated_us",
                (kind, key, found + 1, json.dumps(value), self._clock.now_us()),
            )
        return found + 1

    # --- leases: see lease.py ---------------------------------------------------------------

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """A short write transaction for the other tables of the log."""
        with self._file.transaction(strict=False) as connection:
            yield connection

    def read(self, sql: str, params: tuple[Any, ...] = ()) -> list[Any]:
        """Rows of a read-only statement."""
        return self._file.read(sql, params)

    @property
    def moved(self) -> bool:
        """Whether the file was deleted or replaced since it was opened; nothing can be written then."""
        return self._file.moved

    @property
    def left_over(self) -> str:
        """In words, what an earlier log that was deleted had left beside this one."""
        orphan = self._file.orphan
        return "" if orphan is None else f"; its write-ahead log was kept as {orphan.name}"

    def abandon(self) -> None:
        """Write on in a log that has `moved`, to bring away what is in it."""
        self._file.abandon()

    def move_on(self, after: int, first_after: Callable[[], int]) -> int:
        """Put what only a log that has `moved` holds into the one at its path; how many events that were.

        Events up to ``after`` are in the history. To be called between `abandon` and `close`.
        """
        self.commit()
        fresh = SqliteLog(self.path, clock=self._clock, first_after=first_after)
        try:
            with self._file.transaction(strict=False) as old, fresh.writing(strict=True) as new:
                count = bring_over(old, new, after)
            if fresh._file.orphan is not None:
                fresh._file.orphan.unlink()  # it was ours
        finally:
            fresh.close()
        return count

    def close(self) -> None:
        """Commit what is buffered and close; idempotent. Closes also when the commit raises."""
        with self._commit_lock:
            if self._file.closed:
                return
            try:
                self.commit()
            except StoreError as error:
                error.add_note(f"{self.pending:,} events that were not yet acknowledged are dropped")
                raise
            finally:
                self._closed = True
                self._file.close()


class _Batch(NamedTuple):
    """What goes to disk in one transaction."""

    rows: list[Row]
    blobs: list[tuple[str, str]]
    attached: list[Change]
    strict: bool

    def __bool__(self) -> bool:
        return bool(self.rows or self.blobs or self.attached)


def _insert(connection: sqlite3.Connection, rows: list[Row]) -> int:
    """Insert events; returns the ``seq`` of the first."""
    connection.executemany(_INSERT, rows)
    # AUTOINCREMENT numbers are consecutive within a transaction, so the last tells the first.
    last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
    return last - len(rows) + 1


def _storable(row: Row) -> Row:
    """The same with lone surrogates as question marks, and without numbers of more than 64 bit."""
    ts, kind, run_id, step_id, attempt, payload = row
    kind, payload = (text.encode(errors="replace").decode() for text in (kind, payload))
    run_id, step_id = (text and text.encode(errors="replace").decode() for text in (run_id, step_id))
    return ts, kind, run_id, step_id, attempt if attempt and abs(attempt) < 2**63 else None, payload


def _begin(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("INSERT INTO meta VALUES ('log_id', ?)", (new_id("log"),))
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", (seq,))
