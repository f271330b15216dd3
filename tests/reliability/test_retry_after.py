"""How long services ask to be left alone, and how far a policy follows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.errors import RateLimitedError
from orchkit.model.policy import ReliabilityPolicy, RetryPolicy
from orchkit.reliability.retry import Hints, decide
from orchkit.reliability.retryafter import retry_after
from orchkit.testing.clock import START_US

NOW = datetime.fromtimestamp(START_US / 1e6, UTC)


class BusyError(Exception):
    """An error that says when to come back, in some way."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes


def http(moment: datetime) -> str:
    """As in the header."""
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        ({}, None),
        ({"retry_after": 7}, 7),
        ({"retry_after": 0.25}, 0.25),
        ({"retry_after": "12"}, 12),
        ({"retry_after": -3}, 0),
        ({"retry_after": timedelta(minutes=2)}, 120),
        ({"retry_after": NOW + timedelta(seconds=90)}, 90),
        ({"retry_after": (NOW + timedelta(seconds=90)).replace(tzinfo=None)}, 90),
        ({"retry_after": http(NOW + timedelta(seconds=30))}, 30),
        ({"retry_after": None, "headers": {"Retry-After": "4"}}, 4),
        ({"headers": {"retry-after": " 4 "}}, 4),
        ({"headers": {"RETRY-AFTER": b"4"}}, 4),
        ({"headers": {"Retry-After": http(NOW + timedelta(hours=1))}}, 3600),
        ({"headers": {"Retry-After": http(NOW - timedelta(hours=1))}}, 0),
        ({"headers": {"Retry-After": "soon"}}, None),
        ({"headers": {"Retry-After": "-5"}}, None),
        ({"headers": {"Retry-After": "9" * 400}}, None),
        ({"headers": {"Retry-After": "inf"}}, None),
        ({"retry_after": float("nan")}, None),
        ({"retry_after": True}, None),
        ({"headers": {"x-amz-retry-after": "1500"}}, 1.5),
        ({"headers": {"retry-after-ms": "250", "retry-after": "1"}}, 0.25),
        ({"headers": {"x-amz-retry-after": http(NOW), "Retry-After": "2"}}, 2),
        ({"headers": 5}, None),
        ({"response": SimpleNamespace(headers={"Retry-After": "8"})}, 8),
        ({"response": {"ResponseMetadata": {"HTTPHeaders": {"retry-after": "8"}}}}, 8),
        ({"response": SimpleNamespace(headers=None), "headers": {"Retry-After": "3"}}, 3),
    ],
    ids=str,
)
def test_it_is_found_wherever_it_may_be(attributes: dict[str, Any], seconds: float | None) -> None:
    """Seconds, HTTP dates, milliseconds of two services; on the error or its response; nonsense is none."""
    assert retry_after(BusyError(**attributes), START_US) == (
        seconds if seconds is None else pytest.approx(seconds)
    )


@given(st.text(max_size=40) | st.integers() | st.floats() | st.none() | st.lists(st.integers()))
def test_nothing_that_a_service_says_breaks_it(value: Any) -> None:
    """Whatever stands in the header gives a number of seconds from 0 upwards, or nothing."""
    for error in (BusyError(retry_after=value), BusyError(headers={"Retry-After": value})):
        seconds = retry_after(error, START_US)
        assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("fields", "asked", "waited"),
    [
        ({}, 7, 7),
        ({}, 100, 60),
        ({"retry_after_cap": 300}, 100, 100),
        ({"retry_after_cap": 5}, 100, 5),
        ({"retry_after": False}, 7, 2),
        ({"retry_after_window": 5}, 1, 2),
        ({"retry_after_window": 5}, 4, 4),
        ({"retry_after_window": 5}, 40, 7),
        ({"retry_after_window": 500}, 400, 400),
    ],
    ids=str,
)
def test_it_is_honoured_up_to_a_cap(fields: dict[str, Any], asked: float, waited: float) -> None:
    """The cap is that of all delays unless it has its own, or a window above the policy's own delay."""
    policy = RetryPolicy(strategy="fixed", delay=2, **fields)
    verdict = decide(policy, 1, BusyError(), 0.0, Random(1), hints=Hints(asked))
    assert verdict.delay == waited
    assert ("asks to wait" in verdict.reason) == ("retry_after" not in fields)


def test_a_wait_that_a_service_asks_for_is_not_begun_when_it_would_end_too_late() -> None:
    """max_elapsed holds for it as well."""
    policy = RetryPolicy(max_elapsed=10, retry_after_cap=60)
    assert decide(policy, 1, BusyError(), 4.0, Random(1), hints=Hints(6.0)).retry
    assert decide(policy, 1, BusyError(), 4.1, Random(1), hints=Hints(6.0)).rule == "max_elapsed"


def test_a_call_waits_as_long_as_its_error_says(bench: Any) -> None:
    """The header of the response, an HTTP date, and our own rate limit are all followed; all on record."""
    busy = BusyError(response=SimpleNamespace(headers={"Retry-After": http(NOW + timedelta(seconds=30))}))
    limited = RateLimitedError("mail", "is used up", 4.0)
    body = bench.service(busy, limited)
    output, record = bench.call(body, ReliabilityPolicy(retry=RetryPolicy(strategy="fixed", delay=1)))
    assert output == "done"
    assert bench.clock.sleeps == [30, 4]
    assert [decision.inputs["retry_after_s"] for decision in record.decisions] == [30, 4]
