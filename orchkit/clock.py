"""Time as a port: everything that waits or stamps gets a clock from outside."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Protocol


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
        """A limit on the running loop (`asyncio.timeout`)."""
        return asyncio.timeout(seconds)
