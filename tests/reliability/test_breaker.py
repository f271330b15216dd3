"""The circuit breaker around calls: what opens it, who is let through, what it says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from orchkit.errors import (
    BreakerOpenError,
    BulkheadFullError,
    ParameterError,
    Problem,
    StoreFullError,
    TimeoutExceededError,
)
from orchkit.model.breaker import BreakerPolicy, as_breaker
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.breaker import Counts, Permit, Snapshot, admit, excess, outcome_of, settle
from orchkit.reliability.window import TimeWindow


class StatusError(Exception):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(str(status))


def policy(**fields: Any) -> ReliabilityPolicy:
    """A breaker called ``b``, and whatever else is asked for."""
    breaker = {"name": "b", **fields.pop("breaker", {})}
    return ReliabilityPolicy.model_validate({"breaker": breaker, **fields})


def test_three_failures_open_it_and_two_successes_close_it(bench: Any) -> None:
    """The usual numbers: 3 failures, 60 seconds, 2 successes; the body is not called in between."""
    body = bench.service(*[OSError("down")] * 3)
    for _ in range(3):
        bench.call(body, policy())
    breaker = bench.guards.breakers["b"]
    assert breaker.state == "open"
    bench.clock.advance(59)
    error, record = bench.call(body, policy())
    assert isinstance(error, BreakerOpenError)
    assert (error.name, error.state, error.retry_in) == ("b", "open", 1)
    assert str(error) == "circuit breaker 'b' is open; it lets calls through in 1 s"
    assert (record.attempts, len(body.called_at)) == ({}, 3)
    assert record.decisions[0].inputs == {
        "breaker": "b",
        "state": "open",
        "generation": 1,
        "retry_in_s": 1,
    }
    bench.clock.advance(1)
    assert bench.call(body, policy())[0] == "done"
    assert breaker.state == "half_open"
    assert bench.call(body, policy())[0] == "done"
    assert breaker.state == "closed"


def test_one_failed_probe_opens_it_again(bench: Any) -> None:
    """And it waits all the time once more."""
    body = bench.service(OSError(), OSError(), "fine", OSError())
    for seconds in (0, 0, 60, 0):
        bench.clock.advance(seconds)
        bench.call(body, policy(breaker={"failure_threshold": 2}))
    assert bench.guards.breakers["b"].state == "open"
    assert bench.guards.breakers["b"].reopens_in() == 60


def test_a_success_between_failures_starts_the_count_anew(bench: Any) -> None:
    """Only failures in a row count."""
    body = bench.service(OSError(), OSError(), "fine", OSError(), OSError(), "fine")
    for _ in range(6):
        bench.call(body, policy())
    assert bench.guards.breakers["b"].state == "closed"


@pytest.mark.parametrize(
    ("fields", "error", "outcome"),
    [
        ({}, ValueError(), "failure"),
        ({}, TimeoutExceededError("attempt", 1), "failure"),
        ({}, StatusError(503), "failure"),
        ({}, StatusError(429), "failure"),
        ({}, StatusError(404), "ignored"),
        ({"ignore": ()}, StatusError(404), "failure"),
        ({"ignore": ("ValueError",)}, ValueError(), "ignored"),
        ({"failure_on": ("OSError", "5xx")}, ValueError(), "ignored"),
        ({"failure_on": ("OSError", "5xx")}, ConnectionError(), "failure"),
        ({"failure_on": ("OSError", "5xx")}, StatusError(500), "failure"),
        ({}, BulkheadFullError("m", "is full"), "ignored"),
        ({}, BreakerOpenError("inner", "open", 1), "ignored"),
        ({}, StoreFullError("full"), "ignored"),
        ({"ignore": ("ParameterError",)}, ParameterError("f", [Problem("x", "wrong")]), "ignored"),
    ],
    ids=str,
)
def test_whose_fault_an_error_is(fields: dict[str, Any], error: Exception, outcome: str) -> None:
    """Wrong requests, our own rejections and our own record say nothing about the service."""
    assert outcome_of(BreakerPolicy(**fields), error) == outcome


def test_a_cancelled_call_is_nobodys_fault(bench: Any) -> None:
    """It neither fails nor succeeds, and a probe that is cancelled gives its place back."""

    async def cancelled() -> None:
        task = asyncio.ensure_future(bench.acall(bench.service(seconds=50), policy()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for _ in range(5):
        asyncio.run(cancelled())
    breaker = bench.guards.breakers["b"]
    assert (breaker.state, breaker.snapshot.failures) == ("closed", 0)
    body = bench.service(*[OSError()] * 3)
    for _ in range(3):
        bench.call(body, policy())
    bench.clock.advance(60)
    for _ in range(3):
        asyncio.run(cancelled())
    assert breaker.snapshot.probes == ()
    assert [bench.call(body, policy())[0] for _ in range(2)] == ["done", "done"]
    assert breaker.state == "closed"


@pytest.mark.parametrize("timeout", [{"attempt": 5}, {"total": 5}])
def test_a_service_that_never_answers_is_at_fault(bench: Any, timeout: dict[str, float]) -> None:
    """Whichever limit ends the attempt, the failure counts."""
    for _ in range(3):
        bench.call(bench.service(seconds=99), policy(timeout=timeout))
    assert bench.guards.breakers["b"].state == "open"


def test_each_try_passes_the_breaker_and_a_rejection_counts_as_one(bench: Any) -> None:
    """The breaker is inside the retries: it opens on the third failure, the next tries are rejections."""
    body = bench.service(*[OSError()] * 9)
    retry = {"strategy": "fixed", "delay": 20, "max_attempts": 6}
    error, record = bench.call(body, policy(retry=retry))
    assert isinstance(error, OSError)
    assert record.attempts == {1: "failed", 2: "failed", 3: "failed", 4: "failed"}
    assert record.at("retry") == ["retry"] * 5 + ["give_up"]
    assert record.at("breaker") == ["rejected"] * 2
    assert bench.clock.sleeps == [20] * 5


WAITS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"strategy": "immediate", "max_attempts": 9}, 3, "60 s, the waits that are left come to 0 s at most"),
    ({"strategy": "fixed", "delay": 10, "max_attempts": 8}, 4, "50 s, the waits that are left come to 40 s"),
    ({"strategy": "fixed", "delay": 10, "max_attempts": 9}, 9, None),
    ({"strategy": "linear", "delay": 1, "max_attempts": 9, "jitter": "full"}, 4, "come to 30 s at most"),
    ({"delay": 1, "max_attempts": 5, "jitter": "decorrelated"}, 4, "the waits that are left come to"),
    ({"wait": (5, 10, 1), "max_attempts": 9}, 4, "59 s, the waits that are left come to 5 s at most"),
    ({"wait": (5, 10, 1, 70), "max_attempts": 9}, 6, None),
    ({"strategy": "fixed", "delay": 1, "max_attempts": 5, "delay_for": {"rejected": 60}}, 5, None),
    ({"strategy": "circuit_breaker", "delay": 1, "max_attempts": 4, "jitter": "none"}, 4, None),
]


@pytest.mark.parametrize(("retry", "tries", "said"), WAITS, ids=str)
def test_waits_that_cannot_reach_its_end_are_not_begun(
    bench: Any, retry: dict[str, Any], tries: int, said: str | None
) -> None:
    """It is given up at the first rejection after which all waits, at their longest, are too short."""
    _, record = bench.call(bench.service(*[OSError()] * 9), policy(retry=retry))
    verdicts = [one for one in record.decisions if one.point == "retry"]
    last = verdicts[-1]
    assert (last.inputs["rule"] == "breaker") is (said is not None)
    if said is not None:
        assert last.rationale.startswith("the breaker stays open for ")
        assert said in last.rationale
        assert last.inputs["reopens_in_s"] > 0
        assert record.at("breaker") == ["rejected"]


def test_the_strategy_circuit_breaker_waits_until_it_lets_calls_through(bench: Any) -> None:
    """Instead of using up attempts on a closed door: the wait after the failure that opened it is its own."""
    body = bench.service(*[OSError()] * 3)
    retry = {"strategy": "circuit_breaker", "delay": 1, "max_attempts": 4, "jitter": "none", "max_delay": 5}
    output, record = bench.call(body, policy(retry=retry))
    assert output == "done"
    assert bench.clock.sleeps == [1, 2, 60]
    assert record.attempts == {1: "failed", 2: "failed", 3: "failed", 4: "success"}
    assert record.decisions[-1].inputs["reopens_in_s"] == 60


def test_many_calls_wait_for_one_breaker_without_using_up_their_attempts(bench: Any) -> None:
    """Two are probes, the others look again until these are done; then all go through."""
    opened = policy(breaker={"failure_threshold": 1, "reset_timeout": 20})
    bench.call(bench.service(OSError()), opened)
    retry = {"strategy": "circuit_breaker", "delay": 0.5, "max_attempts": 2, "jitter": "none"}
    waiting = policy(breaker={"failure_threshold": 1, "reset_timeout": 20}, retry=retry)
    body = bench.service(seconds=3)

    async def together() -> list[Any]:
        return await asyncio.gather(*(bench.acall(body, waiting) for _ in range(20)))

    results = asyncio.run(together())
    assert [output for output, _ in results] == ["done"] * 20
    assert sorted(body.called_at)[:3] == [20, 20, 23]
    assert max(body.called_at) <= 23.5


@pytest.mark.parametrize("strategy", ["circuit_breaker", "immediate", "fixed", "exponential"])
def test_every_strategy_gives_up_at_once_on_a_breaker_that_was_forced_open(bench: Any, strategy: str) -> None:
    """It does not open by itself, so there is nothing to wait for; who forced it open said why."""
    bench.guards.breakers.get_or_make("b", BreakerPolicy(name="b")).force_open("no more")
    retry = {"strategy": strategy, "delay": 1, "max_attempts": 3, "classifier": _again}
    error, record = bench.call(bench.service(), policy(retry=retry))
    assert isinstance(error, BreakerOpenError)
    assert (error.state, error.retry_in, error.reason) == ("forced_open", None, "no more")
    assert str(error) == "circuit breaker 'b' is forced open by hand: no more"
    assert record.at("retry") == ["give_up"]
    assert record.decisions[-1].rationale.startswith("the breaker is forced open: no wait ends that")
    assert bench.clock.sleeps == []


def _again(error: Exception) -> bool:
    return True


def test_a_call_inside_a_call_finds_no_lock(bench: Any) -> None:
    """Nothing is held while the body runs: it may use the same breaker itself."""

    async def outer() -> Any:
        return (await bench.acall(bench.service("inner"), policy()))[0]

    assert bench.call(outer, policy())[0] == "inner"


def test_rejections_inside_it_do_not_open_it(bench: Any) -> None:
    """A breaker around another one is not told of what was never asked."""
    bench.guards.breakers.get_or_make("inner", BreakerPolicy(name="inner")).force_open()

    async def outer() -> Any:
        output, _ = await bench.acall(bench.service(), policy(breaker={"name": "inner"}))
        raise output

    for _ in range(9):
        bench.call(outer, policy())
    assert bench.guards.breakers["b"].state == "closed"


# --- rates -----------------------------------------------------------------------------------

HALF = BreakerPolicy(failure_rate=0.5, slow_call_rate=0.8, slow_call_duration=2)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (Counts(10, 4, 7), None),
        (Counts(10, 5, 0), "5 of 10 calls failed (50%, limit 50%)"),
        (Counts(10, 0, 8), "8 of 10 calls took longer than 2 s (80%, limit 80%)"),
    ],
)
def test_a_rate_that_is_reached_is_told_in_numbers(counts: Counts, reason: str | None) -> None:
    """The reason of a transition says how many of how many."""
    assert excess(HALF, counts) == reason


def test_rates_mean_nothing_before_there_are_enough_calls(bench: Any) -> None:
    """Nine failures of ten needed leave it closed, the tenth opens it."""
    rates = policy(breaker={"failure_rate": 0.5, "minimum_calls": 10})
    states = []
    for _ in range(10):
        bench.call(bench.service(OSError()), rates)
        states.append(bench.guards.breakers["b"].state)
    assert states == ["closed"] * 9 + ["open"]


def test_slow_successes_open_it(bench: Any) -> None:
    """Slowness is measured on the attempt, without waiting for anything of ours."""
    slow = policy(
        breaker={"slow_call_rate": 1, "slow_call_duration": 2, "window_size": 3, "minimum_calls": 3}
    )
    for seconds in (2, 3, 3, 3):
        bench.call(bench.service(seconds=seconds), slow)
    assert bench.guards.breakers["b"].state == "open"


def test_probes_are_judged_by_rates_when_all_are_back(bench: Any) -> None:
    """One failure of three probes is below one half, two are not."""
    fields = {"failure_rate": 0.5, "minimum_calls": 1, "half_open_calls": 3, "reset_timeout": 5}
    for probes, after in ([OSError(), 1, 1], "closed"), ([OSError(), 1, OSError()], "open"):
        bench.guards.breakers.get_or_make("b", BreakerPolicy(name="b", **fields)).reset()
        bench.call(bench.service(OSError()), policy(breaker=fields))
        bench.clock.advance(5)
        body = bench.service(*probes)
        for _ in range(3):
            bench.call(body, policy(breaker=fields))
        assert bench.guards.breakers["b"].state == after


def test_a_time_window_keeps_few_entries() -> None:
    """A hundred thousand calls in ten seconds do not make it large, and all are counted."""
    window = TimeWindow(10)
    for number in range(100_000):
        counts = window.add(number / 10_000, failed=number % 4 == 0, slow=False)
    assert counts == Counts(100_000, 25_000, 0)
    assert len(window._entries) <= 101
    assert window.add(15, failed=True, slow=True).calls == pytest.approx(50_000, rel=0.02)


# --- probes ----------------------------------------------------------------------------------

PATIENT = BreakerPolicy(success_threshold=2, half_open_calls=2, probe_lease=10)
HALF_OPEN = Snapshot("half_open", 4, 0.0)


def test_a_probe_that_never_comes_back_loses_its_place() -> None:
    """Its lease runs out and another call is let through, so half open is no dead end."""
    one = admit(PATIENT, HALF_OPEN, 0)
    two = admit(PATIENT, one.snapshot, 1)
    assert admit(PATIENT, two.snapshot, 9.9).permit is None
    three = admit(PATIENT, two.snapshot, 10)
    assert three.permit == Permit(4, 3)
    assert admit(PATIENT, three.snapshot, 10.5).permit is None
    assert admit(PATIENT, three.snapshot, 11).permit == Permit(4, 4)


def test_a_probe_that_comes_back_late_frees_nobody_elses_place() -> None:
    """Its number is given to no other probe; its outcome still counts while the state is the same."""
    first = admit(PATIENT, HALF_OPEN, 0)
    second = admit(PATIENT, first.snapshot, 11)
    assert first.permit is not None
    assert second.permit is not None
    snapshot, _ = settle(PATIENT, second.snapshot, second.permit, "ignored", 12)
    third = admit(PATIENT, snapshot, 12)
    snapshot, change = settle(PATIENT, third.snapshot, first.permit, "success", 13)
    assert change is None
    assert [probe.number for probe in snapshot.probes] == [3]
    assert admit(PATIENT, snapshot, 13).permit is None


def test_a_late_result_of_an_older_generation_changes_nothing() -> None:
    """Neither a late failure opens it again, nor does a late success help to close it."""
    for outcome in ("success", "failure", "ignored"):
        assert settle(PATIENT, HALF_OPEN, Permit(3), outcome, 5) == (HALF_OPEN, None)  # type: ignore[arg-type]


def test_a_clock_that_goes_backwards_does_not_keep_it_open() -> None:
    """It is open for its time at most, measured from any moment."""
    assert admit(BreakerPolicy(reset_timeout=5), Snapshot("open", 1, 100.0), 3.0).retry_in == 5


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (True, BreakerPolicy()),
        (False, BreakerPolicy(enabled=False)),
        (5, BreakerPolicy(failure_threshold=5)),
        ("mail", BreakerPolicy(name="mail")),
        ({"timeout": 9}, BreakerPolicy(reset_timeout=9)),
        (None, None),
    ],
    ids=str,
)
def test_short_forms(given: Any, read: BreakerPolicy | None) -> None:
    """What people write instead of a whole policy."""
    assert as_breaker(given) == read


@pytest.mark.parametrize(
    "fields",
    [
        {"failure_threshold": 0},
        {"failure_rate": 50},
        {"slow_call_rate": 0.5},
        {"slow_call_duration": 2},
        {"window_size": 2.5, "failure_rate": 0.5},
        {"half_open_calls": 1, "success_threshold": 2},
        {"reset_timeout": 0},
    ],
    ids=str,
)
def test_a_breaker_that_cannot_work_is_refused(fields: dict[str, Any]) -> None:
    """Values out of range, half of a pair, probes too few to close it."""
    with pytest.raises(ValidationError):
        BreakerPolicy(**fields)


def test_a_disabled_breaker_lets_all_through_and_counts_nothing(bench: Any) -> None:
    """Until it is enabled again, closed and with nothing counted."""
    breaker = bench.guards.breakers.get_or_make("b", BreakerPolicy(name="b"))
    breaker.disable("maintenance")
    for _ in range(9):
        bench.call(bench.service(OSError()), policy())
    assert breaker.state == "disabled"
    breaker.enable()
    assert (breaker.state, breaker.snapshot.failures) == ("closed", 0)
    breaker.enable()
    assert breaker.snapshot.generation == 2


def test_other_settings_hold_from_the_next_call_on(bench: Any) -> None:
    """A cell that is run again with another threshold keeps the state and changes the rule."""
    bench.call(bench.service(OSError()), policy())
    bench.call(bench.service(OSError()), policy(breaker={"failure_threshold": 2}))
    assert bench.guards.breakers["b"].state == "open"


def test_no_breaker_where_it_is_switched_off(bench: Any) -> None:
    """``breaker=False`` on a step goes before that of its operation."""
    bench.call(bench.service(OSError()), policy(breaker={"enabled": False}))
    assert not bench.guards.breakers
