"""The one daemon loop thread of a process, on which blocking and background runs live."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop on a daemon thread; started at the first use, anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop = asyncio.new_event_loop()
                self._pid = os.getpid()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="orchkit-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    @property
    def is_current(self) -> bool:
        """Whether the caller is on that thread, where waiting for it would never end."""
        return threading.current_thread() is self._thread


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop for good: a task that ends with Ctrl-C stops it, but the others still need it."""
    while True:
        with suppress(KeyboardInterrupt, SystemExit):
            loop.run_forever()


loop_thread = LoopThread()
