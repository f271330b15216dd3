"""The runs that have begun and not ended: who runs them, and which were cut off."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any, NamedTuple

from orchkit.clock import Clock
from orchkit.errors import RunInProgressError
from orchkit.store.log import Row, SqliteLog
from orchkit.store.process import Process, Standing, standing, this_process

_COLUMNS = "run_id, kind, name, parent_run_id, pid, host, born, started_us"
_WRITE = f"INSERT OR REPLACE INTO open_run ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - only names of ours


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

    @property
    def process(self) -> Process:
        """Who runs it, or did."""
        return Process(self.pid, self.host, self.born)

    @property
    def cut_off(self) -> bool:
        """Whether it cannot go on by itself. Of other machines nothing is claimed."""
        if self.process == this_process():
            return self.run_id not in _running
        return standing(self.process) is Standing.GONE


_running: set[str] = set()
"""The runs that are going on in this process."""
_lock = threading.Lock()


class OpenRuns:
    """Kept in the log, in the transactions of the events that begin and end runs."""

    def __init__(self, log: SqliteLog, clock: Clock) -> None:
        self._log, self._clock = log, clock

    def begin(self, run_id: str, kind: str, name: str, parent_run_id: str | None = None) -> None:
        """A run begins with the events that are buffered now."""
        with _lock:
            _running.add(run_id)
        row = self._row(run_id, kind, name, parent_run_id)
        self._change(_WRITE, row)

    def end(self, run_id: str) -> None:
        """It ends with the events that are buffered now."""
        with _lock:
            _running.discard(run_id)
        self._change("DELETE FROM open_run WHERE run_id = ?", (run_id,))

    def _change(self, sql: str, params: tuple[Any, ...]) -> None:
        def change(connection: sqlite3.Connection) -> list[Row]:
            connection.execute(sql, params)
            return []

        self._log.attach(change)

    def _row(self, run_id: str, kind: str, name: str, parent_run_id: str | None) -> OpenRun:
        here = this_process()
        now_us = self._clock.now_us()
        return OpenRun(run_id, kind, name, parent_run_id, here.pid, here.host, here.born, now_us)

    def take_up(self, run_id: str, kind: str, name: str, parent_run_id: str | None, event: Row) -> None:
        """Make a run ours that was cut off or has ended; at most one of several processes succeeds.

        ``event`` is written in the same transaction. Raises `RunInProgressError` when it goes on elsewhere.
        """

        def decide(connection: sqlite3.Connection) -> tuple[None, list[Row]]:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM open_run WHERE run_id = ?",  # noqa: S608 - only names of ours
                (run_id,),
            ).fetchone()
            if found is not None and not (run := OpenRun._make(found)).cut_off:
                raise RunInProgressError(run_id, str(run.process))
            connection.execute(_WRITE, self._row(run_id, kind, name, parent_run_id))
            with _lock:
                _running.add(run_id)
            return None, [event]

        self._log.transact(decide, strict=True)

    def all(self) -> list[OpenRun]:
        """All of them, the oldest first."""
        rows = self._log.read(f"SELECT {_COLUMNS} FROM open_run ORDER BY started_us, run_id")  # noqa: S608
        return [OpenRun._make(row) for row in rows]

    def cut_off(self) -> list[OpenRun]:
        """Those that cannot go on by themselves, the oldest first; without those of sub-workflows."""
        return [run for run in self.all() if run.parent_run_id is None and run.cut_off]

    def alive(self) -> set[str]:
        """The ids of those that go on, or may."""
        return {run.run_id for run in self.all() if not run.cut_off}
