"""What cards say of the policies of steps."""

from __future__ import annotations

from typing import Any

import pytest

import orchkit as ok
from orchkit.model.workflow import Workflow
from orchkit.views.bundle import bundle


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"breaker": 3}, "breaker after 3 failures, 60 s"),
        (
            {"breaker": {"name": "mail", "failure_threshold": 1}},
            "breaker &#x27;mail&#x27; after 1 failure, 60 s",
        ),
        ({"breaker": {"failure_rate": 0.5, "reset_timeout": 5}}, "breaker by rates, 5 s"),
        ({"breaker": False}, "no breaker"),
        ({"rate_limit": "100/min"}, "at most 100 per 60 s"),
        ({"bulkhead": 4}, "at most 4 at a time"),
        ({"hedge": 0.5}, "hedged after 0.5 s"),
        ({"fallback": ["cached", {"value": 0}]}, "else tool &#x27;cached&#x27; and a value"),
        ({"faults": 0.25}, "faults on purpose: 25%"),
    ],
    ids=str,
)
def test_each_policy_of_a_step_is_an_option_on_its_card(options: dict[str, Any], said: str) -> None:
    """In a few words, beside retries and timeouts."""
    flow = Workflow.from_dict({"name": "w", "steps": [{"id": "a", "tool": "t", **options}]})
    assert said in bundle(flow)["text/html"]


def test_a_policy_says_what_it_comes_to() -> None:
    """The worst case in words and numbers, what contradicts itself, its parts: in card and text."""
    policy = ok.ReliabilityPolicy(retry={"max_attempts": 3}, timeout={"attempt": 10, "total": 5})
    shown = bundle(policy)
    for text in shown.values():
        assert "At worst a call takes 5 s" in text
        assert "⚠ timeout: 10 s per attempt, but all of them together have 5 s" in text
        assert "RetryPolicy(max_attempts=3" in text
    assert "At worst a call takes" in bundle(policy.explain())["text/html"]


def test_a_policy_names_only_what_was_set() -> None:
    """Its repr leaves out what is as it is anyway."""
    assert repr(ok.ReliabilityPolicy(timeout=2)) == "ReliabilityPolicy(timeout=TimeoutPolicy(attempt=2.0))"
    assert "No policy" in bundle(ok.ReliabilityPolicy())["text/html"]
