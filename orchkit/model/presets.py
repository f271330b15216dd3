"""Policies that are well known, with the numbers of those who made them known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from orchkit.model.policy import (
    BreakerPolicy,
    BudgetPolicy,
    BulkheadPolicy,
    Jitter,
    ReliabilityPolicy,
    RetryPolicy,
    TimeoutPolicy,
)

WRONG = (
    "client_error",
    "TypeError",
    "ValueError",
    "LookupError",
    "AttributeError",
    "AssertionError",
)
"""Errors that another attempt does not mend: the request was wrong, or the code."""


def aws_standard(  # noqa: PLR0913 - the numbers of the specification, each by its keyword
    *,
    max_attempts: int = 3,
    base_delay: float = 1.0,
    multiplier: float = 2.0,
    max_delay: float = 20.0,
    jitter: Jitter = "full",
    delay_for: Mapping[str, float] | None = None,
    quota: float = 500,
    retry_cost: float = 5,
    timeout_cost: float | None = 10,
    costs: Mapping[str, float] | None = None,
    success_refund: float = 1,
    retry_after_window: float | None = 5.0,
    budget: str = "aws",
) -> ReliabilityPolicy:
    """The "standard" retry mode of the AWS SDKs: three attempts, capped full jitter, a retry quota.

    Args:
        max_attempts: Attempts in all.
        base_delay: Seconds before the second attempt.
        multiplier: Growth of the delay per attempt.
        max_delay: Cap of a delay in seconds, applied before the jitter.
        jitter: ``none`` gives the bare delays.
        delay_for: Another ``base_delay`` after some errors: ``{"throttling": 1.0}``.
        quota: Tokens at the start, and at most.
        retry_cost: Tokens that a retry costs.
        timeout_cost: Tokens that a retry after a timeout costs; None: as any other.
        costs: Tokens per error: ``{"throttling": 5}``; goes before the two above.
        success_refund: What a success at the first try gives back. After retries it is the last one's cost.
        retry_after_window: What the service asks for is held between the calculated delay and this many
            seconds above it.
        budget: The name under which the quota is shared.
    """
    retry = RetryPolicy(
        strategy="exponential",
        max_attempts=max_attempts,
        delay=base_delay,
        multiplier=multiplier,
        max_delay=max_delay,
        jitter=jitter,
        delay_for=dict(delay_for or {}),
        give_up_on=WRONG,
        retry_after_window=retry_after_window,
        budget=BudgetPolicy(
            name=budget,
            capacity=quota,
            cost=retry_cost,
            timeout_cost=timeout_cost,
            costs=dict(costs or {}),
            success_refund=success_refund,
        ),
    )
    return ReliabilityPolicy(retry=retry)


def aws_2026() -> ReliabilityPolicy:
    """The same in its revision of 2026 (``AWS_NEW_RETRIES_2026``).

    Quick retries from 50 ms for most errors and from one second when the service throttles; a retry costs 14
    tokens, after throttling 5, and timeouts cost no more than others.
    """
    return aws_standard(
        base_delay=0.05,
        delay_for={"throttling": 1.0},
        retry_cost=14,
        timeout_cost=None,
        costs={"throttling": 5},
    )


def gateway() -> ReliabilityPolicy:
    """What an API gateway does for the services behind it.

    30 s per try, three tries one second apart, and a breaker that opens after three failures in a row for a
    minute and closes after two successes.
    """
    return ReliabilityPolicy(
        retry=RetryPolicy(strategy="fixed", delay=1, max_attempts=3, give_up_on=WRONG, retry_after=False),
        timeout=TimeoutPolicy(attempt=30),
        breaker=BreakerPolicy(failure_threshold=3, reset_timeout=60, success_threshold=2),
    )


def http_standard() -> ReliabilityPolicy:
    """The standard resilience handler of .NET's HTTP clients (Polly): limits, retries, a breaker by rate."""
    return ReliabilityPolicy(
        timeout=TimeoutPolicy(attempt=10, total=30),
        retry=RetryPolicy(strategy="exponential", delay=2, max_attempts=4, give_up_on=WRONG),
        breaker=BreakerPolicy(
            failure_rate=0.1,
            window="time",
            window_size=30,
            minimum_calls=100,
            reset_timeout=5,
            half_open_calls=1,
        ),
        bulkhead=BulkheadPolicy(max_concurrent=1000, max_queue=0),
    )


def resilience4j() -> ReliabilityPolicy:
    """The defaults of resilience4j: three tries half a second apart, a breaker at half of a hundred calls."""
    return ReliabilityPolicy(
        retry=RetryPolicy(strategy="fixed", delay=0.5, max_attempts=3),
        breaker=BreakerPolicy(
            failure_rate=0.5,
            slow_call_rate=1.0,
            slow_call_duration=60,
            window_size=100,
            minimum_calls=100,
            half_open_calls=10,
            reset_timeout=60,
        ),
    )


def google_api() -> ReliabilityPolicy:
    """The retries of Google's API clients: from one second, doubling up to a minute, for two minutes."""
    return ReliabilityPolicy(
        retry=RetryPolicy(
            strategy="exponential",
            delay=1,
            multiplier=2,
            max_delay=60,
            max_attempts=1000,
            max_elapsed=120,
            retry_on=("transient", "throttling"),
        )
    )


def grpc() -> ReliabilityPolicy:
    """Like the service configs of gRPC (its proposal A6): four quick tries, and a bucket of few retries."""
    return ReliabilityPolicy(
        retry=RetryPolicy(
            strategy="exponential",
            delay=0.1,
            multiplier=2,
            max_delay=1,
            max_attempts=4,
            retry_on=("transient", "throttling"),
            budget=BudgetPolicy(capacity=5, cost=1, timeout_cost=None, refund=0.1, success_refund=0.1),
        )
    )


PRESETS: Mapping[str, Callable[[], ReliabilityPolicy]] = {
    make.__name__: make
    for make in (aws_standard, aws_2026, gateway, google_api, grpc, http_standard, resilience4j)
}
"""By the name under which files mean them."""


def preset(name: str) -> ReliabilityPolicy:
    """The policy of this name; ValueError when there is none."""
    make = PRESETS.get(name)
    if make is None:
        near = get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}"
        raise ValueError(f"no policy is called {name!r}: {hint}")
    return make()


def as_policy(value: Any) -> ReliabilityPolicy | None:
    """A policy from what people write: one, the name of a preset, a mapping (perhaps over a ``preset``)."""
    if value is None or isinstance(value, ReliabilityPolicy):
        return value
    if isinstance(value, str):
        return preset(value)
    if isinstance(value, Mapping) and "preset" in value:
        changes = {name: change for name, change in value.items() if name != "preset"}
        return preset(value["preset"]).but(**changes)
    return ReliabilityPolicy.model_validate(value)
