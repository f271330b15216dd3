"""A case on its way through another policy, and what is known of it when the record ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from orchkit.analysis.whatif.bounds import (
    ANY,
    CANCELLED,
    EITHER,
    FAILED,
    SUCCESS,
    TIE,
    US,
    Fate,
    Limits,
    Range,
    Spent,
    Status,
    exactly,
)
from orchkit.analysis.whatif.record import Case, Wait
from orchkit.analysis.whatif.tries import Try
from orchkit.analysis.whatif.waits import Decision
from orchkit.analysis.whatif.worlds import Token


@dataclass(slots=True, eq=False)
class Going:
    """What a case has been through so far; times in microseconds."""

    case: Case
    limits: Limits
    calls: int = 0
    """Calls made by tries that are over."""
    tries: int = 0
    """Tries that count, the one that is being made included."""
    failures: int = 0
    """Tries that failed, also those that do not count."""
    waited: float = 0.0
    sleeping: float = 0.0
    """How much of that is a wait that is not over."""
    slept_since: float = 0.0
    previous: float | None = None
    """The last wait, in seconds."""
    paid: list[tuple[float, float]] = field(default_factory=list)
    """What retries cost, in tokens."""
    followed: bool = True
    """Whether everything so far was as it is on record."""
    at: float = 0.0
    """When the last try began."""
    now: Try | None = None
    """The try that is being made."""
    doubtful: bool = False
    """Whether it is not known that the try that is being made was allowed."""
    token: Token | None = None
    fate: Fate | None = None
    settled: float = -math.inf
    """When it was certainly over."""
    free: bool = False
    """Whether its run may go on for longer than it did on record."""
    otherwise: Fate | None = None
    """What becomes of it if its run was not over then."""

    @property
    def began(self) -> float:
        """When its first try began."""
        return self.case.began

    @property
    def left(self) -> float:
        """The moment at which it is over at the latest, if there is a limit on the whole."""
        return self.began + self.limits.total

    @property
    def cut(self) -> float:
        """When its run cuts it off at the latest."""
        return self.case.deadline if self.free else min(self.case.cut, self.case.deadline)

    def on_record(self) -> Wait | None:
        """What was decided about the try that has just failed, if it is on record as it was."""
        waits = self.case.waits
        return waits[self.failures - 1] if self.followed and self.failures <= len(waits) else None

    def settle(self, fate: Fate, at: float) -> None:
        """It is over, and known to be."""
        if fate.statuses == CANCELLED:
            self.otherwise = self.after_cut(at)
        self.fate, self.settled = fate, at

    def unsettle(self, at: float) -> Fate:
        """It ended at the very moment at which its run may have ended: one of them came first, or neither."""
        fate = self.fate
        assert fate is not None
        calls = Range(max(0.0, fate.calls.low - self.limits.per_try), fate.calls.high)
        fate = Fate(ANY, calls, fate.latency, Range(0.0, fate.waited.high))
        if self.began >= at - TIE:
            fate = fate.hull(self.never())
        self.fate = fate if self.otherwise is None else fate.hull(self.otherwise)
        return self.fate

    # --- what becomes of it ------------------------------------------------------------------

    def known(self, status: frozenset[Status], at: float) -> Fate:
        """It is over."""
        return Fate(status, exactly(self.calls), exactly(at - self.began), exactly(self.waited))

    def after_try(self, made: Try) -> Fate:
        """Of a try that was certainly made it is not known how it ends, or when."""
        begun = self.at - self.began
        latency = Range(begun + made.ends.low, begun + made.ends.high)
        calls = Range(self.calls + made.calls.low, self.calls + made.calls.high)
        left = self.tries < self.limits.attempts and not made.over
        if made.statuses == SUCCESS or not left:
            return self._in_time(Fate(made.statuses, calls, latency, exactly(self.waited)))
        rest = self._rest(latency.low, latency.high, int(calls.low))
        more = Range(0, calls.high - calls.low)
        return self._in_time(Fate(made.statuses | EITHER, rest.calls + more, rest.latency, rest.waited))

    def after_failure(self, at: float, decision: Decision, *, calls_surely: bool) -> Fate:
        """It is not known whether, or when, another try follows; ``calls_surely``: one that makes a call."""
        # A run that was cut off on record may be cut off before.
        elapsed, surely = at - self.began, not decision.may_give_up and self.cut == math.inf
        least, most = decision.least * US if surely else 0.0, decision.most * US
        made = 1 if surely and calls_surely else 0
        spent = Spent(elapsed + least, self.calls + made, self.tries + 1, self.waited, decision.most)
        rest = Fate(EITHER, *self.limits.rest(spent, elapsed + most + self.limits.one_try))
        waited = Range(self.waited + least, min(rest.waited.high + most, max(self.waited, self.limits.total)))
        more = Range(0, self.limits.per_try - made)
        return self._in_time(Fate(EITHER, rest.calls + more, rest.latency, waited))

    def after_doubt(self, made: Try) -> Fate:
        """It is not known whether the try was allowed; ``made`` is what becomes of it if it was."""
        begun = self.at - self.began
        calls = Range(self.calls, self.calls + made.calls.high)
        if self.tries >= self.limits.attempts and not self.limits.endless:
            latency = Range(begun, begun + made.ends.high)
            return self._in_time(Fate(made.statuses | FAILED, calls, latency, exactly(self.waited)))
        rest = self._rest(begun, begun + made.ends.high, self.calls)
        more = Range(0, made.calls.high)
        return self._in_time(Fate(EITHER | made.statuses, rest.calls + more, rest.latency, rest.waited))

    def after_cut(self, at: float) -> Fate:
        """From now on its run may go another way: it may be cut off, or go on in any way."""
        made, elapsed = self.now, at - self.began
        # At its very beginning it may have been cut off before.
        begun = self.calls + (made is not None and not self.doubtful and self.at < at - TIE)
        ends = None if made is None else self.at - self.began + self._longest(made)
        rest = self._rest(elapsed, max(elapsed, ends or elapsed + self.sleeping + self.limits.one_try), begun)
        more = self._most_calls(made) - (begun - self.calls) if made is not None else 0
        waited = Range(self.waited - self.sleeping, max(rest.waited.high, self.waited))
        return Fate(ANY, rest.calls + Range(0, max(0, more)), rest.latency, waited)

    def _longest(self, made: Try) -> float:
        """When a try ends at the latest, whatever becomes of its run."""
        return self.limits.one_try if "cancelled" in made.statuses else made.ends.high

    def _most_calls(self, made: Try) -> float:
        return self.limits.per_try if "cancelled" in made.statuses else made.calls.high

    def cut_off(self, at: float) -> Fate:
        """Its run ends, and it with it."""
        made, calls = self.now, exactly(self.calls)
        if made is not None:
            begun = 0 if self.at >= at - TIE else 1
            calls = calls + Range(begun, max(made.calls.high, begun))
        slept = self.waited - self.sleeping + min(self.sleeping, max(0.0, at - self.slept_since))
        return Fate(CANCELLED, calls, exactly(at - self.began), exactly(slept))

    def _in_time(self, fate: Fate) -> Fate:
        """Nothing goes on for longer than its run did, if that was cut off on record."""
        most = self.cut - self.began
        if most == math.inf:
            return fate
        if self.case.status == "open":
            return replace(fate, statuses=ANY)
        latency = Range(min(fate.latency.low, most), min(fate.latency.high, most))
        waited = Range(min(fate.waited.low, most), min(fate.waited.high, max(most, self.waited)))
        return Fate(fate.statuses | CANCELLED, fate.calls, latency, waited)

    def never(self) -> Fate:
        """It may not begin at all, or at any other time."""
        return Fate(ANY, *self.limits.rest(Spent(), None))

    def _rest(self, elapsed: float, ends: float | None, calls: int) -> Fate:
        spent = Spent(elapsed, calls, self.tries, self.waited, self.previous)
        found = self.limits.rest(spent, ends)
        return Fate(EITHER, *found)

    def last_wait_ends(self, at: float) -> float:
        """When its last try begins at the latest, if none of them takes any time."""
        limits, previous = self.limits, self.previous
        if limits.waits is None:
            return at
        if limits.endless:
            return math.inf
        for tries in range(max(1, self.tries), limits.attempts):
            previous = limits.waits.most(tries, previous)
            at += previous * US
        return at
