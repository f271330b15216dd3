"""The one daemon loop thread of a process, on which blocking and background runs live."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

from orchkit.executors.threads import away

T = TypeVar("T")
END_S: Final = 1.0
"""So long is the end of the thread waited for; a task that goes on keeps it for longer."""
LOOK_S: Final = 0.02


class LoopThread:
    """An event loop on a daemon thread; started at the first use, anew in a forked child.

    Whoever means to come back to it holds it (`hold`). When the last one has let go (`release`), the thread
    ends as soon as nothing goes on there, and the next use starts another one.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # what the garbage collector ends in between may come back to it
        self._holders: weakref.WeakSet[Any] = weakref.WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: _Serving | None = None
        self._pid = 0

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop; with the lock, which what is to happen there must be scheduled under, too.

        So it is known to the loop before it is asked whether anything goes on there.
        """
        if self._loop is None or self._pid != os.getpid():
            self._loop = asyncio.new_event_loop()
            self._pid = os.getpid()
            self._thread = _Serving(self, self._loop)
            self._thread.start()
        return self._loop

    def launch(self, coroutine: Coroutine[Any, Any, T]) -> tuple[Future[T], asyncio.AbstractEventLoop]:
        """Run a coroutine there; also the loop, which goes on at least until that has ended."""
        with self._lock:
            loop = self._running()
            return asyncio.run_coroutine_threadsafe(coroutine, loop), loop

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine there."""
        return self.launch(coroutine)[0]

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function there, soon."""
        with self._lock:
            self._running().call_soon_threadsafe(function, *args)

    def hold(self, holder: object) -> None:
        """Keep it going for somebody, who is known by a weak reference."""
        with self._lock:
            self._holders.add(holder)

    def release(self, holder: object) -> None:
        """Somebody needs it no more; after the last one it ends, and what holds resources with it."""
        with self._lock:
            self._holders.discard(holder)
            thread, loop = self._thread, self._loop
            if self._holders or loop is None or self._pid != os.getpid():
                return
            self._loop = self._thread = None
            loop.call_soon_threadsafe(_stop_when_idle, loop)
        if thread is not None and thread is not threading.current_thread():
            thread.join(END_S)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and block until it has ended.

        An interrupt (Ctrl-C) cancels it, waits until it has ended, and is raised on.
        """
        ended = Future[T]()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(lambda task: _hand_over(task, ended))

        with self._lock:
            loop = self._running()
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
        thread = threading.current_thread()
        return isinstance(thread, _Serving) and thread.owner is self


class _Serving(threading.Thread):
    """The thread of a loop."""

    def __init__(self, owner: LoopThread, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="orchkit-loop", daemon=True)
        self.owner = owner
        self._serves = loop

    def run(self) -> None:
        """Run the loop until it is stopped: a task that ends with Ctrl-C does so, too, but others need it."""
        stopped = False
        while not stopped:
            with suppress(KeyboardInterrupt, SystemExit):
                self._serves.run_forever()
                stopped = True
        self._serves.close()


def _stop_when_idle(loop: asyncio.AbstractEventLoop) -> None:
    """Only tasks count: nobody waits for what else may be scheduled."""
    if asyncio.all_tasks(loop):
        loop.call_later(LOOK_S, _stop_when_idle, loop)
    else:
        loop.stop()


def _hand_over(task: asyncio.Task[T], ended: Future[T]) -> None:
    if task.cancelled():
        ended.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        ended.set_exception(error)
    else:
        ended.set_result(task.result())


loop_thread = LoopThread()
