"""Time as a port: everything that waits or stamps gets a clock from outside."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


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
