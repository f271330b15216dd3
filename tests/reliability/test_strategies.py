"""Waits that the user says, decorrelated jitter, and classifiers."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchkit.model.policy import ReliabilityPolicy, RetryPolicy, as_retry
from orchkit.reliability.retry import decide, next_delay


def squares(attempts: int) -> float:
    """Seconds to wait."""
    return float(attempts**2)


def verdict_of(error: BaseException) -> Any:
    """Whatever the error carries."""
    return error.args[0]


def test_listed_waits_are_used_one_by_one(bench: Any) -> None:
    """The last one is repeated, none exceeds the cap, and no jitter changes what was written."""
    retry = RetryPolicy(wait=(0.5, 2, 90), max_attempts=6)
    assert (retry.strategy, retry.jitter) == ("custom", "none")
    bench.call(bench.service(*[OSError()] * 5), ReliabilityPolicy(retry=retry))
    assert bench.clock.sleeps == [0.5, 2, 60, 60, 60]


@pytest.mark.parametrize("wait", [squares, f"{__name__}:squares"])
def test_a_function_says_how_long_to_wait(wait: Any) -> None:
    """It gets the number of attempts made; what it says is capped; as a name it is imported at use."""
    policy = RetryPolicy(wait=wait, max_delay=20, max_attempts=9)
    assert [next_delay(policy, n, Random()) for n in (1, 2, 3, 4, 5)] == [1, 4, 9, 16, 20]
    text = policy.model_dump_json()
    assert f'"{__name__}:squares"' in text
    assert next_delay(RetryPolicy.model_validate_json(text), 3, Random()) == 9


@pytest.mark.parametrize(
    ("wait", "said"),
    [
        (lambda n: -1, "gave -1"),
        (lambda n: float("nan"), "gave nan"),
        (lambda n: "long", "gave 'long'"),
        (lambda n: 1 / 0, "ZeroDivisionError"),
        ("no.such.module:wait", "no.such.module"),
    ],
)
def test_a_wait_that_cannot_be_said_ends_the_retries(wait: Any, said: str) -> None:
    """The error of the call is raised, the record says what was wrong with the function."""
    verdict = decide(RetryPolicy(wait=wait), 1, OSError(), 0.0, Random())
    assert (verdict.retry, verdict.rule) == (False, "wait")
    assert said in verdict.reason


@pytest.mark.parametrize(
    "fields",
    [
        {"strategy": "custom"},
        {"strategy": "fixed", "wait": [1]},
        {"wait": []},
        {"wait": [1, -1]},
        {"wait": "seconds"},
        {"classifier": "nonsense"},
        {"classifier": 5},
    ],
    ids=str,
)
def test_custom_needs_its_waits_and_nothing_else_has_them(fields: dict[str, Any]) -> None:
    """Strategy and waits belong together; a function is itself or the name of one."""
    with pytest.raises(ValidationError):
        RetryPolicy(**fields)


@given(
    st.floats(0, 50),
    st.floats(0, 60),
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_decorrelated_waits_stay_between_the_delay_and_three_times_the_last(
    delay: float, cap: float, attempts: list[int], rng: Random
) -> None:
    """Each wait lies within [delay, 3 × the one before], and never above the cap."""
    policy = RetryPolicy(delay=delay, max_delay=cap, jitter="decorrelated")
    previous: float | None = None
    for number in attempts:
        upper = min(cap, 3 * (delay if previous is None else previous))
        wait = next_delay(policy, number, rng, previous)
        assert min(delay, upper) <= wait <= upper <= cap
        previous = wait


def test_decorrelated_waits_grow_from_each_other(bench: Any) -> None:
    """A call hands each wait on to the next."""
    retry = RetryPolicy(delay=1, max_delay=1e9, jitter="decorrelated", max_attempts=40)
    bench.call(bench.service(*[OSError()] * 39), ReliabilityPolicy(retry=retry))
    sleeps = bench.clock.sleeps
    assert all(1 <= later <= 3 * earlier for earlier, later in pairwise(sleeps))
    assert max(sleeps) > 30


@pytest.mark.parametrize(
    ("said", "retry", "delay", "rule"),
    [
        (None, True, 2, "retry"),
        (True, True, 2, "retry"),
        (False, False, 0, "classifier"),
        (0.5, True, 0.5, "retry"),
        (1000, True, 60, "retry"),
        (timedelta(seconds=9), True, 9, "retry"),
        ("throttling", True, 7, "retry"),
        ("permanent", False, 0, "give_up_on"),
        (float("inf"), False, 0, "classifier"),
        ([1], False, 0, "classifier"),
    ],
    ids=str,
)
def test_a_classifier_has_its_say(said: Any, retry: bool, delay: float, rule: str) -> None:
    """Whether, when, or of which kind the error is; what it cannot mean ends the retries."""
    policy = RetryPolicy(
        strategy="fixed",
        delay=2,
        delay_for={"throttling": 7},
        give_up_on=("permanent",),
        classifier=verdict_of,
    )
    verdict = decide(policy, 1, ValueError(said), 0.0, Random())
    assert (verdict.retry, verdict.delay, verdict.rule) == (retry, delay, rule)


def test_a_classifier_overrules_the_lists_but_not_the_limits() -> None:
    """It may save an error that is not listed; attempts and time are used up all the same."""
    policy = RetryPolicy(retry_on=("KeyError",), give_up_on=("ValueError",), classifier=verdict_of)
    assert decide(policy, 1, ValueError(True), 0.0, Random()).retry
    assert decide(policy, 3, ValueError(True), 0.0, Random()).rule == "max_attempts"


@pytest.mark.parametrize(
    ("given_as", "policy"),
    [
        ("fixed", RetryPolicy(strategy="fixed", jitter="none")),
        (4, RetryPolicy(max_attempts=4)),
        ({"budget": "mail"}, RetryPolicy(budget={"name": "mail"})),  # type: ignore[arg-type]
        ({"budget": 30}, RetryPolicy(budget={"capacity": 30})),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_short_forms(given_as: Any, policy: RetryPolicy) -> None:
    """What people write instead of a whole policy."""
    assert as_retry(given_as) == policy


def test_a_base_of_its_own_after_some_errors(bench: Any) -> None:
    """The delay after throttling grows from another base than that after other errors."""
    retry = RetryPolicy(delay=1, delay_for={429: 10, "timeout": 3}, jitter="none", max_attempts=5)

    class TooManyError(Exception):
        status = 429

    body = bench.service(OSError(), TooManyError(), TimeoutError(), OSError())
    bench.call(body, ReliabilityPolicy(retry=retry))
    assert bench.clock.sleeps == [1, 20, 12, 8]
