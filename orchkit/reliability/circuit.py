"""A circuit breaker at work: the pure decisions, a lock around each, and what they leave on the record."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final

from orchkit.clock import Clock
from orchkit.errors import BreakerOpenError, StoreError
from orchkit.model import event as ev
from orchkit.model.breaker import BreakerPolicy, BreakerState
from orchkit.reliability.breaker import (
    NONE,
    Change,
    Outcome,
    Permit,
    Snapshot,
    admit,
    change_to,
    reopens_in,
    settle,
)
from orchkit.reliability.call import Call
from orchkit.reliability.ledger import Ledger, NoLedger, Stored, Subject
from orchkit.reliability.window import window_for

LOOK_S: Final = 0.25
"""How often a breaker looks whether another process has changed it, at most: so old may its state be."""
MOST_CAUSES: Final = 20
"""How many attempts a transition names, the last ones."""


class CircuitBreaker:
    """One breaker; calls from any thread, on any loop. The lock is never held during a call.

    What is promised across processes that share a store: each counts failures for itself, but a change of
    state is a compare-and-set in the log, so every change is made once and by one process. The others follow
    at their next call, at most `LOOK_S` seconds late. While it is half open only the process that made it so
    sends probes; another one takes over when that process is gone, or has not decided within
    ``probe_lease``. A new process begins with the state that is written down.
    """

    def __init__(self, name: str, policy: BreakerPolicy, clock: Clock, ledger: Ledger | None = None) -> None:
        self.name = name
        self.policy = policy
        self.rejected = 0
        """How many calls it has kept from being made, in this process."""
        self._clock = clock
        self._ledger: Ledger = ledger or NoLedger()
        self._lock = threading.Lock()
        self._snapshot = Snapshot(since=clock.monotonic())
        self._by_hand: str | None = None
        self._version = 0
        self._look_at = float("-inf")
        self._window = window_for(policy)
        self._causes: deque[Subject] = deque(maxlen=MOST_CAUSES)

    # --- around a call -----------------------------------------------------------------------

    def acquire(self, call: Call) -> Permit:
        """The permit for a call; raises `BreakerOpenError`."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            with self._lock:
                self._look(now)
        snapshot = self._snapshot
        if snapshot.state in ("closed", "disabled"):
            return Permit(snapshot.generation)
        with self._lock:
            while True:
                admission = admit(self.policy, self._snapshot, now)
                change = admission.change
                if change is None:
                    self._snapshot = admission.snapshot
                    break
                if self._move(admission.snapshot, change, [_subject(call, call.attempt + 1)], now):
                    break  # else another process was faster, and it may not be open any more
            if admission.permit is not None:
                return admission.permit
            self.rejected += 1
            raise BreakerOpenError(self.name, self._snapshot.state, admission.retry_in, self._by_hand)

    def settle(self, permit: Permit, call: Call, outcome: Outcome) -> None:
        """A call with this permit came back."""
        snapshot, window = self._snapshot, self._window
        if permit.generation != snapshot.generation:
            return
        quiet = outcome == "success" and snapshot.state == "closed" and not snapshot.failures
        if (quiet and window is None) or snapshot.state == "disabled":
            return
        policy, now = self.policy, self._clock.monotonic()
        limit = policy.slow_call_duration
        slow = outcome != "ignored" and limit is not None and call.took > limit
        with self._lock:
            snapshot, counts = self._snapshot, NONE
            if permit.generation != snapshot.generation:
                return
            if window is not None and snapshot.state == "closed" and outcome != "ignored":
                counts = window.add(now, failed=outcome == "failure", slow=slow)
            self._note_cause(_subject(call, call.attempt), outcome, slow=slow)
            after, change = settle(policy, snapshot, permit, outcome, now, slow=slow, window=counts)
            if change is None:
                self._snapshot = after
            else:
                self._move(after, change, self._causes, now)

    def _note_cause(self, subject: Subject, outcome: Outcome, *, slow: bool) -> None:
        if outcome == "failure" or slow or (self._snapshot.state == "half_open" and outcome != "ignored"):
            self._causes.append(subject)
        elif outcome == "success" and self._window is None:
            self._causes.clear()

    # --- changes -----------------------------------------------------------------------------

    def _move(
        self,
        after: Snapshot,
        change: Change,
        causes: Iterable[Subject],
        now: float,
        *,
        manual: bool = False,
        said: str | None = None,
    ) -> bool:
        """Make a change, and write it down; False when another process made one before us."""
        until_us = self._until_us(after, now)
        value = {
            "state": after.state,
            "generation": after.generation,
            "since_us": self._clock.now_us(),
            "until_us": until_us,
            "by_hand": said,
        }
        version: int | None = self._version
        # What cannot be written must not keep a failing service from being spared; people are told of it.
        unwritten: AbstractContextManager[None] = nullcontext() if manual else suppress(StoreError)
        with unwritten:
            version = self._ledger.write(self.name, value, self._version)
        if version is None:
            self._look(now)
            return False
        subjects = list(causes)
        self._version = version
        self._enter(after, said)
        payload = {
            "name": self.name,
            "from_state": change.before,
            "to_state": change.after,
            "generation": after.generation,
            "reason": change.reason,
            "manual": manual,
            "until_us": until_us or None,
            "causes": [_cause(subject) for subject in subjects],
        }
        with unwritten:
            self._ledger.note(ev.BREAKER_TRANSITION, payload, subjects[-1] if subjects else _NOBODY)
        return True

    def _enter(self, snapshot: Snapshot, said: str | None) -> None:
        self._snapshot, self._by_hand = snapshot, said
        self._causes.clear()
        if self._window is not None:
            self._window.clear()

    def _until_us(self, snapshot: Snapshot, now: float) -> int:
        seconds = {"open": self.policy.reset_timeout, "half_open": self.policy.probe_lease}
        ahead = snapshot.since - now + seconds.get(snapshot.state, 0.0)
        return self._clock.now_us() + int(ahead * 1e6) if snapshot.state in seconds else 0

    def _look(self, now: float) -> None:
        """Follow what another process has written."""
        self._look_at = now + LOOK_S if self._ledger.shared else float("inf")
        stored: Stored | None = None
        with suppress(StoreError):  # then it goes by what it knows
            stored = self._ledger.read(self.name)
        if stored is not None and stored.version != self._version:
            self._version = stored.version
            self._enter(self._as_stored(stored, now), stored.reason)

    def _as_stored(self, stored: Stored, now: float) -> Snapshot:
        policy, ahead = self.policy, (stored.until_us - self._clock.now_us()) / 1e6
        if stored.state == "open":
            # A clock that was set back must not keep it open for longer than it was meant to be.
            remaining = min(policy.reset_timeout, max(0.0, ahead))
            return Snapshot("open", stored.generation, now + remaining - policy.reset_timeout)
        if stored.state == "half_open":
            lease = 0.0 if stored.orphaned else min(policy.probe_lease, max(0.0, ahead))
            return Snapshot("half_open", stored.generation, now, foreign_until=now + lease)
        state: BreakerState = stored.state if stored.state in ("forced_open", "disabled") else "closed"  # type: ignore[assignment]
        return Snapshot(state, stored.generation, now)

    # --- by hand -----------------------------------------------------------------------------

    @property
    def state(self) -> BreakerState:
        """``closed``, ``open``, ``half_open``, ``forced_open`` or ``disabled``."""
        return self.snapshot.state

    @property
    def snapshot(self) -> Snapshot:
        """All of its state, as of now."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            with self._lock:
                self._look(now)
        return self._snapshot

    def reopens_in(self) -> float | None:
        """Seconds until it lets the first probe through; None when it is not open."""
        return reopens_in(self.policy, self.snapshot, self._clock.monotonic())

    def force_open(self, reason: str | None = None) -> None:
        """Reject all calls until `reset` or `enable`."""
        self._set("forced_open", "forced open by hand", reason)

    def disable(self, reason: str | None = None) -> None:
        """Let all calls through, whatever becomes of them, until `reset` or `enable`."""
        self._set("disabled", "disabled by hand", reason)

    def enable(self, reason: str | None = None) -> None:
        """Back to work after `force_open` or `disable`: closed. Otherwise nothing changes."""
        if self.state in ("forced_open", "disabled"):
            self._set("closed", "enabled by hand", reason)

    def reset(self, reason: str | None = None) -> None:
        """Closed, with nothing counted."""
        self._set("closed", "reset by hand", reason)

    def _set(self, state: BreakerState, usual: str, reason: str | None) -> None:
        now = self._clock.monotonic()
        with self._lock:
            self._look(now)
            while True:
                after, change = change_to(self._snapshot, state, now, reason or usual)
                if self._move(after, change, (), now, manual=True, said=reason):
                    break
        self._ledger.commit()

    def adopt(self, policy: BreakerPolicy) -> None:
        """Go on with other settings, in the same state; the calls of its window are forgotten."""
        with self._lock:
            self.policy = policy
            self._window = window_for(policy)
            self._causes.clear()

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r}: {self.state.replace('_', ' ')}>"


_NOBODY: Subject = (None, None, None)


def _subject(call: Call, attempt: int) -> Subject:
    run_id, step_id = call.record.subject
    return run_id, step_id, attempt


def _cause(subject: Subject) -> Mapping[str, Any]:
    run_id, step_id, attempt = subject
    return {"run_id": run_id, "step_id": step_id, "attempt": attempt}
