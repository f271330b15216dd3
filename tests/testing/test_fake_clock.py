"""Virtual time: who wakes when, what holds time still, and what never waits for real."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.clock import Limit
from orchkit.testing import START_US, FakeClock

HOPS = 500
"""More turns of the loop than the clock waits before it jumps."""


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _together(*coroutines: Coroutine[Any, Any, Any]) -> None:
    await asyncio.gather(*coroutines)


@given(st.lists(st.integers(min_value=1, max_value=10**6), min_size=1, max_size=12))
def test_sleepers_wake_at_their_deadlines_in_order(seconds: list[int]) -> None:
    """Waking follows the deadlines, whatever the order of going to sleep; equal ones in that order."""
    clock, woken = FakeClock(), []

    async def sleeper(number: int, duration: int) -> None:
        await clock.sleep(duration)
        woken.append((clock.monotonic(), number))

    asyncio.run(_together(*(sleeper(number, duration) for number, duration in enumerate(seconds))))
    assert woken == sorted((float(duration), number) for number, duration in enumerate(seconds))


def test_a_day_of_backoff_takes_no_real_time() -> None:
    """A thousand sleeps in a row, a day in all, pass in a moment."""
    clock = FakeClock()

    async def day() -> None:
        for _ in range(1000):
            await clock.sleep(86.4)

    began = time.monotonic()
    asyncio.run(day())
    assert clock.monotonic() == 86_400
    assert time.monotonic() - began < 100


def test_both_readings_move_together() -> None:
    """The wall clock starts at the given microsecond and moves exactly as the monotonic one."""
    clock = FakeClock(start_us=1_000_000)
    assert (clock.now_us(), clock.monotonic()) == (1_000_000, 0.0)
    asyncio.run(clock.sleep(2.5))
    assert (clock.now_us(), clock.monotonic()) == (3_500_000, 2.5)
    assert FakeClock().now_us() == START_US


@given(
    st.floats(min_value=0, max_value=10**6),
    st.floats(min_value=0, max_value=10**6),
)
def test_a_sleep_is_never_short(start: float, moment: float) -> None:
    """Whoever sleeps until a moment has reached it on waking, whatever the rounding."""
    clock = FakeClock()
    clock.advance(start)
    asyncio.run(clock.sleep(moment - clock.monotonic()))
    assert clock.monotonic() >= moment or math.isclose(clock.monotonic(), moment, rel_tol=1e-15)


def test_work_that_is_ready_comes_before_a_jump() -> None:
    """Time stands still for a chain of tasks waking each other, and for anybody who reads the clock."""
    clock, seen = FakeClock(), []

    async def hop(depth: int) -> float:
        return await asyncio.create_task(hop(depth - 1)) if depth else clock.monotonic()

    async def reader() -> None:
        for _ in range(HOPS):
            await asyncio.sleep(0)
            seen.append(clock.monotonic())

    async def scene() -> None:
        sleeper = asyncio.create_task(clock.sleep(1))
        assert await hop(20) == 0
        await reader()
        await sleeper

    asyncio.run(scene())
    assert set(seen) == {0.0}
    assert clock.monotonic() == 1


def test_a_sleeper_that_is_cancelled_does_not_pull_time() -> None:
    """After the cancellation of a sleep nothing waits until its deadline any more."""
    clock = FakeClock()

    async def scene() -> None:
        sleeper = asyncio.create_task(clock.sleep(1000))
        await asyncio.sleep(0)
        sleeper.cancel()
        await clock.sleep(2)
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        await _turns(HOPS)

    asyncio.run(scene())
    assert clock.monotonic() == 2


def test_busy_holds_time_until_the_thread_is_done() -> None:
    """A sleeper does not overtake work in a thread that is declared busy; afterwards time jumps again."""
    clock, release = FakeClock(), threading.Event()

    def work() -> float:
        with clock.busy():
            assert release.wait(timeout=30)
            return clock.monotonic()

    async def scene() -> None:
        with clock.busy():  # until the thread holds time itself
            thread = asyncio.create_task(asyncio.to_thread(work))
            sleeper = asyncio.create_task(clock.sleep(10))
            await _turns(HOPS)
        assert clock.monotonic() == 0
        assert not sleeper.done()
        release.set()
        assert await thread == 0
        await sleeper

    asyncio.run(scene())
    assert clock.monotonic() == 10


def test_its_threads_hold_time_until_their_result_is_there() -> None:
    """A sync function in the clock's own worker threads never loses against a virtual timeout."""
    clock, release = FakeClock(), threading.Event()

    def work(*, value: int) -> int:
        assert release.wait(timeout=30)
        return value

    async def scene() -> int:
        async with clock.timeout(1):
            running = asyncio.create_task(clock.threads().run(work, {"value": 7}))
            await _turns(HOPS)
            release.set()
            return await running

    assert asyncio.run(scene()) == 7
    assert clock.monotonic() == 0


def test_advance_lets_a_thread_overrun() -> None:
    """Only `advance` takes time past a function in the clock's threads; its timeout then expires."""
    clock, release = FakeClock(), threading.Event()

    async def limited() -> None:
        async with clock.timeout(5):
            await clock.threads().run(release.wait, {"timeout": 30})

    async def scene() -> None:
        task = asyncio.create_task(limited())
        await clock.settle()
        assert not task.done()
        clock.advance(5)
        with pytest.raises(TimeoutError):
            await task

    asyncio.run(scene())
    release.set()
    assert clock.monotonic() == 5


def test_a_timeout_ends_its_block_at_the_virtual_moment() -> None:
    """A block that overruns is cancelled when the limit is reached and raises TimeoutError, not before."""
    clock = FakeClock()

    async def naps() -> None:
        await clock.sleep(4)
        await clock.sleep(4)

    async def scene() -> None:
        limit = clock.timeout(5)
        with pytest.raises(TimeoutError):
            async with limit:
                await naps()
        assert limit.expired()

    asyncio.run(scene())
    assert clock.monotonic() == 5


@pytest.mark.parametrize("seconds", [None, 5])
def test_a_block_in_time_is_left_alone(seconds: float | None) -> None:
    """Without a limit, or within it, a block just ends, and its limit does not pull time afterwards."""
    clock = FakeClock()

    async def scene() -> None:
        limit = clock.timeout(seconds)
        async with limit:
            await clock.sleep(4)
        await clock.sleep(100)
        assert not limit.expired()

    asyncio.run(scene())
    assert clock.monotonic() == 104


def test_the_inner_of_two_timeouts_ends_first() -> None:
    """Nested limits expire by themselves: the inner one raises, the outer block goes on."""
    clock = FakeClock()

    async def scene() -> None:
        outer, inner = clock.timeout(10), clock.timeout(3)
        async with outer:
            with pytest.raises(TimeoutError):
                async with inner:
                    await clock.sleep(60)
            await clock.sleep(1)
        assert (outer.expired(), inner.expired()) == (False, True)

    asyncio.run(scene())
    assert clock.monotonic() == 4


def test_a_limit_of_nothing_is_over_at_the_first_wait() -> None:
    """A limit of zero seconds ends a block that waits, as the real one does."""
    clock = FakeClock()

    async def scene() -> None:
        with pytest.raises(TimeoutError):
            async with clock.timeout(0):
                await clock.sleep(1)

    asyncio.run(scene())
    assert clock.monotonic() == 0


def test_a_cancellation_from_outside_is_no_timeout() -> None:
    """Cancelling a task within a limit cancels it; the limit has not expired."""
    clock = FakeClock(autojump=False)

    async def limited(limit: Limit) -> None:
        async with limit:
            await clock.sleep(60)

    async def scene() -> None:
        limit = clock.timeout(5)
        task = asyncio.create_task(limited(limit))
        await clock.settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not limit.expired()

    asyncio.run(scene())


def test_a_grace_lets_unseen_work_win() -> None:
    """With a grace, a thread that answers within it does so before a sleeper wakes."""
    clock = FakeClock(grace=60)

    async def scene() -> None:
        sleeper = asyncio.create_task(clock.sleep(10))
        assert await asyncio.to_thread(clock.monotonic) == 0
        await _turns(HOPS)
        assert not sleeper.done()
        sleeper.cancel()

    asyncio.run(scene())
    assert clock.monotonic() == 0


def test_a_grace_ends() -> None:
    """After a grace in which nothing happened, time jumps."""
    clock = FakeClock(grace=1e-6)
    asyncio.run(clock.sleep(10))
    assert clock.monotonic() == 10


def test_without_autojump_only_advance_moves_time() -> None:
    """Sleepers stay asleep until `advance` has passed their deadlines; the others sleep on."""
    clock, woken = FakeClock(autojump=False), []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    async def scene() -> None:
        tasks = [asyncio.create_task(sleeper(name, s)) for name, s in (("c", 3), ("a", 1), ("b", 2))]
        await clock.settle()
        assert woken == []
        clock.advance(2)
        await clock.settle()
        assert (woken, clock.monotonic()) == (["a", "b"], 2)
        clock.advance(1)
        await asyncio.gather(*tasks)

    asyncio.run(scene())
    assert woken == ["a", "b", "c"]


def test_whoever_sleeps_again_sleeps_from_the_new_time() -> None:
    """A step of `advance` over two periods wakes a periodic sleeper once: it finds the new time."""
    clock, ticks = FakeClock(autojump=False), []

    async def ticker() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    async def scene() -> None:
        task = asyncio.create_task(ticker())
        for step in (2, 0.5, 0.5):
            await clock.settle()
            clock.advance(step)
        await clock.settle()
        task.cancel()

    asyncio.run(scene())
    assert ticks == [2, 3]


def test_advance_works_without_a_loop() -> None:
    """Code that only reads the clock can be tested without asyncio."""
    clock = FakeClock()
    clock.advance(60)
    clock.advance(0)
    assert clock.monotonic() == 60


def test_advance_from_another_thread_wakes_the_loop() -> None:
    """A test in one thread can move the time of a loop that runs in another."""
    clock, asleep = FakeClock(autojump=False), threading.Event()

    async def scene() -> float:
        sleeper = asyncio.create_task(clock.sleep(5))
        await clock.settle()
        asleep.set()
        await sleeper
        return clock.monotonic()

    answers: list[float] = []
    loop_thread = threading.Thread(target=lambda: answers.append(asyncio.run(scene())))
    loop_thread.start()
    assert asleep.wait(timeout=30)
    clock.advance(5)
    loop_thread.join(timeout=30)
    assert answers == [5]


def test_one_clock_serves_one_loop_after_another() -> None:
    """A clock goes on where it was when a new event loop takes over, even from one that was cut short."""
    clock = FakeClock()

    async def cut_short() -> None:
        asyncio.get_running_loop().create_task(clock.sleep(1000))
        await clock.sleep(1)

    asyncio.run(cut_short())
    asyncio.run(clock.sleep(2))
    assert clock.monotonic() == 3


@pytest.mark.parametrize("seconds", [0, -1])
def test_nothing_to_wait_for_gives_way_once(seconds: float) -> None:
    """A sleep of zero or less lets others run and takes no time."""
    clock, order = FakeClock(), []

    async def scene() -> None:
        other = asyncio.create_task(asyncio.sleep(0))
        other.add_done_callback(lambda _: order.append("other"))
        await clock.sleep(seconds)
        order.append("here")
        await other

    asyncio.run(scene())
    assert order[0] == "here"
    assert (clock.monotonic(), clock.sleeps) == (0, [seconds])


def test_the_durations_asked_for_are_kept() -> None:
    """`sleeps` lists what was asked of the clock, so that a test can check a whole backoff."""
    clock = FakeClock()

    async def scene() -> None:
        for seconds in (1, 2, 4):
            await clock.sleep(seconds)

    asyncio.run(scene())
    assert clock.sleeps == [1, 2, 4]


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf])
def test_a_duration_must_be_finite(seconds: float) -> None:
    """Not-a-number and infinity are refused by name instead of sleeping for ever."""
    clock = FakeClock()
    with pytest.raises(ValueError, match="finite"):
        asyncio.run(clock.sleep(seconds))
    with pytest.raises(ValueError, match="finite"):
        clock.advance(seconds)
    with pytest.raises(ValueError, match="finite"):
        clock.timeout(seconds)


def test_time_does_not_go_backwards() -> None:
    """`advance` and `grace` refuse negative seconds and name them."""
    with pytest.raises(ValueError, match=r"advance\(-1\)"):
        FakeClock().advance(-1)
    with pytest.raises(ValueError, match="got -1"):
        FakeClock(grace=-1)
