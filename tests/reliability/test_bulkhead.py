"""The bulkhead: never more calls at a time than allowed, in the order in which they came."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.errors import BulkheadFullError
from orchkit.model.limits import BulkheadPolicy, as_bulkhead
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.bulkhead import Bulkhead


def policy(**fields: Any) -> ReliabilityPolicy:
    """A bulkhead called ``b``, and whatever else is asked for."""
    bulkhead = {"name": "b", **fields.pop("bulkhead", {})}
    return ReliabilityPolicy.model_validate({"bulkhead": bulkhead, **fields})


def test_calls_wait_for_a_place_in_the_order_in_which_they_came(bench: Any) -> None:
    """Two at a time; each wait is a decision before and, with its length, after."""
    two = policy(bulkhead={"max_concurrent": 2})
    bodies = [bench.service(number, seconds=10) for number in range(5)]

    async def together() -> list[Any]:
        return await asyncio.gather(*(bench.acall(body, two) for body in bodies))

    results = asyncio.run(together())
    assert [output for output, _ in results] == [0, 1, 2, 3, 4]
    assert [body.called_at for body in bodies] == [[0], [0], [10], [10], [20]]
    last = results[4][1]
    assert last.at("bulkhead") == ["wait", "admitted"]
    assert last.decisions[0].inputs["waiting"] == 2
    assert last.decisions[1].inputs["waited_s"] == 20
    assert last.barriers == 1
    assert results[0][1].decisions == []
    assert bench.guards.bulkheads["b"].running == 0


@pytest.mark.parametrize(
    ("fields", "said", "waited"),
    [
        ({"max_queue": 0}, "is full: 1 are running, and 0 are waiting", 0),
        ({"max_wait": 0}, "is full: 1 are running, and none ended within 0 s", 0),
        ({"max_wait": 4}, "is full: 1 are running, and none ended within 4 s", 4),
    ],
)
def test_a_call_without_a_place_is_rejected(
    bench: Any, fields: dict[str, Any], said: str, waited: float
) -> None:
    """Because the queue is full or its time is over; it is no attempt, and the next call is not hurt."""
    one = policy(bulkhead={"max_concurrent": 1, **fields})

    async def together() -> list[Any]:
        first = asyncio.ensure_future(bench.acall(bench.service(seconds=10), one))
        await asyncio.sleep(0)
        second = await bench.acall(bench.service(), one)
        assert bench.clock.monotonic() == waited
        return [second, await first, await bench.acall(bench.service(), one)]

    (error, record), (first, _), (third, _) = asyncio.run(together())
    assert isinstance(error, BulkheadFullError)
    assert str(error) == f"bulkhead 'b' {said}"
    assert (error.name, error.waited_s) == ("b", waited)
    assert (record.attempts, record.at("bulkhead")[-1]) == ({}, "rejected")
    assert (first, third) == ("done", "done")
    assert bench.guards.bulkheads["b"].rejected == 1


def test_a_failed_call_gives_its_place_back(bench: Any) -> None:
    """However a call ends: by an error, a timeout or a cancellation."""
    one = policy(bulkhead={"max_concurrent": 1, "max_queue": 0}, timeout=5)
    bench.call(bench.service(OSError()), one)
    bench.call(bench.service(seconds=9), one)

    async def cancelled() -> None:
        task = asyncio.ensure_future(bench.acall(bench.service(seconds=3), one))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert bench.call(bench.service(), one)[0] == "done"


def test_retries_do_not_hold_a_place_while_they_wait(bench: Any) -> None:
    """The bulkhead is inside of the retries: a backoff leaves the place to others."""
    one = policy(bulkhead={"max_concurrent": 1}, retry={"strategy": "fixed", "delay": 30})

    async def together() -> list[float]:
        slow, quick = bench.service(OSError()), bench.service()
        await asyncio.gather(bench.acall(slow, one), bench.acall(quick, one))
        return [*slow.called_at, *quick.called_at]

    assert asyncio.run(together()) == [0, 30, 0]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=14),
    st.integers(1, 3),
)
def test_cancelling_anybody_loses_no_place(
    make_bench: Any, calls: list[tuple[int, int, int]], places: int
) -> None:
    """Calls come, run and are cancelled at random moments: never too many run, and no place is lost."""
    bench = make_bench()
    few = policy(bulkhead={"max_concurrent": places})
    running, most, order = 0, 0, []

    async def one(number: int, start: int, seconds: int, patience: int) -> None:
        nonlocal running, most

        async def body() -> None:
            nonlocal running, most
            order.append(number)
            running += 1
            most = max(most, running)
            try:
                await bench.clock.sleep(seconds)
            finally:
                running -= 1

        await bench.clock.sleep(start)
        task = asyncio.ensure_future(bench.acall(body, few))
        if patience:
            await bench.clock.sleep(patience)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def together() -> None:
        await asyncio.gather(*(one(number, *call) for number, call in enumerate(calls)))

    asyncio.run(together())
    bulkhead = bench.guards.bulkheads["b"]
    assert most <= places
    assert (bulkhead.running, bulkhead.waiting, running) == (0, 0, 0)


def test_calls_of_several_loops_share_the_places() -> None:
    """A place that is given back on one loop wakes who waits on another."""
    bulkhead = Bulkhead("b", BulkheadPolicy(max_concurrent=1))
    assert bulkhead.enter()
    queued, woken = threading.Event(), threading.Event()

    def other() -> None:
        async def wait() -> None:
            waiter = bulkhead.queue()
            queued.set()
            await waiter.turn
            woken.set()

        asyncio.run(wait())

    thread = threading.Thread(target=other)
    thread.start()
    assert queued.wait(10)
    assert not woken.is_set()
    bulkhead.leave()
    assert woken.wait(10)
    thread.join(10)
    assert bulkhead.running == 1


def test_who_waited_on_a_loop_that_is_closed_is_passed_over() -> None:
    """Its place goes to the next one instead of being lost."""
    bulkhead = Bulkhead("b", BulkheadPolicy(max_concurrent=1))
    assert bulkhead.enter()

    async def queue() -> None:
        bulkhead.queue()

    asyncio.run(queue())

    async def second() -> bool:
        waiter = bulkhead.queue()
        bulkhead.leave()
        await asyncio.sleep(0)
        return waiter.granted

    assert asyncio.run(second())
    assert (bulkhead.running, bulkhead.waiting) == (1, 0)


def test_more_places_let_those_who_wait_in_at_once(bench: Any) -> None:
    """Other settings hold at once, also for who is in the queue already."""
    bulkhead = bench.guards.bulkheads.get_or_make("b", BulkheadPolicy(max_concurrent=1))

    async def scenario() -> list[bool]:
        bulkhead.enter()
        waiters = [bulkhead.queue() for _ in range(3)]
        bench.guards.bulkheads.get_or_make("b", BulkheadPolicy(max_concurrent=3))
        return [waiter.granted for waiter in waiters]

    assert asyncio.run(scenario()) == [True, True, False]


def test_short_forms() -> None:
    """A number is how many at a time."""
    assert as_bulkhead(4) == BulkheadPolicy(max_concurrent=4)
    assert as_bulkhead({"max_queue": 2}) == BulkheadPolicy(max_queue=2)
