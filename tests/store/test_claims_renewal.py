"""Leases: renewed while the work goes on, by a thread that nobody has to think of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchkit.errors import StoreFullError
from orchkit.model.idempotency import RequestStatus
from orchkit.store.claims import Claims, Wanted
from orchkit.store.holdings import Renewer, Surroundings
from orchkit.store.openruns import OpenRuns
from orchkit.store.process import Process, Standing
from orchkit.store.store import Store
from orchkit.testing import FakeClock

HERE, THERE = Process(1, "here"), Process(2, "there")
EVERY_S = 0.005
Until = Callable[[Callable[[], bool]], None]


def unknown(other: Process) -> Standing:
    """As on another machine: nobody can tell."""
    return Standing.UNKNOWN


def wanted(key: str) -> Wanted:
    """Somebody asks for this key."""
    return Wanted(key, "letters", "same", None, 10**12)


def renewing() -> list[threading.Thread]:
    """The threads that renew leases."""
    return [thread for thread in threading.enumerate() if thread.name == "orchkit-leases"]


@pytest.fixture(autouse=True)
def nothing_left_behind(until: Until) -> Iterator[None]:
    """No thread of another test is there, and none is left after this one."""
    until(lambda: not renewing())
    yield
    assert not renewing()


@pytest.fixture
def renewer() -> Iterator[Renewer]:
    """Renews every few milliseconds."""
    renewer = Renewer(EVERY_S)
    yield renewer
    renewer.stop()


@pytest.fixture
def claims(memory: Store, clock: FakeClock, renewer: Renewer) -> Iterator[Claims]:
    """Those of a process of which others only know the lease."""
    claims = Claims(memory.log, clock, renewer=renewer, around=Surroundings(lambda: HERE, unknown))
    yield claims
    claims.close()


@pytest.fixture
def elsewhere(memory: Store, clock: FakeClock) -> Iterator[Claims]:
    """Those of another process, on another machine."""
    claims = Claims(memory.log, clock, around=Surroundings(lambda: THERE, unknown))
    yield claims
    claims.close()


def lease_of(claims: Claims, key: str) -> int:
    """Until when the lease of a key lasts."""
    found = claims.find(key)
    assert found is not None
    return found.lease_us


def test_leases_are_renewed_while_the_work_goes_on(
    claims: Claims, elsewhere: Claims, clock: FakeClock, until: Until
) -> None:
    """Neither of two claims that outlive their first lease is taken over, until their owner is silent."""
    for key in ("a", "b"):
        claims.acquire(wanted(key), f"run_{key}")
    for _ in range(5):
        clock.advance(50)
        now_us = clock.now_us()
        until(lambda now_us=now_us: min(lease_of(claims, key) for key in "ab") == now_us + 60_000_000)
        assert elsewhere.acquire(wanted("a"), "run_x").verdict == "in_flight"
    claims._renewer.stop()
    clock.advance(59)
    assert elsewhere.acquire(wanted("a"), "run_x").verdict == "in_flight"
    clock.advance(1)
    assert elsewhere.acquire(wanted("a"), "run_x").verdict == "take_over"


def test_the_thread_ends_when_there_is_nothing_left(claims: Claims, memory: Store, until: Until) -> None:
    """It starts with the first claim, ends after the last was let go, and starts again with the next."""
    for life in range(3):
        assert not renewing()
        claim = claims.acquire(wanted(str(life)), "run_1").claim
        other = claims.acquire(wanted(f"{life} too"), "run_2").claim
        assert len(renewing()) == 1
        claims.settle(claim, RequestStatus.COMPLETED, result="1")
        memory.commit()
        claims.finish(claim)
        claims.give_up(other)
        until(lambda: not renewing())


def test_claims_and_runs_share_one_thread(memory: Store, clock: FakeClock, until: Until) -> None:
    """A store has one thread for all its leases, and none for a request that is only answered."""
    renewer = Renewer(EVERY_S)
    around = Surroundings(lambda: HERE, unknown)
    claims = Claims(memory.log, clock, renewer=renewer, around=around)
    runs = OpenRuns(memory.log, clock, renewer=renewer, around=around)
    claim = claims.acquire(wanted("a"), "run_1").claim
    runs.begin("run_1", "workflow", "letters")
    memory.commit()
    assert len(renewing()) == 1
    clock.advance(50)
    later = clock.now_us() + 60_000_000
    until(lambda: lease_of(claims, "a") == later and runs.all()[0].lease_us == later - 5_000_000)
    claims.settle(claim, RequestStatus.COMPLETED, result="1")
    runs.end("run_1")
    memory.commit()
    claims.finish(claim)
    until(lambda: not renewing())
    assert claims.acquire(wanted("a"), "run_2").verdict == "replay"
    assert not renewing()
    claims.close()
    runs.close()


def test_nothing_is_left_when_a_store_is_closed(open_store: Callable[..., Store]) -> None:
    """Closing a store over unfinished work ends the thread at once, and the next claim of it starts none."""
    store = open_store()
    store.claims.acquire(wanted("a"), "run_1")
    store.open_runs.begin("run_1", "workflow", "letters")
    assert len(renewing()) == 1
    claims = store.claims
    store.close()
    assert not renewing()
    claims.close()
    with pytest.raises(Exception, match="closed"):
        claims.acquire(wanted("b"), "run_2")
    assert not renewing()


def test_what_was_taken_over_is_not_renewed(
    claims: Claims, elsewhere: Claims, clock: FakeClock, memory: Store
) -> None:
    """A late renewal prolongs neither the claim of somebody else nor one that was given up or settled."""
    claims._renewer.stop()
    for key in ("stolen", "given up", "settled"):
        claim = claims.acquire(wanted(key), f"run_{key}").claim
        if key == "given up":
            claims.give_up(claim)
        elif key == "settled":
            claims.settle(claim, RequestStatus.FAILED, error="no")
            memory.commit()
    clock.advance(60)
    assert elsewhere.acquire(wanted("stolen"), "run_x").verdict == "take_over"
    before = [lease_of(claims, key) for key in ("stolen", "given up", "settled")]
    clock.advance(1)
    claims.renew()
    assert [lease_of(claims, key) for key in ("stolen", "given up", "settled")] == before


def test_only_their_own_rows_are_renewed(claims: Claims, clock: FakeClock, memory: Store) -> None:
    """However many keys there are, a renewal looks at those that are worked on, not at all of them."""
    claims._renewer.stop()
    claims.acquire(wanted("a"), "run_1")
    columns = "key, name, status, fingerprint, run_id, execution, owner, pid, host, lease_us, created_us, "
    rows = [(f"k{n}", "n", "PROCESSING", "f", "r", 1, "o", 1, "h", 1, 1, 2**60) for n in range(20_000)]
    with memory.log.exclusive() as connection:
        connection.executemany(
            f"INSERT INTO claim ({columns} expires_us) VALUES ({', '.join('?' * 12)})", rows
        )
        steps: list[int] = []
        connection.set_progress_handler(lambda: steps.append(1), 1_000)  # type: ignore[func-returns-value]
    claims.renew()
    assert len(steps) < 5
    assert lease_of(claims, "a") == clock.now_us() + 60_000_000


def write_for_ever(store: Store) -> None:
    """Until something stops it."""
    while True:
        store.append("x", f'"{"x" * 1000}"')
        store.commit()


def test_a_full_disk_does_the_renewal_no_harm(disk: Any, until: Until) -> None:
    """The thread goes on through it, and the lease is renewed once there is room; nobody hears of it."""
    clock = FakeClock(autojump=False)
    with Store(disk.folder / "runs.duckdb", clock=clock) as store:
        renewer = Renewer(EVERY_S)
        claims = Claims(store.log, clock, renewer=renewer, around=Surroundings(lambda: HERE, unknown))
        claims.acquire(wanted("a"), "run_1")
        store.commit()
        disk.fill()
        with pytest.raises(StoreFullError):
            write_for_ever(store)
        before = lease_of(claims, "a")
        clock.advance(50)
        time.sleep(10 * EVERY_S)  # a few renewals that must find no space
        disk.grow()
        until(lambda: lease_of(claims, "a") == clock.now_us() + 60_000_000)
        assert lease_of(claims, "a") > before
        assert len(renewing()) == 1
        claims.close()


def test_closing_in_the_middle_of_a_renewal(open_store: Callable[..., Store]) -> None:
    """A claim can be let go and the store closed at any moment, whatever the renewing thread is at."""
    for number in range(10):
        store = open_store()
        claims = Claims(store.log, store.clock, renewer=Renewer(0.0001))
        claim = claims.acquire(wanted(str(number)), "run_1").claim
        claims.give_up(claim)
        claims.acquire(wanted(f"{number} too"), "run_1")
        claims.close()
        store.close()
        assert not renewing()


def test_where_no_thread_can_be_started_work_goes_on(memory: Store, clock: FakeClock) -> None:
    """A claim whose lease nobody can renew (the interpreter is ending, say) is a claim all the same."""
    claims = Claims(memory.log, clock, renewer=Renewer(1e9))
    started: list[str] = []

    class Exhausted(threading.Thread):
        def start(self) -> None:
            started.append(self.name)
            raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "Thread", Exhausted)
        claim = claims.acquire(wanted("a"), "run_1").claim
    assert started == ["orchkit-leases"]
    claims.settle(claim, RequestStatus.COMPLETED, result="1")
    memory.commit()
    assert claims.finish(claim)
    claims.close()
