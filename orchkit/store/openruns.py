"""The runs that have begun and not ended: who runs them, and which were cut off."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from orchkit.clock import Clock
from orchkit.errors import RunInProgressError, StoreError
from orchkit.store.holdings import Holdings, Renewer, Surroundings
from orchkit.store.log import Row, SqliteLog
from orchkit.store.process import Process

AHEAD_S = 5.0
"""Who takes over a claim whose lease is over finds that of its run, begun a moment later, over as well."""
_COLUMNS = "run_id, kind, name, parent_run_id, pid, host, born, started_us, lease_us"
_READ = f"SELECT {_COLUMNS} FROM open_run"  # noqa: S608 - only names of ours
_WRITE = f"INSERT OR REPLACE INTO open_run ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_MINE = "run_id = ? AND pid = ? AND host = ? AND born IS ?"


class OpenRun(NamedTuple):
    """A run without an end on record."""

    run_id: str
    kind: str
    name: str
    parent_run_id: str | None
    pid: int
    host: str
    born: str | None
    started_us: int
    lease_us: int
    """Where nobody can tell whether its process exists: until when that is taken for granted."""

    @property
    def process(self) -> Process:
        """Who runs it, or did."""
        return Process(self.pid, self.host, self.born)


class OpenRuns:
    """Kept in the log, in the transactions of the events that begin and end runs."""

    def __init__(
        self,
        log: SqliteLog,
        clock: Clock,
        *,
        renewer: Renewer | None = None,
        around: Surroundings | None = None,
    ) -> None:
        self._log, self._clock = log, clock
        self._renewer = renewer or Renewer()
        around = around or Surroundings()
        around = replace(around, lease_s=around.lease_s - AHEAD_S)
        self._holdings = Holdings(log, clock, self._renewer, "open_run", _MINE, around)

    def begin(self, run_id: str, kind: str, name: str, parent_run_id: str | None = None) -> None:
        """A run begins with the events that are buffered now."""
        row = self._row(run_id, kind, name, parent_run_id)
        self._hold(row)
        self._holdings.keep()
        self._change(_WRITE, row)

    def end(self, run_id: str) -> None:
        """It ends with the events that are buffered now, and goes on until they are written."""
        self._change("DELETE FROM open_run WHERE run_id = ?", (run_id,), over=run_id)

    def _hold(self, run: OpenRun) -> None:
        self._holdings.hold(run.run_id, (run.run_id, run.pid, run.host, run.born))

    def _change(self, sql: str, params: tuple[Any, ...], over: str | None = None) -> None:
        def change(connection: sqlite3.Connection) -> list[Row]:
            connection.execute(sql, params)
            if over is not None:
                self._holdings.let_go(over)
            return []

        self._log.attach(change)

    def _row(self, run_id: str, kind: str, name: str, parent_run_id: str | None) -> OpenRun:
        this, holdings = self._holdings.this, self._holdings
        name = name.encode(errors="replace").decode()  # a lone surrogate could never be written
        return OpenRun(
            run_id,
            kind,
            name,
            parent_run_id,
            this.pid,
            this.host,
            this.born,
            self._clock.now_us(),
            holdings.lease_us(),
        )

    def take_up(
        self, run_id: str, kind: str, name: str, parent_run_id: str | None, event: Row | None = None
    ) -> None:
        """Make a run ours that was cut off or has ended; at most one of several processes succeeds.

        ``event`` is written in the same transaction. Without one nobody else takes it up until it has gone on
        and ended, or `give_back`. Raises `RunInProgressError` when it goes on elsewhere.
        """
        row = self._row(run_id, kind, name, parent_run_id)
        ours = False

        def decide(connection: sqlite3.Connection) -> tuple[None, list[Row]]:
            nonlocal ours
            found = connection.execute(f"{_READ} WHERE run_id = ?", (run_id,)).fetchone()
            if found is not None and not self.is_cut_off(run := OpenRun._make(found)):
                raise RunInProgressError(run_id, str(run.process))
            self._hold(row)  # before others can see it
            ours = True
            connection.execute(_WRITE, row)
            return None, [] if event is None else [event]

        try:
            self._log.transact(decide, strict=True)
        except BaseException:
            if ours:
                self._holdings.let_go(run_id)
            raise
        self._holdings.keep()

    def give_back(self, run_id: str, *, ended: bool) -> None:
        """Leave a run that was taken up as it was: ended, or cut off."""
        change = "DELETE FROM open_run" if ended else "UPDATE open_run SET lease_us = 0"
        try:
            # Within the transaction: who takes it up next must not lose it again by what is said here.
            with self._log.exclusive() as connection:
                connection.execute(f"{change} WHERE run_id = ?", (run_id,))
                self._holdings.let_go(run_id)
        except StoreError:  # so it is not given to other processes, as long as this one lives
            self._holdings.let_go(run_id)

    def is_cut_off(self, run: OpenRun) -> bool:
        """Whether it cannot go on by itself: its process is gone, or has not been heard of for too long."""
        return not self._holdings.is_held(run.run_id, run.process, run.lease_us)

    def all(self) -> list[OpenRun]:
        """All of them, the oldest first."""
        rows = self._log.read(f"{_READ} ORDER BY started_us, run_id")
        return [OpenRun._make(row) for row in rows]

    def cut_off(self) -> list[OpenRun]:
        """Those that cannot go on by themselves, the oldest first; without those of sub-workflows."""
        return [run for run in self.all() if run.parent_run_id is None and self.is_cut_off(run)]

    def alive(self) -> set[str]:
        """The ids of those that go on, or may."""
        return {run.run_id for run in self.all() if not self.is_cut_off(run)}

    def forget(self, run_ids: Iterable[str]) -> None:
        """Do not list these any more: their record has been removed."""
        with self._log.exclusive() as connection:
            connection.executemany("DELETE FROM open_run WHERE run_id = ?", [(run_id,) for run_id in run_ids])

    def close(self) -> None:
        """Stop renewing, and give up what has not ended, so that it can be taken up; idempotent."""
        self._renewer.stop()
        self._holdings.close()
