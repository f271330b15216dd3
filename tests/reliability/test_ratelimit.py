"""The rate limit: never more starts per period than allowed, in the order in which they came."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule
from pydantic import ValidationError

from orchkit.errors import RateLimitedError
from orchkit.model.limits import RateLimitPolicy, as_rate_limit
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.ratelimit import RateLimit, Turn
from orchkit.testing import FakeClock


def policy(**fields: Any) -> ReliabilityPolicy:
    """A rate limit called ``r``, and whatever else is asked for."""
    limit = {"name": "r", **fields.pop("rate_limit", {})}
    return ReliabilityPolicy.model_validate({"rate_limit": limit, **fields})


@pytest.mark.parametrize(
    ("fields", "starts"),
    [
        ({"limit": 2, "period": 10}, [0, 0, 10, 10, 20]),
        ({"limit": 2, "period": 10, "burst": 1}, [0, 5, 10, 15, 20]),
        ({"limit": 2, "period": 10, "burst": 3}, [0, 0, 0, 5, 10]),
        ({"limit": 1, "period": 0.5}, [0, 0.5, 1, 1.5, 2]),
    ],
    ids=str,
)
def test_calls_start_when_it_is_their_turn(bench: Any, fields: dict[str, Any], starts: list[float]) -> None:
    """At most so many per period; with a burst, a bucket that is refilled evenly."""
    limited = policy(rate_limit=fields)
    bodies = [bench.service() for _ in range(5)]

    async def together() -> list[Any]:
        return await asyncio.gather(*(bench.acall(body, limited) for body in bodies))

    results = asyncio.run(together())
    assert [body.called_at[0] for body in bodies] == starts
    waited = results[-1][1]
    assert waited.at("rate_limit") == ["wait"]
    assert waited.decisions[0].inputs["wait_s"] == starts[-1]
    assert waited.barriers == 1
    assert results[0][1].decisions == []


def test_a_call_that_would_wait_too_long_is_rejected_at_once(bench: Any) -> None:
    """It is no attempt, takes no turn, and its error says when to come back, which a retry does."""
    limited = policy(rate_limit={"limit": 1, "period": 30, "max_wait": 20})
    bench.call(bench.service(), limited)
    error, record = bench.call(bench.service(), limited)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 30
    assert (record.attempts, record.at("rate_limit")) == ({}, ["rejected"])
    patient = policy(rate_limit={"limit": 1, "period": 30, "max_wait": 20}, retry={"delay": 1})
    assert bench.call(bench.service(), patient)[0] == "done"
    assert bench.clock.sleeps == [30]


def test_a_cancelled_wait_gives_its_turn_back(bench: Any) -> None:
    """The next call takes it."""
    limited = policy(rate_limit={"limit": 1, "period": 10})

    async def scenario() -> float:
        await bench.acall(bench.service(), limited)
        task = asyncio.ensure_future(bench.acall(bench.service(), limited))
        await bench.clock.sleep(2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        body = bench.service()
        await bench.acall(body, limited)
        return body.called_at[0]

    assert asyncio.run(scenario()) == 10


POLICIES = [
    RateLimitPolicy(limit=1, period=2),
    RateLimitPolicy(limit=3, period=5),
    RateLimitPolicy(limit=3, period=5, max_wait=4),
    RateLimitPolicy(limit=2, period=4, burst=1),
    RateLimitPolicy(limit=2, period=4, burst=5),
    RateLimitPolicy(limit=4, period=4, burst=2, max_wait=3),
]


class LimitMachine(RuleBasedStateMachine):
    """Turns against all starts there ever were, looked through anew each time."""

    turns = Bundle("turns")

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: RateLimitPolicy) -> None:
        """Nobody has called yet."""
        self.clock = FakeClock(autojump=False)
        self.policy = policy
        self.limit = RateLimit("r", policy, self.clock)
        self.starts: list[float] = []
        self.tokens = float(policy.burst or 0)
        self.cancelled = False

    @rule(target=turns)
    def reserve(self) -> Any:
        """A turn as early as the rule allows, or none."""
        now = self.clock.monotonic()
        earliest = self.earliest(now)
        wait = earliest - now
        if self.policy.max_wait is not None and wait > self.policy.max_wait and not self.cancelled:
            with pytest.raises(RateLimitedError):
                self.limit.reserve()
            return multiple()
        try:
            turn = self.limit.reserve()
        except RateLimitedError:
            assert self.cancelled
            return multiple()
        assert turn.at >= earliest
        assert turn.at == earliest or self.cancelled  # what was given back may be lost
        assert turn.wait == turn.at - now
        self.starts.append(turn.at)
        return turn

    def earliest(self, now: float) -> float:
        """The first moment from which one more start breaks no rule, tried in steps of a quarter second."""
        moment = max([now, *self.starts])
        while not self.allowed(moment):
            moment += 0.25
        return moment

    def allowed(self, moment: float) -> bool:
        starts = [*self.starts, moment]
        if self.policy.burst is None:
            return sum(start > moment - self.policy.period for start in starts) <= self.policy.limit
        tokens, last = float(self.policy.burst), starts[0]
        for start in starts:
            tokens = min(self.policy.burst, tokens + (start - last) * self.policy.limit / self.policy.period)
            tokens, last = tokens - 1, start
            if tokens < -1e-9:
                return False
        return True

    @rule(turn=consumes(turns))
    def cancel(self, turn: Turn) -> None:
        """One that has not come yet is given back."""
        if turn.wait > 0 and turn.at > self.clock.monotonic():
            self.limit.cancel(turn)
            self.starts.remove(turn.at)
            self.cancelled = True

    @rule(quarters=st.integers(1, 30))
    def wait(self, quarters: int) -> None:
        """Time passes."""
        self.clock.advance(quarters / 4)


LimitMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestLimit = LimitMachine.TestCase


@pytest.mark.parametrize(
    ("given", "limit", "period"),
    [
        (5, 5, 1),
        ("10/s", 10, 1),
        ("100 / min", 100, 60),
        ("3/10s", 3, 10),
        ("1000/hour", 1000, 3600),
        ("2/1.5 minutes", 2, 90),
        ({"limit": 7, "period": 2}, 7, 2),
    ],
    ids=str,
)
def test_short_forms(given: Any, limit: int, period: float) -> None:
    """Calls per second, or a rate in words."""
    assert as_rate_limit(given) == RateLimitPolicy(limit=limit, period=period)


@pytest.mark.parametrize("given", ["ten", "10/fortnight", "/s", 0, {"period": 0}, {"burst": 0}], ids=str)
def test_what_is_no_rate_is_refused(given: Any) -> None:
    """With a hint how to write one."""
    with pytest.raises((ValidationError, ValueError)):
        as_rate_limit(given)
