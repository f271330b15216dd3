"""A rate limit: so many starts per period, and each call knows when its turn is."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchkit.clock import Clock
from orchkit.errors import RateLimitedError
from orchkit.model.limits import RateLimitPolicy
from orchkit.reliability.call import Call, Handler

# --- pure decisions ------------------------------------------------------------------------


def next_in_window(policy: RateLimitPolicy, starts: Sequence[float], now: float) -> float:
    """When the next call may start, given when those within a period did or will, in order."""
    turn = now
    if len(starts) >= policy.limit:
        turn = max(turn, starts[-policy.limit] + policy.period)
    return max(turn, starts[-1]) if starts else turn


def next_in_bucket(policy: RateLimitPolicy, empty_until: float, now: float) -> tuple[float, float]:
    """When the next call may start, and the new ``empty_until``.

    The generic cell rate algorithm (ITU-T I.371): ``empty_until`` is when the bucket will be full again, less
    one token; a call may start when that is not further away than the burst.
    """
    assert policy.burst is not None
    interval = policy.period / policy.limit
    turn = max(now, empty_until - (policy.burst - 1) * interval)
    return turn, max(empty_until, turn) + interval


# --- the limit -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """When a call may start."""

    at: float
    """On the monotonic clock."""
    wait: float
    """Seconds until then, when it was given."""
    mark: float
    """What the bucket looked like then."""


class RateLimit:
    """The turns of one name; for calls on any loop of any thread."""

    def __init__(self, name: str, policy: RateLimitPolicy, clock: Clock) -> None:
        self.name = name
        self.policy = policy
        self.rejected = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._starts: deque[float] = deque()
        self._empty_until = float("-inf")

    def reserve(self) -> Turn:
        """The next turn, which is ours then; raises `RateLimitedError` when it would come too late."""
        policy, starts = self.policy, self._starts
        with self._lock:
            now = self._clock.monotonic()
            mark = self._empty_until
            if policy.burst is None:
                while starts and starts[0] <= now - policy.period:
                    starts.popleft()
                at = next_in_window(policy, starts, now)
            else:
                at, mark = next_in_bucket(policy, mark, now)
            wait = at - now
            if policy.max_wait is not None and wait > policy.max_wait:
                self.rejected += 1
                late = f"is used up: its turn would come in {wait:.3g} s"
                raise RateLimitedError(self.name, f"{late}, and it may wait {policy.max_wait:g} s", wait)
            if policy.burst is None:
                starts.append(at)
            self._empty_until = mark
            return Turn(at, wait, mark)

    def cancel(self, turn: Turn) -> None:
        """Give a turn back that was not used; in a bucket, one that has others behind it is lost."""
        policy = self.policy
        with self._lock:
            if policy.burst is None:
                if turn.at in self._starts:
                    self._starts.remove(turn.at)
            elif self._empty_until == turn.mark:
                self._empty_until -= policy.period / policy.limit

    def adopt(self, policy: RateLimitPolicy) -> None:
        """Go on with other settings; the starts so far count on."""
        with self._lock:
            self.policy = policy

    def __repr__(self) -> str:
        return f"<RateLimit {self.name!r}: {self.policy.limit} per {self.policy.period:g} s>"


@dataclass(frozen=True, slots=True)
class Pace:
    """The layer: calls that start when it is their turn."""

    limit: RateLimit

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call; raises `RateLimitedError` when its turn would come too late."""
        try:
            turn = self.limit.reserve()
        except RateLimitedError as error:
            inputs = {**self._inputs(), "wait_s": round(error.retry_after, 6)}
            call.record.decided("rate_limit", "rejected", str(error), inputs)
            raise
        if turn.wait > 0:
            await self._wait(call, turn)
        return await inner(call)

    async def _wait(self, call: Call, turn: Turn) -> None:
        policy, wait = self.limit.policy, turn.wait
        reason = f"{policy.limit} calls per {policy.period:g} s are used up; its turn is in {wait:.3g} s"
        call.record.decided("rate_limit", "wait", reason, {**self._inputs(), "wait_s": round(wait, 6)})
        try:
            await call.record.written()
            remaining = turn.at - call.clock.monotonic()
            if remaining > 0:
                await call.clock.sleep(remaining)
        except BaseException:
            self.limit.cancel(turn)
            raise

    def _inputs(self) -> dict[str, Any]:
        policy = self.limit.policy
        return {
            "rate_limit": self.limit.name,
            "limit": policy.limit,
            "period_s": policy.period,
            "burst": policy.burst,
            "max_wait_s": policy.max_wait,
        }
