"""The store's one background thread: ingests after runs, gives the history file back when idle."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable

TEND_S = 0.05
PATIENCE_S = 5.0
"""Where runs follow one another without a pause, the log must not grow without end."""


class Housekeeper:
    """Calls ``ingest`` once things have been quiet for ``quiet_s``, and ``tend`` while a file is open.

    The thread is a daemon, starts at the first need and sleeps without polling when there is
    nothing to do.
    """

    def __init__(
        self, ingest: Callable[[], object], tend: Callable[[float], bool], *, quiet_s: float, idle_s: float
    ) -> None:
        self._ingest, self._tend = ingest, tend
        self._quiet_s, self._idle_s = quiet_s, idle_s
        self._wake = threading.Condition()
        self._due: float | None = None
        self._latest: float | None = None
        self._file_open = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    def ingest_soon(self) -> None:
        """Ask for an ingest once nobody has asked for ``quiet_s`` seconds; within `PATIENCE_S` anyway."""
        with self._wake:
            now = time.monotonic()
            if self._latest is None:
                self._latest = now + PATIENCE_S
            known, self._due = self._due is not None, min(now + self._quiet_s, self._latest)
            if not known:  # else the thread wakes in time, sees that it was put off, and sleeps on
                self._start()

    def watch_file(self) -> None:
        """Say that the history file was opened, so that somebody looks after it."""
        with self._wake:
            self._file_open = True
            self._start()

    def _start(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._loop, name="orchkit-store", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _loop(self) -> None:
        while (due := self._next()) is not None:
            self._work(due)

    def _next(self) -> bool | None:
        """Wait for something to do: whether an ingest is due; None at the end."""
        with self._wake:
            if not self._stopped:
                self._wake.wait(self._pause())
            if self._stopped:
                return None
            due = self._due is not None and time.monotonic() >= self._due
            if due:
                self._due = self._latest = None
            return due

    def _pause(self) -> float | None:
        until_due = None if self._due is None else max(0.0, self._due - time.monotonic())
        if not self._file_open:
            return until_due
        return TEND_S if until_due is None else min(until_due, TEND_S)

    def _work(self, due: bool) -> None:
        try:
            if due:
                self._ingest()
            with self._wake:
                # Before looking: who opens the file meanwhile says so, and must not be overruled.
                self._file_open = False
            if self._tend(self._idle_s):
                self.watch_file()
        except Exception as error:
            # Nothing is lost: the log keeps what was not ingested, and the next read ingests it.
            if not self._stopped:
                warnings.warn(f"orchkit could not move records to the history: {error}", stacklevel=1)

    def stop(self) -> None:
        """End the thread and wait for it; idempotent."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
