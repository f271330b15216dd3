"""Time as a port: everything that waits or stamps gets a clock from outside."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self


class Limit(Protocol):
    """A time limit around a block: ``async with limit: ...`` raises TimeoutError when it is over."""

    async def __aenter__(self) -> object:
        """Start the limit."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        """End it; turns the cancellation that it caused into TimeoutError."""
        ...

    def expired(self) -> bool:
        """Whether the limit is what ended the block."""
        ...


class Alarm(Protocol):
    """Something that will be called, unless it is cancelled before."""

    def cancel(self) -> object:
        """Call it not; harmless when it has been called or cancelled already."""
        ...


class Clock(Protocol):
    """What orchkit needs of time; `orchkit.testing.FakeClock` is a virtual one."""

    def now_us(self) -> int:
        """Wall-clock time in microseconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; must be cancellable."""
        ...

    def timeout(self, seconds: float | None) -> Limit:
        """A limit of this many seconds of this clock; None: no limit."""
        ...

    def alarm(self, seconds: float, ring: Callable[[], object]) -> Alarm:
        """Call ``ring`` on the running loop in so many seconds, in no particular context."""
        ...


class SystemClock:
    """The real clock."""

    def now_us(self) -> int:
        """Wall-clock time in microseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> Limit:
        """A limit on the running loop; behaves as `asyncio.timeout` does."""
        return _Limit(seconds)

    def alarm(self, seconds: float, ring: Callable[[], object]) -> Alarm:
        """Call ``ring`` on the running loop in so many seconds."""
        return _set(seconds, ring)


# --- alarms --------------------------------------------------------------------------------
#
# Nearly every alarm is cancelled: it belongs to a limit that is not reached. A timer of the loop costs 4 µs
# then, because it is sorted into a heap, out of which it has to come again. Alarms of equal length come due
# in the order in which they are set, so each length has a queue, of which only the first needs a timer.


class _Alarm:
    __slots__ = ("at", "queue", "ring", "ringing")

    def __init__(self, at: float, ring: Callable[[], object], queue: _Queue) -> None:
        self.at, self.ring, self.queue = at, ring, queue
        self.ringing: asyncio.Handle | None = None

    def cancel(self) -> None:
        self.queue.alarms.pop(self, None)
        if self.ringing is not None:
            self.ringing.cancel()


class _Queue:
    """The alarms of one length on one loop."""

    # Neither the loop nor a handle of it: it is their weak key in `_queues`, and they must not keep it alive.
    __slots__ = ("alarms", "armed", "queues", "seconds")

    def __init__(self, queues: dict[float, _Queue], seconds: float) -> None:
        self.queues, self.seconds = queues, seconds
        self.alarms: OrderedDict[_Alarm, None] = OrderedDict()
        self.armed = False

    def set(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], object]) -> _Alarm:
        alarm = _Alarm(loop.time() + self.seconds, ring, self)
        self.alarms[alarm] = None
        if not self.armed:
            self.armed = True
            loop.call_at(alarm.at, self.due)
        return alarm

    def due(self) -> None:
        loop = asyncio.get_running_loop()
        # The loop itself takes a timer for due that is not further away than the clock can tell.
        now = loop.time() + getattr(loop, "_clock_resolution", 0.0)
        while self.alarms:
            alarm = next(iter(self.alarms))
            if alarm.at > now:
                loop.call_at(alarm.at, self.due)
                return
            del self.alarms[alarm]
            alarm.ringing = loop.call_soon(alarm.ring)
        del self.queues[self.seconds]


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Queue]]
_queues = weakref.WeakKeyDictionary()
_queues_lock = threading.Lock()


def _set(seconds: float, ring: Callable[[], object]) -> _Alarm:
    loop = asyncio.get_running_loop()
    queues = _queues.get(loop)
    if queues is None:
        with _queues_lock:
            queues = _queues.setdefault(loop, {})
    queue = queues.get(seconds)
    if queue is None:
        queue = queues[seconds] = _Queue(queues, seconds)
    return queue.set(loop, ring)


class _Limit:
    """As `asyncio.Timeout`, over an alarm."""

    __slots__ = ("_alarm", "_before", "_expired", "_seconds", "_task")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._alarm: _Alarm | None = None
        self._expired = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a limit needs a task to cancel")
        self._task, self._before = task, task.cancelling()
        if self._seconds is not None:
            self._alarm = _set(max(0.0, self._seconds), self._ring)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._alarm is not None:
            self._alarm.cancel()
        # Others may want the task to be cancelled, too: then it is.
        if (
            self._expired
            and self._task.uncancel() <= self._before
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise TimeoutError from error
        return None

    def expired(self) -> bool:
        return self._expired

    def _ring(self) -> None:
        self._expired = True
        self._task.cancel()
