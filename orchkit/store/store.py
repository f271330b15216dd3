"""The store: one log, one history, one codec, behind one small face."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from orchkit.clock import Clock, SystemClock
from orchkit.errors import ForkedStoreError, StoreBusyError, StoreError
from orchkit.model.event import Event
from orchkit.store import codec
from orchkit.store.cache import Cache
from orchkit.store.claims import Claims
from orchkit.store.frames import Params, only_reading, to_frame, to_rows
from orchkit.store.gaps import reconcile
from orchkit.store.history import History
from orchkit.store.holdings import Renewer
from orchkit.store.housekeeper import Housekeeper
from orchkit.store.ingest import Ingest
from orchkit.store.lease import Holder, Lease
from orchkit.store.log import Listener, SqliteLog, StateRecord
from orchkit.store.openruns import OpenRuns
from orchkit.store.retention import Parts, sweep
from orchkit.store.sweepreport import Age, Keep, SweepReport, asked_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Params", "Store"]

T = TypeVar("T")
QUIET_S = 0.2
IDLE_S = 1.0
CLOSE_WAIT_S = 3.0
BLOBS_AT_ONCE = 500
_BLOB = {"$blob", "bytes"}
_NEW_LOG = (
    "was missing: a new one goes on after event {} of the history. What only the old one held is lost: "
    "events that were not in the history yet, idempotency keys, the cache"
)
_EVENTS_BELOW = """
WITH RECURSIVE tree(run_id) AS (
    SELECT CAST($1 AS VARCHAR)
    UNION SELECT s.run_id FROM run_start s JOIN tree t ON s.parent_run_id = t.run_id
)
SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event WHERE run_id IN (FROM tree) ORDER BY seq
"""


class Store:
    """Durable records of one path (``runs.duckdb`` and, beside it, ``runs.duckdb-log``).

    Any number of processes may open the same path. Without a path everything is in memory.
    ``make_log`` is called with the arguments of `SqliteLog`.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        clock: Clock | None = None,
        busy_timeout_s: float = 60.0,
        make_log: Callable[..., SqliteLog] = SqliteLog,
    ) -> None:
        self.path = _checked(path)
        self.clock: Clock = clock or SystemClock()
        began_after = 0
        if self.log_path is not None and not self.log_path.exists():
            # A file that is no history is refused here, before anything is written beside it.
            began_after = self._last_recorded()
        self.log = make_log(self.log_path, clock=self.clock, first_after=self._last_recorded)
        renewer = Renewer()
        self._claims = Claims(self.log, self.clock, renewer=renewer)
        self._open_runs = OpenRuns(self.log, self.clock, renewer=renewer)
        self._lease = Lease(self.log, "history", self.clock) if self.path else None
        self.history = History(self.path, self._lease, timeout_s=busy_timeout_s)
        self._ingest = Ingest(self.log, self.history)
        self._housekeeper = Housekeeper(
            self._ingest_meanwhile, self.history.tend, quiet_s=QUIET_S, idle_s=IDLE_S
        )
        if self.path is not None:
            self.history.opened = self._housekeeper.watch_file
            self.history.verify = lambda connection: reconcile(connection, self.log)
        self._owner_pid = os.getpid()
        self._inherited = False
        _stores.add(self)
        self._close_lock = threading.Lock()
        self._closed = False
        with suppress(StoreError):  # what cannot be removed now (the disk is full, say) can wait
            self._claims.remove_expired()
        _close_at_exit(self)
        if began_after > 0:
            warnings.warn(f"{self.log_path} {_NEW_LOG.format(began_after)}{self.log.left_over}", stacklevel=2)

    @property
    def claims(self) -> Claims:
        """Its idempotency keys."""
        self._check_process()
        return self._claims

    @property
    def open_runs(self) -> OpenRuns:
        """Its runs that have not ended."""
        self._check_process()
        return self._open_runs

    @property
    def log_path(self) -> Path | None:
        """The file of the log; None in memory."""
        return None if self.path is None else self.path.with_name(self.path.name + "-log")

    def _last_recorded(self) -> int:
        """Where a new log beside an existing history goes on, so that the order stays total."""
        if self.path is None or not self.path.exists():
            return 0
        # Without a lease, which would be in the log that is only just being made.
        with closing(History(self.path, None)) as history, history.borrow() as connection:
            row = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
        return int(row[0]) if row else 0

    # --- writing ---------------------------------------------------------------------------

    def append(
        self,
        kind: str,
        payload: str,
        *,
        run_id: str | None = None,
        step_id: str | None = None,
        attempt: int | None = None,
        durable: bool = True,
    ) -> None:
        """Buffer one event with a JSON payload; on disk after `commit`. Thread-safe."""
        if self._inherited:
            self._check_process()
        self.log.append((self.clock.now_us(), kind, run_id, step_id, attempt, payload), durable=durable)

    def commit(self) -> None:
        """Write what is buffered. Raises `StoreFullError`, `StoreError`; nothing is dropped then."""
        self._check_process()
        self.log.commit()

    def put_blob(self, text: str, digest: str | None = None) -> str:
        """Keep a large JSON text under its content hash, once; returns the hash, which may be given if known.

        For an event that names it and is appended `together` with it.
        """
        self._check_process()
        digest = digest or codec.content_hash(text)
        self.log.put_blob(digest, text)
        return digest

    def together(self) -> AbstractContextManager[object]:
        """What this thread appends and puts inside is written in one transaction, whoever commits."""
        return self.log.together()

    def record(self, kind: str, payload: Mapping[str, Any], *, run_id: str | None = None) -> None:
        """Append one event with a JSON-able payload and commit it."""
        self.append(kind, codec.dumps(payload), run_id=run_id)
        self.commit()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the rows of every commit of this process; returns the unsubscriber."""
        return self.log.subscribe(listener)

    def get_state(self, kind: str, key: str) -> StateRecord | None:
        """A small durable value: ``(version, value)`` or None."""
        self._check_process()
        return self.log.get_state(kind, key)

    def list_state(self, kind: str) -> list[tuple[str, int, dict[str, Any]]]:
        """All ``(key, version, value)`` of a kind."""
        self._check_process()
        return self.log.list_state(kind)

    def put_state(
        self, kind: str, key: str, value: dict[str, Any], *, expect_version: int | None = None
    ) -> int:
        """Set a small durable value, by compare-and-set when ``expect_version`` is given."""
        self._check_process()
        return self.log.put_state(kind, key, value, expect_version=expect_version)

    # --- reading ---------------------------------------------------------------------------

    def ingest(self) -> int:
        """Move everything committed into the history; returns the number of events."""
        self._check_process()
        self.log.commit()
        return self._ingest.run()

    def _ingest_meanwhile(self) -> None:
        """For the housekeeper, who must go on looking after the lease while a sweep has the history."""
        self._check_process()
        self.log.commit()
        if not self._ingest.run_unless_busy():
            self._housekeeper.ingest_soon()

    @property
    def backlog(self) -> int:
        """How many committed events are not in the history yet, as far as this process knows."""
        self._check_process()
        return self.log.count_after(self._ingest.watermark)

    def ingest_soon(self) -> None:
        """The same in the background, once writing has paused for a moment."""
        self._check_process()
        self._housekeeper.ingest_soon()

    def sql(self, query: str, params: Params = None) -> pd.DataFrame:
        """Rows of a SQL query over the history as a DataFrame; everything written before is seen.

        It only reads: a query that would change the record is refused. ``params``: a sequence for ``?`` or
        ``$1``, a mapping for ``$name``. Raises `StoreError` for faulty SQL, naming the place.
        """
        return self._with_result(to_frame, query, params)

    def query(self, query: str, params: Params = None) -> list[tuple[Any, ...]]:
        """The same as plain tuples, times as datetimes in UTC."""
        return self._with_result(to_rows, query, params)

    def _with_result(self, read: Callable[..., T], query: str, params: Params) -> T:
        self.ingest()
        with self.history.borrow() as connection, only_reading(connection, query):
            return read(connection, query, params)

    def events(self, run_id: str) -> list[Event]:
        """The events of a run in order, payloads parsed and large values put back."""
        columns = "seq, ts, kind, run_id, step_id, attempt, payload"
        rows = self.query(f"SELECT {columns} FROM event WHERE run_id = ? ORDER BY seq", [run_id])  # noqa: S608
        return self._events(rows)

    def events_below(self, run_id: str) -> dict[str, list[Event]]:
        """The events of a run and of all runs of sub-workflows below it, by run id."""
        found: dict[str, list[Event]] = {}
        for event in self._events(self.query(_EVENTS_BELOW, [run_id])):
            found.setdefault(event.run_id or "", []).append(event)
        return found

    def _events(self, rows: list[tuple[Any, ...]]) -> list[Event]:
        """Large values are looked up many at a time: one look-up takes as long as hundreds."""
        parsed: list[dict[str, Any]] = [codec.loads(row[-1]) for row in rows]
        large = [
            (payload, name, value["$blob"])
            for payload in parsed
            for name, value in payload.items()
            if _is_blob(value)
        ]
        for start in range(0, len(large), BLOBS_AT_ONCE):
            some = large[start : start + BLOBS_AT_ONCE]
            digests = list({digest for _, _, digest in some})
            found = self.query("SELECT hash, data FROM blob WHERE hash IN (SELECT unnest($1))", [digests])
            texts = dict(found)
            for payload, name, digest in some:
                payload[name] = codec.loads(texts[digest] if digest in texts else self.blob(digest))
        return [
            Event(seq, ts, kind, run, step, attempt, payload)
            for (seq, ts, kind, run, step, attempt, _), payload in zip(rows, parsed, strict=True)
        ]

    def _payload(self, text: str) -> dict[str, Any]:
        payload: dict[str, Any] = codec.loads(text)
        for key, value in payload.items():
            if _is_blob(value):
                payload[key] = codec.loads(self.blob(value["$blob"]))
        return payload

    def blob(self, digest: str) -> str:
        """The text of a large value. Raises `StoreError` when there is none of this hash."""
        rows = self.query("SELECT data FROM blob WHERE hash = ? LIMIT 1", [digest])
        if not rows:
            raise StoreError(f"no stored value has the hash {digest}")
        return str(rows[0][0])

    def sweep(
        self,
        *,
        older_than: Age | None = None,
        keep: Keep = (),
        checks_older_than: Age | None = None,
        dry_run: bool = False,
    ) -> SweepReport:
        """Remove runs whose time is over, with everything about them, and make the files smaller.

        Always: idempotency keys whose time is over, and events of runs whose beginning is not on record.
        Never: a run that goes on anywhere, or that an idempotency key still needs for its answer; the report
        says which. A run that was cut off goes like one that has ended: it counts from its last event.

        Args:
            older_than: How long ago a run must have ended: a timedelta, or a text such as ``"30d"``,
                ``"12h"``, ``"90m"`` (also ``s`` and ``w``). Without it, age does not matter.
            keep: How many of the newest runs stay whatever their age, or which runs: ids or `Run` objects.
                Runs of sub-workflows do not count; they stay and go with the run above.
            checks_older_than: How old health checks must be to go; the last one of each service stays.
                Without it none goes.
            dry_run: Only say what would be removed.

        Without ``older_than`` and ``keep`` no run goes. What was removed is on record as ``store.swept``.

        Raises:
            ParameterError: ``older_than`` or ``keep`` cannot be understood.
            UnknownNameError: A run to keep is not on record.
            StoreBusyError: Another process does not let go of the history; no run was removed.
            StoreFullError: Not even removing can be written down; no run was removed.
        """
        self._check_process()
        parts = Parts(
            self.log, self.history, self._ingest, self._lease, self.claims, self.open_runs, self.clock
        )
        return sweep(parts, asked_of(older_than, keep, checks_older_than), dry_run=dry_run)

    def cache(self) -> Cache:
        """What methods with ``cache="inputs"`` have recorded, to look at and to forget."""
        self._check_process()
        return Cache(self)

    def holder(self) -> Holder | None:
        """Which process has the history file borrowed right now."""
        self._check_process()
        return self._lease.holder() if self._lease else None

    # --- end -------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._inherited:
            raise _forked(self)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Commit, ingest and let go of both files; idempotent.

        Where somebody else holds the history file, what was written stays in the log: the next one to
        open the store finds it there.
        """
        if self._inherited:
            return  # the parent's files: closing them here would drop the parent's locks
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            try:
                if self.log.moved:
                    self._move_on()
                self.log.commit()
                if self.path is not None:
                    self.history.timeout_s = min(self.history.timeout_s, CLOSE_WAIT_S)
                    with suppress(StoreBusyError):
                        self._ingest.run()
            finally:
                self._claims.close()
                self._open_runs.close()
                self._housekeeper.stop()
                self.history.close()
                self.log.close()

    def _move_on(self) -> None:
        """Save what only a log holds that was deleted or replaced under us."""
        self.log.abandon()
        self._claims.close()
        self._open_runs.close()
        count = self.log.move_on(self._ingest.watermark, self._last_recorded)
        warnings.warn(
            f"{self.log_path} was deleted or replaced while it was open: what only it held was put into the "
            f"one that is there now, with {count:,} events that were not in the history yet",
            stacklevel=3,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.path or 'in memory'}{' (closed)' if self._closed else ''}>"


def _is_blob(value: Any) -> bool:
    """Whether it is the hash of a large value, in its place."""
    return isinstance(value, dict) and value.keys() == _BLOB and isinstance(value["$blob"], str)


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_inherited: list[Store] = []


def _disown() -> None:
    """In a forked child: mark the parent's stores, and keep them for good.

    Their locks may be held by threads that do not exist here, and closing their files (as garbage, say)
    would take down DuckDB, whose threads do not exist here either.
    """
    _inherited.extend(store for store in _stores if not store.closed)
    for store in _inherited:
        store._inherited = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)


def _forked(store: Store) -> ForkedStoreError:
    return ForkedStoreError(
        f"process {store._owner_pid} had {store!r} open when it forked this one, which cannot use it: "
        "start the process with 'spawn' or 'forkserver', or close the store before"
    )


def _checked(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    path = Path(path).expanduser().absolute()
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name a file in it, such as {path / 'runs.duckdb'}")
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist: create it first")
    for store in _inherited:
        # SQLite and DuckDB know an open file again, and would share what they inherited: locks that are not
        # ours, and an instance that writes into the file behind the parent's back.
        if store.path is not None and store.path.resolve() == path.resolve():
            raise _forked(store)
    return path


def _close_at_exit(store: Store) -> None:
    """Close the store when the interpreter ends, unless it is gone by then.

    A background thread that the interpreter kills inside DuckDB would abort the process.
    """
    reference = weakref.ref(store)

    def close() -> None:
        alive = reference()
        if alive is not None:
            alive.close()

    atexit.register(close)
