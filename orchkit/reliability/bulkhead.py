"""A bulkhead: so many calls at a time, and a fair queue for the others."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from orchkit.clock import Clock
from orchkit.errors import BulkheadFullError
from orchkit.model.limits import BulkheadPolicy
from orchkit.reliability.call import Call, Handler


@dataclass(slots=True, eq=False)
class Waiter:
    """A call in the queue; it may be on a loop of its own."""

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None] = field(init=False)
    granted: bool = False
    """Whether it has been given a place, whether or not it knows already."""

    def __post_init__(self) -> None:
        self.turn = self.loop.create_future()

    def wake(self) -> None:
        """On its loop: let it know."""
        if not self.turn.done():
            self.turn.set_result(None)


class Bulkhead:
    """The places of one name; for calls on any loop of any thread. Nothing is held during a call."""

    def __init__(self, name: str, policy: BulkheadPolicy) -> None:
        self.name = name
        self.policy = policy
        self.running = 0
        self.rejected = 0
        self._waiting: deque[Waiter] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._waiting)

    def enter(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        with self._lock:
            free = self.running < self.policy.max_concurrent and not self._waiting
            self.running += free
            return free

    def queue(self) -> Waiter:
        """A place in the queue; raises `BulkheadFullError`."""
        with self._lock:
            limit = self.policy.max_queue
            if limit is not None and len(self._waiting) >= limit:
                self.rejected += 1
                raise BulkheadFullError(self.name, self._full(f", and {len(self._waiting)} are waiting"))
            waiter = Waiter(asyncio.get_running_loop())
            self._waiting.append(waiter)
            self._serve()  # a place may have become free since `enter` was asked
            return waiter

    def leave(self) -> None:
        """Give a place back, to the one who has waited longest."""
        with self._lock:
            self.running -= 1
            self._serve()

    def give_up(self, waiter: Waiter) -> None:
        """Leave the queue; a place that was given meanwhile goes to the next one."""
        with self._lock:
            if waiter.granted:
                self.running -= 1
                self._serve()
            else:
                self._waiting.remove(waiter)

    def _serve(self) -> None:
        while self._waiting and self.running < self.policy.max_concurrent:
            waiter = self._waiting.popleft()
            try:
                waiter.loop.call_soon_threadsafe(waiter.wake)
            except RuntimeError:  # its loop is closed: nobody is there any more
                continue
            waiter.granted = True
            self.running += 1

    def _full(self, more: str) -> str:
        return f"is full: {self.policy.max_concurrent} are running{more}"

    def timed_out(self, waited: float) -> BulkheadFullError:
        """The error of a call that has waited as long as it may."""
        with self._lock:
            self.rejected += 1
        return BulkheadFullError(self.name, self._full(f", and none ended within {waited:g} s"), waited)

    def adopt(self, policy: BulkheadPolicy) -> None:
        """Go on with other settings; who is running stays."""
        with self._lock:
            self.policy = policy
            self._serve()

    def __repr__(self) -> str:
        places = f"{self.running} of {self.policy.max_concurrent} places taken"
        return f"<Bulkhead {self.name!r}: {places}, {self.waiting} waiting>"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """The layer: calls that have a place in a bulkhead."""

    bulkhead: Bulkhead

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call; raises `BulkheadFullError` when there is no place for it, or none in time."""
        bulkhead = self.bulkhead
        if not bulkhead.enter():
            await self._wait(call)
        try:
            return await inner(call)
        finally:
            bulkhead.leave()

    async def _wait(self, call: Call) -> None:
        bulkhead, limit = self.bulkhead, self.bulkhead.policy.max_wait
        inputs = {
            "bulkhead": bulkhead.name,
            "max_concurrent": bulkhead.policy.max_concurrent,
            "waiting": bulkhead.waiting,
            "max_wait_s": limit,
        }
        try:
            if limit == 0:
                raise bulkhead.timed_out(0)
            waiter, start = bulkhead.queue(), call.clock.monotonic()
            reason = f"all {bulkhead.policy.max_concurrent} places are taken"
            call.record.decided("bulkhead", "wait", reason, inputs)
            await _turn(call, bulkhead, waiter, limit)
        except BulkheadFullError as error:
            call.record.decided("bulkhead", "rejected", str(error), inputs)
            raise
        waited = call.clock.monotonic() - start
        inputs["waited_s"] = round(waited, 6)
        call.record.decided("bulkhead", "admitted", f"a place became free after {waited:.3g} s", inputs)


async def _turn(call: Call, bulkhead: Bulkhead, waiter: Waiter, limit: float | None) -> None:
    """Wait until the place is ours."""
    clock: Clock = call.clock
    try:
        await call.record.written()
        try:
            async with clock.timeout(limit):
                await waiter.turn
        except TimeoutError:
            if not waiter.granted:  # else the place and the end of the wait came together
                assert limit is not None
                raise bulkhead.timed_out(limit) from None
    except BaseException:
        bulkhead.give_up(waiter)
        raise
