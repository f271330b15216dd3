"""The real clock: its limits behave as those of asyncio do, its alarms leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from orchkit import clock as clock_module
from orchkit.clock import SystemClock

CLOCK = SystemClock()
LIMITS: list[Callable[[float | None], Any]] = [asyncio.timeout, CLOCK.timeout]


async def outcome(scenario: Callable[[Callable[[float | None], Any]], Awaitable[Any]], limit: Any) -> Any:
    """What a scenario gives or raises, and whether the task is being cancelled afterwards."""
    try:
        result = await scenario(limit)
    except BaseException as error:
        result = type(error)
    task = asyncio.current_task()
    assert task is not None
    return result, task.cancelling()


async def quick(limit: Any) -> Any:
    """It ends in time."""
    async with limit(10) as running:
        await asyncio.sleep(0)
    return running.expired()


async def slow(limit: Any) -> Any:
    """It does not."""
    async with limit(0.001):
        await asyncio.sleep(10)


async def without(limit: Any) -> Any:
    """There is no limit."""
    async with limit(None) as running:
        await asyncio.sleep(0)
    return running.expired()


async def at_once(limit: Any) -> Any:
    """A limit that is over before it begins."""
    async with limit(0):
        await asyncio.sleep(10)


async def failing(limit: Any) -> Any:
    """The error of the block goes first."""
    async with limit(10):
        raise KeyError("own")


async def stubborn(limit: Any) -> Any:
    """The block answers with what it has."""
    async with limit(0.001) as running:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
    return running.expired()


async def nested(limit: Any) -> Any:
    """The inner one is over first."""
    async with limit(10) as outer:
        try:
            async with limit(0.001):
                await asyncio.sleep(10)
        except TimeoutError:
            return outer.expired()


async def both(limit: Any) -> Any:
    """Two of the same length are over at the same time; the outer one tells."""
    async with limit(0.001), limit(0.001):
        await asyncio.sleep(10)


async def cancelled(limit: Any) -> Any:
    """Somebody else cancels the task: that is no timeout."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    async with limit(10):
        await asyncio.sleep(10)


async def cancelled_too(limit: Any) -> Any:
    """Somebody else cancels the task while it unwinds from its timeout."""
    async with limit(0.001):
        try:
            await asyncio.sleep(10)
        finally:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


SCENARIOS = [quick, slow, without, at_once, failing, stubborn, nested, both, cancelled, cancelled_too]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_limit_behaves_as_that_of_asyncio(scenario: Any) -> None:
    """Result, error and the cancellations that are left over are the same."""
    expected, got = (asyncio.run(_task_of(scenario, limit)) for limit in LIMITS)
    assert got == expected


async def _task_of(scenario: Any, limit: Any) -> list[Any]:
    task = asyncio.create_task(outcome(scenario, limit))
    return [repr(one) for one in await asyncio.gather(task, return_exceptions=True)]


def test_alarms_ring_in_order_and_not_when_they_are_cancelled() -> None:
    """Those of one length in the order in which they were set, whatever lies between."""
    rung: list[str] = []

    async def scenario() -> None:
        alarms = {
            name: CLOCK.alarm(seconds, lambda name=name: rung.append(name))  # type: ignore[misc]
            for name, seconds in [("a", 0.02), ("b", 0.001), ("c", 0.02), ("d", 0.02), ("e", 0.001)]
        }
        alarms["c"].cancel()
        alarms["c"].cancel()
        await asyncio.sleep(0.05)
        alarms["a"].cancel()

    asyncio.run(scenario())
    assert rung == ["b", "e", "a", "d"]


def test_an_alarm_that_fails_does_not_silence_the_others() -> None:
    """The loop is told of the error, and the next ones ring."""
    rung: list[int] = []
    told: list[str] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: told.append(context["message"])
        )
        CLOCK.alarm(0.001, lambda: 1 / 0)
        CLOCK.alarm(0.001, lambda: rung.append(1))
        await asyncio.sleep(0.02)
        CLOCK.alarm(0.001, lambda: rung.append(2))
        await asyncio.sleep(0.02)

    asyncio.run(scenario())
    assert rung == [1, 2]
    assert len(told) == 1


def test_nothing_is_kept_of_alarms_that_are_over() -> None:
    """Lengths that are not used any more, and loops that are gone, leave nothing behind."""
    loops = []

    async def scenario() -> int:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        for milliseconds in range(1, 20):
            CLOCK.alarm(milliseconds / 1000, int)
        await asyncio.sleep(0.05)
        return len(clock_module._queues[asyncio.get_running_loop()])

    assert asyncio.run(scenario()) == 0
    gc.collect()
    assert loops[0]() is None
