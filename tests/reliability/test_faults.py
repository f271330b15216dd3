"""Fault injection: repeatable, and marked on the record."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchkit.errors import InjectedFaultError, PolicyError, TimeoutExceededError
from orchkit.model.limits import FaultPolicy, as_faults
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.faults import draw


class OutageError(Exception):
    """An error of the service."""


def policy(**fields: Any) -> ReliabilityPolicy:
    """Faults, and whatever else is asked for."""
    return ReliabilityPolicy.model_validate(fields)


def test_injected_attempts_are_marked(bench: Any) -> None:
    """The body is not called; the attempt has failed and says that it was made to."""
    body = bench.service()
    error, record = bench.call(body, policy(faults=1))
    assert isinstance(error, InjectedFaultError)
    assert str(error) == "injected by 'operation' into attempt 1"
    assert (body.called_at, record.attempts) == ([], {1: "failed injected"})


def test_retries_see_injected_faults_as_any_others(bench: Any) -> None:
    """And an attempt that is left alone is not marked."""
    faults = {"rate": 0.5, "seed": 4}
    _, record = bench.call(bench.service(), policy(faults=faults, retry={"max_attempts": 20, "delay": 0}))
    *failed, last = record.attempts.values()
    assert failed
    assert set(failed) == {"failed injected"}
    assert last == "success"


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OutageError, OutageError),
        (f"{__name__}:OutageError", OutageError),
        ("ConnectionError", ConnectionError),
        (TimeoutError, TimeoutError),
        (lambda message: KeyError(message, 1), KeyError),
    ],
)
def test_any_error_can_be_injected(bench: Any, error: Any, raised: type[Exception]) -> None:
    """A type, its name, or a function that makes one; it is a failure of the attempt, not a timeout."""
    result, record = bench.call(bench.service(), policy(faults={"rate": 1, "error": error}, timeout=5))
    assert type(result) is raised
    assert record.attempts == {1: "failed injected"}
    assert FaultPolicy.model_validate_json(FaultPolicy(error=OutageError).model_dump_json()).error == (
        f"{__name__}:OutageError"
    )


def test_an_error_that_cannot_be_made_is_told(bench: Any) -> None:
    """The message names the policy and the error."""
    result, _ = bench.call(bench.service(), policy(faults={"rate": 1, "error": "no.such:Error"}))
    assert isinstance(result, PolicyError)
    assert "no.such:Error" in str(result)


def test_latency_comes_before_the_body_and_counts_for_its_limit(bench: Any) -> None:
    """A slowed attempt is marked whether it succeeds or runs into its timeout."""
    body = bench.service()
    _, record = bench.call(body, policy(faults={"latency": 3}))
    assert (body.called_at, record.attempts) == ([3], {1: "success injected"})
    result, record = bench.call(bench.service(), policy(faults={"latency": 9}, timeout=5))
    assert isinstance(result, TimeoutExceededError)
    assert record.attempts == {1: "timeout injected"}


@given(st.integers(), st.floats(0, 1), st.floats(0, 1), st.floats(0, 9), st.floats(0, 9))
def test_equal_seeds_make_equal_faults(
    seed: int, rate: float, latency_rate: float, low: float, more: float
) -> None:
    """Faults are drawn within their bounds; a higher rate only adds failures to those of a lower one."""
    faults = FaultPolicy(rate=rate, latency=(low, low + more), latency_rate=latency_rate, seed=seed)
    one, other, worse = Random(seed), Random(seed), Random(seed)
    worse_faults = faults.model_copy(update={"rate": 1.0})
    for _ in range(20):
        fault = draw(faults, one)
        assert fault == draw(faults, other)
        assert fault.wait == 0 or low <= fault.wait <= low + more + 1e-9
        assert draw(worse_faults, worse).fails >= fault.fails


def test_the_share_of_faults_is_the_rate() -> None:
    """Of ten thousand attempts, as many as asked for, within what chance allows."""
    rng, faults = Random(11), FaultPolicy(rate=0.3, latency=1, latency_rate=0.2)
    drawn = [draw(faults, rng) for _ in range(10_000)]
    assert sum(fault.fails for fault in drawn) == pytest.approx(3000, abs=150)
    assert sum(fault.wait == 1 for fault in drawn) == pytest.approx(2000, abs=150)


def test_the_sequence_goes_on_from_call_to_call(bench: Any, make_bench: Any) -> None:
    """Two kits with one seed see the same faults in the same order; calls in one do not repeat themselves."""

    def outcomes(one: Any) -> list[str]:
        faults = policy(faults={"rate": 0.5, "seed": 3})
        return [one.call(one.service(), faults)[1].attempts[1] for _ in range(40)]

    first = outcomes(bench)
    assert first == outcomes(make_bench())
    assert len(set(first)) == 2
    assert bench.guards.injectors["operation"].injected == first.count("failed injected")


def test_a_policy_without_effect_is_no_layer(bench: Any) -> None:
    """Nothing is drawn and nothing is counted."""
    bench.call(bench.service(), policy(faults=0.0))
    assert not bench.guards.injectors


@pytest.mark.parametrize(
    ("given_as", "read"),
    [(0.2, FaultPolicy(rate=0.2)), ({"latency": [1, 2]}, FaultPolicy(latency=(1, 2)))],
    ids=str,
)
def test_short_forms(given_as: Any, read: FaultPolicy) -> None:
    """A number is the share of attempts that fail."""
    assert as_faults(given_as) == read


@pytest.mark.parametrize(
    "fields", [{"rate": 2}, {"latency": -1}, {"latency": (3, 1)}, {"error": 5}, {"error": "a b"}], ids=str
)
def test_faults_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    """Shares above one, waits below zero, bounds in the wrong order, no error."""
    with pytest.raises(ValidationError):
        FaultPolicy(**fields)
