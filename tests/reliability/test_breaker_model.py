"""The circuit breaker against a slow and obvious model, over random interleavings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from orchkit.errors import BreakerOpenError
from orchkit.model.breaker import BreakerPolicy
from orchkit.reliability.breaker import Permit
from orchkit.reliability.circuit import CircuitBreaker
from orchkit.testing import FakeClock

POLICIES = [
    BreakerPolicy(),
    BreakerPolicy(failure_threshold=1, success_threshold=1, reset_timeout=5, probe_lease=3),
    BreakerPolicy(
        failure_threshold=2, success_threshold=2, half_open_calls=3, reset_timeout=4, probe_lease=6
    ),
    BreakerPolicy(failure_rate=0.5, window_size=4, minimum_calls=3, half_open_calls=2, reset_timeout=5),
    BreakerPolicy(failure_rate=1, window="time", window_size=6, minimum_calls=2, half_open_calls=1),
    BreakerPolicy(
        slow_call_rate=0.5,
        slow_call_duration=2,
        window_size=3,
        minimum_calls=2,
        half_open_calls=3,
        failure_threshold=4,
        reset_timeout=3,
        probe_lease=4,
    ),
]

Asked = tuple[int, int, Permit]
"""The number of a call, how many changes there had been when it began, and its permit."""
OUTCOMES = st.sampled_from(["success", "failure", "success", "failure", "ignored"])
TIMES = st.sampled_from([0.5, 2.0, 2.5])


class Model:
    """What the documentation says, with lists that are looked through anew each time."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.change("closed", 0.0)
        self.changes = 0

    def change(self, state: str, now: float) -> None:
        self.state, self.since = state, now
        self.changes = getattr(self, "changes", -1) + 1
        self.calls: list[tuple[float, bool, bool]] = []
        self.probes: dict[int, float] = {}

    def ask(self, number: int, now: float) -> bool:
        policy = self.policy
        if self.state == "open" and now >= self.since + policy.reset_timeout:
            self.change("half_open", now)
        if self.state in ("closed", "disabled"):
            return True
        if self.state != "half_open":
            return False
        out = [until for until in self.probes.values() if until > now]
        if len(out) + len(self.calls) >= policy.probes:
            return False
        self.probes[number] = now + policy.probe_lease
        return True

    def come_back(self, number: int, began_at_change: int, outcome: str, slow: bool, now: float) -> None:
        if began_at_change != self.changes or self.state not in ("closed", "half_open"):
            return
        self.probes.pop(number, None)
        if outcome == "ignored":
            return
        self.calls.append((now, outcome == "failure", slow))
        if self.state == "closed":
            if self.too_many_in_a_row() or self.too_bad(self.window(now), self.policy.enough_calls):
                self.change("open", now)
        elif self.policy.by_rate:
            if len(self.calls) >= self.policy.probes:
                bad = self.too_bad(self.calls, 1)
                self.change("open" if bad else "closed", now)
        elif outcome == "failure":
            self.change("open", now)
        elif len(self.calls) >= self.policy.success_threshold:
            self.change("closed", now)

    def too_many_in_a_row(self) -> bool:
        limit = self.policy.in_a_row
        last = self.calls[-limit:] if limit else []
        return bool(limit) and len(last) == limit and all(failed for _, failed, _ in last)

    def window(self, now: float) -> list[tuple[float, bool, bool]]:
        size = self.policy.window_size
        if self.policy.window == "count":
            return self.calls[-int(size) :]
        return [call for call in self.calls if call[0] > now - size]

    def too_bad(self, calls: list[tuple[float, bool, bool]], enough: int) -> bool:
        policy = self.policy
        if not policy.by_rate or len(calls) < enough:
            return False
        failed = sum(failed for _, failed, _ in calls) / len(calls)
        slow = sum(slow for _, _, slow in calls) / len(calls)
        return (policy.failure_rate is not None and failed >= policy.failure_rate) or (
            policy.slow_call_rate is not None and slow >= policy.slow_call_rate
        )


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin, come back late or never, time passes, people intervene."""

    permits = Bundle("permits")

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: BreakerPolicy) -> None:
        """Both start closed."""
        self.clock = FakeClock(autojump=False)
        self.policy = policy
        self.breaker = CircuitBreaker("b", policy, self.clock)
        self.model = Model(policy)
        self.asked = 0

    def call(self, took: float = 0.0) -> Any:
        """As much of a call as a breaker looks at."""
        return SimpleNamespace(attempt=1, took=took, record=SimpleNamespace(subject=("run", "step")))

    def try_one(self) -> Asked | None:
        """Both let the call through, or neither."""
        self.asked += 1
        now = self.clock.monotonic()
        allowed = self.model.ask(self.asked, now)
        reopens = self.model.since + self.policy.reset_timeout - now if self.model.state == "open" else None
        if not allowed:
            with pytest.raises(BreakerOpenError) as rejection:
                self.breaker.acquire(self.call())
            assert rejection.value.retry_in == (reopens and pytest.approx(reopens))
            return None
        return self.asked, self.model.changes, self.breaker.acquire(self.call())

    def end(self, asked: Asked, outcome: Any, took: float) -> None:
        """It means the same to both."""
        number, began_at_change, permit = asked
        limit = self.policy.slow_call_duration
        slow = outcome != "ignored" and limit is not None and took > limit
        self.breaker.settle(permit, self.call(took), outcome)
        self.model.come_back(number, began_at_change, outcome, slow, self.clock.monotonic())

    @rule(target=permits)
    def ask(self) -> Any:
        """A call begins."""
        asked = self.try_one()
        return multiple() if asked is None else asked

    @rule(asked=consumes(permits), outcome=OUTCOMES, took=TIMES)
    def come_back(self, asked: Asked, outcome: Any, took: float) -> None:
        """A call ends, however late."""
        self.end(asked, outcome, took)

    @rule(outcomes=st.lists(OUTCOMES, min_size=1, max_size=4), took=TIMES)
    def call_some(self, outcomes: list[Any], took: float) -> None:
        """Calls that end before the next one begins."""
        for outcome in outcomes:
            asked = self.try_one()
            if asked is not None:
                self.end(asked, outcome, took)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @rule(hours=st.sampled_from([-30, -1, 1, 30]))
    def set_the_clock(self, hours: int) -> None:
        """Somebody sets the time of day, which says nothing about how long anything takes."""
        self.clock.set_by(hours * 3600)

    @precondition(lambda self: self.model.state == "open")
    @rule(early=st.booleans())
    def wait_for_it(self, early: bool) -> None:
        """Time passes until it is to be half open, or almost."""
        due = self.model.since + self.policy.reset_timeout - self.clock.monotonic()
        self.clock.advance(max(0.0, due - early * 0.001))

    @rule(what=st.sampled_from(["force_open", "disable", "enable", "reset"]), often=st.integers(0, 9))
    def intervene(self, what: str, often: int) -> None:
        """Now and then somebody takes it in hand."""
        if often:
            return
        getattr(self.breaker, what)()
        after = {"force_open": "forced_open", "disable": "disabled"}.get(what, "closed")
        if what != "enable" or self.model.state in ("forced_open", "disabled"):
            self.model.change(after, self.clock.monotonic())

    @invariant()
    def agree(self) -> None:
        """State and generation are those of the model, and never more probes are out than allowed."""
        snapshot = self.breaker.snapshot
        assert (snapshot.state, snapshot.generation) == (self.model.state, self.model.changes)
        now = self.clock.monotonic()
        assert sum(probe.until > now for probe in snapshot.probes) <= self.policy.probes

    def teardown(self) -> None:
        """Whatever happened, also to calls that never came back: what is well again is called again."""
        if not hasattr(self, "model") or self.model.state in ("forced_open", "disabled"):
            return
        for _ in range(2 + self.policy.probes):
            self.clock.advance(max(self.policy.reset_timeout, self.policy.probe_lease))
            asked = self.try_one()
            assert asked is not None
            self.end(asked, "success", 0.0)
        assert self.breaker.state == "closed"


BreakerMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestBreaker = BreakerMachine.TestCase
