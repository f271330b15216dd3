"""Circuit breakers on the record: events, restarts, and several processes on one store."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchkit.errors import BreakerOpenError
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.call import Call
from orchkit.reliability.circuit import LOOK_S, CircuitBreaker
from orchkit.reliability.guards import Guards
from orchkit.reliability.ledger import StoreLedger
from orchkit.reliability.pipeline import build_pipeline
from orchkit.store.store import Store
from orchkit.testing import FakeClock, MemoryStore

POLICY = BreakerPolicy(name="b")


@pytest.fixture
def clock() -> FakeClock:
    """Virtual time."""
    return FakeClock(autojump=False)


@pytest.fixture
def open_breaker(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., CircuitBreaker]]:
    """Makers of breakers, each on a store of its own on the same file, as other processes have it."""
    stores: list[Store] = []

    def make(policy: BreakerPolicy = POLICY) -> CircuitBreaker:
        stores.append(Store(tmp_path / "runs.duckdb", clock=clock))
        return Guards(stores[-1]).breakers.get_or_make("b", policy)

    yield make
    for store in stores:
        store.close()


class NoRecord:
    subject = ("run_1", "step")


def call(attempt: int = 1) -> Any:
    """As much of a call as a breaker looks at."""
    return Call(None, NoRecord(), FakeClock(), Random(1), attempt=attempt)  # type: ignore[arg-type]


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    """Calls that fail."""
    for _ in range(times):
        breaker.settle(breaker.acquire(call()), call(), "failure")


def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    """Calls that succeed."""
    for _ in range(times):
        breaker.settle(breaker.acquire(call()), call(), "success")


# --- events ----------------------------------------------------------------------------------


def test_each_transition_names_the_attempts_that_caused_it(bench: Any) -> None:
    """Run, step and attempt of each failure in the row; then of the call that came; then of the probes."""
    store = MemoryStore(clock=bench.clock)
    guards = Guards(store)
    handler = build_pipeline(
        ReliabilityPolicy.model_validate(
            {"breaker": "b", "retry": {"strategy": "circuit_breaker", "delay": 1, "max_attempts": 9}}
        ),
        guards,
        "operation",
    )

    class Record(NoRecord):
        def decided(self, *args: Any) -> None: ...
        def attempt_finished(self, *args: Any, **flags: Any) -> None: ...
        async def attempt_started(self, attempt: int) -> None: ...
        async def written(self) -> None: ...

    for body in (bench.service(*[OSError()] * 4), bench.service()):
        asyncio.run(handler(Call(body, Record(), bench.clock, Random(1))))  # type: ignore[arg-type]
    store.commit()
    events = store.log_events("breaker.transition")
    told = [
        (e.payload["from_state"], e.payload["to_state"], [c["attempt"] for c in e.payload["causes"]])
        for e in events
    ]
    assert told == [
        ("closed", "open", [1, 2, 3]),
        ("open", "half_open", [4]),
        ("half_open", "open", [4]),
        ("open", "half_open", [5]),
        ("half_open", "closed", [5, 1]),
    ]
    first = events[0]
    assert first.payload["causes"][0] == {"run_id": "run_1", "step_id": "step", "attempt": 1}
    assert (first.run_id, first.step_id, first.attempt) == ("run_1", "step", 3)
    assert first.payload["reason"] == "3 failures in a row"
    assert first.payload["until_us"] - first.ts == 60_000_000
    assert [e.payload["generation"] for e in events] == [1, 2, 3, 4, 5]
    assert not any(e.payload["manual"] for e in events)


def test_what_people_do_is_on_the_record_at_once(open_breaker: Any, clock: Any, tmp_path: Path) -> None:
    """With the reason that they give, marked as done by hand."""
    breaker = open_breaker()
    breaker.force_open("the service moves house")
    breaker.enable()
    with Store(tmp_path / "runs.duckdb", clock=clock) as other:
        rows = other.query(
            "SELECT payload ->> '$.from_state', payload ->> '$.to_state', payload ->> '$.reason', "
            "payload ->> '$.manual' FROM events WHERE kind = 'breaker.transition' ORDER BY seq"
        )
    assert rows == [
        ("closed", "forced_open", "the service moves house", "true"),
        ("forced_open", "closed", "enabled by hand", "true"),
    ]


# --- restarts --------------------------------------------------------------------------------


def test_a_new_process_finds_it_open(open_breaker: Any, clock: Any) -> None:
    """For the rest of the time, and with the same generation."""
    fail(open_breaker(), 3)
    clock.advance(40)
    breaker = open_breaker()
    assert (breaker.state, breaker.snapshot.generation) == ("open", 1)
    assert breaker.reopens_in() == 20


@pytest.mark.parametrize(("set_by", "remaining"), [(-3600, 60), (3600, 0), (30, 30)])
def test_a_clock_that_was_set_keeps_it_open_for_no_longer(
    open_breaker: Any, clock: Any, set_by: int, remaining: float
) -> None:
    """Wall time only counts between processes, and never prolongs; inside one it does not count at all."""
    first = open_breaker()
    fail(first, 3)
    clock.set_by(set_by)
    assert open_breaker().reopens_in() == remaining
    assert first.reopens_in() == 60


def test_what_was_forced_stays_forced(open_breaker: Any, clock: Any) -> None:
    """Over restarts, whatever the time."""
    open_breaker().force_open("moving")
    clock.advance(10**6)
    with pytest.raises(BreakerOpenError, match=r"is forced open by hand: moving$"):
        open_breaker().acquire(call())
    open_breaker().force_open()
    with pytest.raises(BreakerOpenError, match=r"is forced open by hand$"):
        open_breaker().acquire(call())


def test_a_store_that_cannot_be_written_does_not_keep_it_from_opening(clock: Any) -> None:
    """The service is spared all the same; this process goes by itself."""
    store = Store(clock=clock)
    breaker = Guards(store).breakers.get_or_make("b", POLICY)
    succeed(breaker)
    store.close()
    fail(breaker, 3)
    assert breaker.state == "open"


def test_a_value_that_cannot_be_read_is_closed(tmp_path: Path, clock: Any) -> None:
    """A store of another version of this program does not take calls down."""
    with Store(tmp_path / "runs.duckdb", clock=clock) as store:
        store.put_state("breaker", "b", {"state": "ajar", "generation": 7})
        breaker = Guards(store).breakers.get_or_make("b", POLICY)
        assert (breaker.state, breaker.snapshot.generation) == ("closed", 7)
        fail(breaker, 3)
        assert breaker.snapshot.generation == 8


# --- several processes -----------------------------------------------------------------------


def test_others_follow_within_a_quarter_of_a_second(open_breaker: Any, clock: Any) -> None:
    """Until then each goes by what it saw; then an open one is open for all, and a closed one closed."""
    one, other = open_breaker(), open_breaker()
    succeed(other)
    fail(one, 3)
    other.acquire(call())
    clock.advance(LOOK_S)
    with pytest.raises(BreakerOpenError):
        other.acquire(call())
    clock.advance(60)
    succeed(one, 2)
    clock.advance(LOOK_S)
    assert (one.state, other.state) == ("closed", "closed")


def test_only_one_process_probes(open_breaker: Any, clock: Any) -> None:
    """The others wait for what comes of it, at most as long as a probe's lease."""
    one, other = open_breaker(), open_breaker()
    fail(one, 3)
    clock.advance(60)
    permit = one.acquire(call())
    with pytest.raises(BreakerOpenError) as rejection:
        other.acquire(call())
    assert (rejection.value.state, rejection.value.retry_in) == ("half_open", 60)
    clock.advance(60)
    assert other.acquire(call()).generation == 3
    one.settle(permit, call(), "failure")
    clock.advance(LOOK_S)
    assert (one.state, other.state) == ("half_open", "half_open")
    succeed(other)
    assert other.snapshot.back.calls == 1


def test_failures_in_two_processes_open_it_once(open_breaker: Any) -> None:
    """Whoever is first writes the change; the other one follows and does not write a second."""
    one, other = open_breaker(), open_breaker()
    succeed(one)
    succeed(other)
    fail(one, 2)
    fail(other, 2)
    fail(one)
    fail(other)
    assert (one.snapshot.generation, other.snapshot.generation) == (1, 1)
    assert (one.state, other.state) == ("open", "open")


def _probe_and_die(path: str) -> None:
    """In another process: open it, begin a probe, and end without a word."""
    store = Store(path)
    breaker = Guards(store).breakers.get_or_make("b", BreakerPolicy(name="b", reset_timeout=0.001))
    fail(breaker, 3)
    while breaker.state == "open":
        try:
            breaker.acquire(call())
        except BreakerOpenError:
            continue
    store.close()


def test_another_one_probes_at_once_when_the_process_that_did_is_gone(tmp_path: Path) -> None:
    """Nobody waits for the lease of a dead process."""
    path = str(tmp_path / "runs.duckdb")
    process = multiprocessing.get_context("spawn").Process(target=_probe_and_die, args=(path,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    with Store(path) as store:
        breaker = Guards(store).breakers.get_or_make("b", POLICY)
        assert breaker.state == "half_open"
        assert breaker.acquire(call()).generation == 3


class Shelf:
    """A ledger in memory that several breakers share, with a list of all changes."""

    shared = True

    def __init__(self, clock: FakeClock) -> None:
        self._store = Store(clock=clock)
        self._ledger = StoreLedger(self._store)
        self.read = self._ledger.read
        self.write = self._ledger.write
        self.changes: list[Any] = []

    def note(self, kind: str, payload: Any, subject: Any) -> None:
        """One change."""
        self.changes.append(payload)

    def commit(self) -> None:
        """It is there already."""


class ManyProcesses(RuleBasedStateMachine):
    """Three breakers of one name over one ledger, each used as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(autojump=False)
        self.shelf = Shelf(self.clock)
        policy = BreakerPolicy(reset_timeout=5, probe_lease=4, failure_threshold=2)
        self.breakers = [CircuitBreaker("b", policy, self.clock, self.shelf) for _ in range(3)]

    @rule(which=st.integers(0, 2), outcomes=st.lists(st.sampled_from(["success", "failure"]), max_size=3))
    def use(self, which: int, outcomes: list[Any]) -> None:
        """Some calls in one of the processes."""
        for outcome in outcomes:
            try:
                permit = self.breakers[which].acquire(call())
            except BreakerOpenError:
                continue
            self.breakers[which].settle(permit, call(), outcome)

    @rule(which=st.integers(0, 2), what=st.sampled_from(["reset", "force_open", "enable"]))
    def intervene(self, which: int, what: str) -> None:
        """Somebody takes it in hand somewhere."""
        getattr(self.breakers[which], what)()

    @rule(hours=st.sampled_from([-30, -1, 1, 30]))
    def set_the_clock(self, hours: int) -> None:
        """Somebody sets the time of day."""
        self.clock.set_by(hours * 3600)

    @rule(seconds=st.sampled_from([0.1, 1, 5]))
    def wait(self, seconds: float) -> None:
        """Time passes for all."""
        self.clock.advance(seconds)

    @invariant()
    def every_change_is_made_once(self) -> None:
        """Generations are consecutive, and each change begins where the one before it ended."""
        changes = self.shelf.changes
        assert [change["generation"] for change in changes] == list(range(1, len(changes) + 1))
        for before, after in pairwise(changes):
            assert after["from_state"] == before["to_state"]

    @invariant()
    def who_looks_agrees(self) -> None:
        """A breaker that looks now is in the state that was written last."""
        last = self.shelf.changes[-1] if self.shelf.changes else {"to_state": "closed", "generation": 0}
        newcomer = CircuitBreaker("b", BreakerPolicy(), self.clock, self.shelf)
        assert (newcomer.state, newcomer.snapshot.generation) == (last["to_state"], last["generation"])

    def teardown(self) -> None:
        """Close the store below."""
        self.shelf._store.close()


ManyProcesses.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestManyProcesses = ManyProcesses.TestCase
