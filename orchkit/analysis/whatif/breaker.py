"""What is known of a circuit breaker that was not there, from calls of which not all are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from orchkit.analysis.whatif.bounds import TIE, US
from orchkit.analysis.whatif.window import Windowed
from orchkit.analysis.whatif.worlds import TIE_S, Loose, Span, Token, Verdict, Worlds, after, before
from orchkit.model.breaker import BreakerPolicy
from orchkit.reliability.breaker import Outcome, Permit, Snapshot, admit, settle

FAILURE: Final[frozenset[Outcome]] = frozenset(("failure",))
ROUNDING: Final = 0.5
"""Microseconds that sums of seconds may be off."""
BOTH: Final[frozenset[Outcome]] = frozenset(("success", "failure"))


@dataclass(slots=True)
class Guarded:
    """A breaker of a policy, closed at first, asked in order of time (in microseconds).

    `Worlds` holds all states that it may be in. What is known of a call is applied to each of them by the
    decisions of `orchkit.reliability.breaker`; loose callers add states, and calls that are known take them
    away again. With ``strict``, moments that are too close to be put in order count as being in any order.
    """

    policy: BreakerPolicy
    strict: bool = True
    worlds: Worlds = field(default_factory=Worlds)
    loose: list[Loose] = field(default_factory=list)
    now: float = -math.inf
    changed: float = -math.inf
    """When it last may have changed its state."""
    quiet: float = -math.inf
    """When the last loose caller was over."""
    window: Windowed = field(init=False)
    _flying: set[Token] = field(default_factory=set)
    _generation: int = 0
    _last_end: tuple[float, Outcome] | None = None
    _before: Worlds = field(default_factory=Worlds)
    """The states before the last end, and those that came at the same moment."""

    def __post_init__(self) -> None:
        self.window = Windowed(self.policy)

    @property
    def _reset(self) -> float:
        return self.policy.reset_timeout * US

    # --- may a call be made? -----------------------------------------------------------------

    def begin(self, at: float, contenders: int = 1) -> Verdict:
        """Whether a call that begins now is allowed; ``contenders`` begin at the same moment, it included."""
        self._advance(at)
        if self.strict and self._in_any_order(at, contenders):
            return Verdict(None, certain=False)
        allowed = {*self._closed_allows(), *self._open_allows(at), *self._half_allows(at)}
        if allowed == {False}:
            return self._rejected(at)
        token = self._admitted(at)
        self._flying.add(token)
        return Verdict(token, certain=len(allowed) == 1)

    def _waiting(self, at: float) -> tuple[Span, ...]:
        """When it may have opened, if it is open and lets the next call through by now."""
        return before(self.worlds.open, at - self._reset + (TIE if self.strict else ROUNDING))

    def _not_yet(self, at: float) -> tuple[Span, ...]:
        """The same if it is open and does not let it through."""
        return after(self.worlds.open, at - self._reset + (-TIE if self.strict else 2 * ROUNDING))

    def _closed_allows(self) -> Iterator[bool]:
        if self.worlds.closed is not None:
            yield True

    def _open_allows(self, at: float) -> Iterator[bool]:
        if self._waiting(at):
            yield True
        if self._not_yet(at):
            yield False

    def _half_allows(self, at: float) -> Iterator[bool]:
        half = self.worlds.half
        if half is not None:
            yield admit(self.policy, half, at / US).permit is not None
            if self.strict:
                yield admit(self.policy, half, at / US - TIE_S).permit is not None
                yield admit(self.policy, half, at / US + TIE_S).permit is not None
        elif self.worlds.dim:
            yield True
            if self._crowded(at):
                yield False

    def _crowded(self, at: float) -> bool:
        """Whether probes that are out, or came back, may take all places of a breaker that is half open."""
        return bool(self._flying) or self._alive or self.quiet >= at - TIE

    def _in_any_order(self, at: float, contenders: int) -> bool:
        """Whether something else happened at this moment that may have come before, or after."""
        if abs(at - self.changed) <= TIE:
            return True
        worlds = self.worlds
        if contenders == 1 or worlds.only_closed:
            return contenders > 1 and self._could_open(contenders)
        return worlds.may_be_half or any(self._open_allows(at))

    def _rejected(self, at: float) -> Verdict:
        since = self.worlds.open
        if not since:
            return Verdict(None, state="half_open")
        if self.worlds.may_be_half:
            return Verdict(None, state="open or half open")
        bounds = (since[0][0] + self._reset - at) / US, (since[-1][1] + self._reset - at) / US
        return Verdict(None, retry_in=bounds)

    def reopenings(self, at: float, rivals: int = 0) -> tuple[float | None, ...]:
        """In how many seconds it may let calls through, at least and at most; None: it is not open.

        ``rivals``: so many other calls come back at the same moment.
        """
        self._advance(at)
        if rivals:
            return None, self.policy.reset_timeout
        worlds = self.worlds
        ends = [(end + self._reset - at) / US for span in worlds.open for end in span]
        closed = worlds.closed is not None or worlds.may_be_half or any(end <= 0 for end in ends)
        return (*((None,) if closed else ()), *sorted({end for end in ends if end > 0}))

    def _admitted(self, at: float) -> Token:
        """The permission, in those worlds that give it."""
        worlds = self.worlds
        waiting, worlds.open = bool(self._waiting(at)), self._not_yet(at)
        if waiting:  # for this call
            self.changed = at
        if worlds.dim or (waiting and worlds.half is not None):
            certain = worlds.dim and not self._crowded(at)
            if waiting:  # one more way to be half open
                self._dim(at)
            return Token(at, dim=certain)
        if waiting:
            self._generation += 1
            worlds.half = Snapshot("open", self._generation, -math.inf)
            worlds.half_entered = at
        if worlds.half is None:
            return Token(at)
        admission = admit(self.policy, worlds.half, at / US)
        worlds.half = admission.snapshot
        self._generation = worlds.half.generation
        return Token(at, admission.permit)

    # --- what a call that is known changes ---------------------------------------------------------

    def end(self, token: Token, outcomes: frozenset[Outcome], at: float, *, slow: bool | None) -> None:
        """A call that was allowed came back. ``slow`` None: nobody can tell whether it was."""
        if len(outcomes) > 1 or slow is None:
            self.lose(token, Loose(at, at, 1, outcomes | (FAILURE if slow is None else frozenset())))
            return
        self._advance(at)
        self._flying.discard(token)
        outcome = next(iter(outcomes))
        if outcome == "ignored":
            self._settle_half(token, outcome, at, slow=False)
            return
        tied = self._last_end is not None and at - self._last_end[0] <= TIE
        if not tied:
            self._before = replace(self.worlds)
        elif self.strict and self._last_end is not None and self._last_end[1] != outcome:
            self._mix(at)
        self._last_end = (at, outcome)
        self._settle_closed(token, outcome, at, slow=slow)
        self._settle_half(token, outcome, at, slow=slow)

    def _mix(self, at: float) -> None:
        """Calls came back at the same moment with different outcomes: in any order."""
        self.worlds = self.worlds.joined(self._before)
        self.changed = at
        if self.worlds.dim:
            self._dim(at)
        self.window.blur(math.inf, at)
        self.set_loose(Loose(at, at, math.inf, BOTH))

    def _settle_closed(self, token: Token, outcome: Outcome, at: float, *, slow: bool) -> None:
        worlds = self.worlds
        if worlds.closed is None:
            return
        certain = worlds.entered <= token.began
        self.window.add(at, failed=outcome == "failure", slow=slow, certain=certain)
        if certain and self._exact:
            self._settle_exactly(outcome, at, slow=slow)
            return
        low, high = worlds.closed
        if outcome == "failure":
            worlds.closed = (low + certain, high + 1)
        else:
            worlds.closed = (0, 0 if certain else high)
        if (outcome == "failure" or self.policy.by_rate) and self._could_open():
            self.changed = at
            self._may_open(at, at)
        self._cap(at)

    @property
    def _exact(self) -> bool:
        """Whether it is closed, and all that it counts is known."""
        worlds = self.worlds
        in_one = worlds.closed is not None and worlds.closed[0] == worlds.closed[1]
        return in_one and worlds.only_closed and not self.loose and self.window.exact

    def _settle_exactly(self, outcome: Outcome, at: float, *, slow: bool) -> None:
        """In the one state that it is in."""
        worlds = self.worlds
        assert worlds.closed is not None
        snapshot = Snapshot("closed", 0, failures=int(worlds.closed[0]))
        after, change = settle(
            self.policy, snapshot, Permit(0), outcome, at / US, slow=slow, window=self.window.counts
        )
        if change is None:
            worlds.closed = (after.failures, after.failures)
        else:
            worlds.closed, self.changed = None, at
            self._may_open(at, at)

    def _cap(self, at: float) -> None:
        """A breaker with that many failures in a row is not closed any more."""
        worlds, threshold = self.worlds, self.policy.in_a_row
        if worlds.closed is None or threshold is None:
            return
        low, high = worlds.closed
        if low >= threshold:
            worlds.closed, self.changed = None, at
            self._may_open(at, at)
        else:
            worlds.closed = (low, min(high, threshold - 1))

    def _settle_half(self, token: Token, outcome: Outcome, at: float, *, slow: bool) -> None:
        worlds, half = self.worlds, self.worlds.half
        if half is not None:
            if token.probe is None or token.probe.generation != half.generation:
                return
            after, change = settle(self.policy, half, token.probe, outcome, at / US, slow=slow)
            worlds.half = after if change is None else None
            if change is not None:
                self.changed = at
                self._leave_half(at, opens=change.after == "open")
        elif worlds.dim and outcome != "ignored":
            self._settle_dim(token.dim and token.began >= worlds.half_entered, outcome, at)

    def _settle_dim(self, certain: bool, outcome: Outcome, at: float) -> None:
        """``certain``: the outcome counts, if it is half open at all."""
        worlds, by_rate = self.worlds, self.policy.by_rate
        self.changed = at
        if outcome == "failure" or by_rate:
            self._leave_half(at, opens=True)
        if outcome == "success" or by_rate:
            self._leave_half(at, opens=False)
        worlds.needed -= certain
        if certain and (worlds.needed <= 0 or (outcome == "failure" and not by_rate)):
            worlds.no_longer_half()

    def _leave_half(self, at: float, *, opens: bool) -> None:
        """It may have become open, or closed, from half open."""
        if opens:
            self._may_open(at, at)
            return
        if self.worlds.closed is None:
            self._forget()
        else:
            self.window.blur(self.window.size, at)  # some worlds have forgotten their calls, others have not
        self.worlds.may_close(at)

    def _may_open(self, since: float, until: float) -> None:
        self.worlds.may_open(since, until)
        if self.worlds.closed is None:
            self._forget()

    def _forget(self) -> None:
        """When it closes it counts anew."""
        self.window.clear()
        for one in self.loose:
            if one.last is None:
                self.window.blur(one.calls, one.until)

    # --- calls that are not known ------------------------------------------------------------------

    def lose(self, token: Token, caller: Loose) -> None:
        """Of a call that was allowed it is not known any more how it goes on."""
        self._flying.discard(token)
        self.set_loose(caller)
        self._advance(max(self.now, caller.since))

    def may_probe(self, caller: Loose) -> bool:
        """Whether a caller who was rejected, if he was, may be let through later."""
        low, high = caller.probes(self._reset)
        return caller.half or bool(before(after(self.worlds.open, low), high))

    def set_loose(self, caller: Loose) -> None:
        """From now on there is a caller of whom little is known."""
        if caller.calls <= 0 or (caller.last is not None and not self.may_probe(caller)):
            return
        self.loose.append(caller)
        if caller.last is None:
            self.window.blur(caller.calls, caller.until)

    @property
    def _alive(self) -> bool:
        return any(one.since <= self.now + TIE for one in self.loose)

    def _advance(self, at: float) -> None:
        """What loose callers may have done since it was asked last."""
        at, was = max(at, self.now), self.now
        self.now = at
        for one in [one for one in self.loose if one.last is not None and one.since <= at]:
            self._blur_rejecting(one, max(was, one.since), min(at, one.until))
        active = [one for one in self.loose if one.since <= at]
        anywhere = [one for one in active if one.last is None]
        if anywhere:
            since = max(was, min(one.since for one in anywhere))
            until = max(since, min(at, max(one.until for one in anywhere)))
            self._blur(since, until, anywhere)
        for one in active:
            if one.until < at - TIE:
                self._is_over(one)
        self.window.tidy(at, quiet=not self.loose and self.worlds.only_closed)

    def _is_over(self, one: Loose) -> None:
        self.loose.remove(one)
        self.quiet = max(self.quiet, one.until)
        worlds = self.worlds
        if worlds.closed is not None and one.fails and one.last is None:
            worlds.closed = (worlds.closed[0], worlds.closed[1] + one.fails)
            self._cap(self.now)

    def _blur(self, since: float, until: float, active: list[Loose]) -> None:
        worlds = self.worlds
        fails = any(one.fails for one in active)
        succeeds = any("success" in one.outcomes for one in active)
        for _ in range(2):  # closed, open, half open, and once more
            if worlds.closed is not None:
                worlds.closed = (0 if succeeds else worlds.closed[0], worlds.closed[1])
                if fails and self._could_open():
                    self._may_open(since, until)
            probed = bool(before(worlds.open, until - self._reset + TIE))
            if probed or worlds.may_be_half:
                self._dim(until)
                self._probed(since, until, fails=fails, succeeds=succeeds)

    def _blur_rejecting(self, one: Loose, since: float, until: float) -> None:
        """What a caller may have done whom a breaker rejected that was not closed."""
        low, high = one.probes(self._reset)
        hit = before(after(self.worlds.open, low), min(high, until - self._reset + TIE))
        if hit:
            since = max(since, hit[0][0] + self._reset - TIE)
        if hit or (one.half and self.worlds.may_be_half):
            self._dim(until)
            self._probed(min(since, until), until, fails=True, succeeds=True)
            self.loose.remove(one)
            # From his first call on he may do anything.
            self.set_loose(Loose(min(since, until), one.until, one.calls, one.outcomes))

    def _probed(self, since: float, until: float, *, fails: bool, succeeds: bool) -> None:
        """Probes may have come back."""
        if fails:
            self._may_open(since, until)
        if succeeds:
            self._leave_half(until, opens=False)

    def _dim(self, at: float) -> None:
        policy = self.policy
        self.worlds.may_half_open(at, policy.probes if policy.by_rate else policy.success_threshold)

    def _could_open(self, more: float = 0) -> bool:
        """Whether a closed breaker may have had enough, if loose callers fail as much as they may."""
        closed, threshold = self.worlds.closed, self.policy.in_a_row
        anywhere = (one for one in self.loose if one.last is None and one.since <= self.now + TIE)
        pending = more + sum(one.fails for one in anywhere)
        if closed is None:
            return False
        in_a_row = threshold is not None and closed[1] + pending >= threshold
        return in_a_row or self.window.may_have_enough(more)
