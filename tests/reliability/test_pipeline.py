"""The layers around a call, under virtual time: what is tried, waited for, and written down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import pytest

from orchkit.errors import ExecutionError, StoreFullError, TimeoutExceededError
from orchkit.executors.threads import ThreadWorkers
from orchkit.model.policy import ReliabilityPolicy, RetryPolicy, TimeoutPolicy
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.guards import Guards
from orchkit.reliability.pipeline import BARE, build_pipeline
from orchkit.testing import FakeClock

Body = Callable[[], Awaitable[Any]]


class Record:
    """Keeps what a call writes down; ``barrier`` stands for the wait until it is durable."""

    def __init__(self, barrier: Callable[[], Awaitable[None]] | None = None) -> None:
        self.attempts: list[str] = []
        self.decisions: list[tuple[str, str, str]] = []
        self.inputs: list[Mapping[str, Any]] = []
        self.durations: list[float] = []
        self.subject = ("run", "step")
        self._barrier = barrier

    async def attempt_started(self, attempt: int) -> None:
        self.attempts.append(f"{attempt} running")
        if self._barrier is not None:
            await self._barrier()

    async def written(self) -> None:
        if self._barrier is not None:
            await self._barrier()

    def attempt_finished(
        self,
        attempt: int,
        status: str,
        duration_s: float,
        error: BaseException | None = None,
        *,
        abandoned: bool = False,
        injected: bool = False,
    ) -> None:
        self.attempts[self.attempts.index(f"{attempt} running")] = (
            f"{attempt} {status}{' abandoned' if abandoned else ''}"
        )
        self.durations.append(duration_s)

    def decided(self, point: str, decision: str, rationale: str, inputs: Mapping[str, Any]) -> None:
        self.decisions.append((point, decision, rationale))
        self.inputs.append(inputs)


class Service:
    """Fails as long as there are errors left, then succeeds; each call takes ``seconds``."""

    def __init__(self, clock: FakeClock, *errors: BaseException, seconds: float = 0.0) -> None:
        self.clock, self.errors, self.seconds = clock, list(errors), seconds
        self.called_at: list[float] = []

    async def __call__(self) -> str:
        self.called_at.append(self.clock.monotonic())
        if self.seconds:
            await self.clock.sleep(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def pipeline(retry: RetryPolicy | None = None, timeout: TimeoutPolicy | None = None) -> Handler:
    """The handler of a call named ``operation``."""
    return build_pipeline(ReliabilityPolicy(retry=retry, timeout=timeout), Guards(), "operation")


def perform(
    clock: FakeClock,
    body: Body,
    retry: RetryPolicy | None = None,
    timeout: TimeoutPolicy | None = None,
    **options: Any,
) -> tuple[Any, Record]:
    """The output or the error of one call, and its record."""
    record = options.pop("record", None) or Record()
    call = Call(body, record, clock, Random(1), **options)

    async def run() -> Any:
        try:
            return await pipeline(retry, timeout)(call)
        except Exception as error:
            return error

    return asyncio.run(run()), record


@pytest.fixture
def clock() -> FakeClock:
    """Virtual time."""
    return FakeClock()


def test_without_policies_there_is_one_recorded_attempt(clock: FakeClock) -> None:
    """A failure is raised as it is, and no decision is written."""
    error = ValueError("bad")
    output, record = perform(clock, Service(clock, error))
    assert output is error
    assert record.attempts == ["1 failed"]
    assert record.decisions == []
    assert pipeline() is BARE


@pytest.mark.parametrize(
    ("strategy", "sleeps"),
    [
        ("immediate", [0, 0, 0, 0]),
        ("fixed", [0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 1, 1.5, 2]),
        ("exponential", [0.5, 1, 2, 3]),
        ("fibonacci", [0.5, 0.5, 1, 1.5]),
    ],
)
def test_it_waits_exactly_as_long_as_the_policy_says(
    clock: FakeClock, strategy: str, sleeps: list[float]
) -> None:
    """Four failures make four waits, capped at three seconds, then the fifth attempt succeeds."""
    retry = RetryPolicy(strategy=strategy, max_attempts=5, delay=0.5, max_delay=3, jitter="none")  # type: ignore[arg-type]
    service = Service(clock, *[OSError(str(n)) for n in range(4)])
    output, record = perform(clock, service, retry)
    assert output == "done"
    assert clock.sleeps == sleeps
    assert clock.monotonic() == sum(sleeps)
    assert record.attempts == ["1 failed", "2 failed", "3 failed", "4 failed", "5 success"]


def test_each_retry_is_a_decision_with_its_inputs(clock: FakeClock) -> None:
    """The record says which attempt, how long it waits, how much time is over, and because of which error."""
    retry = RetryPolicy(strategy="linear", max_attempts=3, delay=2, jitter="none")
    _, record = perform(clock, Service(clock, OSError("a"), OSError("b"), OSError("c"), seconds=1), retry)
    assert [decision for _, decision, _ in record.decisions] == ["retry", "retry", "give_up"]
    assert [inputs["delay_s"] for inputs in record.inputs] == [2, 4, 0]
    assert [inputs["elapsed_s"] for inputs in record.inputs] == [1, 4, 9]
    assert [inputs["error"] for inputs in record.inputs] == ["a", "b", "c"]
    assert record.inputs[0]["attempt"] == 1
    assert record.inputs[0]["max_attempts"] == 3
    assert record.inputs[0]["strategy"] == "linear"


def test_the_last_error_is_raised(clock: FakeClock) -> None:
    """When it gives up, the caller gets what the last attempt raised."""
    last = OSError("second")
    output, _ = perform(clock, Service(clock, OSError("first"), last), RetryPolicy(max_attempts=2))
    assert output is last


@pytest.mark.parametrize(
    ("before", "forgiven", "made"),
    [
        (2, 0, ["3 failed"]),
        (2, 1, ["3 failed", "4 failed"]),
        (2, 2, ["3 failed", "4 failed", "5 failed"]),
        (7, 0, ["8 failed"]),
    ],
)
def test_attempts_before_a_crash_are_numbered_and_counted(
    clock: FakeClock, before: int, forgiven: int, made: list[str]
) -> None:
    """Numbering goes on after them, those not forgiven count, and one attempt is made in any case."""
    service = Service(clock, *[OSError() for _ in range(9)])
    _, record = perform(clock, service, RetryPolicy(max_attempts=3), attempt=before, forgiven=forgiven)
    assert record.attempts == made
    assert record.decisions[-1][1] == "give_up"


def test_max_elapsed_is_never_overshot(clock: FakeClock) -> None:
    """No wait is begun that would end after the limit, so the call ends before it."""
    retry = RetryPolicy(strategy="fixed", delay=3, max_attempts=99, max_elapsed=10, jitter="none")
    service = Service(clock, *[OSError() for _ in range(99)], seconds=1)
    perform(clock, service, retry)
    assert service.called_at == [0, 4, 8]
    assert clock.monotonic() == 9


@pytest.mark.parametrize("retry", [RetryPolicy(max_attempts=1), RetryPolicy(strategy="none"), None])
def test_policies_that_never_retry(clock: FakeClock, retry: RetryPolicy | None) -> None:
    """One attempt stays one attempt."""
    service = Service(clock, OSError(), OSError())
    output, record = perform(clock, service, retry)
    assert isinstance(output, OSError)
    assert record.attempts == ["1 failed"]


def test_a_store_that_cannot_write_ends_the_retries(clock: FakeClock) -> None:
    """Trying again would repeat the effect without a record of it."""
    service = Service(clock, StoreFullError("full"), StoreFullError("full"))
    output, record = perform(clock, service, RetryPolicy(max_attempts=5))
    assert isinstance(output, StoreFullError)
    assert record.attempts == ["1 failed"]
    assert record.decisions == []


# --- timeouts ------------------------------------------------------------------------------


def test_an_attempt_that_overruns_is_a_timeout_and_can_be_retried(clock: FakeClock) -> None:
    """The limit holds for each attempt; the next one has all of it again."""
    service = Service(clock, seconds=9)

    async def body() -> Any:
        if len(service.called_at) == 2:
            service.seconds = 1
        return await service()

    retry = RetryPolicy(strategy="fixed", delay=2, max_attempts=3, jitter="none")
    output, record = perform(clock, body, retry, TimeoutPolicy(attempt=5))
    assert output == "done"
    assert service.called_at == [0, 7, 14]
    assert record.attempts == ["1 timeout", "2 timeout", "3 success"]
    assert record.inputs[0]["error"] == "attempt exceeded its timeout of 5 s"


def test_a_timeout_raised_by_the_body_is_a_failure(clock: FakeClock) -> None:
    """Only our own limit makes an attempt a timeout: a body may raise TimeoutError for reasons of its own."""
    for error in (TimeoutError("upstream"), TimeoutExceededError("attempt", 5)):
        output, record = perform(clock, Service(clock, error), None, TimeoutPolicy(attempt=5, total=9))
        assert output is error
        assert record.attempts == ["1 failed"]


def test_a_limit_inside_the_body_is_not_ours(clock: FakeClock) -> None:
    """A body whose own shorter limit expires has failed."""

    async def body() -> None:
        async with clock.timeout(1):
            await clock.sleep(3)

    output, record = perform(clock, body, None, TimeoutPolicy(attempt=5))
    assert type(output) is TimeoutError
    assert record.attempts == ["1 failed"]


def test_a_body_that_turns_its_cancellation_into_another_error_has_failed(clock: FakeClock) -> None:
    """What the body raises when its time is over is what is recorded."""

    async def body() -> None:
        try:
            await clock.sleep(30)
        except asyncio.CancelledError:
            raise ValueError("interrupted") from None

    output, record = perform(clock, body, None, TimeoutPolicy(attempt=5))
    assert isinstance(output, ValueError)
    assert record.attempts == ["1 failed"]


def test_a_body_may_answer_with_what_it_has_when_its_time_is_over(clock: FakeClock) -> None:
    """Catching the cancellation and returning is a success: the caller wanted an answer by then."""

    async def body() -> str:
        try:
            await clock.sleep(30)
        except asyncio.CancelledError:
            return "so far"
        return "all"

    output, record = perform(clock, body, None, TimeoutPolicy(attempt=5))
    assert (output, record.attempts) == ("so far", ["1 success"])


def test_the_total_timeout_cuts_an_attempt(clock: FakeClock) -> None:
    """The running attempt is a timeout, nothing is tried after it, and the decision says on which attempt."""
    service = Service(clock, OSError(), seconds=4)
    retry = RetryPolicy(strategy="fixed", delay=1, max_attempts=9, jitter="none")
    output, record = perform(clock, service, retry, TimeoutPolicy(total=7))
    assert isinstance(output, TimeoutExceededError)
    assert (output.scope, output.seconds) == ("total", 7)
    assert record.attempts == ["1 failed", "2 timeout"]
    assert record.decisions[-1] == ("timeout", "stop", "the total timeout of 7 s is over on attempt 2")
    assert clock.monotonic() == 7


def test_the_total_timeout_cuts_a_wait(clock: FakeClock) -> None:
    """A wait between attempts is cut as well; the attempt before it stays failed."""
    retry = RetryPolicy(strategy="fixed", delay=100, max_delay=100, jitter="none")
    output, record = perform(clock, Service(clock, OSError()), retry, TimeoutPolicy(total=7))
    assert isinstance(output, TimeoutExceededError)
    assert record.attempts == ["1 failed"]
    assert clock.monotonic() == 7


def test_the_tighter_of_two_limits_wins(clock: FakeClock) -> None:
    """An attempt limit within the total one ends attempts until the total one ends the call."""
    service = Service(clock, seconds=60)
    retry = RetryPolicy(strategy="immediate", max_attempts=99)
    output, record = perform(clock, service, retry, TimeoutPolicy(attempt=3, total=10))
    assert isinstance(output, TimeoutExceededError)
    assert output.scope == "total"
    assert record.attempts == ["1 timeout", "2 timeout", "3 timeout", "4 timeout"]


@pytest.mark.parametrize("limit", [TimeoutPolicy(attempt=5), TimeoutPolicy(total=5)])
def test_a_sync_function_that_overruns_is_marked_abandoned(clock: FakeClock, limit: TimeoutPolicy) -> None:
    """Its thread cannot be stopped, and the record says that it went on."""
    output, record = perform(clock, Service(clock, seconds=9), None, limit, abandons=True)
    assert isinstance(output, TimeoutExceededError)
    assert record.attempts == ["1 timeout abandoned"]


# --- cancellation --------------------------------------------------------------------------


@pytest.mark.parametrize("abandons", [False, True])
def test_a_cancelled_attempt_is_on_the_record(clock: FakeClock, abandons: bool) -> None:
    """The attempt ends as cancelled and CancelledError goes on, with and without limits."""
    record = Record()

    async def run() -> None:
        call = Call(Service(clock, seconds=9), record, clock, Random(1), abandons)
        handler = pipeline(RetryPolicy(), TimeoutPolicy(attempt=50, total=90))
        task = asyncio.ensure_future(handler(call))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert record.attempts == [f"1 cancelled{' abandoned' if abandons else ''}"]
    assert record.decisions == []


def test_cancelling_while_the_record_is_written_leaves_no_attempt_open(clock: FakeClock) -> None:
    """An attempt that was announced but never began ends as cancelled, and nothing was abandoned."""

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    record, service = Record(forever), Service(clock)

    async def run() -> None:
        task = asyncio.ensure_future(BARE(Call(service, record, clock, Random(1), abandons=True)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert record.attempts == ["1 cancelled"]
    assert service.called_at == []


def test_the_total_timeout_counts_while_the_record_is_written(clock: FakeClock) -> None:
    """A store that takes too long leaves a timeout, not an attempt that runs for ever."""
    record = Record(lambda: clock.sleep(30))
    output, _ = perform(clock, Service(clock), None, TimeoutPolicy(total=5), record=record)
    assert isinstance(output, TimeoutExceededError)
    assert record.attempts == ["1 timeout"]


def test_a_wait_can_be_cancelled(clock: FakeClock) -> None:
    """Cancelling during the backoff ends the call at once, without another attempt."""
    service, record = Service(clock, OSError()), Record()

    async def run() -> None:
        retry = RetryPolicy(strategy="fixed", delay=600, max_delay=600, jitter="none")
        task = asyncio.ensure_future(pipeline(retry)(Call(service, record, clock, Random(1))))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert clock.sleeps == [600]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert record.attempts == ["1 failed"]
    assert clock.monotonic() < 600


def test_a_cancellation_that_nobody_asked_for_is_a_failure(clock: FakeClock) -> None:
    """A body that waits for something cancelled has failed, and may be retried."""
    output, record = perform(clock, Service(clock, asyncio.CancelledError()), RetryPolicy(max_attempts=2))
    assert output == "done"
    assert record.attempts == ["1 failed", "2 success"]
    output, _ = perform(clock, Service(clock, asyncio.CancelledError()))
    assert isinstance(output, ExecutionError)
    assert "cancelled from inside" in str(output)


@pytest.mark.parametrize("code", [0, 3, "usage", None])
def test_sys_exit_fails_the_call_only(clock: FakeClock, code: int | str | None) -> None:
    """A function that wraps a command line and calls sys.exit does not take the process down."""
    output, record = perform(clock, Service(clock, SystemExit(code)))
    assert isinstance(output, ExecutionError)
    assert repr(code) in str(output)
    assert record.attempts == ["1 failed"]


def test_sys_exit_in_a_worker_thread_fails_the_call_only(clock: FakeClock) -> None:
    """The same for a sync function."""

    def exits() -> None:
        raise SystemExit(2)

    output, _ = perform(clock, lambda: ThreadWorkers().run(exits, {}), abandons=True)
    assert isinstance(output, ExecutionError)


def test_durations_are_those_of_the_attempts(clock: FakeClock) -> None:
    """A duration is the time of one attempt, without the waits and without writing the record."""
    retry = RetryPolicy(strategy="fixed", delay=50, jitter="none", max_delay=50)
    record = Record(lambda: clock.sleep(5))
    perform(clock, Service(clock, OSError(), seconds=2), retry, None, record=record)
    assert record.durations == [2, 2]
