"""Who follows runs is told of what is committed: each in a buffer of its own, bounded."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from orchkit.store.log import StoredRow
from orchkit.store.store import Store


class Follower:
    """One reader on one event loop. What does not fit into its buffer is dropped, and that is told."""

    def __init__(
        self, wanted: Callable[[StoredRow], bool], room: int, leave: Callable[[Follower], None]
    ) -> None:
        self._wanted, self._room, self._leave = wanted, room, leave
        self._rows: deque[StoredRow] = deque()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._told = False
        self._overrun = False
        self.closed = False
        """Whether the server stops: nobody should wait any more."""

    def offer(self, rows: list[StoredRow]) -> None:
        """Take what is wanted of a commit; from any thread, returns at once."""
        found = [row for row in rows if self._wanted(row)]
        if not found:
            return
        with self._lock:
            if len(self._rows) + len(found) > self._room:
                self._rows.clear()
                self._overrun = True
            elif not self._overrun:
                self._rows.extend(found)
            self._wake()

    def close(self) -> None:
        """Let who waits go; from any thread."""
        with self._lock:
            self.closed = True
            self._wake()

    def wake(self) -> None:
        """Let who waits look; from any thread."""
        with self._lock:
            self._wake()

    def _wake(self) -> None:
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # its loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._news.set)

    async def next(self, seconds: float) -> list[StoredRow] | None:
        """The rows that came, none when the time is over; None when some were dropped since."""
        if not self.closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds)
        with self._lock:
            self._told = False
            self._news.clear()
            rows, overrun = list(self._rows), self._overrun
            self._rows.clear()
            self._overrun = False
        return None if overrun else rows

    def leave(self) -> None:
        """Follow no more."""
        self._leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Commits:
    """Listens to the store as long as somebody follows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._followers: tuple[Follower, ...] = ()
        self._stop: Callable[[], None] | None = None
        self.closed = False
        """Whether `close` was called."""

    @property
    def count(self) -> int:
        """How many follow."""
        return len(self._followers)

    def follow(self, wanted: Callable[[StoredRow], bool], room: int) -> Follower:
        """Begin to follow on the running loop; ends with `Follower.leave`."""
        follower = Follower(wanted, room, self._leave)
        with self._lock:
            self._followers = (*self._followers, follower)
            if self._stop is None:
                self._stop = self._store.subscribe(self._listen)
        if self.closed:
            follower.close()
        return follower

    def _leave(self, follower: Follower) -> None:
        with self._lock:
            self._followers = tuple(one for one in self._followers if one is not follower)
            if not self._followers and self._stop is not None:
                self._stop()
                self._stop = None

    def _listen(self, rows: list[StoredRow]) -> None:
        for follower in self._followers:
            follower.offer(rows)

    def close(self) -> None:
        """Nobody follows from here on; from any thread."""
        self.closed = True
        for follower in self._followers:
            follower.close()
