"""What policies say of themselves: their worst case, and what cannot work."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import orchkit as ok
from orchkit.model.policy import ReliabilityPolicy, RetryPolicy

PRESETS = sorted(ok.policies.PRESETS)


def policy(**parts: Any) -> ReliabilityPolicy:
    """A policy as people write it."""
    return ReliabilityPolicy.model_validate(parts)


# --- presets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_work_and_survives_its_text(name: str) -> None:
    """None of them warns, all can be written to a file and read again, by name or in full."""
    preset = ok.policies.preset(name)
    assert preset.warnings() == []
    assert ReliabilityPolicy.model_validate_json(preset.model_dump_json(exclude_defaults=True)) == preset
    assert preset == ok.policies.PRESETS[name]()
    assert len(str(preset.explain()).splitlines()) >= 3


def test_the_gateway_has_the_numbers_of_a_gateway() -> None:
    """30 s per try, three tries one second apart, a breaker of 3 failures, 60 seconds and 2 successes."""
    gateway = ok.policies.gateway()
    assert gateway.timeout is not None
    assert gateway.retry is not None
    assert gateway.breaker is not None
    assert gateway.timeout.attempt == 30
    assert (gateway.retry.max_attempts, gateway.retry.delay, gateway.retry.jitter) == (3, 1, "none")
    breaker = gateway.breaker
    assert (breaker.failure_threshold, breaker.reset_timeout, breaker.success_threshold) == (3, 60, 2)
    said = gateway.explain()
    assert (said.seconds, said.calls, said.waits, said.load) == (92, 3, (1, 1), 3)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"retry": {"max_attempts": 5}}, lambda p: (p.retry.max_attempts, p.retry.delay) == (5, 1)),
        ({"retry": 5}, lambda p: p.retry == RetryPolicy(max_attempts=5)),
        ({"breaker": None}, lambda p: p.breaker is None and p.retry is not None),
        (
            {"breaker": {"name": "mail"}},
            lambda p: (p.breaker.name, p.breaker.failure_threshold) == ("mail", 3),
        ),
        ({"retry": {"budget": {"capacity": 9}}}, lambda p: p.retry.budget.capacity == 9),
        ({"timeout": {"total": 5}}, lambda p: (p.timeout.attempt, p.timeout.total) == (30, 5)),
        ({"bulkhead": 3}, lambda p: p.bulkhead.max_concurrent == 3),
    ],
)
def test_a_policy_but_with_changes(changes: Any, check: Any) -> None:
    """A mapping changes single fields at any depth, anything else takes the place, None takes it away."""
    assert check(ok.policies.gateway().but(**changes))
    assert ok.policies.gateway() == ok.policies.preset("gateway")


@pytest.mark.parametrize(
    "changes", [{"retrys": 3}, {"retry": {"max_attempts": 0}}, {"breaker": {"rate": 1}}], ids=str
)
def test_changes_that_cannot_be_are_refused(changes: Any) -> None:
    """As when the policy is made."""
    with pytest.raises(ValidationError):
        ok.policies.gateway().but(**changes)


def test_a_policy_for_operations() -> None:
    """The same parts with a pattern and hooks."""
    whole = ok.policies.gateway().for_operations("mail.*", hooks=("audit",))
    assert (whole.pattern, whole.hooks, whole.breaker) == (
        "mail.*",
        ("audit",),
        ok.policies.gateway().breaker,
    )


# --- the worst case ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "seconds", "calls"),
    [
        ({"timeout": 10}, 10, 1),
        ({"timeout": 10, "retry": {"strategy": "fixed", "delay": 2, "retry_after": False}}, 34, 3),
        ({"timeout": 10, "retry": {"strategy": "fixed", "delay": 2}}, 150, 3),
        ({"timeout": 10, "retry": {"strategy": "fixed", "delay": 2, "retry_after_cap": 5}}, 40, 3),
        ({"timeout": 10, "retry": {"delay": 2, "retry_after_window": 5, "max_attempts": 2}}, 27, 2),
        ({"timeout": {"attempt": 10, "total": 15}, "retry": 9}, 15, 9),
        ({"timeout": {"total": 15}, "retry": 9}, 15, 9),
        ({"timeout": 10, "retry": {"max_elapsed": 20, "max_attempts": 99}}, 30, 99),
        ({"timeout": 10, "hedge": {"delay": 2, "max_hedges": 2}}, 14, 3),
        ({"timeout": 10, "bulkhead": {"max_wait": 3}, "rate_limit": {"max_wait": 4}}, 17, 1),
        ({"timeout": 10, "bulkhead": 3}, None, 1),
        ({"retry": 3}, None, 3),
        ({"timeout": 10, "retry": "circuit_breaker", "breaker": 3}, None, 3),
        ({"retry": "none"}, None, 1),
    ],
    ids=str,
)
def test_the_worst_case_in_numbers(parts: Any, seconds: float | None, calls: int) -> None:
    """How long a call takes at most, waits that services ask for included, and how often it calls."""
    said = policy(**parts).explain()
    assert (said.seconds, said.calls) == (seconds, calls)
    lasts = "without a limit" if seconds is None else f"At worst a call takes {seconds:g} s"
    assert lasts in str(said)


def test_the_worst_case_in_words() -> None:
    """Everything that a policy does has a sentence."""
    said = policy(
        retry={"budget": {"name": "mail"}, "max_elapsed": 50},
        timeout={"attempt": 3, "total": 60},
        breaker={"failure_rate": 0.5, "slow_call_rate": 0.8, "slow_call_duration": 2},
        rate_limit="100/min",
        bulkhead=4,
        hedge=1,
        fallback=["cached", {"value": 0}],
        faults=0.25,
    ).explain()
    expected = """
        Up to 3 attempts, each at most 3 s.
        Between them it waits 1, 2 s at most (full jitter), 3 s in all; or as long as the service asks, up to
        60 s; no wait that would end after 50 s. A retry costs 5 of 500 tokens that all calls share:
        100 retries without a success in between.
        A try that takes 1 s gets another one beside it, 2 at a time at most; the first success counts.
        After 50% of the last 100 calls failing or 80% of the last 100 calls taking longer than 2 s no call is
        made for 60 s; then 10 probes, judged by the same rates.
        At most 100 calls start per 60 s.
        At most 4 calls run at the same time.
        After 60 s everything ends, whatever is going on.
        When all fails: tool 'cached', then a value.
        On purpose 25% of the attempts fail.
        At worst a call takes 60 s and calls the function 6 times.
        A service that fails gets 6 times the calls; when that goes on, the breaker lets only probes through.
    """
    assert str(said).split() == expected.split()
    assert repr(said) == str(said)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"retry": 3, "breaker": 3}, True),
        ({"retry": 3, "breaker": "mail"}, True),
        ({"retry": 5, "breaker": {"failure_threshold": 4, "failure_rate": 0.5}}, True),
        ({"retry": 3, "breaker": 4}, False),
        ({"retry": 20, "breaker": {"failure_rate": 0.5}}, False),
        ({"retry": "none", "breaker": 3}, False),
        ({"retry": 3, "breaker": {"enabled": False}}, False),
        ({"breaker": 1}, False),
    ],
    ids=str,
)
def test_a_single_call_that_opens_the_breaker_is_told(parts: Any, told: bool) -> None:
    """As a sentence, no warning: the attempts of one call are failures in a row."""
    said = policy(**parts).explain()
    assert ("One call whose attempts all fail opens it." in said.lines) is told
    assert not any("One call" in warning for warning in said.warnings)


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {"timeout": st.integers(1, 20)},
        optional={
            "retry": st.fixed_dictionaries(
                {
                    "strategy": st.sampled_from(["immediate", "fixed", "linear", "exponential", "fibonacci"]),
                    "max_attempts": st.integers(1, 5),
                    "delay": st.integers(0, 20),
                    "jitter": st.sampled_from(["none", "full", "equal", "decorrelated"]),
                },
                optional={"max_elapsed": st.integers(1, 60), "max_delay": st.integers(1, 30)},
            ),
            "bulkhead": st.just({"max_concurrent": 1, "max_wait": 7}),
            "hedge": st.fixed_dictionaries({"delay": st.integers(0, 9), "max_hedges": st.integers(1, 2)}),
        },
    ),
    st.lists(st.sampled_from(["hang", "fail", "fail slowly", "busy"]), min_size=1, max_size=6),
    st.integers(0, 5),
)
def test_no_call_is_worse_than_the_worst_case(
    make_bench: Any, parts: dict[str, Any], answers: list[str], seed: int
) -> None:
    """Whatever a service does, a call takes no longer and calls no more often than was said."""
    bench = make_bench()
    bench.rng = Random(seed)
    calls = 0

    class BusyError(Exception):
        retry_after = 11

    async def body() -> None:
        nonlocal calls
        calls += 1
        answer = answers[calls % len(answers)]
        await bench.clock.sleep({"hang": 10**6, "fail slowly": 2}.get(answer, 0))
        raise BusyError if answer == "busy" else OSError

    whole = policy(**parts)
    said = whole.explain()
    asyncio.run(bench.acall(body, whole))
    assert said.seconds is not None
    assert bench.clock.monotonic() <= said.seconds + 1e-6
    assert calls <= said.calls


# --- what cannot work ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "where", "said"),
    [
        (
            {"timeout": {"attempt": 30, "total": 10}},
            "timeout",
            "30 s per attempt, but all of them together have 10 s",
        ),
        ({"retry": {"strategy": "none", "max_attempts": 3}}, "retry", "makes one attempt, not 3"),
        ({"retry": {"give_up_on": Exception}}, "retry", "nothing is ever retried"),
        (
            {"retry": {"strategy": "fixed", "delay": 9, "max_elapsed": 5}},
            "retry",
            "the first wait of 9 s would end after max_elapsed of 5 s",
        ),
        (
            {"retry": {"strategy": "fixed", "delay": 9, "max_attempts": 5}, "timeout": {"total": 20}},
            "retry",
            "the waits before attempt 4 take 27 s, and the call has 20 s in all",
        ),
        ({"retry": {"budget": {"capacity": 4, "cost": 5}}}, "retry.budget", "a full bucket holds 4"),
        ({"retry": {"strategy": "circuit_breaker", "max_elapsed": 9}}, "retry", "needs a breaker"),
        ({"retry": "circuit_breaker", "breaker": 3}, "retry", "wait for the breaker for ever"),
        (
            {"retry": {"max_attempts": 6, "jitter": "none"}, "breaker": 3},
            "retry",
            "the breaker is open for 60 s, and the waits from then on take 28 s",
        ),
        (
            {"retry": {"max_attempts": 10, "jitter": "none"}, "breaker": 3},
            "retry",
            "the waits before attempt 6 take 28 s (attempts 4 to 6 are rejected: use strategy",
        ),
        (
            {"retry": {"max_attempts": 9, "delay": 40, "strategy": "fixed"}, "breaker": 3},
            "retry",
            "the waits before attempt 4 take 40 s (attempt 4 is rejected: use strategy 'circuit_breaker')",
        ),
        (
            {"breaker": {"slow_call_rate": 1, "slow_call_duration": 9}, "timeout": 5},
            "breaker",
            "calls are slow from 9 s on, but end after 5 s",
        ),
        (
            {"breaker": {"probe_lease": 5}, "timeout": 30},
            "breaker",
            "loses its place after 5 s",
        ),
        ({"hedge": 9, "timeout": 5}, "hedge", "it starts after 9 s, but the call ends after 5 s"),
        ({"hedge": 9, "timeout": {"total": 9}}, "hedge", "it never starts"),
        ({"bulkhead": {"max_wait": 9}, "timeout": {"total": 5}}, "bulkhead", "it may wait 9 s"),
        ({"rate_limit": {"max_wait": 9}, "timeout": {"total": 5}}, "rate_limit", "it may wait 9 s"),
        (
            {
                "retry": {
                    "retry_on": ["ConnectionErorr", "503", "5xx", "timeout", "mine.Unheard", "TimeoutError"]
                }
            },
            "retry.retry_on",
            "no known error is called 'ConnectionErorr' (did you mean 'ConnectionError'?)",
        ),
        ({"retry": {"delay_for": {"throtling": 3}}}, "retry.delay_for", "did you mean 'throttling'?"),
        ({"breaker": {"ignore": ["json.JSONDecodeErorr"]}}, "breaker.ignore", "mean 'JSONDecodeError'?"),
        ({"fallback": {"value": 1, "on": ["ValuError"]}}, "fallback.on", "did you mean 'ValueError'?"),
        ({"fallback": [{"value": 1}, "cached"]}, "fallback", "those after it are never used"),
    ],
    ids=str,
)
def test_stacks_that_cannot_work_are_told(parts: Any, where: str, said: str) -> None:
    """Each contradiction once, with its numbers and a way out; it is a warning, not an error."""
    warnings = policy(**parts).warnings()
    assert [problem.where for problem in warnings] == [where]
    assert said in str(warnings[0])


@pytest.mark.parametrize(
    "parts",
    [
        {"timeout": {"attempt": 5, "total": 20}, "retry": 3},
        {"retry": {"max_attempts": 3}, "breaker": 3},
        {"retry": {"max_attempts": 6, "delay": 60, "jitter": "none"}, "breaker": 3},
        {"retry": {"strategy": "circuit_breaker", "max_elapsed": 600}, "breaker": 3},
        {"retry": {"strategy": "fixed", "delay": 9, "max_elapsed": 9}},
        {"retry": {"delay": 9, "max_elapsed": 5}},
        {"breaker": {"enabled": False}, "retry": 9},
        {"fallback": ["cached", {"value": 1}]},
        {"hedge": 1, "timeout": 5},
    ],
    ids=str,
)
def test_stacks_that_work_are_left_in_peace(parts: Any) -> None:
    """Nothing is said where it can work, if only by luck."""
    assert policy(**parts).warnings() == []


def test_a_hedge_needs_a_promise() -> None:
    """Where it is known whether the function may be called twice."""
    hedged = policy(hedge=1)
    assert hedged.warnings() == hedged.warnings(idempotent=True) == []
    assert "not declared idempotent" in str(hedged.warnings(idempotent=False)[0])
