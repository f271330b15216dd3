"""What this process works on: rows of a table with a lease, renewed while the work goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchkit.clock import Clock
from orchkit.errors import StoreError
from orchkit.store.log import SqliteLog
from orchkit.store.process import Process, Standing, standing, this_process

LEASE_S = 60.0
RENEW_S = 15.0
AHEAD_US = 3_600_000_000
"""A lease that ends later than in an hour was not given by this clock: it has been set back since.
Whoever is still there renews it by the new time within seconds."""

_at_work: set[str] = set()
"""What is worked on in this process, over all its stores; a row of ours that is not in here was given up."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Which process this is, and how others stand; for tests to say otherwise."""

    this: Callable[[], Process] = this_process
    standing: Callable[[Process], Standing] = standing
    lease_s: float = LEASE_S


class Renewer:
    """Renews all leases of a store from one thread, which ends by itself when there are none left."""

    def __init__(self, every_s: float = RENEW_S) -> None:
        self._every_s = every_s
        self._holdings: list[Holdings] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def add(self, holdings: Holdings) -> None:
        """Look after these, too."""
        self._holdings.append(holdings)

    def wake(self) -> None:
        """There is something to renew from now on."""
        with self._lock:
            if self._thread is None and not self._stopped.is_set():
                thread = threading.Thread(target=self._loop, name="orchkit-leases", daemon=True)
                # An interpreter that is ending starts no threads; until it has ended no lease is over.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def _loop(self) -> None:
        while not self._stopped.wait(self._every_s):
            with self._lock:
                if not any(holdings.tokens for holdings in self._holdings):
                    self._thread = None
                    return
            for holdings in self._holdings:
                holdings.renew()

    def stop(self) -> None:
        """End the thread and wait for it; idempotent."""
        self._stopped.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


class Holdings:
    """The rows of one table that a store of this process works on. All methods are thread-safe.

    ``mine`` is the condition that finds such a row, and no longer once somebody else has taken it over; its
    parameters come with each token.
    """

    def __init__(
        self, log: SqliteLog, clock: Clock, renewer: Renewer, table: str, mine: str, around: Surroundings
    ) -> None:
        self._log, self._clock, self._renewer, self._around = log, clock, renewer, around
        # A row that was given up stays so, whoever comes late.
        self._set = f"UPDATE {table} SET lease_us = ? WHERE {mine} AND lease_us > 0"  # noqa: S608 - ours
        self._held: dict[str, tuple[Any, ...]] = {}
        self._lock = threading.Lock()
        renewer.add(self)

    @property
    def this(self) -> Process:
        """The process that we are."""
        return self._around.this()

    @property
    def tokens(self) -> list[str]:
        """What is held now."""
        with self._lock:
            return list(self._held)

    def lease_us(self) -> int:
        """Until when a lease lasts that begins now."""
        return self._clock.now_us() + int(self._around.lease_s * 1e6)

    def hold(self, token: str, row: tuple[Any, ...]) -> None:
        """Work on a row from now on; to be said before others can see it. See `keep`."""
        _at_work.add(token)
        with self._lock:
            self._held[token] = row

    def keep(self) -> None:
        """It is ours: renew its lease until it is let go."""
        self._renewer.wake()

    def let_go(self, token: str) -> tuple[Any, ...] | None:
        """Do not work on it any more; gives its row, None when we did not."""
        _at_work.discard(token)
        with self._lock:
            return self._held.pop(token, None)

    def give_up(self, *tokens: str) -> None:
        """Let go of what is not done, so that others, too, may go on with it."""
        self._write(0, [row for token in tokens if (row := self.let_go(token)) is not None])

    def is_held(self, token: str, process: Process, lease_us: int) -> bool:
        """Whether a row is being worked on.

        Where the operating system can tell, only it is asked: after a machine has slept, every lease is over,
        and nobody may take over from an owner who has just not come round to renewing it.
        """
        if lease_us == 0:
            return False
        if process == self.this:
            return token in _at_work
        found = self._around.standing(process)
        if found is not Standing.UNKNOWN:
            return found is Standing.ALIVE
        return 0 < lease_us - self._clock.now_us() <= AHEAD_US

    def renew(self) -> None:
        """Put off the end of all leases."""
        with self._lock:
            rows = list(self._held.values())
        self._write(self.lease_us(), rows)

    def _write(self, lease_us: int, rows: list[tuple[Any, ...]]) -> None:
        # What fails (on a full disk, say) is made up for by the next renewal, long before a lease is over;
        # and what could not be given up is given up when this process ends.
        if rows:
            with suppress(StoreError), self._log.exclusive() as connection:
                connection.executemany(self._set, [(lease_us, *row) for row in rows])

    def close(self) -> None:
        """Give up what is left, which could not be finished in a store that is closed."""
        self.give_up(*self.tokens)
