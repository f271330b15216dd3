"""The decisions of a circuit breaker: pure functions over a snapshot of its state.

Each change of state begins a new *generation*. A call is let through with a permit that carries the
generation of that moment; when it comes back in another one, its outcome changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from orchkit.errors import RejectedError, StoreError
from orchkit.model.breaker import BreakerPolicy, BreakerState
from orchkit.reliability.traits import traits_of

Outcome = Literal["success", "failure", "ignored"]


@dataclass(frozen=True, slots=True)
class Counts:
    """The calls of a window, or the probes that came back."""

    calls: int = 0
    failed: int = 0
    slow: int = 0

    def with_call(self, *, failed: bool, slow: bool) -> Counts:
        """One more."""
        return Counts(self.calls + 1, self.failed + failed, self.slow + slow)


NONE = Counts()


@dataclass(frozen=True, slots=True)
class Probe:
    """A call that was let through to see whether the service is back."""

    number: int
    until: float
    """When its place is given to another one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a breaker at one moment; times are seconds of one monotonic clock."""

    state: BreakerState = "closed"
    generation: int = 0
    since: float = 0.0
    """When this state began."""
    failures: int = 0
    """Failures in a row, while closed."""
    back: Counts = NONE
    """The probes that came back, while half open."""
    probes: tuple[Probe, ...] = ()
    """The probes that are out, while half open."""
    sent: int = 0
    """How many probes were let through so far, while half open."""
    foreign_until: float | None = None
    """While half open: another process is probing, and has until then."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission for one call."""

    generation: int
    probe: int = 0
    """Its number among the probes; 0 when it is none."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state and its reason."""

    before: BreakerState
    after: BreakerState
    reason: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a call may be made."""

    snapshot: Snapshot
    permit: Permit | None
    """None: it may not."""
    retry_in: float | None = None
    """Seconds after which it may; None: nobody can tell."""
    change: Change | None = None


# --- may a call be made? -------------------------------------------------------------------


def admit(policy: BreakerPolicy, snapshot: Snapshot, now: float) -> Admission:
    """Decide about one call at time ``now``."""
    state = snapshot.state
    if state in ("closed", "disabled"):
        return Admission(snapshot, Permit(snapshot.generation))
    if state == "forced_open":
        return Admission(snapshot, None)
    if state == "open":
        remaining = reopens_in(policy, snapshot, now)
        if remaining is not None and remaining > 0:
            return Admission(snapshot, None, remaining)
        return _probe(policy, snapshot, now, f"{policy.reset_timeout:g} s are over")
    if snapshot.foreign_until is not None:
        if now < snapshot.foreign_until:
            return Admission(snapshot, None, snapshot.foreign_until - now)
        return _probe(policy, snapshot, now, "the process that was probing did not report back")
    return _another_probe(policy, snapshot, now)


def reopens_in(policy: BreakerPolicy, snapshot: Snapshot, now: float) -> float | None:
    """Seconds until an open breaker lets the first probe through; None when it is not open."""
    if snapshot.state != "open":
        return None
    # A clock that went backwards must not keep it open for longer than it was meant to be.
    return min(policy.reset_timeout, max(0.0, snapshot.since + policy.reset_timeout - now))


def _probe(policy: BreakerPolicy, snapshot: Snapshot, now: float, reason: str) -> Admission:
    probes = (Probe(1, now + policy.probe_lease),)
    after = Snapshot("half_open", snapshot.generation + 1, now, probes=probes, sent=1)
    permit = Permit(after.generation, 1)
    return Admission(after, permit, change=Change(snapshot.state, "half_open", reason))


def _another_probe(policy: BreakerPolicy, snapshot: Snapshot, now: float) -> Admission:
    out = tuple(probe for probe in snapshot.probes if now < probe.until)
    if snapshot.back.calls + len(out) >= policy.probes:
        return Admission(snapshot, None)
    number = snapshot.sent + 1
    probes = (*out, Probe(number, now + policy.probe_lease))
    return Admission(replace(snapshot, probes=probes, sent=number), Permit(snapshot.generation, number))


# --- what does an outcome change? ------------------------------------------------------------


def settle(
    policy: BreakerPolicy,
    snapshot: Snapshot,
    permit: Permit,
    outcome: Outcome,
    now: float,
    *,
    slow: bool = False,
    window: Counts = NONE,
) -> tuple[Snapshot, Change | None]:
    """The state after a call came back; ``window`` are the calls of the window, this one included."""
    if permit.generation != snapshot.generation:
        return snapshot, None  # it began before the last change: whatever it says is about another time
    if snapshot.state == "closed":
        return _closed(policy, snapshot, outcome, now, window)
    if snapshot.state == "half_open":
        return _half_open(policy, snapshot, permit, outcome, now, slow=slow)
    return snapshot, None


def _closed(
    policy: BreakerPolicy, snapshot: Snapshot, outcome: Outcome, now: float, window: Counts
) -> tuple[Snapshot, Change | None]:
    if outcome == "ignored":
        return snapshot, None
    failures = snapshot.failures + 1 if outcome == "failure" else 0
    if policy.in_a_row is not None and failures >= policy.in_a_row:
        return change_to(snapshot, "open", now, f"{failures} failure{'s' * (failures > 1)} in a row")
    if policy.by_rate and window.calls >= policy.enough_calls:
        reason = excess(policy, window)
        if reason is not None:
            return change_to(snapshot, "open", now, reason)
    if failures == snapshot.failures:
        return snapshot, None
    return replace(snapshot, failures=failures), None


def _half_open(
    policy: BreakerPolicy, snapshot: Snapshot, permit: Permit, outcome: Outcome, now: float, *, slow: bool
) -> tuple[Snapshot, Change | None]:
    out = tuple(probe for probe in snapshot.probes if probe.number != permit.probe)
    if outcome == "ignored":
        return replace(snapshot, probes=out), None
    failed = outcome == "failure"
    back = snapshot.back.with_call(failed=failed, slow=slow)
    if policy.by_rate:
        if back.calls >= policy.probes:
            reason = excess(policy, back)
            if reason is not None:
                return change_to(snapshot, "open", now, f"{reason} (probes)")
            return change_to(snapshot, "closed", now, f"{back.calls} probes, of which {back.failed} failed")
    elif failed:
        return change_to(snapshot, "open", now, "a probe failed")
    elif back.calls >= policy.success_threshold:
        many = "s" * (back.calls > 1)
        return change_to(snapshot, "closed", now, f"{back.calls} probe{many} succeeded")
    return replace(snapshot, back=back, probes=out), None


def excess(policy: BreakerPolicy, counts: Counts) -> str | None:
    """Which rate is reached, in words; None: none is."""
    failed, slow = counts.failed / counts.calls, counts.slow / counts.calls
    if policy.failure_rate is not None and failed >= policy.failure_rate:
        return (
            f"{counts.failed} of {counts.calls} calls failed ({failed:.0%}, limit {policy.failure_rate:.0%})"
        )
    if policy.slow_call_rate is not None and slow >= policy.slow_call_rate:
        return (
            f"{counts.slow} of {counts.calls} calls took longer than {policy.slow_call_duration:g} s "
            f"({slow:.0%}, limit {policy.slow_call_rate:.0%})"
        )
    return None


def change_to(snapshot: Snapshot, state: BreakerState, now: float, reason: str) -> tuple[Snapshot, Change]:
    """A new state, which begins a new generation."""
    return Snapshot(state, snapshot.generation + 1, now), Change(snapshot.state, state, reason)


# --- whose fault is it? ----------------------------------------------------------------------


def outcome_of(policy: BreakerPolicy, error: Exception) -> Outcome:
    """What an error says about the service."""
    if isinstance(error, RejectedError | StoreError):
        return "ignored"  # the service was not asked, or it is our own record that failed
    if policy.ignore or policy.failure_on != ("Exception",):
        traits = traits_of(error)
        if not traits.isdisjoint(policy.ignore) or traits.isdisjoint(policy.failure_on):
            return "ignored"
    return "failure"
