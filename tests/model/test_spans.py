"""Spans of time in definitions: seconds, or texts with a unit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

import orchkit as ok
from orchkit.model.span import seconds_in

SPANS = [
    ("500ms", 0.5),
    ("2s", 2),
    (" 2 s ", 2),
    ("1.5min", 90),
    ("5m", 300),
    ("5 minutes", 300),
    ("12h", 43_200),
    ("30d", 2_592_000),
    ("1w", 604_800),
]


@pytest.mark.parametrize(("text", "seconds"), SPANS)
def test_a_span_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    """From milliseconds to weeks, in short and in words."""
    assert seconds_in(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-2s", "2 parsecs", "1h30", "2", "mss"])
def test_what_has_no_unit_or_a_strange_one_is_no_span(text: str) -> None:
    """Nothing is guessed."""
    assert seconds_in(text) is None


@pytest.mark.parametrize("value", [2, 2.0, "2", "2s", "2000ms", timedelta(seconds=2)])
def test_policies_take_spans_where_they_take_seconds(value: Any) -> None:
    """As a number, a text or a timedelta, in short forms and in fields."""
    policy = ok.ReliabilityPolicy.model_validate(
        {
            "timeout": {"attempt": value, "total": value},
            "retry": {"delay": value, "max_delay": value, "max_elapsed": value, "delay_for": {"503": value}},
            "breaker": {"reset_timeout": value, "slow_call_duration": value, "slow_call_rate": 0.5},
            "bulkhead": {"max_wait": value},
            "rate_limit": {"limit": 3, "period": value},
            "hedge": value,
            "faults": {"latency": [value, value]},
        }
    )
    assert policy.timeout == ok.TimeoutPolicy(attempt=2, total=2)
    assert policy.retry is not None
    assert (policy.retry.delay, policy.retry.max_elapsed, policy.retry.delay_for) == (2, 2, {"503": 2})
    assert policy.breaker is not None
    assert policy.breaker.reset_timeout == 2
    assert policy.rate_limit == ok.RateLimitPolicy(limit=3, period=2)
    assert policy.hedge == ok.HedgePolicy(delay=2)
    assert policy.faults is not None
    assert policy.faults.wait_bounds == (2, 2)
    assert ok.RetryPolicy.model_validate({"wait": [value, "1min"]}).wait == (2, 60)


def test_spans_in_texts_of_definitions() -> None:
    """A step, a whole workflow and a policy of operations are written alike."""
    flow = ok.Workflow.from_yaml(
        "{name: w, timeout: 5min, steps: [{id: a, tool: t, timeout: 2s, hedge: 200ms}]}"
    )
    assert (flow.timeout, flow.steps[0].timeout) == (300, ok.TimeoutPolicy(attempt=2))
    policies = ok.PolicyEngine.from_yaml("policies: {web.*: {timeout: 30s, rate_limit: 100/min}}")
    assert policies.get_policy("web.get").timeout == ok.TimeoutPolicy(attempt=30)


def test_a_text_that_is_no_span_says_how_to_write_one() -> None:
    """The error names ways to write it."""
    with pytest.raises(ValidationError, match="no such span of time: write seconds, or '500ms'"):
        ok.ReliabilityPolicy.model_validate({"timeout": "soon"})
