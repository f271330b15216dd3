"""What policies did instead of a call is told: fallbacks, rejected tries, waits asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.testing import FakeClock


class BusyError(Exception):
    """A service that says when to come back."""

    def __init__(self, seconds: float) -> None:
        super().__init__("busy")
        self.retry_after = seconds


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in virtual time with a tool that always fails, one that works, and one that is busy once."""
    busy = [BusyError(40)]

    def down() -> None:
        raise ConnectionError("refused")

    def once() -> str:
        if busy:
            raise busy.pop()
        return "done"

    with ok.open(clock=FakeClock(), registry=ok.Registry()) as kit:
        for name, tool in (("down", down), ("mail", lambda: "sent"), ("once", once)):
            kit.registry.methods.register_method(tool, name=name)
        yield kit


def told(kit: ok.Kit, tool: str, **options: Any) -> tuple[str, str, ok.Run]:
    """What is said of a run with one step, and of the step."""
    result = kit.run(kit.workflow("w").add_step(tool, **options).build())
    run: ok.Run = result.run
    return str(run.explain()), str(run.explain(tool)), run


def again(error: Exception) -> bool:
    """Whatever it was."""
    return True


IMMEDIATE = {"strategy": "immediate", "max_attempts": 6}
STUBBORN = {**IMMEDIATE, "classifier": again}
"""It does not even give up where a breaker is open for longer than it waits."""


def test_a_result_of_a_fallback_is_no_success_like_others(kit: ok.Kit) -> None:
    """The run, the step, the picture and the card say that the step failed, and what took its place."""
    of_run, of_step, run = told(kit, "down", retry={**IMMEDIATE, "max_attempts": 2}, fallback={"value": 0})
    assert "Succeeded only by a fallback: down." in of_run
    assert "only after retries" not in of_run
    assert of_step.startswith("down succeeded only by its fallback")
    assert "a value took the place of its result, because down failed on the second attempt" in of_step
    assert "(ConnectionError: refused)" in of_step
    assert "fallback" in run.dag().svg
    assert "2, fallback" in run._repr_mimebundle_()["text/html"]


def test_a_step_that_succeeded_itself_has_no_such_mark(kit: ok.Kit) -> None:
    """A fallback that was not needed is a part of the policy and nothing else."""
    of_run, of_step, run = told(kit, "mail", fallback={"value": 0})
    assert "fallback" not in of_run
    assert of_step.startswith("mail called mail and succeeded on the first attempt")
    assert "the value 0 when all fails" in of_step
    assert ">fallback<" not in run.dag().svg


def test_a_fallback_of_a_call_that_was_never_made(kit: ok.Kit) -> None:
    """Nobody is told that the tool was called when a breaker had rejected it."""
    kit.breakers.force_open("post", "the service moves")
    _, of_step, _ = told(kit, "mail", breaker="post", fallback={"value": "queued"})
    assert "not called (BreakerOpenError: circuit breaker 'post' is forced open by hand: the" in of_step
    assert "called mail and" not in of_step


def test_rejected_tries_are_no_attempts(kit: ok.Kit) -> None:
    """Attempts and tries that the breaker rejected are counted apart, in every sentence."""
    breaker = {"name": "b", "failure_threshold": 3}
    of_run, of_step, run = told(kit, "down", retry=STUBBORN, breaker=breaker)
    assert "What failed was down after 3 attempts and 3 rejected tries" in of_run
    assert "failed after 3 attempts and 3 rejected tries, within" in of_step
    assert "  3. failed after 0 ms: ConnectionError: refused; then at once\n" in of_step
    assert "no further try (all 6 tries are used up, 3 of them rejected)" in of_step
    assert "The error of its last attempt was raised at" in of_step
    reasons = run.decisions().rationale.tolist()
    assert "ConnectionError on attempt 3 of 6" in reasons
    assert "BreakerOpenError on try 5 of 6" in reasons


@pytest.mark.parametrize(
    ("retry", "said"),
    [
        (None, "is forced open by hand: the service moves"),
        (IMMEDIATE, "(the breaker is forced open: no wait ends that, only who sets it back by hand)"),
    ],
)
def test_a_step_of_which_every_try_was_rejected(kit: ok.Kit, retry: Any, said: str) -> None:
    """It never began, and the policy that it had is told all the same."""
    kit.breakers.force_open("post", "the service moves")
    _, of_step, _ = told(kit, "mail", retry=retry, breaker="post")
    assert "mail failed without an attempt, its only try was rejected" in of_step
    assert said in of_step
    assert "its own breaker: the circuit breaker 'post' opens after 3 failures in a row" in of_step


def test_a_step_that_was_rejected_several_times(kit: ok.Kit) -> None:
    """All its tries are counted; one that gives up says how long it would have had to wait."""
    told(kit, "down", retry=3, breaker="post")
    of_step = told(kit, "mail", retry=STUBBORN, breaker="post")[1]
    assert "mail failed without an attempt, all 6 tries were rejected" in of_step
    of_step = told(kit, "mail", retry=IMMEDIATE, breaker="post")[1]
    assert "(the breaker stays open for 60 s, the waits that are left come to 0 s at most)" in of_step


@pytest.mark.parametrize(
    ("retry", "why"),
    [
        ({"retry_on": ["ValueError"]}, "ConnectionError is not among retry_on (ValueError)"),
        ({"give_up_on": ["ConnectionError"]}, "ConnectionError is among give_up_on"),
        (
            {"budget": {"name": "bb", "capacity": 2}},
            "the retry budget 'bb' has 2 tokens left and a retry costs 5",
        ),
    ],
)
def test_why_there_was_no_second_attempt(kit: ok.Kit, retry: Any, why: str) -> None:
    """A single attempt of several that were allowed says why it was the last one."""
    assert f"There was no further attempt: {why}." in told(kit, "down", retry=retry)[1]


def test_a_single_attempt_that_was_the_only_one_allowed_needs_no_reason(kit: ok.Kit) -> None:
    """Nobody asks why there was no retry where there was none to be."""
    assert "no further attempt" not in told(kit, "down", retry=1)[1]


def test_a_wait_that_the_service_asked_for(kit: ok.Kit) -> None:
    """The line of the attempt says who wanted the wait, and that less was allowed."""
    _, of_step, _ = told(kit, "once", retry={"max_attempts": 2, "retry_after_cap": 30})
    said = "because the service asks to wait 40 s, more than the 30 s allowed"
    assert f"then a wait of 30 s, {said}" in of_step


def test_every_part_of_a_policy_is_named(kit: ok.Kit) -> None:
    """Not only retry and timeout: breaker, budget, limits, fallbacks and faults, too."""
    _, of_step, _ = told(
        kit,
        "mail",
        retry={"max_attempts": 2, "budget": {"name": "bb", "capacity": 20}},
        timeout={"attempt": 4, "total": 9},
        breaker={"failure_rate": 0.5},
        rate_limit="100/min",
        bulkhead={"max_concurrent": 3, "name": "door"},
        fallback=["down", {"value": []}],
    )
    for said in (
        "its own retry: up to 2 attempts (exponential, from 1 s) out of the budget 'bb' of 20 tokens",
        "its own timeout: at most 4 s per attempt and at most 9 s in all",
        "its own breaker: the circuit breaker opens after 50% failed calls",
        "its own rate limit: at most 100 calls per 60 s",
        "its own bulkhead: at most 3 calls at the same time (shared as 'door')",
        "its own fallback: the tool down, then the value [] when all fails",
    ):
        assert said in of_step
