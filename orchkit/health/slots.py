"""When a service is due: moments a fixed interval apart, which nothing that takes its time moves."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from orchkit.clock import Clock


@dataclass(slots=True)
class Slots:
    """The moments of one service; the first one is ``delay`` seconds from now.

    A clock of seconds may stand still while the machine sleeps, and the time of day may be set: a slot is
    late when either of them says so.
    """

    clock: Clock
    interval: float
    begin: float
    """The first moment, on the clock's monotonic seconds."""
    due: float
    due_us: int
    """The same moment by the time of day, as it was expected."""

    @classmethod
    def starting(cls, clock: Clock, interval: float, delay: float) -> Slots:
        """Slots of which the first is so many seconds from now."""
        begin = clock.monotonic() + delay
        return cls(clock, interval, begin, begin, clock.now_us() + round(delay * 1e6))

    @property
    def pause(self) -> float:
        """Seconds until the next one."""
        return self.due - self.clock.monotonic()

    def late(self) -> float:
        """Seconds by which the present one has been missed."""
        by_day = (self.clock.now_us() - self.due_us) / 1e6
        return max(self.clock.monotonic() - self.due, by_day)

    def advance(self) -> None:
        """Go on to the first one that is still to come."""
        now = self.clock.monotonic()
        # The small part keeps a slot that is due right now from being taken for the next one.
        count = max(
            floor((now - self.begin) / self.interval + 1e-9), round((self.due - self.begin) / self.interval)
        )
        self.due = self.begin + (count + 1) * self.interval
        self.due_us = self.clock.now_us() + round((self.due - now) * 1e6)
