"""The last calls of a circuit breaker: the last so many, or those of the last so many seconds."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from orchkit.model.breaker import BreakerPolicy
from orchkit.reliability.breaker import NONE, Counts

GRAINS = 100
"""Calls within this part of a time window are kept as one entry, so that traffic does not make it grow."""


class Window(Protocol):
    """Counts calls, and forgets them."""

    def add(self, now: float, *, failed: bool, slow: bool) -> Counts:
        """One more call came back; returns those of the window."""
        ...

    def clear(self) -> None:
        """Forget all."""
        ...


class CountWindow:
    """The last ``size`` calls."""

    def __init__(self, size: int) -> None:
        self._calls: deque[tuple[bool, bool]] = deque()
        self._size = size
        self._failed = self._slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> Counts:
        """One more call."""
        calls = self._calls
        if len(calls) == self._size:
            old_failed, old_slow = calls.popleft()
            self._failed -= old_failed
            self._slow -= old_slow
        calls.append((failed, slow))
        self._failed += failed
        self._slow += slow
        return Counts(len(calls), self._failed, self._slow)

    def clear(self) -> None:
        """Forget all."""
        self._calls.clear()
        self._failed = self._slow = 0


class TimeWindow:
    """The calls of the last ``seconds``, exact to a hundredth of it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._grain = seconds / GRAINS
        self._entries: deque[tuple[float, Counts]] = deque()
        self._total = NONE

    def add(self, now: float, *, failed: bool, slow: bool) -> Counts:
        """One more call."""
        entries = self._entries
        while entries and entries[0][0] <= now - self._seconds:
            self._total = _less(self._total, entries.popleft()[1])
        # A clock that went backwards adds to the newest entry, so that they stay in order.
        if entries and now - entries[-1][0] < self._grain:
            begun, counts = entries.pop()
            entries.append((begun, counts.with_call(failed=failed, slow=slow)))
        else:
            entries.append((now, NONE.with_call(failed=failed, slow=slow)))
        self._total = self._total.with_call(failed=failed, slow=slow)
        return self._total

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._total = NONE


def _less(total: Counts, part: Counts) -> Counts:
    return Counts(total.calls - part.calls, total.failed - part.failed, total.slow - part.slow)


def window_for(policy: BreakerPolicy) -> Window | None:
    """The window that a policy looks at; None: it does not."""
    if not policy.by_rate:
        return None
    return (
        CountWindow(int(policy.window_size)) if policy.window == "count" else TimeWindow(policy.window_size)
    )
