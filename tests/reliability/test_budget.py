"""The retry budget: what retries cost, what successes give back, and who shares it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import ValidationError

from orchkit.model.policy import BreakerPolicy, BudgetPolicy, ReliabilityPolicy, RetryPolicy
from orchkit.reliability.budget import Budget, refund, retry_cost
from orchkit.testing import FakeClock


@pytest.mark.parametrize(
    ("fields", "traits", "cost"),
    [
        ({}, set(), 5),
        ({}, {"timeout", "transient"}, 10),
        ({"timeout_cost": None}, {"timeout"}, 5),
        ({"costs": {"throttling": 2}}, {"throttling", "timeout"}, 2),
        ({"costs": {503: 1, "5xx": 3}}, {"503", "5xx"}, 1),
        ({"costs": {503: 1, "5xx": 3}}, {"500", "5xx"}, 3),
        ({"costs": {ConnectionError: 7}}, {"ConnectionResetError", "ConnectionError"}, 7),
        ({"cost": 0}, set(), 0),
    ],
)
def test_a_retry_costs_what_its_error_costs(fields: dict[str, Any], traits: set[str], cost: float) -> None:
    """The first selector that fits counts, then the price of timeouts, then that of all others."""
    assert retry_cost(BudgetPolicy(**fields), frozenset(traits)) == cost


@pytest.mark.parametrize(
    ("given_back", "spent", "tokens"),
    [("last", [], 1), ("last", [5, 10], 10), ("all", [5, 10], 15), (2, [5, 10], 2), (2, [], 1)],
)
def test_a_success_gives_back(given_back: Any, spent: Sequence[float], tokens: float) -> None:
    """After retries the last cost, all of them or a number; at the first try a number of its own."""
    assert refund(BudgetPolicy(refund=given_back), spent) == tokens


@pytest.mark.parametrize("fields", [{"initial": 501}, {"capacity": -1}, {"refund": -1}, {"costs": {7: 1}}])
def test_a_budget_that_cannot_work_is_refused(fields: dict[str, Any]) -> None:
    """Values that contradict each other or are out of range."""
    with pytest.raises(ValidationError):
        BudgetPolicy(**fields)


class BucketMachine(RuleBasedStateMachine):
    """The bucket against a list of what happened to it, added up anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(autojump=False)
        self.policy = BudgetPolicy(capacity=20, initial=12, refill=0.5)
        self.budget = Budget("b", self.policy, self.clock)
        self.history: list[tuple[str, float]] = []

    def level(self) -> float:
        """Tokens according to the history."""
        tokens = 12.0
        for what, amount in self.history:
            tokens = tokens - amount if what == "spend" else min(20.0, tokens + amount)
        return tokens

    @rule(cost=st.integers(0, 12))
    def spend(self, cost: int) -> None:
        """Tokens are taken when they are there, else none."""
        enough = self.level() >= cost
        assert self.budget.spend(cost) is enough
        if enough:
            self.history.append(("spend", cost))

    @rule(spent=st.lists(st.integers(0, 9), max_size=3))
    def succeed(self, spent: list[int]) -> None:
        """A success gives back the last cost, or one."""
        self.budget.succeeded(spent)
        self.history.append(("give", spent[-1] if spent else 1))

    @rule(seconds=st.integers(1, 100))
    def wait(self, seconds: int) -> None:
        """Time gives back."""
        self.clock.advance(seconds)
        self.history.append(("give", seconds * 0.5))

    @rule()
    @precondition(lambda self: len(self.history) > 5)
    def reset(self) -> None:
        """All anew."""
        self.budget.reset()
        self.history.clear()

    @invariant()
    def agrees(self) -> None:
        """The level is that of the history, within its bounds."""
        assert self.budget.tokens == pytest.approx(self.level())
        assert 0 <= self.budget.tokens <= 20


TestBucket = BucketMachine.TestCase


def test_an_empty_budget_ends_the_retries(bench: Any) -> None:
    """The last error is raised as it is, and the decision says what was left and what it would have cost."""
    retry = RetryPolicy(strategy="immediate", max_attempts=9, budget=BudgetPolicy(name="b", capacity=12))
    error = OSError("down")
    output, record = bench.call(bench.service(*[error] * 9), ReliabilityPolicy(retry=retry))
    assert output is error
    assert record.attempts == {1: "failed", 2: "failed", 3: "failed"}
    assert record.at("retry") == ["retry", "retry", "give_up"]
    last = record.decisions[-1]
    assert last.rationale == "the retry budget 'b' has 2 tokens left and a retry costs 5"
    assert (last.inputs["budget"], last.inputs["tokens_left"], last.inputs["cost"]) == ("b", 2, 5)
    assert bench.guards.budgets["b"].denied == 1


def test_waiting_for_our_own_policies_costs_nothing(bench: Any) -> None:
    """A call that a breaker kept from the service was no load on it."""
    breaker = BreakerPolicy(name="b", failure_threshold=1)
    bench.call(bench.service(OSError()), ReliabilityPolicy(breaker=breaker))
    budget = BudgetPolicy(name="b", capacity=12)
    retry = RetryPolicy(strategy="fixed", delay=10, max_attempts=9, budget=budget)
    output, record = bench.call(bench.service(), ReliabilityPolicy(retry=retry, breaker=breaker))
    assert output == "done"
    assert record.at("retry") == ["retry"] * 6
    assert bench.guards.budgets["b"].tokens == 12


def test_a_budget_without_a_name_is_that_of_the_operation(bench: Any) -> None:
    """Operations do not share what they do not name."""
    policy = ReliabilityPolicy(retry={"strategy": "immediate", "budget": 5})  # type: ignore[arg-type]
    for name in ("read", "write", "read"):
        bench.call(bench.service(OSError(), OSError()), policy, name=name)
    assert {name: budget.tokens for name, budget in bench.guards.budgets.items()} == {"read": 0, "write": 0}
    assert str(bench.guards.budgets).splitlines() == [
        "name   tokens  capacity  denied",
        "read   0       5         2",
        "write  0       5         1",
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_service_that_is_down_is_asked_little_more_than_once_per_call(successes: list[bool]) -> None:
    """The retries that a bucket allows are bounded by what it holds and what successes give back."""
    policy = BudgetPolicy(capacity=50)
    budget = Budget("b", policy, FakeClock())
    retries = 0
    for success in successes:
        if success:
            budget.succeeded([])
        else:
            while budget.spend(policy.cost):
                retries += 1
    assert retries * policy.cost <= 50 + sum(successes)
