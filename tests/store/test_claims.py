"""Idempotency keys: what is done about each way in which a key can be found, and what is told of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest

from orchkit.errors import StoreError, StoreFullError
from orchkit.model.idempotency import RequestStatus
from orchkit.store import codec
from orchkit.store.claims import Claim, Claims, Wanted, fingerprint, judge
from orchkit.store.holdings import Surroundings
from orchkit.store.process import Process, Standing
from orchkit.store.store import Store
from orchkit.testing import FakeClock, FaultyStore

COMPLETED, FAILED, PROCESSING = RequestStatus.COMPLETED, RequestStatus.FAILED, RequestStatus.PROCESSING
HOUR_US = 3_600_000_000
FIRST, SECOND = Process(1, "here", "boot/namespace/1"), Process(2, "here", "boot/namespace/2")


@dataclass
class World:
    """Claims of several processes on one log; which of them are gone is said by the test."""

    store: Store
    clock: FakeClock
    stands: dict[Process, Standing] = field(default_factory=dict)
    opened: list[Claims] = field(default_factory=list)

    def claims(self, process: Process = FIRST) -> Claims:
        """Those of one process."""

        def standing(other: Process) -> Standing:
            return self.stands.get(other, Standing.ALIVE)

        around = Surroundings(lambda: process, standing)
        self.opened.append(Claims(self.store.log, self.clock, around=around))
        return self.opened[-1]

    def settle(self, claims: Claims, claim: Claim, status: RequestStatus, **what: Any) -> bool:
        """Settle a claim, commit, and let go of it."""
        claims.settle(claim, status, **what)
        self.store.commit()
        return claims.finish(claim)

    def told(self, key: str = "key") -> list[tuple[str, ...]]:
        """What the record says of a key, in order: what happened, and why, or with which outcome."""
        return self.store.query(
            "SELECT kind, coalesce(reason, status) FROM claim_event WHERE request_id = ? ORDER BY seq", [key]
        )


@pytest.fixture
def world(memory: Store, clock: FakeClock) -> Iterator[World]:
    """One log in memory, on virtual time."""
    world = World(memory, clock)
    yield world
    for claims in world.opened:
        claims.close()


WANTED = Wanted("key", "letters", "same", '{"n": 1}', HOUR_US)

Expected = tuple[str, str | None]
# Of a failed key the second one is for who does not want it executed again.
TABLE: dict[tuple[str, str, str, str], tuple[Expected, Expected]] = {}


def _rows(statuses: str, times: str, owners: str, inputs: str, *expected: Expected) -> None:
    for row in product(statuses.split(), times.split(), owners.split(), inputs.split()):
        assert row not in TABLE
        TABLE[row] = (expected[0], expected[-1])


_rows("COMPLETED", "valid", "alive dead", "same", ("replay", None))
_rows("COMPLETED", "valid", "alive dead", "other", ("conflict", None))
_rows("COMPLETED FAILED", "expired", "alive dead", "same other", ("execute", "expired"))
_rows("PROCESSING", "valid expired", "alive", "same", ("in_flight", None))
_rows("PROCESSING", "valid expired", "alive", "other", ("conflict", None))
_rows("PROCESSING", "valid", "dead", "same", ("take_over", "taken over"))
_rows("PROCESSING", "valid", "dead", "other", ("conflict", None))
_rows("PROCESSING", "expired", "dead", "same other", ("execute", "expired"))
_rows("FAILED", "valid", "alive dead", "same", ("execute", "failed"), ("refuse", None))
_rows("FAILED", "valid", "alive dead", "other", ("execute", "failed"), ("conflict", None))


@pytest.mark.parametrize("on_failed", ["execute", "raise"])
@pytest.mark.parametrize("row", TABLE, ids=" ".join)
def test_what_is_done_about_a_key(world: World, row: tuple[str, str, str, str], on_failed: Any) -> None:
    """Each way in which a key can be found has one verdict and reason, and leaves the row that fits it."""
    status, time, owner, input_ = row
    first, second = world.claims(FIRST), world.claims(SECOND)
    before = first.acquire(WANTED, "run_1").claim
    if status != "PROCESSING":
        assert world.settle(first, before, RequestStatus(status), result="1", error="no paper")
    world.clock.advance(3600 if time == "expired" else 3599.999)
    world.stands[FIRST] = Standing.ALIVE if owner == "alive" else Standing.GONE

    asked = replace(WANTED, fingerprint=input_, on_failed=on_failed)
    answer = second.acquire(asked, "run_2")
    assert (answer.verdict, answer.reason) == TABLE[row][on_failed == "raise"]

    now_us = world.clock.now_us()
    after = second.find("key")
    assert answer.claim == after
    if answer.verdict == "execute":
        assert after == before._replace(
            fingerprint=input_,
            run_id="run_2",
            execution=2,
            owner=after.owner,
            pid=2,
            born=SECOND.born,
            lease_us=now_us + 60_000_000,
            created_us=now_us,
            expires_us=now_us + HOUR_US,
        )
    elif answer.verdict == "take_over":
        assert after == before._replace(
            owner=after.owner, pid=2, born=SECOND.born, lease_us=now_us + 60_000_000
        )
    else:
        assert (after.owner, after.process) == (before.owner, FIRST)
        assert (after.result, after.error) == (None, None) if status == "PROCESSING" else ("1", "no paper")
    ours = answer.verdict in ("execute", "take_over")
    assert (after.owner != before.owner) == ours
    last = world.told()[-1]
    assert last == (("acquired", answer.reason) if ours else world.told()[-1])
    assert len(world.told()) == 1 + (status != "PROCESSING") + ours


def test_a_new_key_is_executed(world: World) -> None:
    """A key that nobody has used is claimed without a reason, from now until its time is over."""
    claims = world.claims()
    assert claims.find("key") is None
    answer = claims.acquire(WANTED, "run_1")
    now_us = world.clock.now_us()
    assert (answer.verdict, answer.reason) == ("execute", None)
    assert answer.claim == claims.find("key") == Claim(
        "key", "letters", "PROCESSING", "same", '{"n": 1}', "run_1", 1, answer.claim.owner,
        1, "here", FIRST.born, now_us + 60_000_000, now_us, now_us + HOUR_US,
    )  # fmt: skip


def test_the_table_is_complete() -> None:
    """Every way is in it: three statuses, two times, two owners, two inputs."""
    assert len(TABLE) == 3 * 2 * 2 * 2


def test_only_who_works_is_asked_whether_they_live() -> None:
    """Whether the owner of a settled key lives is neither here nor there, and is not looked up."""
    found = Claim("k", "n", "COMPLETED", "same", None, "run_1", 1, "own_1", 1, "here", None, 1, 1, 10)

    def fails(claim: Claim) -> bool:
        raise AssertionError(claim)

    wanted = Wanted("k", "n", "same", None, 1)
    assert judge(found, wanted, 5, fails) == "replay"
    assert judge(found._replace(status="FAILED"), wanted, 5, fails) == "execute"
    assert judge(found, wanted, 10, fails) == "execute"


# --- what counts as alive ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standing", "lease", "verdict"),
    [
        pytest.param(Standing.ALIVE, "live", "in_flight", id="alive"),
        pytest.param(Standing.ALIVE, "over", "in_flight", id="alive on a machine that slept"),
        pytest.param(Standing.GONE, "live", "take_over", id="gone, no waiting for the lease"),
        pytest.param(Standing.GONE, "over", "take_over", id="gone"),
        pytest.param(Standing.UNKNOWN, "live", "in_flight", id="elsewhere, heard of lately"),
        pytest.param(Standing.UNKNOWN, "over", "take_over", id="elsewhere, silent for too long"),
    ],
)
def test_the_lease_decides_only_where_nobody_can_tell(
    world: World, standing: Standing, lease: str, verdict: str
) -> None:
    """A process that can be asked is asked; of others the lease has the say, until it is over."""
    world.claims(FIRST).acquire(WANTED, "run_1")
    world.stands[FIRST] = standing
    world.clock.advance(60 if lease == "over" else 59.999)
    assert world.claims(SECOND).acquire(WANTED, "run_2").verdict == verdict


def test_a_claim_that_was_given_up_is_free_for_all(world: World) -> None:
    """Who lets go without a settlement leaves the key to others, here and elsewhere, though it lives."""
    for other in (FIRST, SECOND):
        claims = world.claims(FIRST)
        claim = claims.acquire(replace(WANTED, key=str(other.pid)), "run_1").claim
        claims.give_up(claim)
        answer = world.claims(other).acquire(replace(WANTED, key=str(other.pid)), "run_2")
        assert (answer.verdict, answer.claim.run_id) == ("take_over", "run_1")
        claims.renew()
        claims.settle(claim, COMPLETED, result="1")
        world.store.commit()
        assert not claims.finish(claim)


def test_what_is_open_in_a_store_that_closes_is_given_up(world: World) -> None:
    """Nobody waits for an owner whose store is closed, in this process or another, until the process ends."""
    for other in (FIRST, SECOND):
        claims = world.claims(FIRST)
        claims.acquire(replace(WANTED, key=str(other.pid)), "run_1")
        claims.close()
        answer = world.claims(other).acquire(replace(WANTED, key=str(other.pid)), "run_2")
        assert answer.verdict == "take_over"


@pytest.mark.parametrize(
    ("back_s", "verdict"),
    [(1, "in_flight"), (3_540, "in_flight"), (3_541, "take_over"), (10**9, "take_over")],
)
def test_a_clock_that_is_set_back_keeps_no_key_for_years(
    open_store: Callable[..., Store], back_s: int, verdict: str
) -> None:
    """The lease of a dead owner from before it was set back holds for an hour at most."""
    before = open_store(clock=FakeClock(start_us=2 * 10**15))
    after = open_store(clock=FakeClock(start_us=2 * 10**15 - back_s * 1_000_000))

    def unknown(other: Process) -> Standing:
        return Standing.UNKNOWN

    owner = Claims(before.log, before.clock, around=Surroundings(lambda: FIRST, unknown))
    owner.acquire(WANTED, "run_1")
    others = Claims(after.log, after.clock, around=Surroundings(lambda: SECOND, unknown))
    assert others.acquire(WANTED, "run_2").verdict == verdict
    for claims in (owner, others):
        claims.close()


# --- settling ------------------------------------------------------------------------------------


def test_the_first_settlement_counts(world: World) -> None:
    """What is said later of the same claim changes nothing, before the commit and after it."""
    claims = world.claims()
    claim = claims.acquire(WANTED, "run_1").claim
    claims.settle(claim, COMPLETED, result="1")
    claims.settle(claim, FAILED, error="late")
    world.store.commit()
    claims.settle(claim, FAILED, error="later")
    world.store.commit()
    assert claims.finish(claim)
    claims.settle(claim, FAILED, error="too late")
    world.store.commit()
    assert not claims.finish(claim)
    found = claims.find("key")
    assert found is not None
    assert (found.status, found.result, found.error) == ("COMPLETED", "1", None)
    assert world.told() == [("acquired", "PROCESSING"), ("settled", "COMPLETED")]


def test_a_late_settlement_changes_nothing_and_says_so(world: World) -> None:
    """An owner that lost its claim learns of it, and the record does not take its word for the other's."""
    first, second = world.claims(FIRST), world.claims(SECOND)
    claim = first.acquire(WANTED, "run_1").claim
    world.stands[FIRST] = Standing.GONE
    other = second.acquire(WANTED, "run_2").claim
    assert not world.settle(first, claim, COMPLETED, result='"first"')
    assert second.find("key") == other
    assert world.told() == [("acquired", "PROCESSING"), ("acquired", "taken over")]
    assert world.settle(second, other, COMPLETED, result='"second"')
    assert not world.settle(first, claim, FAILED, error="late")
    assert world.told()[2:] == [("settled", "COMPLETED")]


def test_a_settlement_counts_also_when_the_key_has_expired_since(world: World) -> None:
    """Who settled in time is told so, even when the key was swept or claimed by somebody else since."""
    for meanwhile in ("swept", "claimed"):
        claims = world.claims()
        wanted = replace(WANTED, key=meanwhile)
        claim = claims.acquire(wanted, "run_1").claim
        world.clock.advance(3601)
        claims.settle(claim, COMPLETED, result="1")
        world.store.commit()
        if meanwhile == "swept":
            assert claims.remove_expired() == 1
        else:
            assert claims.acquire(wanted, "run_2").reason == "expired"
        assert claims.finish(claim)


def test_two_threads_settle_at_the_same_time(world: World) -> None:
    """What one has to say is not mistaken for what the other has, in whatever order they come."""
    first, second = world.claims(FIRST), world.claims(SECOND)
    keys = [f"key_{number}" for number in range(40)]
    claims = {key: first.acquire(replace(WANTED, key=key), f"run_{key}").claim for key in keys}
    world.stands[FIRST] = Standing.GONE
    stolen = keys[::2]
    for key in stolen:
        second.acquire(replace(WANTED, key=key), "run_x")

    def settle(part: list[str]) -> None:
        for key in part:
            assert world.settle(first, claims[key], COMPLETED, result="1") == (key not in stolen)

    threads = [threading.Thread(target=settle, args=(keys[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = world.store.query("SELECT request_id FROM claim_event WHERE kind = 'settled' ORDER BY request_id")
    assert [key for (key,) in rows] == sorted(set(keys) - set(stolen))


def test_listeners_hear_of_claims(world: World) -> None:
    """Claims, settlements and replays are told to listeners like other events, after what led to them."""
    heard: list[str] = []
    world.store.subscribe(lambda rows: heard.extend(row[2] for row in rows))
    claims = world.claims()
    claim = claims.acquire(WANTED, "run_1").claim
    world.store.append("run.finished", "{}", run_id="run_1")
    world.settle(claims, claim, COMPLETED, result="1")
    claims.replayed(claim)
    world.store.commit()
    assert heard == ["claim.acquired", "run.finished", "claim.settled", "claim.replayed"]
    rows = world.store.query("SELECT kind FROM events ORDER BY seq")
    assert [kind for (kind,) in rows] == heard


@pytest.mark.parametrize("text", ["caf\udce9.txt", "a\0b", "naïve \U0001f389", "'; DROP TABLE claim; --"])
def test_texts_of_every_kind_can_be_settled(world: World, text: str) -> None:
    """An error text, a name or an input that is no valid text keeps nobody from writing; it is made valid."""
    valid = text.encode(errors="replace").decode()
    claims = world.claims()
    claim = claims.acquire(Wanted("key", text, "same", f'"{text}"', HOUR_US), "run_1").claim
    assert (claim.name, claim.input) == (valid, f'"{valid}"')
    world.store.append("x", "{}")
    assert world.settle(claims, claim, FAILED, error=text)
    found = claims.find("key")
    assert found is not None
    assert (found.name, found.error) == (valid, valid)
    assert world.store.query("SELECT orchestrator_name, error FROM idempotency_keys") == [(valid, valid)]


@pytest.mark.parametrize("key", ["", "a\0b", "k" * 100_000, "ключ \U0001f389", "key ", " key"])
def test_keys_of_every_kind(world: World, key: str) -> None:
    """Any text is a key, and a different one from every other."""
    claims = world.claims()
    claims.acquire(WANTED, "run_0")
    assert claims.acquire(replace(WANTED, key=key), "run_1").verdict == "execute"
    assert claims.acquire(replace(WANTED, key=key), "run_2").verdict == "in_flight"
    rows = world.store.query("SELECT request_id, run_id FROM idempotency_keys ORDER BY run_id")
    assert rows == [("key", "run_0"), (key, "run_1")]


def test_a_key_that_never_expires(world: World) -> None:
    """A time to live beyond all calendars ends with the year 9999, which every reader can read."""
    claims = world.claims()
    claims.acquire(replace(WANTED, ttl_us=10**30), "run_1")
    ((expires_at,),) = world.store.query("SELECT expires_at FROM idempotency_keys")
    assert expires_at.year == 9999


# --- when the disk does not play along ------------------------------------------------------------


def test_a_claim_that_could_not_be_written(path: Any) -> None:
    """An error while claiming leaves the key free, whether or not the claim has landed."""
    for fault in ("fail_before", "fail_after"):
        with FaultyStore(path.with_name(fault), **{fault: 1}) as store:
            with pytest.raises(StoreFullError):
                store.claims.acquire(WANTED, "run_1")
            answer = store.claims.acquire(WANTED, "run_2")
            assert answer.verdict == ("execute" if fault == "fail_before" else "take_over")


def test_a_settlement_that_found_no_space_goes_with_the_next_commit(path: Any) -> None:
    """What could not be written is not forgotten: the next to ask for the key finds it."""
    with FaultyStore(path, fail_before=2) as store:
        claim = store.claims.acquire(WANTED, "run_1").claim
        store.append("run.finished", "{}", run_id="run_1")
        store.claims.settle(claim, COMPLETED, result="1")
        with pytest.raises(StoreFullError):
            store.commit()
        store.claims.give_up(claim)
        assert store.claims.find("key") == claim
        answer = store.claims.acquire(WANTED, "run_2")
        assert (answer.verdict, answer.claim.result) == ("replay", "1")
        kinds = store.query("SELECT kind FROM events ORDER BY seq")
        assert [kind for (kind,) in kinds] == ["claim.acquired", "run.finished", "claim.settled"]


def test_ctrl_c_while_claiming_leaves_the_key_free(path: Any) -> None:
    """A claim that landed at the very moment of a Ctrl-C belongs to nobody, here and in other processes."""

    @contextmanager
    def interrupted(*, strict: bool) -> Iterator[Any]:
        with writing(strict=strict) as connection:
            yield connection
        raise KeyboardInterrupt

    with Store(path) as store:
        writing = store.log.writing
        store.log.writing = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            store.claims.acquire(WANTED, "run_1")
        store.log.writing = writing  # type: ignore[method-assign]
        found = store.claims.find("key")
        assert found is not None
        assert found.lease_us == 0
        assert store.claims.acquire(WANTED, "run_2").verdict == "take_over"


def test_a_closed_store_takes_no_claims(store: Store) -> None:
    """Each question is refused as every other use of a closed store is."""
    claim = store.claims.acquire(WANTED, "run_1").claim
    store.close()
    uses: list[Callable[[], object]] = [
        lambda: store.claims.find("key"),
        lambda: store.claims.acquire(WANTED, "run_2"),
        lambda: store.claims.finish(claim),
        store.claims.remove_expired,
    ]
    for use in uses:
        with pytest.raises(StoreError, match="closed"):
            use()


# --- the time that keys have ----------------------------------------------------------------------


def test_expired_keys_are_removed(world: World) -> None:
    """A sweep forgets what is over, never what is worked on or still answers; the record stays."""
    first, second = world.claims(FIRST), world.claims(SECOND)
    for key in ("completed", "failed", "working", "given up", "dead"):
        claims = second if key == "dead" else first
        claim = claims.acquire(replace(WANTED, key=key), f"run_{key}").claim
        if key in ("completed", "failed"):
            assert world.settle(claims, claim, COMPLETED if key == "completed" else FAILED)
        elif key == "given up":
            claims.give_up(claim)
    world.stands[SECOND] = Standing.GONE
    world.clock.advance(3599)
    late = first.acquire(replace(WANTED, key="late"), "run_late").claim
    assert world.settle(first, late, COMPLETED)
    assert first.remove_expired() == 0
    world.clock.advance(1)
    assert first.remove_expired() == 4
    left = [key for key in ("completed", "failed", "working", "given up", "dead", "late") if first.find(key)]
    assert left == ["working", "late"]
    assert first.remove_expired() == 0
    assert world.store.query("SELECT count(*) FROM idempotency_keys") == [(6,)]


def test_a_key_is_forgotten_before_its_time(world: World) -> None:
    """One that is settled, or whose owner is gone, but never one that is worked on; its story stays."""
    first, second = world.claims(FIRST), world.claims(SECOND)
    claim = first.acquire(WANTED, "run_1").claim
    assert not second.forget("key")
    assert not first.forget("key")
    assert world.settle(first, claim, COMPLETED, result="1")
    assert second.forget("key")
    assert second.find("key") is None
    assert first.acquire(WANTED, "run_2").reason is None
    world.stands[FIRST] = Standing.GONE
    assert second.forget("key")
    assert second.forget("none")
    assert world.store.query("SELECT * FROM idempotency_keys") == []
    kinds = [kind for (kind,) in world.store.query("SELECT kind FROM claim_event ORDER BY seq")]
    assert kinds == ["acquired", "settled", "released", "acquired", "released"]


def test_which_keys_and_runs_still_count(world: World) -> None:
    """What a sweep would forget is told before, and which runs are behind the other keys."""
    first, second = world.claims(FIRST), world.claims(SECOND)
    for key in ("settled", "working", "dead"):
        claims = second if key == "dead" else first
        claim = claims.acquire(replace(WANTED, key=key), f"run_{key}").claim
        if key == "settled":
            assert world.settle(claims, claim, COMPLETED)
    world.stands[SECOND] = Standing.GONE
    assert (first.expired(), sorted(first.runs())) == (0, ["run_dead", "run_settled", "run_working"])
    world.clock.advance(3600)
    assert (first.expired(), first.runs()) == (2, ["run_working"])
    assert first.remove_expired() == 2
    assert (first.expired(), first.runs()) == (0, ["run_working"])


def test_a_sweep_of_many_keys_lets_others_in(world: World) -> None:
    """Thousands of keys are removed in pieces, so that no writer waits for all of them."""
    rows = [
        (f"k{number}", "n", "COMPLETED", "f", "r", 1, "o", 1, "h", 1, 1, 1 + number % 2)
        for number in range(12_000)
    ]
    columns = "key, name, status, fingerprint, run_id, execution, owner, pid, host, lease_us"
    columns += ", created_us, expires_us"
    with world.store.log.exclusive() as connection:
        connection.executemany(f"INSERT INTO claim ({columns}) VALUES ({', '.join('?' * 12)})", rows)
    assert world.claims().remove_expired() == 12_000


def test_expired_keys_are_removed_when_a_store_is_opened(
    open_store: Callable[..., Store], clock: FakeClock
) -> None:
    """Whoever opens the store next need not think of it."""
    store = open_store(clock=clock)
    store.claims.acquire(WANTED, "run_1")
    store.close()
    clock.advance(3600)
    assert open_store(clock=clock).claims.find("key") is None


def test_the_record_counts_executions_also_after_a_sweep(world: World) -> None:
    """What was executed three times says so, though the key itself was forgotten in between."""
    claims = world.claims()
    for number in range(3):
        claim = claims.acquire(WANTED, f"run_{number}").claim
        assert claim.execution == 1
        world.settle(claims, claim, COMPLETED, result="1")
        world.clock.advance(3600)
        assert claims.remove_expired() == 1
    assert world.store.query("SELECT executions FROM idempotency_keys") == [(3,)]


def test_a_replay_that_is_told_late_belongs_to_its_execution(
    open_store: Callable[..., Store], clock: FakeClock
) -> None:
    """A process that commits its replays after others executed anew does not make the old name the key's."""
    ours, theirs = open_store(clock=clock), open_store(clock=clock)
    claim = ours.claims.acquire(WANTED, "run_1").claim
    ours.claims.settle(claim, COMPLETED, result="1")
    ours.commit()
    theirs.claims.replayed(theirs.claims.acquire(WANTED, "run_x").claim)
    clock.advance(3600)
    ours.claims.acquire(replace(WANTED, name="parcels", fingerprint="other"), "run_2")
    theirs.commit()
    rows = ours.query("SELECT orchestrator_name, fingerprint, replays, executions FROM idempotency_keys")
    assert rows == [("parcels", "other", 1, 2)]


# --- the input that a key is bound to ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": {"x": 1, "y": b"z"}, "b": b"w"}, {"b": b"w", "a": {"y": b"z", "x": 1}}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": (1, 2)}, {"a": [1, 2]}, False),
        ({"a": b"x"}, {"a": "x"}, False),
        ({"a": None}, {}, False),
        ({"a": "\udce9"}, {"a": "\udcea"}, False),
        ({"a": float("nan")}, {"a": float("nan")}, True),
        ({"a": 0.0}, {"a": -0.0}, False),
        ({"a": 10**5000}, {"a": 10**5000}, True),
    ],
)
def test_what_counts_as_the_same_input(left: Any, right: Any, same: bool) -> None:
    """The order of fields does not matter; types and values do."""
    prints = [fingerprint("letters", codec.pack(value)) for value in (left, right)]
    assert (prints[0] == prints[1]) is same
    assert prints[0] != fingerprint("letter", codec.pack(left))
