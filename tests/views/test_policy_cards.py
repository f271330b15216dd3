"""What cards say of the policies of steps."""

from __future__ import annotations

from typing import Any

import pytest

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
