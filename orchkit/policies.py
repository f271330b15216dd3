"""Policies that are well known, by the names and with the numbers of those who made them known.

Each is a `ReliabilityPolicy`: give it to a step (``policy=``), to an operation (``OperationPolicy``, or
``preset:`` in YAML), to ``@ok.reliable(...)``, and change what you like with ``.but(...)``::

    ok.policies.gateway().but(retry={"max_attempts": 5}, breaker=None)
"""

from __future__ import annotations

from collections.abc import Mapping

from orchkit.model.policy import BudgetPolicy, Jitter, ReliabilityPolicy, RetryPolicy

NOT_THE_SERVICE = (
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
        give_up_on=NOT_THE_SERVICE,
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
