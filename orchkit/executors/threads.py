"""Worker threads for sync functions: daemons, reused, and replaceable when one never comes back."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

IDLE_S = 10.0


@dataclass(slots=True, eq=False)
class _Job:
    function: Callable[..., Any]
    kwargs: Mapping[str, Any]
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    failure: BaseException | None = None
    abandoned: bool = False
    finished: bool = False


class ThreadWorkers:
    """Runs functions in up to ``limit`` threads, carrying context variables along.

    Unlike `concurrent.futures`, the threads are daemons, and a function whose caller gave up
    (timeout, cancellation) no longer counts against the limit: its thread goes on alone, its result
    is dropped, and it does not keep the interpreter from ending.
    """

    def __init__(self, limit: int = 128) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._idle: list[_Worker] = []
        self._busy = 0
        self.abandoned = 0
        """How many functions are still running although nobody waits for them."""

    async def run(self, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
        """Call ``function(**kwargs)`` in a thread and wait for it; cancelling abandons it."""
        loop = asyncio.get_running_loop()
        job = _Job(function, kwargs, contextvars.copy_context(), loop, loop.create_future())
        with self._lock:
            self._dispatch(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            self._abandon(job)
            raise

    def release(self) -> None:
        """End the threads that wait for work; new work starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.inbox.put(None)
            worker.join()

    @contextmanager
    def _away(self) -> Iterator[None]:
        with self._lock:
            self._busy -= 1
            if self._waiting:
                self._dispatch(self._waiting.popleft())
        try:
            yield
        finally:
            with self._lock:
                self._busy += 1  # over the limit, if need be: it goes on at once

    def _dispatch(self, job: _Job) -> None:
        if self._idle:
            self._busy += 1
            self._idle.pop().inbox.put(job)
        elif self._busy < self._limit:
            _Worker(self, job).start()  # raises when the system has no thread left
            self._busy += 1
        else:
            self._waiting.append(job)

    def _abandon(self, job: _Job) -> None:
        with self._lock:
            if job in self._waiting:  # it had not begun
                self._waiting.remove(job)
                return
            if job.finished:
                return
            job.abandoned = True
            self.abandoned += 1
            self._busy -= 1
            if self._waiting:
                self._dispatch(self._waiting.popleft())

    def _after(self, worker: _Worker, job: _Job) -> _Job | None:
        """What a worker does after a job: the next one, or wait (None); `_Ended` when it was given up."""
        with self._lock:
            job.finished = True
            if job.abandoned:
                self.abandoned -= 1
                raise _Ended
            if self._waiting and self._busy <= self._limit:
                return self._waiting.popleft()
            self._busy -= 1
            self._idle.append(worker)
            return None

    def _may_retire(self, worker: _Worker) -> bool:
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                return True
            return False


def away() -> AbstractContextManager[None]:
    """Around a wait for other functions: if this is a worker thread, its place is free meanwhile.

    Without it functions that wait for functions could take all threads, and wait for ever.
    """
    thread = threading.current_thread()
    return thread.workers._away() if isinstance(thread, _Worker) else nullcontext()


class _Ended(Exception):  # noqa: N818 - a signal, not an error
    """The worker's place was taken while its function was running."""


class _Worker(threading.Thread):
    def __init__(self, workers: ThreadWorkers, first: _Job) -> None:
        super().__init__(name="orchkit-worker", daemon=True)
        self.inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.workers = workers
        self.inbox.put(first)

    def run(self) -> None:
        while True:
            try:
                job = self.inbox.get(timeout=IDLE_S)
            except queue.Empty:
                if self.workers._may_retire(self):
                    return
                continue
            if job is None:
                return
            try:
                while job is not None:
                    _call(job)
                    # First free, then heard of: who gets the result and has more work finds this thread.
                    following = self.workers._after(self, job)
                    _report(job)
                    job = following
            except _Ended:
                return


def _call(job: _Job) -> None:
    try:
        job.result = job.context.run(job.function, **job.kwargs)
    except StopIteration as stop:
        job.failure = RuntimeError("the function raised StopIteration")  # a future cannot carry it
        job.failure.__cause__ = stop
    except BaseException as error:
        job.failure = error


def _report(job: _Job) -> None:
    if not job.loop.is_closed():
        try:
            job.loop.call_soon_threadsafe(_deliver, job)
        except RuntimeError:
            if not job.loop.is_closed():  # closed in between: nobody waits any more
                raise


def _deliver(job: _Job) -> None:
    if job.future.done():
        return  # given up: a late result is dropped
    if job.failure is not None:
        job.future.set_exception(job.failure)
    else:
        job.future.set_result(job.result)
