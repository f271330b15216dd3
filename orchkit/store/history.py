"""The analytical record: a DuckDB file that is borrowed for a moment and never kept."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchkit.errors import StoreBusyError, StoreClosedError, StoreError, StoreVersionError
from orchkit.store import damage, trouble
from orchkit.store.filesystem import identity_of
from orchkit.store.lease import Lease
from orchkit.store.schema import migrations, script

if TYPE_CHECKING:
    import duckdb

POLL_S = 0.01
LEASE_POLL_S = 0.02
RENEW_S = 2.0


_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
"""For some files DuckDB would otherwise look for an extension on the network."""
_OWN_SHELL = "a DuckDB connection of this very process (close it, or ask the store instead)"
LAST_ANSWER_S = 10.0
"""How long closing waits for other threads that read, in seconds."""


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
        self.opened: Callable[[], None] = lambda: None
        """Called whenever the file was opened: from then on somebody must `tend` it."""
        self.verify: Callable[[duckdb.DuckDBPyConnection], str | None] | None = None
        """Asked about a file that was just opened: what is missing in it, in words."""
        self._lease = lease
        self.timeout_s = timeout_s
        """How long `borrow` waits for its turn, in seconds."""
        self._wait, self._monotonic = wait, monotonic
        self._changed = threading.Condition(threading.RLock())
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._identity = identity_of(path)
        self._users = 0
        self._used_at = 0.0
        self._renewed_at = 0.0
        self._closing = False  # nobody else gets in, and the last one out closes the file
        self._others_first = False  # we were asked for the file: who asked gets it before us
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on the open history; waits for its turn. Not to be nested in one thread.

        What DuckDB raises inside comes out as a `StoreError`. Raises `StoreBusyError` when the turn
        does not come in time.
        """
        import duckdb

        connection = self._enter()
        try:
            cursor = connection.cursor()
            try:
                yield cursor
            finally:
                cursor.close()
        except duckdb.Error as error:
            if isinstance(error, duckdb.FatalException) and self._lease is not None:
                self._closing = True  # DuckDB refuses all work on this file until it is opened again
            raise trouble.of_history(error, None) from error
        finally:
            self._leave()

    def _enter(self) -> duckdb.DuckDBPyConnection:
        with self._changed:
            self._closing = self._closing or not self.in_place
            while self._closing and self._users > 0 and not self._closed:
                self._changed.wait()
            if self._closed:
                raise StoreClosedError(f"the store {self.path or 'in memory'} is closed")
            if self._closing:
                self._release()
            connection = self._connection or self._open()
            self._users += 1
            return connection

    def _leave(self) -> None:
        with self._changed:
            self._users -= 1
            self._used_at = self._monotonic()
            if self._closing and self._users == 0 and not self._closed:
                self._release()
            elif self._closing or self._closed:
                self._changed.notify_all()

    def keep_others_out(self) -> None:
        """Within `borrow`: wait until no other thread is inside; none comes in until we are out.

        By one thread at a time: two would wait for each other.
        """
        with self._changed:
            self._closing = True
            while self._users > 1 and not self._closed:
                self._changed.wait()

    def close_file(self) -> None:
        """Within `borrow`, with the others kept out: close the file, which stays ours until we are out."""
        with self._changed:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @property
    def is_open(self) -> bool:
        """Whether this process holds the file right now."""
        return self._connection is not None

    @property
    def in_place(self) -> bool:
        """Whether the file that we have open, if any, is still the one at its path."""
        return self._connection is None or self.path is None or identity_of(self.path) == self._identity

    def tend(self, idle_s: float) -> bool:
        """Renew the lease of an open file; close it when unused for ``idle_s`` or wanted by others.

        Returns whether it is still open. Called about every 50 ms by the store's housekeeper.
        """
        with self._changed:
            if self._connection is None or self._lease is None:
                return False
            now = self._monotonic()
            self._others_first = self._lease.wanted()
            if self._users == 0 and (self._others_first or now - self._used_at >= idle_s):
                self._release()
                return False
            self._closing = self._closing or self._others_first
            if now - self._renewed_at > RENEW_S:
                self._lease.renew()
                self._renewed_at = now
            return True

    def _open(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        if self._lease is not None:
            self._await_lease(self._lease)
        try:
            connection = self._connect_checked()
        except BaseException as error:
            if self._lease is not None:
                self._lease.release()
            if isinstance(error, duckdb.Error | OSError):
                raise trouble.of_history(error, self.path) from error
            raise
        self._connection = connection
        self._used_at = self._renewed_at = self._monotonic()
        self.opened()
        return connection

    def _connect_checked(self) -> duckdb.DuckDBPyConnection:
        """The open file, its schema brought up to date; says what is missing in it."""
        name = str(self.path or "history in memory")
        kept = damage.keep_wal(self.path) if self.path and self.verify else None
        connection, cut = self._connect()
        try:
            self._identity = identity_of(self.path)
            _prepare(connection, name)
            missing = self.verify(connection) if self.verify else None
            if missing is not None:
                aside = cut or (kept and damage.set_aside(kept))
                where = f"; its write-ahead log was kept as {aside.name}" if aside else ""
                warnings.warn(f"{name}: {missing}{where}", stacklevel=2)
        except BaseException:
            connection.close()
            raise
        if kept is not None:
            kept.unlink(missing_ok=True)
        return connection

    def _await_lease(self, lease: Lease) -> None:
        start = self._monotonic()
        if self._others_first:
            # Who asked for it looks again only now and then, and would find it taken each time.
            self._others_first = False
            self._wait(2 * LEASE_POLL_S)
        while (holder := lease.acquire()) is not None:
            waited = self._monotonic() - start
            if waited > self.timeout_s:
                raise StoreBusyError(str(self.path), str(holder), waited)
            self._wait(LEASE_POLL_S)

    def _connect(self) -> tuple[duckdb.DuckDBPyConnection, Path | None]:
        """The open file, and what its write-ahead log was before a damaged end was cut off."""
        import duckdb

        if self.path is not None and not self.path.exists():
            _create(self.path)
        start = renewed_at = self._monotonic()
        cut = None
        while True:
            try:
                found = duckdb.connect(str(self.path or ":memory:"), config=_OFFLINE)
                return _own_file(found, self.path), cut
            except duckdb.Error as error:
                text = str(error)
                if self.path is not None and (aside := damage.cut_wal(self.path, text)):
                    _warn_of_damage(self.path, aside, text)
                    cut = cut or aside
                    continue
                now = self._monotonic()
                if "different configuration" in text:
                    # Waiting would be for ourselves: it is a connection of this process, outside the store.
                    raise StoreBusyError(str(self.path), _OWN_SHELL, now - start) from error
                if "Could not set lock" not in text:
                    raise
                # Somebody outside the lease (a plain duckdb shell, say) has the file open.
                if now - start > self.timeout_s:
                    raise StoreBusyError(str(self.path), _lock_holder(text), now - start) from error
            if self._lease is not None and now - renewed_at > RENEW_S:
                self._lease.renew()
                renewed_at = now
            self._wait(POLL_S)

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._closing = False
        self._changed.notify_all()
        if self._lease is not None:
            with suppress(StoreError):  # on a full disk, say: it runs out by itself
                self._lease.release()

    def close(self) -> None:
        """Give the file back for good; idempotent. What another thread asks of it is answered before."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._changed.notify_all()
                # DuckDB refuses to close a connection that is just being used.
                self._changed.wait_for(lambda: self._users == 0, LAST_ANSWER_S)
                self._release()


def _create(path: Path) -> None:
    """An empty file, complete or not at all: one that a killed process began could never be opened."""
    import duckdb

    begun = path.with_name(f"{path.name}.new")
    begun.unlink(missing_ok=True)
    duckdb.connect(str(begun)).close()
    begun.replace(path)


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


def _warn_of_damage(path: Path, aside: Path, text: str) -> None:
    """A damaged write-ahead log would keep the history shut: say that it is out of the way."""
    warnings.warn(
        f"the last changes to {path} cannot be read and were set aside as {aside.name}: {text}", stacklevel=3
    )


def _own_file(connection: duckdb.DuckDBPyConnection, path: Path | None) -> duckdb.DuckDBPyConnection:
    """The connection, if it is to the file: a CSV or JSON file DuckDB would open as tables in memory."""
    if path is not None:
        found = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchall()
        # DuckDB follows links, in the file's name and in those of its folders.
        if [Path(name).resolve() for (name,) in found if name] != [path.resolve()]:
            connection.close()
            raise StoreError(f"{path} is no DuckDB database: name another file, or a new one")
    return connection


def _lock_holder(message: str) -> str:
    """The part of DuckDB's lock message that says who holds the file."""
    _, found, rest = message.partition("Conflicting lock is held in ")
    return rest.split(". ", 1)[0].strip() if found else "another process"
