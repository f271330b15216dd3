"""How long a service may be silent: a limit that begins anew with everything that is heard of it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from orchkit.clock import Alarm, Clock
from orchkit.errors import TimeoutExceededError

TICK_S = 0.001
"""What is missing to the limit by less than this is not waited for."""


class Patience:
    """``async with Patience(clock, 30) as patience``: the block is cancelled after 30 s without `heard`.

    The time in which somebody else is waited for does not count: between `pause` and `resume`. Raises
    `TimeoutExceededError`, which is ``error``, out of the block. Without a limit nothing is ever cancelled.
    """

    __slots__ = ("_alarm", "_before", "_clock", "_last", "_paused", "_seconds", "_task", "error")

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock, self._seconds = clock, seconds
        self._paused, self._last = False, 0.0
        self._alarm: Alarm | None = None
        self.error: TimeoutExceededError | None = None

    async def __aenter__(self) -> Self:
        """Begin to wait."""
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        if self._seconds is not None:
            self._last = self._clock.monotonic()
            self._alarm = self._clock.alarm(self._seconds, self._ring)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; turns the cancellation that it caused into the error."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self.error is None:
            return
        # Others may want the task to be cancelled, too: then it is.
        if self._task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError):
            raise self.error from error

    def heard(self) -> None:
        """Something came of the service."""
        self._last = self._clock.monotonic()

    def pause(self) -> None:
        """It is somebody else's turn."""
        self._paused = True

    def resume(self) -> None:
        """It is the turn of the service again."""
        self._paused, self._last = False, self._clock.monotonic()

    def _ring(self) -> None:
        assert self._seconds is not None
        left = self._seconds - (0.0 if self._paused else self._clock.monotonic() - self._last)
        if left > TICK_S:
            self._alarm = self._clock.alarm(left, self._ring)
            return
        self.error = TimeoutExceededError("attempt", self._seconds)
        self._task.cancel()
