"""Limits on each attempt, and on all attempts and the waits between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchkit.errors import TimeoutExceededError
from orchkit.reliability.call import Call, Handler


@dataclass(frozen=True, slots=True)
class AttemptTimeout:
    """A limit on each attempt."""

    seconds: float

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the attempt; raises `TimeoutExceededError` when it overruns."""
        limit = call.clock.timeout(self.seconds)
        try:
            async with limit:
                return await inner(call)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the body's own
            call.deadline = TimeoutExceededError("attempt", self.seconds)
            raise call.deadline from error


@dataclass(frozen=True, slots=True)
class TotalTimeout:
    """A limit on all attempts and the waits between them."""

    seconds: float

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call; raises `TimeoutExceededError` when it overruns."""
        call.total = limit = call.clock.timeout(self.seconds)
        try:
            async with limit:
                return await inner(call)
        except TimeoutError as error:
            if not limit.expired():
                raise
            call.record.decided(
                "timeout",
                "stop",
                f"the total timeout of {self.seconds:g} s is over on attempt {call.attempt}",
                {"total_s": self.seconds, "attempts": call.attempt},
            )
            raise TimeoutExceededError("total", self.seconds) from error
