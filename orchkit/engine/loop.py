"""The one daemon loop thread of a process, on which blocking and background runs live."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from orchkit.executors.threads import away

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

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and block until it has ended.

        An interrupt (Ctrl-C) cancels it, waits until it has ended, and is raised on.
        """
        loop, ended = self.loop, Future[T]()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(lambda task: _hand_over(task, ended))

        loop.call_soon_threadsafe(begin)
        with away():
            try:
                return ended.result()
            except KeyboardInterrupt:
                loop.call_soon_threadsafe(lambda: tasks[0].cancel("interrupted by the user"))
                with suppress(Exception, asyncio.CancelledError):
                    ended.result()
                raise

    @property
    def is_current(self) -> bool:
        """Whether the caller is on that thread, where waiting for it would never end."""
        return threading.current_thread() is self._thread


def _hand_over(task: asyncio.Task[T], ended: Future[T]) -> None:
    if task.cancelled():
        ended.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        ended.set_exception(error)
    else:
        ended.set_result(task.result())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop for good: a task that ends with Ctrl-C stops it, but the others still need it."""
    while True:
        with suppress(KeyboardInterrupt, SystemExit):
            loop.run_forever()


loop_thread = LoopThread()
