"""Calls by sync code: the policies run on a loop of their own, the function in the thread of the caller."""

from __future__ import annotations

import asyncio
import contextvars
import queue
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from orchkit.engine.loop import LoopThread
from orchkit.executors.threads import away

T = TypeVar("T")

calls_loop = LoopThread()
"""Where the policies of sync functions run; never code of the user that could wait for it."""


class Errand:
    """One call: its caller waits, and meanwhile does in its own thread what the policies ask for.

    So there is one pipeline, which is async, and a sync function still finds its thread, its locals and its
    debugger, and no thread is needed for it.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result; Ctrl-C cancels it."""
        if calls_loop.is_current:
            coroutine.close()
            raise RuntimeError(
                "a function that a policy asks (a classifier, say) cannot make reliable calls itself"
            )
        future = calls_loop.submit(coroutine)
        future.add_done_callback(lambda _: self._jobs.put(None))
        try:
            while True:
                with away():
                    job = self._jobs.get()
                if job is None:
                    return future.result()
                job()
        except BaseException:
            future.cancel()
            raise

    async def here(self, function: Callable[[], Any]) -> Any:
        """From the loop: call a function in the thread of the caller."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._jobs.put(partial(_do, contextvars.copy_context(), function, loop, done))
        return await done


def _do(
    context: contextvars.Context,
    function: Callable[[], Any],
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[Any],
) -> None:
    try:
        result = context.run(function)
    except KeyboardInterrupt:
        raise
    except StopIteration as stop:
        failure = RuntimeError("the function raised StopIteration")  # a future cannot carry it
        failure.__cause__ = stop
        loop.call_soon_threadsafe(_settle, done, None, failure)
    except BaseException as error:
        loop.call_soon_threadsafe(_settle, done, None, error)
    else:
        loop.call_soon_threadsafe(_settle, done, result, None)


def _settle(done: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if done.done():
        return  # nobody waits for it any more
    if failure is not None:
        done.set_exception(failure)
    else:
        done.set_result(result)
