"""Hedging: another try beside a slow one, the first success counts, the rest is cancelled and on record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchkit.errors import TimeoutExceededError
from orchkit.model.limits import HedgePolicy, as_hedge
from orchkit.model.policy import ReliabilityPolicy


class Slow:
    """Each call takes the next of some times, and then does the next of some things."""

    def __init__(self, clock: Any, *plan: tuple[float, Any]) -> None:
        self.clock, self.plan, self.called_at = clock, list(plan), list[float]()

    async def __call__(self) -> Any:
        self.called_at.append(self.clock.monotonic())
        seconds, answer = self.plan.pop(0)
        await self.clock.sleep(seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer


def policy(**fields: Any) -> ReliabilityPolicy:
    """A hedge after one second, and whatever else is asked for."""
    return ReliabilityPolicy.model_validate({"hedge": fields.pop("hedge", 1), **fields})


@pytest.mark.parametrize(
    ("plan", "output", "seconds", "attempts", "decisions"),
    [
        ([(0.5, "a")], "a", 0.5, {1: "success"}, []),
        ([(9, "a"), (0.5, "b")], "b", 1.5, {1: "cancelled", 2: "success"}, ["started", "won"]),
        ([(2, "a"), (9, "b")], "a", 2, {1: "success", 2: "cancelled"}, ["started", "won"]),
        ([(9, "a"), (0.5, OSError())], "a", 9, {1: "success", 2: "failed"}, ["started", "won"]),
        ([(2, OSError()), (3, "b")], "b", 4, {1: "failed", 2: "success"}, ["started", "won"]),
    ],
)
def test_the_first_success_counts(
    bench: Any, plan: Any, output: str, seconds: float, attempts: dict[int, str], decisions: list[str]
) -> None:
    """A quick call has no company; a slow one is hedged once; a failure waits for the other one."""
    body = Slow(bench.clock, *plan)
    result, record = bench.call(body, policy())
    assert (result, bench.clock.monotonic()) == (output, seconds)
    assert (record.attempts, record.at("hedge")) == (attempts, decisions)


def test_a_failure_by_itself_starts_no_hedge(bench: Any) -> None:
    """That is what retries are for, each of which may be hedged."""
    body = Slow(bench.clock, (0.5, OSError()), (9, "slow"), (1, "quick"))
    result, record = bench.call(body, policy(retry={"strategy": "fixed", "delay": 2}))
    assert result == "quick"
    assert body.called_at == [0, 2.5, 3.5]
    assert record.attempts == {1: "failed", 2: "cancelled", 3: "success"}
    assert record.at("retry") == ["retry"]


def test_when_all_tries_fail_the_last_error_is_raised(bench: Any) -> None:
    """And the retry policy counts them as one try."""
    last = OSError("last")
    body = Slow(bench.clock, (3, OSError("first")), (4, last), (0, "done"))
    result, record = bench.call(body, policy(retry={"strategy": "immediate", "max_attempts": 2}))
    assert result == "done"
    assert record.attempts == {1: "failed", 2: "failed", 3: "success"}
    body = Slow(bench.clock, (3, OSError("first")), (4, last))
    assert bench.call(body, policy())[0] is last


def test_several_hedges_one_after_the_other(bench: Any) -> None:
    """Each starts so long after the one before; the record says how many ran and which won."""
    body = Slow(bench.clock, (9, "a"), (9, "b"), (9, "c"), (0.5, "d"))
    result, record = bench.call(body, policy(hedge={"delay": 2, "max_hedges": 3}))
    assert (result, body.called_at) == ("d", [0, 2, 4, 6])
    assert record.attempts == {1: "cancelled", 2: "cancelled", 3: "cancelled", 4: "success"}
    assert record.decisions[-1].rationale == "hedge 3 answered first"
    assert record.decisions[-1].inputs == {"try": 4, "tries": 4, "cancelled": 3}


def test_without_delay_both_start_at_once(bench: Any) -> None:
    """A delay of zero asks twice each time."""
    body = Slow(bench.clock, (3, "a"), (2, "b"))
    assert bench.call(body, policy(hedge=0))[0] == "b"
    assert body.called_at == [0, 0]


@pytest.mark.parametrize("limit", [{"attempt": 4}, {"total": 4}])
def test_limits_hold_for_hedged_calls(bench: Any, limit: dict[str, float]) -> None:
    """Of each try by itself, or of all together; nothing goes on behind anybody's back."""
    body = Slow(bench.clock, (60, "a"), (60, "b"))
    result, record = bench.call(body, policy(timeout=limit))
    assert isinstance(result, TimeoutExceededError)
    assert record.attempts == {1: "timeout", 2: "timeout"}


def test_cancelling_the_call_cancels_all_its_tries(bench: Any) -> None:
    """And each writes down its end before the cancellation goes on."""

    async def scenario() -> Any:
        from_bench = bench.acall(Slow(bench.clock, (60, "a"), (60, "b")), policy(), record=record)
        task = asyncio.ensure_future(from_bench)
        await bench.clock.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(asyncio.all_tasks())

    record = type(bench.call(bench.service(), ReliabilityPolicy())[1])()
    assert asyncio.run(scenario()) == 1
    assert record.attempts == {1: "cancelled", 2: "cancelled"}


def test_each_try_passes_the_breaker_and_the_bulkhead(bench: Any) -> None:
    """A hedge takes a place of its own; where there is none it is no attempt, and the first goes on."""
    body = Slow(bench.clock, (3, "a"), (9, "b"))
    fields = {"bulkhead": {"max_concurrent": 1, "max_queue": 0}, "breaker": {"name": "b"}}
    result, record = bench.call(body, policy(**fields))
    assert (result, record.attempts) == ("a", {1: "success"})
    assert record.at("bulkhead") == ["rejected"]
    assert bench.guards.breakers["b"].snapshot.failures == 0


def test_a_call_that_answers_although_it_is_cancelled_leaves_no_cancellation_behind(bench: Any) -> None:
    """It counts as the first success, and the task goes on as if nothing had happened."""

    async def body() -> str:
        if bench.clock.monotonic() > 0:
            return "hedge"
        try:
            await bench.clock.sleep(60)
        except asyncio.CancelledError:
            return "first after all"
        return "late"

    async def scenario() -> tuple[str, int]:
        output, _ = await bench.acall(body, policy())
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return output, task.cancelling()

    assert asyncio.run(scenario()) == ("first after all", 0)


def test_a_cancellation_at_the_moment_of_the_answer_is_not_lost(bench: Any) -> None:
    """Whoever cancels the call when a hedge has just won still cancels it."""

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.acall(Slow(bench.clock, (60, "a"), (1, "b")), policy()))
        await bench.clock.sleep(1.5)

        async def cancel() -> None:
            await bench.clock.sleep(0.5)
            task.cancel()

        canceller = asyncio.ensure_future(cancel())
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        await canceller
        assert isinstance(outcome, asyncio.CancelledError) or outcome[0] == "b"
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_short_forms() -> None:
    """A number is the delay."""
    assert as_hedge(0.2) == HedgePolicy(delay=0.2)
    assert as_hedge({"max_hedges": 2}) == HedgePolicy(max_hedges=2)
