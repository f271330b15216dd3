"""Idempotency keys: the exclusive right to execute one, and what came of it.

A key is claimed by one compare-and-set: a write transaction of the log reads the row, `judge` decides, and
the row is replaced in the same transaction. SQLite lets one writer at a time through, of all threads and
processes, so that two can never both find a key free.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchkit.clock import Clock
from orchkit.errors import StoreError
from orchkit.ids import new_id
from orchkit.model import event as ev
from orchkit.model.idempotency import RequestStatus
from orchkit.store import codec
from orchkit.store.holdings import Holdings, Renewer, Surroundings
from orchkit.store.log import Row, SqliteLog
from orchkit.store.process import Process

LATEST_US = 253_402_300_799_000_000
"""The end of the year 9999, as far as Python's datetimes reach: no key expires later."""
SWEEP_ROWS = 5_000
_COLUMNS = (
    "key, name, status, fingerprint, input, run_id, execution, owner, pid, host, born, lease_us, created_us, "
    "expires_us, settled_us, result, error"
)
_READ = f"SELECT {_COLUMNS} FROM claim WHERE key = ?"  # noqa: S608 - only names of ours
_WRITE = f"INSERT OR REPLACE INTO claim ({_COLUMNS}) VALUES ({', '.join('?' * 17)})"  # noqa: S608
_MINE = "key = ? AND owner = ? AND status = 'PROCESSING'"
_SETTLE = f"UPDATE claim SET status = ?, settled_us = ?, result = ?, error = ? WHERE {_MINE}"  # noqa: S608
_EXPIRED = f"SELECT {_COLUMNS} FROM claim WHERE expires_us <= ? AND status = 'PROCESSING'"  # noqa: S608
_FORGET = (
    "DELETE FROM claim WHERE key IN "
    "(SELECT key FROM claim WHERE expires_us <= ? AND status <> 'PROCESSING' LIMIT ?)"
)

Verdict = Literal["execute", "replay", "conflict", "in_flight", "take_over", "refuse"]


class Claim(NamedTuple):
    """A key as it stands: the row of the table."""

    key: str
    name: str
    status: str
    fingerprint: str
    input: str | None
    run_id: str
    execution: int
    owner: str
    pid: int
    host: str
    born: str | None
    lease_us: int
    created_us: int
    expires_us: int
    settled_us: int | None = None
    result: str | None = None
    error: str | None = None

    @property
    def process(self) -> Process:
        """Who executes it, or did."""
        return Process(self.pid, self.host, self.born)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for: to execute this input under this key, or to be told what came of it."""

    key: str
    name: str
    fingerprint: str
    """Of the name and the input: see `fingerprint`."""
    input: str | None
    """The input as JSON, to be able to say what differs; None when it is large."""
    ttl_us: int
    on_failed: Literal["execute", "raise"] = "execute"


class Answer(NamedTuple):
    """What is to be done, and the row it was decided on: for execute and take_over the new one, ours."""

    verdict: Verdict
    claim: Claim
    reason: str | None = None
    """For execute: None for a new key, else ``expired`` or ``failed``; for take_over: ``taken over``."""


def fingerprint(name: str, packed: codec.Packed) -> str:
    """SHA-256 of a name and an input; the order of an object's fields does not matter."""
    notes = sorted(packed.notes, key=codec.canonical)  # they come in the order of the fields, too
    return codec.content_hash(codec.canonical([name, packed.value, notes]))


def judge(found: Claim | None, wanted: Wanted, now_us: int, alive: Callable[[Claim], bool]) -> Verdict:
    """What is to be done about a key that is found like this: the whole policy, and nothing else.

    ============================== =============================================================
    found                          verdict
    ============================== =============================================================
    nothing, or expired            execute
    completed, same input          replay
    completed, other input         conflict
    processing, other input        conflict
    processing, its owner alive    in_flight (it cannot expire while the work goes on)
    processing, its owner dead     take_over
    failed                         execute; when that was not asked for, refuse (same input) or
                                   conflict (other input, whose failure it was not)
    ============================== =============================================================
    """
    if found is None:
        return "execute"
    working = found.status == RequestStatus.PROCESSING and alive(found)
    if found.expires_us <= now_us and not working:
        return "execute"
    if found.status == RequestStatus.FAILED and wanted.on_failed == "execute":
        return "execute"
    if found.fingerprint != wanted.fingerprint:
        return "conflict"
    if found.status == RequestStatus.COMPLETED:
        return "replay"
    if found.status == RequestStatus.FAILED:
        return "refuse"
    return "in_flight" if working else "take_over"


@dataclass(slots=True)
class _Settlement:
    """None until the settlement was made in a transaction, then whether the claim was ours."""

    ours: bool | None = None


class Claims:
    """The idempotency keys of a log. All methods are thread-safe."""

    def __init__(
        self,
        log: SqliteLog,
        clock: Clock,
        *,
        renewer: Renewer | None = None,
        around: Surroundings | None = None,
    ) -> None:
        self._log, self._clock = log, clock
        self._renewer = renewer or Renewer()
        self._holdings = Holdings(log, clock, self._renewer, "claim", _MINE, around or Surroundings())
        self._settlements: dict[str, _Settlement] = {}

    def find(self, key: str) -> Claim | None:
        """The row of a key, committed; None when there is none."""
        rows = self._log.read(_READ, (key,))
        return Claim._make(rows[0]) if rows else None

    def acquire(self, wanted: Wanted, run_id: str) -> Answer:
        """Claim a key for a run with this id, if it is free for that; else say how it stands.

        A claim that is taken over keeps its run id: the run goes on. Raises `StoreError`.
        """
        owner = new_id("own")

        def decide(connection: sqlite3.Connection) -> tuple[Answer, list[Row]]:
            now_us = self._clock.now_us()
            row = connection.execute(_READ, (wanted.key,)).fetchone()
            found = Claim._make(row) if row else None
            verdict = judge(found, wanted, now_us, self._is_held)
            if found is not None and verdict not in ("execute", "take_over"):
                return Answer(verdict, found), []
            answer = self._granted(wanted, run_id, owner, found, verdict, now_us)
            connection.execute(_WRITE, answer.claim)
            return answer, [(now_us, ev.CLAIM_ACQUIRED, None, None, None, _acquired(answer))]

        self._holdings.hold(owner, (wanted.key, owner))
        try:
            answer = self._log.transact(decide)
        except StoreError:
            self._holdings.let_go(owner)
            raise
        except BaseException:
            self._holdings.give_up(owner)  # when Ctrl-C comes in, it may have landed
            raise
        if answer.claim.owner == owner:
            self._holdings.keep()
        else:
            self._holdings.let_go(owner)
        return answer

    def _is_held(self, claim: Claim) -> bool:
        return self._holdings.is_held(claim.owner, claim.process, claim.lease_us)

    def _granted(
        self, wanted: Wanted, run_id: str, owner: str, found: Claim | None, verdict: Verdict, now_us: int
    ) -> Answer:
        """What is written: the row that was found with another owner, or a new one."""
        this, lease_us = self._holdings.this, self._holdings.lease_us()
        if found is not None and verdict == "take_over":
            found = found._replace(
                owner=owner, pid=this.pid, host=this.host, born=this.born, lease_us=lease_us
            )
            return Answer(verdict, found, "taken over")
        claim = Claim(
            key=wanted.key,
            name=_valid(wanted.name),
            status=RequestStatus.PROCESSING.value,
            fingerprint=wanted.fingerprint,
            input=wanted.input and _valid(wanted.input),
            run_id=run_id,
            execution=(found.execution if found else 0) + 1,
            owner=owner,
            pid=this.pid,
            host=this.host,
            born=this.born,
            lease_us=lease_us,
            created_us=now_us,
            expires_us=min(now_us + wanted.ttl_us, LATEST_US),
        )
        if found is None:
            return Answer(verdict, claim)
        return Answer(verdict, claim, "expired" if found.expires_us <= now_us else "failed")

    def settle(
        self, claim: Claim, status: RequestStatus, *, result: str | None = None, error: str | None = None
    ) -> None:
        """Say what came of a claim of ours; written with the events that were appended before.

        The first word counts. A claim that somebody else has taken over meanwhile stays as it is: see
        `finish`.
        """
        if claim.owner in self._settlements:
            return
        settlement = self._settlements[claim.owner] = _Settlement()
        now_us = self._clock.now_us()
        error = error and _valid(error)
        params = (status.value, now_us, result, error, claim.key, claim.owner)
        payload = {
            "key": claim.key,
            "name": claim.name,
            "run_id": claim.run_id,
            "status": status.value,
            "error": error,
        }
        told: list[Row] = [(now_us, ev.CLAIM_SETTLED, None, None, None, codec.dumps(payload))]

        def change(connection: sqlite3.Connection) -> list[Row]:
            settlement.ours = connection.execute(_SETTLE, params).rowcount == 1
            return told if settlement.ours else []

        self._log.attach(change)

    def finish(self, claim: Claim) -> bool:
        """After the commit: let go of a claim; whether it was ours until the end."""
        settlement = self._settlements.pop(claim.owner, None)
        self._holdings.let_go(claim.owner)
        if settlement is not None and settlement.ours is not None:
            return settlement.ours  # whatever became of the row since: it may have expired
        found = self.find(claim.key)
        return found is not None and found.owner == claim.owner

    def give_up(self, claim: Claim) -> None:
        """Let go of a claim without a settlement: its owner counts as dead from now on, here and elsewhere.

        With one that could not be written yet it stays ours: that goes with the next commit.
        """
        if self._settlements.pop(claim.owner, None) is None:
            self._holdings.give_up(claim.owner)
        else:
            self._holdings.let_go(claim.owner)

    def replayed(self, claim: Claim) -> None:
        """Note that a recorded result was given once more; written with the next commit."""
        payload = codec.dumps({"key": claim.key, "name": claim.name, "run_id": claim.run_id})
        row = (self._clock.now_us(), ev.CLAIM_REPLAYED, None, None, None, payload)
        self._log.append(row, durable=False)

    def forget(self, key: str) -> bool:
        """Forget a key before its time, unless it is being worked on; whether it is gone."""

        def decide(connection: sqlite3.Connection) -> tuple[bool, list[Row]]:
            row = connection.execute(_READ, (key,)).fetchone()
            if row is None:
                return True, []
            claim = Claim._make(row)
            if claim.status == RequestStatus.PROCESSING and self._is_held(claim):
                return False, []
            connection.execute("DELETE FROM claim WHERE key = ?", (key,))
            payload = {"key": key, "name": claim.name, "run_id": claim.run_id, "reason": "forgotten"}
            released = (ev.CLAIM_RELEASED, None, None, None, codec.dumps(payload))
            return True, [(self._clock.now_us(), *released)]

        return self._log.transact(decide)

    def remove_expired(self) -> int:
        """Forget keys whose time is over and that nobody works on; returns how many. The record stays."""
        now_us = self._clock.now_us()
        if not self._log.read("SELECT 1 FROM claim WHERE expires_us <= ? LIMIT 1", (now_us,)):
            return 0

        def unfinished(connection: sqlite3.Connection) -> tuple[int, list[Row]]:
            claims = [Claim._make(row) for row in connection.execute(_EXPIRED, (now_us,))]
            dead = [(claim.key,) for claim in claims if not self._is_held(claim)]
            connection.executemany("DELETE FROM claim WHERE key = ?", dead)
            return len(dead), []

        def settled(connection: sqlite3.Connection) -> tuple[int, list[Row]]:
            return connection.execute(_FORGET, (now_us, SWEEP_ROWS)).rowcount, []

        count = self._log.transact(unfinished)
        while removed := self._log.transact(settled):  # in pieces, so that nobody waits for long
            count += removed
        return count

    def expired(self) -> int:
        """How many keys `remove_expired` would forget now."""
        return int(self._log.read("SELECT count(*) FROM claim")[0][0]) - len(self._lasting())

    def runs(self) -> list[str]:
        """The runs, each once, of keys whose time is not over, or that somebody works on."""
        return list({run_id for _, run_id in self._lasting()})

    def _lasting(self) -> list[tuple[str, str]]:
        """Key and run of the claims that `remove_expired` would leave."""
        now_us = self._clock.now_us()
        working = filter(self._is_held, map(Claim._make, self._log.read(_EXPIRED, (now_us,))))
        rows = self._log.read("SELECT key, run_id FROM claim WHERE expires_us > ?", (now_us,))
        return [*rows, *((claim.key, claim.run_id) for claim in working)]

    def renew(self) -> None:
        """Put off the end of the leases of all claims of ours."""
        self._holdings.renew()

    def close(self) -> None:
        """Stop renewing, and give up what was not settled; idempotent."""
        self._renewer.stop()
        self._holdings.close()


def _valid(text: str) -> str:
    """The same with lone surrogates, which could never be written, as question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _acquired(answer: Answer) -> str:
    """The payload of the event."""
    claim = answer.claim
    return codec.dumps(
        {
            "key": claim.key,
            "name": claim.name,
            "fingerprint": claim.fingerprint,
            "run_id": claim.run_id,
            "execution": claim.execution,
            "expires_us": claim.expires_us,
            "reason": answer.reason,
            "pid": claim.pid,
            "host": claim.host,
        }
    )
