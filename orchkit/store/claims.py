"""Idempotency keys: the exclusive right to execute one, and what came of it.

A key is claimed by one compare-and-set: a write transaction of the log reads the row, `judge` decides, and
the row is replaced in the same transaction. SQLite lets one writer at a time through, of all threads and
processes, so that two can never both find a key free.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchkit.clock import Clock
from orchkit.errors import StoreError
from orchkit.ids import new_id
from orchkit.model import event as ev
from orchkit.model.idempotency import RequestStatus
from orchkit.store import codec
from orchkit.store.log import Row, SqliteLog
from orchkit.store.process import Process, Standing, standing, this_process

LEASE_S = 60.0
RENEW_S = 15.0
_COLUMNS = (
    "key, name, status, fingerprint, input, run_id, execution, owner, pid, host, born, lease_us, created_us, "
    "expires_us, settled_us, result, error"
)
_READ = f"SELECT {_COLUMNS} FROM claim WHERE key = ?"  # noqa: S608 - only names of ours
_WRITE = f"INSERT OR REPLACE INTO claim ({_COLUMNS}) VALUES ({', '.join('?' * 17)})"  # noqa: S608
_SETTLE = (
    "UPDATE claim SET status = ?, settled_us = ?, result = ?, error = ? "
    "WHERE key = ? AND owner = ? AND status = 'PROCESSING'"
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
    failed                         execute, or refuse when that was asked for
    ============================== =============================================================
    """
    if found is None:
        return "execute"
    working = found.status == RequestStatus.PROCESSING and alive(found)
    if found.expires_us <= now_us and not working:
        return "execute"
    if found.status == RequestStatus.FAILED:
        return "refuse" if wanted.on_failed == "raise" else "execute"
    if found.fingerprint != wanted.fingerprint:
        return "conflict"
    if found.status == RequestStatus.COMPLETED:
        return "replay"
    return "in_flight" if working else "take_over"


_held: set[str] = set()
"""The owners that are at work in this process; a claim of ours that is not in here was given up."""
_held_lock = threading.Lock()


def is_alive(claim: Claim, now_us: int) -> bool:
    """Whether the owner of a claim is still at work.

    Where the operating system can tell, only it is asked: after a machine has slept, every lease is over,
    and nobody may take over from an owner who has just not come round to renewing it.
    """
    if claim.process == this_process():
        return claim.owner in _held
    found = standing(claim.process)
    return found is Standing.ALIVE or (found is Standing.UNKNOWN and claim.lease_us > now_us)


class Claims:
    """The idempotency keys of a log. All methods are thread-safe."""

    def __init__(self, log: SqliteLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._ours: set[str] = set()
        self._renewer: threading.Thread | None = None
        self._stopped = threading.Event()

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
            verdict = judge(found, wanted, now_us, lambda claim: is_alive(claim, now_us))
            if verdict not in ("execute", "take_over"):
                assert found is not None
                return Answer(verdict, found), []
            answer = _granted(wanted, run_id, owner, found, verdict, now_us)
            connection.execute(_WRITE, answer.claim)
            return answer, [(now_us, ev.CLAIM_ACQUIRED, None, None, None, _acquired(answer))]

        with _held_lock:
            _held.add(owner)  # before the row can be seen by others
        try:
            answer = self._log.transact(decide)
        except BaseException:
            self._let_go(owner)
            raise
        if answer.claim.owner == owner:
            self._keep_renewed(owner)
        else:
            self._let_go(owner)
        return answer

    def settle(
        self, claim: Claim, status: RequestStatus, *, result: str | None = None, error: str | None = None
    ) -> None:
        """Say what came of a claim of ours; written with the events that were appended before.

        A claim that somebody else has taken over meanwhile stays as it is: see `finish`.
        """
        now_us = self._clock.now_us()
        error = error and error.encode(errors="replace").decode()  # a lone surrogate could never be written
        params = (status.value, now_us, result, error, claim.key, claim.owner)
        payload = {
            "key": claim.key,
            "name": claim.name,
            "run_id": claim.run_id,
            "status": status.value,
            "error": error,
        }
        told: list[Row] = [(now_us, ev.CLAIM_SETTLED, None, None, None, codec.dumps(payload))]
        self._log.attach(lambda connection: told if connection.execute(_SETTLE, params).rowcount else [])

    def finish(self, claim: Claim) -> bool:
        """After the commit: let go of a claim; whether it was ours until the end."""
        self._let_go(claim.owner)
        found = self.find(claim.key)
        return found is not None and found.owner == claim.owner

    def give_up(self, claim: Claim) -> None:
        """Let go of a claim without a settlement: its owner counts as dead from now on."""
        self._let_go(claim.owner)

    def replayed(self, claim: Claim) -> None:
        """Note that a recorded result was given once more; written with the next commit."""
        payload = codec.dumps({"key": claim.key, "name": claim.name, "run_id": claim.run_id})
        row = (self._clock.now_us(), ev.CLAIM_REPLAYED, None, None, None, payload)
        self._log.append(row, durable=False)

    def remove_expired(self) -> int:
        """Forget keys whose time is over and that nobody works on; returns how many. The record stays."""
        now_us = self._clock.now_us()
        if not self._log.read("SELECT 1 FROM claim WHERE expires_us <= ? LIMIT 1", (now_us,)):
            return 0

        def decide(connection: sqlite3.Connection) -> tuple[int, list[Row]]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM claim WHERE expires_us <= ?",  # noqa: S608 - only names of ours
                (now_us,),
            ).fetchall()
            claims = [Claim._make(row) for row in rows]
            over = [
                (claim.key,)
                for claim in claims
                if claim.status != RequestStatus.PROCESSING or not is_alive(claim, now_us)
            ]
            connection.executemany("DELETE FROM claim WHERE key = ?", over)
            return len(over), []

        return self._log.transact(decide)

    # --- leases ------------------------------------------------------------------------------

    def _keep_renewed(self, owner: str) -> None:
        with _held_lock:
            self._ours.add(owner)
            if self._renewer is None and not self._stopped.is_set():
                # It ends by itself when there is nothing left to renew, and costs nothing for short work.
                self._renewer = threading.Thread(target=self._renew, name="orchkit-leases", daemon=True)
                self._renewer.start()

    def _let_go(self, owner: str) -> None:
        with _held_lock:
            _held.discard(owner)
            self._ours.discard(owner)

    def _renew(self) -> None:
        while not self._stopped.wait(RENEW_S):
            with _held_lock:
                owners = list(self._ours)
                if not owners:
                    self._renewer = None
                    return
            self.renew(owners)

    def renew(self, owners: Iterable[str]) -> None:
        """Put off the end of the leases of these owners."""
        until_us = self._clock.now_us() + int(LEASE_S * 1e6)
        # A round that fails (on a full disk, say) is made up for by the next one, long before the leases end.
        with suppress(StoreError), self._log.exclusive() as connection:
            connection.executemany(
                "UPDATE claim SET lease_us = ? WHERE owner = ?", [(until_us, owner) for owner in owners]
            )

    def close(self) -> None:
        """Stop renewing; idempotent."""
        self._stopped.set()


def _granted(
    wanted: Wanted, run_id: str, owner: str, found: Claim | None, verdict: Verdict, now_us: int
) -> Answer:
    here = this_process()
    taken_over = verdict == "take_over" and found is not None
    claim = Claim(
        key=wanted.key,
        name=wanted.name,
        status=RequestStatus.PROCESSING.value,
        fingerprint=wanted.fingerprint,
        input=wanted.input,
        run_id=found.run_id if taken_over and found else run_id,
        execution=(found.execution if found else 0) + (0 if taken_over else 1),
        owner=owner,
        pid=here.pid,
        host=here.host,
        born=here.born,
        lease_us=now_us + int(LEASE_S * 1e6),
        created_us=found.created_us if taken_over and found else now_us,
        expires_us=found.expires_us if taken_over and found else now_us + wanted.ttl_us,
    )
    if taken_over:
        reason = "taken over"
    elif found is None:
        reason = None
    else:
        reason = "failed" if found.status == RequestStatus.FAILED and found.expires_us > now_us else "expired"
    return Answer(verdict, claim, reason)


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
