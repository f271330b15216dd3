"""Whether another attempt is made, and after how long: the pure decisions."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchkit.errors import TimeoutExceededError, UnknownNameError
from orchkit.model.policy import RetryPolicy
from orchkit.reliability.retry import base_delay, decide, next_delay

STRATEGIES = ("none", "immediate", "fixed", "linear", "exponential", "fibonacci")


class OutageError(ConnectionError):
    """A service that is not there."""


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        ("immediate", [0, 0, 0, 0, 0, 0]),
        ("fixed", [2, 2, 2, 2, 2, 2]),
        ("linear", [2, 4, 6, 8, 10, 12]),
        ("exponential", [2, 6, 18, 54, 162, 486]),
        ("fibonacci", [2, 2, 4, 6, 10, 16]),
    ],
)
def test_delays_grow_as_the_strategy_says(strategy: str, delays: list[float]) -> None:
    """The wait after the n-th failure is the base delay times the growth of the strategy."""
    policy = RetryPolicy(strategy=strategy, delay=2, multiplier=3, max_delay=1e6, jitter="none")  # type: ignore[arg-type]
    assert [base_delay(policy, n) for n in range(1, 7)] == delays


@given(
    st.sampled_from(STRATEGIES),
    st.floats(0, 1e6),
    st.floats(1, 10),
    st.floats(0, 1e4),
    st.integers(1, 5000),
)
def test_no_delay_exceeds_its_cap(
    strategy: str, delay: float, multiplier: float, cap: float, attempts: int
) -> None:
    """However many attempts failed, the delay is a number between zero and the cap (no overflow)."""
    policy = RetryPolicy(strategy=strategy, delay=delay, multiplier=multiplier, max_delay=cap, jitter="none")  # type: ignore[arg-type]
    assert 0 <= base_delay(policy, attempts) <= cap


@given(
    st.sampled_from(STRATEGIES),
    st.sampled_from(["full", "equal", "none"]),
    st.floats(0, 100),
    st.floats(0, 30),
    st.integers(1, 50),
    st.randoms(use_true_random=False),
)
def test_jitter_stays_within_its_bounds_below_the_cap(
    strategy: str, jitter: str, delay: float, cap: float, attempts: int, rng: Random
) -> None:
    """Full jitter lies within [0, d], equal jitter within [d/2, d], where d is the capped delay."""
    policy = RetryPolicy(strategy=strategy, delay=delay, max_delay=cap, jitter=jitter)  # type: ignore[arg-type]
    capped = base_delay(policy, attempts)
    lowest = {"full": 0.0, "equal": capped / 2, "none": capped}[jitter]
    assert lowest <= next_delay(policy, attempts, rng) <= capped <= cap


@pytest.mark.parametrize("jitter", ["full", "equal"])
def test_jitter_spreads_the_delays_below_the_cap(jitter: str) -> None:
    """Delays at the cap do not bunch: of a thousand, none comes twice, and the mean is in the middle."""
    policy = RetryPolicy(strategy="exponential", delay=1, max_delay=8, jitter=jitter)  # type: ignore[arg-type]
    rng = Random(3)
    delays = [next_delay(policy, 10, rng) for _ in range(1000)]
    middle = {"full": 4.0, "equal": 6.0}[jitter]
    assert len(set(delays)) == 1000
    assert abs(sum(delays) / 1000 - middle) < 0.3


def test_a_seeded_generator_makes_jitter_repeatable() -> None:
    """The same seed gives the same delays."""
    policy = RetryPolicy(jitter="full")
    once, again = ([next_delay(policy, n, Random(n)) for n in range(1, 9)] for _ in range(2))
    assert once == again


@pytest.mark.parametrize(
    ("retry_on", "give_up_on", "error", "retried"),
    [
        (("Exception",), (), ValueError(), True),
        (("ConnectionError",), (), OutageError(), True),
        (("ConnectionError",), (), ValueError(), False),
        (("OSError", "ValueError"), (), OutageError(), True),
        ((f"{__name__}.OutageError",), (), OutageError(), True),
        (("LookupError",), (), KeyError(), True),
        (("LookupError",), (), UnknownNameError("tool", "x"), True),
        (("orchkit.errors.UnknownNameError",), (), UnknownNameError("tool", "x"), True),
        (("KeyError",), (), LookupError(), False),
        (("Exception",), ("ConnectionError",), OutageError(), False),
        (("OutageError",), ("ConnectionError",), OutageError(), False),
        (("TimeoutError",), (), TimeoutExceededError("attempt", 1), True),
        ((), (), ValueError(), False),
    ],
)
def test_errors_are_retried_by_name(
    retry_on: tuple[str, ...], give_up_on: tuple[str, ...], error: Exception, retried: bool
) -> None:
    """Names mean the type and its subclasses, bare or with the module; give_up_on wins over retry_on."""
    policy = RetryPolicy(retry_on=retry_on, give_up_on=give_up_on, jitter="none")
    assert decide(policy, 1, error, 0.0, Random()).retry is retried


def test_error_types_stand_for_their_names() -> None:
    """A policy takes exception types, alone or in a list, and keeps their names."""
    policy = RetryPolicy(retry_on=OutageError, give_up_on=[ValueError, "KeyError"])  # type: ignore[arg-type]
    assert policy.retry_on == (f"{OutageError.__module__}.OutageError",)
    assert policy.give_up_on == ("ValueError", "KeyError")


@pytest.mark.parametrize(
    ("policy", "attempts", "elapsed", "reason"),
    [
        (RetryPolicy(max_attempts=3, give_up_on=("OSError",)), 1, 0, "is among give_up_on"),
        (RetryPolicy(retry_on=("KeyError",)), 1, 0, "is not among retry_on (KeyError)"),
        (RetryPolicy(strategy="none"), 1, 0, "the strategy is none"),
        (RetryPolicy(max_attempts=3), 3, 0, "all 3 attempts are used up"),
        (
            RetryPolicy(strategy="fixed", delay=2, max_elapsed=5, jitter="none"),
            2,
            3.5,
            "waiting 2 s would end after max_elapsed of 5 s (3.5 s are over)",
        ),
    ],
)
def test_giving_up_says_why(policy: RetryPolicy, attempts: int, elapsed: float, reason: str) -> None:
    """The verdict names the rule that ended the retries."""
    verdict = decide(policy, attempts, OutageError("down"), elapsed, Random())
    assert not verdict.retry
    assert verdict.delay == 0
    assert reason in verdict.reason


@given(
    st.sampled_from(STRATEGIES[1:]),
    st.floats(0, 10),
    st.floats(0.1, 30),
    st.floats(0, 40),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_no_wait_ends_after_max_elapsed(
    strategy: str, delay: float, budget: float, elapsed: float, attempts: int, rng: Random
) -> None:
    """A retry is granted only if its wait is over within max_elapsed."""
    policy = RetryPolicy(strategy=strategy, delay=delay, max_elapsed=budget, max_attempts=9)  # type: ignore[arg-type]
    verdict = decide(policy, attempts, OutageError(), elapsed, rng)
    assert not verdict.retry or elapsed + verdict.delay <= budget


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0},
        {"delay": -1},
        {"multiplier": 0.5},
        {"max_delay": -1},
        {"max_elapsed": 0},
        {"strategy": "quadratic"},
        {"jitter": "some"},
        {"attempts": 3},
    ],
)
def test_a_policy_that_cannot_work_is_refused(fields: dict[str, object]) -> None:
    """A wrong value is refused when the policy is made, and the message names the field."""
    with pytest.raises(ValidationError, match=next(iter(fields))):
        RetryPolicy.model_validate(fields)
