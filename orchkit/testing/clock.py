"""Virtual time: it passes only when everybody is waiting for it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from types import TracebackType
from typing import Any, Self

from orchkit.clock import Alarm, Clock, Limit
from orchkit.executors.threads import ThreadWorkers

START_US = 1_735_689_600_000_000
"""Where virtual time starts unless told otherwise: 2025-01-01T00:00:00Z."""

# How often the loop must come round without anybody touching the clock before it counts as idle. A
# callback that wakes a task takes one round, so this is the longest chain of wake-ups that is waited for.
IDLE_ROUNDS = 64


@dataclass(order=True, slots=True)
class _Sleeper:
    deadline_ns: int
    order: int
    loop: asyncio.AbstractEventLoop = field(compare=False)
    future: asyncio.Future[None] = field(compare=False)

    @property
    def gone(self) -> bool:
        """Whether nobody waits here any more: cancelled, or its loop is closed."""
        return self.future.done() or self.loop.is_closed()

    def wake(self) -> None:
        """Let the sleeper go on; on the thread of its loop."""
        if not self.future.done():
            self.future.set_result(None)


class FakeClock(Clock):
    """Virtual time; pass it wherever orchkit takes a `Clock`.

    With `autojump` (the default) time stands still while there is something to do. When every task waits
    in `sleep`, it jumps to the next deadline and wakes who sleeps until then, in the order in which they
    went to sleep; then it looks again. An hour of backoff takes a millisecond. With ``autojump=False``
    time moves only by `advance`.

    What it cannot see, and what to do about it:

    - Work outside the loop (threads, processes, sockets, timers of the loop itself) looks like idleness.
      For sync steps use the workers that `threads` makes; elsewhere hold `busy` around the work, or give a
      `grace`: that many real seconds must then pass without anybody touching the clock before each jump.
    - Idle means that the loop came round 64 times without anybody reading the clock or going to sleep. A
      longer chain of wake-ups that never touches the clock is overtaken by a jump.
    - One event loop at a time: a second loop is served too, but its work does not hold time back.

    Args:
        start_us: The wall-clock time at the start, in microseconds since the Unix epoch.
        autojump: Whether time jumps by itself.
        grace: Real seconds of quiet before each jump.
    """

    def __init__(self, *, start_us: int = START_US, autojump: bool = True, grace: float = 0.0) -> None:
        if not (math.isfinite(grace) and grace >= 0):
            raise ValueError(f"grace must be a number of seconds from 0 upwards, got {grace!r}")
        self.sleeps: list[float] = []
        """Every duration that was asked of `sleep`, in order, in seconds."""
        self._start_us = start_us
        self._autojump = autojump
        self._grace = grace
        self._now_ns = 0
        self._sleepers: list[_Sleeper] = []
        self._order = count()
        self._touched = 0
        self._busy = 0
        self._watched: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """Wall-clock time in microseconds since the Unix epoch, UTC."""
        self._touched += 1
        return self._start_us + self._now_ns // 1000

    def monotonic(self) -> float:
        """Virtual seconds since the clock was made."""
        self._touched += 1
        return self._now_ns / 1e9

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time, never less than asked for; zero and less give way to others once.

        Raises:
            ValueError: `seconds` is not finite.
        """
        duration_ns = _nanoseconds(seconds)
        self._touched += 1
        self.sleeps.append(seconds)
        if duration_ns <= 0:
            await asyncio.sleep(0)
            return
        await self._alarm(duration_ns)

    def timeout(self, seconds: float | None) -> Limit:
        """A limit of this many virtual seconds; None: no limit.

        Raises:
            ValueError: `seconds` is not finite.
        """
        return _VirtualLimit(self._alarm, None if seconds is None else _nanoseconds(seconds))

    def alarm(self, seconds: float, ring: Callable[[], object]) -> Alarm:
        """Call `ring` on the running loop in so many virtual seconds.

        Raises:
            ValueError: `seconds` is not finite.
        """
        future = self._alarm(_nanoseconds(seconds))
        future.add_done_callback(lambda over: None if over.cancelled() else ring())
        return future

    def set_by(self, seconds: float) -> None:
        """Set the time of day forward, or back, as people and time servers do; nothing else takes notice.

        `monotonic` goes on as before, and who sleeps sleeps as long. Negative seconds set it back.
        """
        self._start_us += round(seconds * 1e6)

    def advance(self, seconds: float) -> None:
        """Move time on and wake whoever is due, in the order of their deadlines; from any thread.

        They all find the new time; whoever goes to sleep again sleeps from there.

        Raises:
            ValueError: `seconds` is negative or not finite.
        """
        duration_ns = _nanoseconds(seconds)
        if duration_ns < 0:
            raise ValueError(f"time does not go backwards: advance({seconds!r})")
        self._touched += 1
        with self._lock:
            due = self._move_to(self._now_ns + duration_ns)
        _wake(due)

    async def settle(self) -> None:
        """Wait, without moving time, until the others on this loop have nothing left to do but wait."""
        quiet = 0
        while quiet < IDLE_ROUNDS:
            seen = self._touched
            await asyncio.sleep(0)
            quiet = quiet + 1 if seen == self._touched else 0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Hold time still: something is under way that the event loop does not see. For any thread."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                waiting = {sleeper.loop for sleeper in self._sleepers if not sleeper.gone}
            for loop in waiting:
                loop.call_soon_threadsafe(self._watch, loop)

    def threads(self, limit: int = 128) -> ThreadWorkers:
        """Worker threads for sync functions, up to `limit` at once, for which time stands still.

        A function that overruns its timeout does so only when the test calls `advance`.
        """
        return _HoldingThreads(self, limit)

    def jump(self) -> bool:
        """Move on to the next moment that somebody sleeps until, and wake them; on the thread of their loop.

        For who knows better than the clock when everybody is waiting. False, and nothing happens, when
        nobody sleeps or somebody is `busy`.
        """
        with self._lock:
            while self._sleepers and self._sleepers[0].gone:
                heappop(self._sleepers)
            if self._busy or not self._sleepers:
                return False
            self._touched += 1
            due = self._move_to(self._sleepers[0].deadline_ns)
        for sleeper in due:
            sleeper.wake()
        return True

    def _alarm(self, duration_ns: int) -> asyncio.Future[None]:
        self._touched += 1
        loop = asyncio.get_running_loop()
        with self._lock:
            deadline_ns = self._now_ns + duration_ns
            sleeper = _Sleeper(deadline_ns, next(self._order), loop, loop.create_future())
            heappush(self._sleepers, sleeper)
        self._watch(loop)
        return sleeper.future

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            watching = self._watched is not None and not self._watched.is_closed()
            if watching or not self._autojump:
                return
            self._watched = loop
        loop.call_soon(self._look, loop, self._touched, 0)

    def _look(self, loop: asyncio.AbstractEventLoop, seen: int, quiet: int) -> None:
        with self._lock:
            if self._busy:
                self._watched = None  # whoever is busy starts the watch again
                return
        if seen != self._touched:
            seen, quiet = self._touched, 0
        if quiet < IDLE_ROUNDS:
            loop.call_soon(self._look, loop, seen, quiet + 1)
        elif quiet == IDLE_ROUNDS and self._grace:
            loop.call_later(self._grace, self._look, loop, seen, quiet + 1)
        else:
            self._jump(loop)

    def _jump(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            while self._sleepers and self._sleepers[0].gone:
                heappop(self._sleepers)
            if not self._sleepers:
                self._watched = None
                return
            due = self._move_to(self._sleepers[0].deadline_ns)
        _wake(due)
        loop.call_soon(self._look, loop, self._touched, 0)

    def _move_to(self, now_ns: int) -> list[_Sleeper]:
        self._now_ns = now_ns
        due = []
        while self._sleepers and self._sleepers[0].deadline_ns <= now_ns:
            due.append(heappop(self._sleepers))
        return due


class _VirtualLimit:
    """`asyncio.timeout` with the moment of expiry taken from an alarm of the clock."""

    def __init__(self, alarm: Callable[[int], asyncio.Future[None]], duration_ns: int | None) -> None:
        self._set_alarm = alarm
        self._duration_ns = duration_ns
        self._timeout = asyncio.timeout(None)
        self._alarm: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        if self._duration_ns is not None and self._duration_ns > 0:
            self._alarm = self._set_alarm(self._duration_ns)
            self._alarm.add_done_callback(self._over)
        elif self._duration_ns is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        await self._timeout.__aexit__(kind, error, traceback)

    def expired(self) -> bool:
        """Whether the limit is what ended the block."""
        return self._timeout.expired()

    def _over(self, alarm: asyncio.Future[None]) -> None:
        if alarm is self._alarm and not alarm.cancelled():  # else the block ended first
            self._timeout.reschedule(alarm.get_loop().time())


class _HoldingThreads(ThreadWorkers):
    def __init__(self, clock: FakeClock, limit: int) -> None:
        super().__init__(limit)
        self._clock = clock

    async def run(self, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
        with self._clock.busy():
            return await super().run(function, kwargs)


def _wake(due: Iterable[_Sleeper]) -> None:
    for sleeper in due:
        if not sleeper.loop.is_closed():
            sleeper.loop.call_soon_threadsafe(sleeper.wake)


def _nanoseconds(seconds: float) -> int:
    if not math.isfinite(seconds):
        raise ValueError(f"a duration must be a finite number of seconds, got {seconds!r}")
    # Rounded up, so that whoever sleeps until a moment has reached it when they wake.
    return math.ceil(seconds * 1e9)
