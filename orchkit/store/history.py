"""The analytical record: a DuckDB file that is borrowed for a moment and never kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchkit.errors import StoreBusyError, StoreClosedError, StoreError, StoreFullError, StoreVersionError
from orchkit.store.lease import Lease
from orchkit.store.schema import migrations, script

if TYPE_CHECKING:
    import duckdb

POLL_S = 0.01
LEASE_POLL_S = 0.02
RENEW_S = 2.0


@dataclass(slots=True)
class _Waiting:
    """Who we are waiting for, shown by `orchkit doctor` and named when we give up."""

    holder: str
    since: float


class History:
    """Borrows the DuckDB file under a lease, so that other processes and plain shells get their turn.

    With ``path`` None the history is in memory and simply stays open. All methods are thread-safe;
    every borrower gets a cursor of its own, because a connection shared by threads mixes up results.
    """

    def __init__(
        self,
        path: Path | None,
        lease: Lease | None,
        *,
        timeout_s: float = 60.0,
        wait: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._lease = lease
        self._timeout_s = timeout_s
        self._wait, self._monotonic = wait, monotonic
        self._lock = threading.RLock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._users = 0
        self._used_at = 0.0
        self._renewed_at = 0.0
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on the open history; waits for its turn. Raises `StoreBusyError` after the timeout."""
        with self._lock:
            if self._closed:
                raise StoreClosedError(f"the store {self.path or 'in memory'} is closed")
            connection = self._connection or self._open()
            self._users += 1
        cursor = connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()
            with self._lock:
                self._users -= 1
                self._used_at = self._monotonic()

    @property
    def is_open(self) -> bool:
        """Whether this process holds the file right now."""
        return self._connection is not None

    def tend(self, idle_s: float) -> bool:
        """Renew the lease of an open file; close it when unused for ``idle_s`` or wanted by others.

        Returns whether it is still open. Called about every 50 ms by the store's housekeeper.
        """
        with self._lock:
            if self._connection is None or self._lease is None:
                return False
            now = self._monotonic()
            if self._users == 0 and (now - self._used_at >= idle_s or self._lease.wanted()):
                self._release()
                return False
            if now - self._renewed_at > RENEW_S:
                self._lease.renew()
                self._renewed_at = now
            return True

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._lease is not None:
            self._await_lease(self._lease)
        try:
            connection = self._connect()
            try:
                _prepare(connection, str(self.path or "history in memory"))
            except BaseException:
                connection.close()
                raise
        except BaseException:
            if self._lease is not None:
                self._lease.release()
            raise
        self._connection = connection
        self._used_at = self._renewed_at = self._monotonic()
        return connection

    def _await_lease(self, lease: Lease) -> None:
        start = self._monotonic()
        while (holder := lease.acquire()) is not None:
            waited = self._monotonic() - start
            if waited > self._timeout_s:
                raise StoreBusyError(str(self.path), str(holder), waited)
            self._wait(LEASE_POLL_S)

    def _connect(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        start = self._monotonic()
        while True:
            try:
                return duckdb.connect(str(self.path) if self.path else ":memory:")
            except duckdb.IOException as error:
                # Somebody outside the lease (a plain duckdb shell, say) has the file open.
                waited = self._monotonic() - start
                if "lock" not in str(error).lower():
                    raise _translated(error, self.path) from error
                if waited > self._timeout_s:
                    raise StoreBusyError(str(self.path), _lock_holder(str(error)), waited) from error
                self._wait(POLL_S)

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lease is not None:
            self._lease.release()

    def close(self) -> None:
        """Give the file back for good; idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._release()


def _prepare(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Bring the schema up to date; views are code, so they are written anew when their text changes."""
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    scripts = migrations("history")
    newest = scripts[-1][0]
    views = script("views.sql")
    connection.execute("CREATE TABLE IF NOT EXISTS meta (key VARCHAR, value VARCHAR)")
    meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    found = int(meta.get("schema_version", "0"))
    if found > newest:
        raise StoreVersionError(name, found, newest)
    if found == newest and meta.get("views") == views:
        return
    connection.execute("BEGIN")
    for version, sql in scripts:
        if version > found:
            connection.execute(sql)
    connection.execute(views)
    connection.execute("DELETE FROM meta WHERE key IN ('schema_version', 'views')")
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?), ('views', ?)", [str(newest), views])
    connection.execute("COMMIT")


def _lock_holder(message: str) -> str:
    """The part of DuckDB's lock message that says who holds the file."""
    _, found, rest = message.partition("Conflicting lock is held in ")
    return rest.split(". ", 1)[0].strip() if found else "another process"


def _translated(error: Exception, path: Path | None) -> StoreError:
    text = str(error)
    if "No space left" in text or "disk is full" in text.lower():
        return StoreFullError(f"no space left for {path}: nothing acknowledged is lost; free space and go on")
    return StoreError(f"history {path or 'in memory'}: {text}")

