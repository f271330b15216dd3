"""Idempotency keys against a model: what several processes do to them, in any order, with crashes."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchkit.errors import StoreError
from orchkit.model.idempotency import RequestStatus
from orchkit.store.claims import Claim, Claims, Wanted
from orchkit.store.holdings import Renewer, Surroundings
from orchkit.store.log import SqliteLog
from orchkit.store.process import Process, Standing
from orchkit.store.store import Store
from orchkit.testing import FakeClock

KEYS = ("a", "a", "b")
LEASE_S = 60
COLUMNS = (
    "request_id, orchestrator_name, status, fingerprint, run_id, created_at, expires_at, completed_at, "
    "error, replays, executions"
)


class MortalLog(SqliteLog):
    """A log whose process can die: what it has buffered is lost then."""

    dead = False

    @contextmanager
    def writing(self, *, strict: bool) -> Iterator[sqlite3.Connection]:
        if self.dead:
            raise StoreError("this process does not exist any more")
        with super().writing(strict=strict) as connection:
            yield connection

    def die(self) -> None:
        self.dead = True
        with suppress(StoreError):
            self.close()


@dataclass(eq=False)
class Handle:
    """A store that a process has opened."""

    process: Process
    log: MortalLog
    renewer: Renewer
    claims: Claims
    pending: list[Any] = field(default_factory=list)
    """What happens in the model when this handle commits."""


@dataclass(eq=False)
class Work:
    """A claim, and who has it."""

    handle: Handle
    claim: Claim
    at_work: bool = True
    settled: bool = False
    landed: bool | None = None


@dataclass
class Row:
    """What the model knows of a key: the table's row."""

    name: str
    fingerprint: str
    run_id: str
    execution: int
    work: Work
    created: int
    expires: int
    lease: int
    status: str = "PROCESSING"
    given_up: bool = False
    settled: int | None = None
    result: str | None = None
    error: str | None = None


@dataclass
class Story:
    """What the model knows of all that ever happened to a key: the view's row."""

    name: str
    fingerprint: str
    run_id: str
    created: int
    expires: int
    status: str = "PROCESSING"
    completed: int | None = None
    error: str | None = None
    replays: int = 0
    executions: int = 0


class ClaimsMachine(RuleBasedStateMachine):
    """Rules for what processes do, each with what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.path = self.folder / "runs.duckdb"
        self.clock = FakeClock(autojump=False)
        self.observer = Store(self.path, clock=self.clock)
        self.living: set[Process] = set()
        self.handles: list[Handle] = []
        self.works: list[Work] = []
        self.rows: dict[str, Row] = {}
        self.stories: dict[str, Story] = {}
        self.count = 0

    @property
    def now(self) -> int:
        return self.clock.now_us()

    def number(self) -> int:
        self.count += 1
        return self.count

    def teardown(self) -> None:
        self.look_at_the_record()
        for handle in self.handles:
            handle.renewer.stop()
            handle.log.die()
        self.observer.close()
        shutil.rmtree(self.folder)

    # --- processes --------------------------------------------------------------------------

    def open(self, process: Process) -> None:
        def standing(other: Process) -> Standing:
            if other.host != process.host:
                return Standing.UNKNOWN
            return Standing.ALIVE if other in self.living else Standing.GONE

        log = MortalLog(self.path.with_name("runs.duckdb-log"), clock=self.clock)
        renewer = Renewer(every_s=3600)
        around = Surroundings(lambda: process, standing, LEASE_S)
        claims = Claims(log, self.clock, renewer=renewer, around=around)
        self.handles.append(Handle(process, log, renewer, claims))

    @initialize()
    def begin(self) -> None:
        """One process on each of two hosts."""
        for host in ("here", "there"):
            self.start(host)

    @precondition(lambda self: len(self.handles) < 5)
    @rule(host=st.sampled_from(["here", "there"]))
    def start(self, host: str) -> None:
        """A new process opens the store."""
        process = Process(self.number(), host, f"boot/namespace/{self.count}")
        self.living.add(process)
        self.open(process)

    @precondition(lambda self: len(self.handles) < 5)
    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        """A process opens the store once more."""
        self.open(data.draw(st.sampled_from(self.handles)).process)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """A process is gone, and what it had not committed with it."""
        process = data.draw(st.sampled_from(self.handles)).process
        self.living.discard(process)
        for handle in [handle for handle in self.handles if handle.process == process]:
            handle.renewer.stop()
            handle.log.die()
            self.drop(handle)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """A store is closed as it should be: what was settled is written, the rest is given up."""
        handle = data.draw(st.sampled_from(self.handles))
        handle.log.commit()
        self.committed(handle)
        handle.claims.close()
        for row in self.rows.values():
            if row.work.handle is handle and row.work.at_work and row.status == "PROCESSING":
                row.given_up = True
        handle.log.close()
        self.drop(handle)

    def drop(self, handle: Handle) -> None:
        self.handles.remove(handle)
        for work in self.works:
            work.at_work = work.at_work and work.handle is not handle
        self.works = [work for work in self.works if work.handle is not handle]
        if not self.handles:
            self.start(handle.process.host)

    @rule(seconds=st.sampled_from([0.000001, 1, 20, 59, 60, 200, 1000]))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    # --- claims -----------------------------------------------------------------------------

    def lives(self, row: Row, seen_by: Process) -> bool:
        """Whether somebody works under this key, as far as this process can tell."""
        owner = row.work.handle.process
        if row.given_up:
            return False
        if owner == seen_by:
            return row.work.at_work
        if owner.host == seen_by.host:
            return owner in self.living
        return row.lease > self.now

    def expected(self, row: Row | None, wanted: Wanted, seen_by: Process) -> tuple[str, str | None]:
        if row is None:
            return "execute", None
        same, over = row.fingerprint == wanted.fingerprint, row.expires <= self.now
        if row.status == "PROCESSING" and self.lives(row, seen_by):
            return ("in_flight" if same else "conflict"), None
        if over:
            return "execute", "expired"
        if row.status == "PROCESSING":
            return ("take_over", "taken over") if same else ("conflict", None)
        if row.status == "COMPLETED":
            return ("replay" if same else "conflict"), None
        if wanted.on_failed == "execute":
            return "execute", "failed"
        return ("refuse" if same else "conflict"), None

    @rule(
        data=st.data(),
        key=st.sampled_from(KEYS),
        name=st.sampled_from("fffg"),
        ttl_s=st.sampled_from([1, 100, 100, 2000]),
        on_failed=st.sampled_from(["execute", "execute", "raise"]),
    )
    def acquire(self, data: st.DataObject, key: str, name: str, ttl_s: int, on_failed: Any) -> None:
        """Somebody asks to execute something under a key."""
        handle = data.draw(st.sampled_from(self.handles))
        wanted = Wanted(key, name, f"print of {name}", f'"{name}"', ttl_s * 1_000_000, on_failed)
        run_id = f"run_{self.number()}"
        self.committed(handle)
        row = self.rows.get(key)
        verdict, reason = self.expected(row, wanted, handle.process)
        answer = handle.claims.acquire(wanted, run_id)
        assert (answer.verdict, answer.reason) == (verdict, reason)
        claim = answer.claim
        if verdict == "replay":
            handle.claims.replayed(claim)
            handle.pending.append(lambda: self.replayed(key))
        if verdict not in ("execute", "take_over"):
            assert row is not None
            assert claim.owner == row.work.claim.owner
            return
        work = Work(handle, claim)
        self.works.append(work)
        lease = self.now + LEASE_S * 1_000_000
        if verdict == "take_over":
            assert row is not None
            self.rows[key] = replace(row, work=work, lease=lease, given_up=False)
            return
        execution = row.execution + 1 if row else 1
        expires = self.now + wanted.ttl_us
        self.rows[key] = Row(name, wanted.fingerprint, run_id, execution, work, self.now, expires, lease)
        before = self.stories.get(key) or Story("", "", "", 0, 0)
        self.stories[key] = Story(name, wanted.fingerprint, run_id, self.now, expires)
        self.stories[key].replays, self.stories[key].executions = before.replays, before.executions + 1

    def replayed(self, key: str) -> None:
        self.stories[key].replays += 1

    @precondition(lambda self: self.works)
    @rule(data=st.data(), status=st.sampled_from(["COMPLETED", "FAILED"]), at_once=st.booleans())
    def settle(self, data: st.DataObject, status: str, at_once: bool) -> None:
        """Somebody says what came of it, and as a rule commits that at once."""
        work = data.draw(st.sampled_from(self.works))
        self.say(work, status)
        if at_once:
            self.finish_work(work)

    def say(self, work: Work, status: str) -> None:
        """It counts once it is committed, and only the first time."""
        result, error = ('"done"', None) if status == "COMPLETED" else (None, f"error {self.number()}")
        work.handle.claims.settle(work.claim, RequestStatus(status), result=result, error=error)
        if work.settled:
            return
        work.settled = True
        key, now = work.claim.key, self.now

        def landed() -> None:
            row = self.rows.get(key)
            work.landed = row is not None and row.work is work and row.status == "PROCESSING"
            if row is not None and work.landed:
                row.status, row.settled, row.result, row.error = status, now, result, error
                story = self.stories[key]
                story.status, story.completed, story.error = status, now, error

        work.handle.pending.append(landed)

    def committed(self, handle: Handle) -> None:
        for change in handle.pending:
            change()
        handle.pending.clear()

    @precondition(lambda self: self.works)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Somebody commits and lets go."""
        self.finish_work(data.draw(st.sampled_from(self.works)))

    def finish_work(self, work: Work) -> None:
        """Who lets go is told whether its word counted."""
        work.handle.log.commit()
        self.committed(work.handle)
        row = self.rows.get(work.claim.key)
        ours = work.landed if work.landed is not None else row is not None and row.work is work
        assert work.handle.claims.finish(work.claim) == ours
        self.let_go(work)

    @precondition(lambda self: self.works)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """Somebody lets go without a commit."""
        work = data.draw(st.sampled_from(self.works))
        work.handle.claims.give_up(work.claim)
        row = self.rows.get(work.claim.key)
        if row is not None and row.work is work and not work.settled:
            row.given_up = True
        self.let_go(work)

    def let_go(self, work: Work) -> None:
        work.at_work = False
        self.works.remove(work)

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """The leases of a handle's claims are renewed."""
        handle = data.draw(st.sampled_from(self.handles))
        handle.claims.renew()
        for row in self.rows.values():
            if row.work.handle is handle and row.work.at_work and row.status == "PROCESSING":
                row.lease = self.now + LEASE_S * 1_000_000

    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        """Somebody removes expired keys."""
        handle = data.draw(st.sampled_from(self.handles))
        if any(row.expires <= self.now for row in self.rows.values()):
            self.committed(handle)
        over = [
            key
            for key, row in self.rows.items()
            if row.expires <= self.now
            and not (row.status == "PROCESSING" and self.lives(row, handle.process))
        ]
        assert handle.claims.remove_expired() == len(over)
        for key in over:
            del self.rows[key]

    # --- what is there ------------------------------------------------------------------------

    @invariant()
    def rows_are_as_expected(self) -> None:
        """Every process finds the row that the model has."""
        for key in set(KEYS):
            row, found = self.rows.get(key), self.observer.claims.find(key)
            assert (row is None) == (found is None), key
            if row is None or found is None:
                continue
            owner = row.work.handle.process
            assert found == Claim(
                key, row.name, row.status, row.fingerprint, f'"{row.name}"', row.run_id, row.execution,
                row.work.claim.owner, owner.pid, owner.host, owner.born, 0 if row.given_up else row.lease,
                row.created, row.expires, row.settled, row.result, row.error,
            )  # fmt: skip

    @rule()
    def look_at_the_record(self) -> None:
        """The view tells the whole story of each key, also of those that were swept."""
        rows = self.observer.query(f"SELECT {COLUMNS} FROM idempotency_keys ORDER BY request_id")
        assert rows == [told(key, story) for key, story in sorted(self.stories.items())]


def told(key: str, story: Story) -> tuple[Any, ...]:
    """What the view should say."""
    created, expires, completed = map(_time, (story.created, story.expires, story.completed))
    kept = story.name, story.status, story.fingerprint, story.run_id
    return (key, *kept, created, expires, completed, story.error, story.replays, story.executions)


def _time(us: int | None) -> datetime | None:
    return None if us is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


ClaimsMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestClaims(ClaimsMachine.TestCase):  # type: ignore[misc]
    """Several processes and one file, whatever they do, agree with one dictionary."""
