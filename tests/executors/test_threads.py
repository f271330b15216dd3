"""Worker threads: context carried, threads reused, functions that never come back given up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from orchkit.executors import threads as module
from orchkit.executors.body import Bodies
from orchkit.executors.threads import ThreadWorkers

WAIT_S = 30.0
"""How long a test waits for a real thread before it says that it hangs."""
color: ContextVar[str] = ContextVar("color", default="none")


@contextmanager
def gate() -> Iterator[threading.Event]:
    """An event on which functions wait; it is set at the end, so that no thread is left behind."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread to get somewhere."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_function_gets_its_arguments_and_returns() -> None:
    """The call is an ordinary call with named arguments, in another thread."""

    def where(a: int, b: int) -> tuple[int, str]:
        return a - b, threading.current_thread().name

    assert asyncio.run(ThreadWorkers().run(where, {"b": 2, "a": 5})) == (3, "orchkit-worker")


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("k"), asyncio.CancelledError(), SystemExit(1)])
def test_what_it_raises_is_raised(error: BaseException) -> None:
    """Whatever the function raises comes out of the awaited call."""

    def fails() -> None:
        raise error

    async def run() -> BaseException | None:
        try:
            await ThreadWorkers().run(fails, {})
        except BaseException as caught:
            return caught
        return None

    assert type(asyncio.run(run())) is type(error)


def test_stop_iteration_becomes_a_runtime_error() -> None:
    """A future cannot carry StopIteration, so the function that raised it is named as the cause."""

    def fails() -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        asyncio.run(ThreadWorkers().run(fails, {}))
    assert isinstance(caught.value.__cause__, StopIteration)


def test_context_variables_are_carried_but_not_brought_back() -> None:
    """The function sees the variables of its caller; what it sets stays with it."""

    def look() -> str:
        seen = color.get()
        color.set("blue")
        return seen

    async def run() -> list[str]:
        color.set("red")
        workers = ThreadWorkers()
        return [await workers.run(look, {}), color.get(), await workers.run(look, {})]

    assert asyncio.run(run()) == ["red", "red", "red"]


def test_threads_are_reused() -> None:
    """Calls one after the other share a thread."""

    async def run() -> set[int]:
        workers = ThreadWorkers()
        return {await workers.run(threading.get_ident, {}) for _ in range(50)}

    assert len(asyncio.run(run())) == 1


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_no_more_functions_run_at_once_than_allowed(limit: int) -> None:
    """Further calls wait for a thread, and all of them are made."""
    lock, running, most = threading.Lock(), 0, 0

    def work(n: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return n

    async def run() -> list[int]:
        workers = ThreadWorkers(limit)
        return await asyncio.gather(*(workers.run(work, {"n": n}) for n in range(30)))

    assert asyncio.run(run()) == list(range(30))
    assert most <= limit


def test_a_limit_below_one_is_refused() -> None:
    """Nothing could ever run."""
    with pytest.raises(ValueError, match="at least 1"):
        ThreadWorkers(0)


def test_a_function_that_was_given_up_does_not_block_the_others() -> None:
    """Its place is free at once; it counts as abandoned until it returns, and its result is dropped."""
    workers = ThreadWorkers(1)

    async def run(event: threading.Event) -> str:
        stuck = asyncio.ensure_future(workers.run(event.wait, {}))
        await asyncio.sleep(0.01)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        assert workers.abandoned == 1
        return await asyncio.wait_for(workers.run(lambda: "next", {}), WAIT_S)

    with gate() as event:
        assert asyncio.run(run(event)) == "next"
        event.set()
        until(lambda: workers.abandoned == 0)


def test_giving_up_lets_a_waiting_call_begin() -> None:
    """A call that waits for a thread gets one when another is given up."""
    workers = ThreadWorkers(1)

    async def run(event: threading.Event) -> str:
        stuck = asyncio.ensure_future(workers.run(event.wait, {}))
        waiting = asyncio.ensure_future(workers.run(lambda: "next", {}))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        stuck.cancel()
        return await asyncio.wait_for(waiting, WAIT_S)

    with gate() as event:
        assert asyncio.run(run(event)) == "next"


def test_a_call_cancelled_while_it_waits_never_begins() -> None:
    """It leaves the queue, and nothing counts as abandoned."""
    workers, called = ThreadWorkers(1), []

    async def run(event: threading.Event) -> None:
        first = asyncio.ensure_future(workers.run(event.wait, {}))
        second = asyncio.ensure_future(workers.run(called.append, {}))
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        event.set()
        await first

    with gate() as event:
        asyncio.run(run(event))
    assert called == []
    assert workers.abandoned == 0


def test_a_result_after_the_loop_is_closed_is_dropped() -> None:
    """The thread ends without an error although nobody is there any more."""
    workers = ThreadWorkers()

    async def run(event: threading.Event) -> None:
        asyncio.ensure_future(workers.run(event.wait, {}))  # noqa: RUF006 - asyncio.run cancels it
        await asyncio.sleep(0.01)

    with gate() as event:
        asyncio.run(run(event))
        event.set()
        until(lambda: workers.abandoned == 0)


def test_two_loops_share_the_threads() -> None:
    """Each result is delivered on the loop that asked for it."""
    workers = ThreadWorkers(2)

    async def ask(base: int) -> list[int]:
        return await asyncio.gather(*(workers.run(lambda n=n: base + n, {}) for n in range(50)))

    results: list[list[int]] = []
    loops = [threading.Thread(target=lambda b=b: results.append(asyncio.run(ask(b)))) for b in (0, 100, 200)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert sorted(results) == [[base + n for n in range(50)] for base in (0, 100, 200)]


def test_a_system_without_threads_fails_the_call_and_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started the call fails; later calls are not blocked by it."""
    workers, real = ThreadWorkers(1), module._Worker.start

    def refuse(worker: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> str:
        monkeypatch.setattr(module._Worker, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await workers.run(lambda: "first", {})
        monkeypatch.setattr(module._Worker, "start", real)
        return await asyncio.wait_for(workers.run(lambda: "second", {}), WAIT_S)

    assert asyncio.run(run()) == "second"


def test_an_idle_thread_retires(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread without work ends after a while, and a new one is started when there is work again."""
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    workers = ThreadWorkers()

    async def run() -> threading.Thread:
        return await workers.run(threading.current_thread, {})

    first = asyncio.run(run())
    until(lambda: not first.is_alive())
    assert asyncio.run(run()) is not first


# --- where a function runs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("executor", "in_thread", "name"),
    [(None, True, "orchkit-worker"), ("threads", True, "orchkit-worker"), ("inline", False, "MainThread")],
)
def test_a_sync_function_runs_where_its_executor_says(
    executor: str | None, in_thread: bool, name: str
) -> None:
    """In a worker thread by default, on the loop with ``inline``."""

    def where() -> str:
        return threading.current_thread().name

    run, threaded = Bodies().runner(where, is_async=False, executor=executor)

    async def main() -> Any:
        return await run({})

    assert (threaded, asyncio.run(main())) == (in_thread, name)


@pytest.mark.parametrize("executor", [None, "threads", "inline"])
def test_an_async_function_always_runs_on_the_loop(executor: str | None) -> None:
    """Its executor makes no difference."""

    async def where() -> str:
        return threading.current_thread().name

    run, threaded = Bodies().runner(where, is_async=True, executor=executor)

    async def main() -> Any:
        return await run({})

    assert (threaded, asyncio.run(main())) == (False, "MainThread")


@pytest.mark.parametrize("executor", ["threads", "inline"])
def test_a_sync_wrapper_around_an_async_function_is_awaited(executor: str) -> None:
    """A decorator that hides the coroutine function does not hide its result."""

    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return x * 2

    def wrapper(**kwargs: int) -> Any:
        return double(**kwargs)

    run, _ = Bodies().runner(wrapper, is_async=False, executor=executor)

    async def main() -> Any:
        return await run({"x": 4})

    assert asyncio.run(main()) == 8


def test_an_unknown_executor_is_refused() -> None:
    """The error names the executors that there are."""
    with pytest.raises(ValueError, match="unknown executor 'cluster': use one of inline, threads"):
        Bodies().runner(print, is_async=False, executor="cluster")
