"""A named lease in the log: who may hold something exclusively, and until when."""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchkit.clock import Clock
from orchkit.ids import new_id
from orchkit.store.log import SqliteLog
from orchkit.store.process import process_alive


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease."""

    owner: str
    pid: int
    host: str
    expires_us: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


_holding: weakref.WeakSet[Lease] = weakref.WeakSet()
"""The leases that are held in this process."""


class Lease:
    """One name, one holder at a time; a dead or silent holder loses it.

    Acquiring is a compare-and-set inside one write transaction of the log: SQLite lets one process
    at a time through, so two can never both find the lease free. Who holds it in this process loses it to
    nobody here, however late it is: DuckDB would let both into the file.
    """

    def __init__(self, log: SqliteLog, name: str, clock: Clock, *, ttl_s: float = 10.0) -> None:
        self._log, self._name, self._clock = log, name, clock
        self._ttl_us = int(ttl_s * 1e6)
        self._owner = new_id("owner")
        self._host = socket.gethostname()

    def acquire(self) -> Holder | None:
        """Take the lease: None when it is ours now, else who has it (who is told that we wait)."""
        now = self._clock.now_us()
        with self._log.exclusive() as connection:
            row = connection.execute(
                "SELECT owner, pid, host, expires_us FROM lease WHERE name = ?", (self._name,)
            ).fetchone()
            holder = Holder(*row) if row else None
            if holder is not None and not self._may_take(holder, now):
                connection.execute("UPDATE lease SET wanted_us = ? WHERE name = ?", (now, self._name))
                return holder
            connection.execute(
                "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, NULL)",
                (self._name, self._owner, os.getpid(), self._host, now + self._ttl_us),
            )
            _holding.add(self)
        return None

    def _may_take(self, holder: Holder, now: int) -> bool:
        if holder.owner == self._owner:
            return True
        if holder.host == self._host and holder.pid == os.getpid():
            return all(lease._owner != holder.owner for lease in tuple(_holding))
        if not now <= holder.expires_us <= now + 2 * self._ttl_us:
            return True  # it is over, or the clock was set back since it was taken
        return holder.host == self._host and not process_alive(holder.pid)

    def renew(self) -> bool:
        """Extend our lease; whether somebody else is waiting for it."""
        with self._log.exclusive() as connection:
            connection.execute(
                "UPDATE lease SET expires_us = ? WHERE name = ? AND owner = ?",
                (self._clock.now_us() + self._ttl_us, self._name, self._owner),
            )
        return self.wanted()

    def wanted(self) -> bool:
        """Whether somebody else asked for the lease since we took it, or has even taken it over."""
        rows = self._log.read(
            "SELECT wanted_us FROM lease WHERE name = ? AND owner = ?", (self._name, self._owner)
        )
        return not rows or rows[0][0] is not None

    @contextmanager
    def kept(self) -> Iterator[bool]:
        """Whether it is still ours; nobody takes it over inside. To be left at once: the log waits for it."""
        with self._log.exclusive() as connection:
            row = connection.execute(
                "SELECT 1 FROM lease WHERE name = ? AND owner = ?", (self._name, self._owner)
            ).fetchone()
            yield row is not None

    def release(self) -> None:
        """Give it back; harmless when it is not ours any more."""
        _holding.discard(self)
        with self._log.exclusive() as connection:
            connection.execute("DELETE FROM lease WHERE name = ? AND owner = ?", (self._name, self._owner))

    def holder(self) -> Holder | None:
        """Who holds it now, if anybody."""
        rows = self._log.read("SELECT owner, pid, host, expires_us FROM lease WHERE name = ?", (self._name,))
        return Holder(*rows[0]) if rows else None
