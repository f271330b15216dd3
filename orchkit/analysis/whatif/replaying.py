"""The cases of a record under another policy, all of them together, in order of time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from heapq import heappop, heappush
from itertools import count
from operator import or_
from typing import Final

from orchkit.analysis.whatif.bounds import (
    CANCELLED,
    FAILED,
    SUCCESS,
    TIE,
    US,
    Fate,
    Limits,
    Range,
    exactly,
)
from orchkit.analysis.whatif.breaker import BOTH, Guarded
from orchkit.analysis.whatif.calls import Knowledge
from orchkit.analysis.whatif.errors import costs, outcomes
from orchkit.analysis.whatif.going import Going
from orchkit.analysis.whatif.record import Case, Record
from orchkit.analysis.whatif.shared import Shared
from orchkit.analysis.whatif.tries import Tries, Try
from orchkit.analysis.whatif.waits import Decision, Failed, Waits
from orchkit.analysis.whatif.worlds import Loose, Verdict
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.breaker import Outcome
from orchkit.reliability.retrying import MIN_WAIT_S

REJECTED: Final = "BreakerOpenError"
AFTER: Final = 3 * TIE
"""After all that happens at the same moment."""
_FAILURE: Final[frozenset[Outcome]] = frozenset(("failure",))
_SUCCESS: Final[frozenset[Outcome]] = frozenset(("success",))
_IGNORED: Final[frozenset[Outcome]] = frozenset(("ignored",))


@dataclass(slots=True)
class Replaying:
    """One policy over one record.

    Each case is followed as long as the record says what comes next; from then on its `Fate` holds all that
    is possible, and what it shares with others is told of a loose caller. ``fixed``: every case begins when
    it did on record, by assumption. ``strict`` False is for estimates: then everything is known.
    """

    record: Record
    policy: ReliabilityPolicy
    knowledge: Knowledge
    waits: Waits | None
    within: float
    fixed: bool = False
    strict: bool = True
    shared: Shared = field(init=False)
    tries: Tries = field(init=False)
    alone: Tries = field(init=False)
    """The same without hedges."""
    going: list[Going] = field(default_factory=list)
    _below: defaultdict[str, list[Going]] = field(default_factory=lambda: defaultdict(list))
    _moved: dict[str, float] = field(default_factory=dict)
    """Since when runs are not what they were on record."""
    _events: list[tuple[float, int, Callable[[Going, float], None], Going, float]] = field(
        default_factory=list
    )
    _order: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        limits = Limits.of(self.policy, self.waits)
        self.shared = Shared(self.policy, self.strict)
        self.tries = Tries(self.knowledge, limits.call, self.policy.hedge, self.within)
        self.alone = Tries(self.knowledge, limits.call, None, self.within)
        for case in self.record.cases:
            going = Going(case, limits.within(self.knowledge.longest(case.tool)))
            self.going.append(going)
            self._below[case.root].append(going)

    def run(self) -> list[tuple[Case, Fate]]:
        """What becomes of each case."""
        for going in self.going:
            self._soon(going, float(going.began))
            for end in {going.case.cut, going.case.deadline} - {math.inf}:
                self._at(end, self._cut_off, going, AFTER)
        while self._events:
            _, _, what, going, at = heappop(self._events)
            what(going, at)
        return [(going.case, going.fate) for going in self.going if going.fate is not None]

    def _at(self, at: float, what: Callable[[Going, float], None], going: Going, later: float = 0.0) -> None:
        heappush(self._events, (at + later, next(self._order), what, going, at))

    def _soon(self, going: Going, at: float) -> None:
        """A try begins then: after all that comes back at the same moment."""
        guarded = self.strict and self.policy.breaker is not None
        if guarded:
            self.shared.expect(going, at)
        self._at(at, self._begin, going, 2 * TIE if guarded else 0.0)

    # --- tries -------------------------------------------------------------------------------

    def _begin(self, going: Going, at: float) -> None:
        if going.fate is not None:
            return
        going.sleeping, going.at = 0.0, at
        going.tries += 1
        guard = self.shared.guard(going)
        if guard is not None:
            verdict = guard.begin(at, self.shared.contenders(going, at))
            if verdict.rejected:
                self._reject(going, at, verdict)
                return
            going.token = verdict.token
            if not verdict.certain:
                self._doubt(going, at, guard)
                return
        made = self._made(going, at, guard)
        going.now = made
        self._depart(going, going.at + made.departs)
        if made.known and (guard is None or made.calls.high == 1):
            self._will_end(going, made)
        else:
            since = going.at + min(made.departs, made.ends.low)
            self._lose(going, since, lambda: self._set_loose(going, going.after_try(made), since))

    def _lose(self, going: Going, at: float, how: Callable[[], None]) -> None:
        """From then on it is not known how it goes on, and perhaps not even whether its run does."""
        self._depart(going, at)
        self._at(at, lambda one, _: None if one.fate is not None else how(), going)

    def _set_loose(self, going: Going, fate: Fate, since: float, calls_since: float | None = None) -> None:
        self.shared.lose(going, fate, since, calls_since)
        going.fate = fate

    def _will_end(self, going: Going, made: Try) -> None:
        ends = going.at + made.ends.low
        if self.strict:
            self.shared.expect_end(going, ends)
        # What cut it off on record may not happen, if something else is different at that moment.
        self._at(ends, self._end, going, AFTER if made.statuses == CANCELLED else 0.0)

    def _made(self, going: Going, at: float, guard: Guarded | None) -> Try:
        made = self.tries.made(going.case, going.calls + 1, at, going.left - at)
        if not self.strict:
            return made if made.known else _resolved(made)
        if guard is None or made.calls.high == 1:
            return made
        # The breaker is asked for each hedge, too, and may not allow it.
        first = self.alone.made(going.case, going.calls + 1, at, going.left - at)
        ends = made.ends.hull(first.ends)
        return Try(
            ends,
            made.statuses | first.statuses,
            Range(1, made.calls.high),
            departs=made.departs,
            on_record=made.on_record,
        )

    def _reject(self, going: Going, at: float, verdict: Verdict) -> None:
        self._depart(going, at)
        going.followed, going.now = False, None
        waits_for_it = self.policy.retry is not None and self.policy.retry.strategy == "circuit_breaker"
        if not waits_for_it:
            self._failed(going, at, Failed(REJECTED), self._remaining(verdict))
            return
        half = verdict.state == "half_open"
        if half:  # there is only waiting while it tries out other calls
            going.tries -= 1
        assert self.policy.retry is not None
        again = (None if self.policy.retry.delay else MIN_WAIT_S) if half else 0.0
        bounds = verdict.retry_in
        if bounds is not None:
            again = max(0.0, bounds[0])
        exact = half or not self.strict or (bounds is not None and bounds[1] - bounds[0] <= TIE / US)
        if exact:
            self._failed(going, at, Failed(REJECTED, reopens_in=again))
        else:
            # It may have been half open: then it does not count.
            going.tries -= 1
            none = Try(exactly(0), FAILED, exactly(0))
            self._lose(going, at, lambda: self._set_loose(going, going.after_doubt(none), at))

    def _doubt(self, going: Going, at: float, guard: Guarded) -> None:
        """Some states of the breaker allow it, and others do not."""
        going.now = made = self._made(going, at, guard)
        going.doubtful = True
        if going.limits.endless:  # it may have been half open: then this one does not count
            going.tries -= 1

        def lose() -> None:
            fate = going.after_doubt(made)
            if going.token is None or not made.known or made.calls.high > 1:
                self._set_loose(going, fate, at)
                return
            self._at(at + made.ends.low, self._ghost(going, made, fate), going)
            until = going.began + fate.latency.high
            left = (going.limits.attempts - going.tries) * going.limits.per_try
            last = going.last_wait_ends(at)
            guard.set_loose(Loose(at, until, left, BOTH, last, half=guard.worlds.may_be_half))
            self.shared.lose_tokens(going, fate, at)
            going.fate, going.token = fate, None

        self._lose(going, at, lose)

    def _ghost(self, going: Going, made: Try, fate: Fate) -> Callable[[Going, float], None]:
        """What a call does to its breaker in those states that allowed it."""
        guard, token = self.shared.guard(going), going.token
        left = (going.limits.attempts - going.tries) * going.limits.per_try

        def end(_: Going, at: float) -> None:
            assert guard is not None
            assert token is not None
            guard.end(token, self._outcomes(made), at, slow=self._slow(guard, made))
            if made.statuses == FAILED and not made.over:
                guard.set_loose(Loose(at, max(at, going.began + fate.latency.high), left, BOTH))

        return end

    # --- ends --------------------------------------------------------------------------------

    def _end(self, going: Going, at: float) -> None:
        made = going.now
        if going.fate is not None or made is None:
            return
        going.calls += int(made.calls.low)
        going.now = None
        self._settle(going, made, at)
        if made.statuses != FAILED or made.over:
            going.settle(going.known(made.statuses, at), at)
            bucket = self.shared.bucket(going)
            if bucket is not None and made.statuses == SUCCESS:
                bucket.succeeded(going.paid, at)
            self._depart_if_other(going, at)
            return
        going.failures += 1
        going.followed &= made.on_record and made.departs > made.ends.low
        self._failed(going, at, Failed(made.error, going.on_record()))

    def _settle(self, going: Going, made: Try, at: float) -> None:
        guard, token = self.shared.guard(going), going.token
        if guard is None or token is None:
            return
        going.token = None
        guard.end(token, self._outcomes(made), at, slow=self._slow(guard, made))

    def _outcomes(self, made: Try) -> frozenset[Outcome]:
        """What a try that is known may mean to its breaker."""
        if made.statuses != FAILED:
            return _SUCCESS if made.statuses == SUCCESS else _IGNORED
        breaker = self.policy.breaker
        if made.over or breaker is None:
            return _FAILURE
        found = outcomes(breaker, made.error)
        return found if self.strict or len(found) == 1 else _FAILURE

    def _slow(self, guard: Guarded, made: Try) -> bool | None:
        limit = guard.policy.slow_call_duration
        if limit is None:
            return False
        if self.strict and abs(made.ends.low - limit * US) <= TIE:
            return None
        return made.ends.low > limit * US

    # --- what comes after a failure ---------------------------------------------------------------

    def _remaining(self, verdict: Verdict) -> tuple[float | None, ...]:
        """For how many seconds a breaker that has rejected a call is open, at least and at most."""
        breaker = self.policy.breaker
        assert breaker is not None
        if verdict.retry_in is not None:
            low, high = verdict.retry_in
            return (max(0.0, low - TIE / US), high + TIE / US) if self.strict else (max(0.0, low),)
        return (None,) if verdict.state == "half_open" else (None, breaker.reset_timeout)

    def _failed(
        self, going: Going, at: float, failed: Failed, reopenings: tuple[float | None, ...] = ()
    ) -> None:
        every = [replace(failed, reopens_in=one) for one in reopenings]
        decision = self._decision(going, at, every or self._reopenings(going, at, failed))
        if decision is None or not decision.may_retry:
            self._over(going, at)
            return
        too_late = at + decision.least * US > going.left + TIE
        if too_late and not decision.may_give_up:  # however long it waits
            decision = replace(decision, most=decision.least)
        if decision.exact:
            self._retry(going, at, decision, failed)
        else:
            self._unsure(going, at, decision, failed)

    def _decision(self, going: Going, at: float, failures: Sequence[Failed]) -> Decision | None:
        """What the retry policy does after a failure that may be one of these; None: there is none."""
        if self.waits is None:
            return None
        elapsed, tries = (at - going.began) / US, max(1, going.tries)
        found = reduce(
            or_,
            (self.waits.after(going.case, tries, one, elapsed, going.previous) for one in failures),
        )
        return (
            found if self.strict or not found.may_retry else Decision(True, False, found.least, found.least)
        )

    def _reopenings(self, going: Going, at: float, failed: Failed) -> list[Failed]:
        """The same failure, once for each moment at which the breaker may let calls through again."""
        guard = self.shared.guard(going)
        if guard is None or not going.limits.endless or failed.error == REJECTED:
            return [failed]
        found = guard.reopenings(at, self.shared.rivals(going, at))
        return [replace(failed, reopens_in=one) for one in (found if self.strict else found[:1])]

    def _over(self, going: Going, at: float) -> None:
        # Who fails at the very moment at which its run ends may not have been heard any more.
        tied = going.case.status == "cancelled" and abs(at - going.case.cut) <= TIE
        going.settle(going.known(FAILED | CANCELLED if tied else FAILED, at), at)
        self._depart_if_other(going, at)

    def _pay(self, going: Going, at: float, failed: Failed) -> bool | None:
        """Whether a retry can be paid; None: nobody knows. A call that was not made costs nothing."""
        bucket = None if failed.error == REJECTED else self.shared.bucket(going)
        if bucket is None:
            return True
        cost = costs(bucket.policy, failed.error)
        paid = bucket.spend(cost, at, self.shared.rivals(going, at))
        if paid is not False:
            going.paid.append(cost)
        return paid

    def _unsure(self, going: Going, at: float, decision: Decision, failed: Failed) -> None:
        """It is not known whether it is tried again, or when."""
        if not decision.may_give_up:
            paid = self._pay(going, at, failed)
            if paid is False:
                self._over(going, at)
                return
            decision = replace(decision, may_give_up=paid is None)
        next_at = at + decision.most * US
        surely = self.shared.guard(going) is None and next_at < going.left - TIE

        def lose() -> None:
            fate = going.after_failure(at, decision, calls_surely=surely)
            self._set_loose(going, fate, at, at + decision.least * US)

        self._lose(going, at, lose)

    def _retry(self, going: Going, at: float, decision: Decision, failed: Failed) -> None:
        paid = self._pay(going, at, failed)
        if paid is False:
            self._over(going, at)
            return
        if paid is None:
            self._unsure(going, at, Decision(True, True, decision.least, decision.most), failed)
            return
        wait = decision.least
        follows = self._next_on_record(going, at, wait)
        begins = at + wait * US if follows is None else follows
        if follows is None:
            self._depart(going, at)
        if abs(begins - going.left) <= TIE and self.strict:
            self._unsure(going, at, Decision(True, True, wait, wait), failed)
            return
        going.sleeping, going.slept_since = min(begins, going.left) - at, at
        going.waited += going.sleeping if begins > going.left else wait * US
        going.previous = wait
        if begins > going.left:
            self._at(going.left, self._out_of_time, going)
        else:
            self._soon(going, begins)

    def _next_on_record(self, going: Going, at: float, wait: float) -> float | None:
        """When the next call begins, if it is one that was made then on record."""
        case = going.case
        attempt = case.attempts.get(going.calls + 1)
        if attempt is None or attempt.began < at - TIE:
            return None
        planned = case.waits[going.failures - 1].delay if 0 < going.failures <= len(case.waits) else None
        same = planned is not None and abs(planned - wait) <= 2e-6 and going.followed
        gap = attempt.began - at - wait * US
        if gap < -self.within:
            return None
        if same and not case.queued and not case.rejections:
            return float(attempt.began)
        return at + wait * US if gap <= self.within else None

    def _out_of_time(self, going: Going, at: float) -> None:
        if going.fate is None:
            self._over(going, at)

    def _cut_off(self, going: Going, at: float) -> None:
        """Its run ended then, whatever it was doing; or the record ends there."""
        if going.fate is not None:
            if going.settled >= at - TIE and going.case.ended < at - TIE and going.fate.statuses != CANCELLED:
                self._unsettle(going, at)
            return
        if going.case.status == "open" or at < going.cut - TIE:
            self._drop(going, going.after_cut(at), at)
            return
        guard = self.shared.guard(going)
        if guard is not None and going.token is not None:
            guard.end(going.token, _IGNORED, at, slow=False)
            going.token = None
        going.settle(going.cut_off(at), at)

    # --- its run -----------------------------------------------------------------------------

    def _depart_if_other(self, going: Going, at: float) -> None:
        """It is over; on record something else may have come then, or it may have ended otherwise."""
        same = self.within if at >= going.left - TIE or not going.case.ran_out else TIE
        if going.case.ended > at + same or not self._same_end(going):
            self._depart(going, at)

    def _same_end(self, going: Going) -> bool:
        """Whether its step ended like this on record, as far as its run can see."""
        case, fate = going.case, going.fate
        if fate is None or fate.statuses != {case.status} or going.calls != len(case.attempts):
            return False
        if case.status != "failed":
            return True
        # A fallback makes a success of it, or does not.
        there = None if case.policy is None else case.policy.fallback
        return self.policy.fallback == there and (there is not None or case.standing != "success")

    def _depart(self, going: Going, at: float) -> None:
        """From then on it is not what it was on record, and so may be what comes after it in its run."""
        if at < math.inf and not self.fixed and self._moved.get(going.case.root, at) >= at - TIE:
            self._at(at, self._move, going)

    def _move(self, going: Going, at: float) -> None:
        """The run may go another way from now on."""
        case, record = going.case, self.record
        if self._moved.get(case.root, at) < at - TIE:
            return
        if case.root not in self._moved and case.root in record.unfinished:
            self.shared.lose_all(at)
        self._moved.setdefault(case.root, at)
        steadfast = case.root in record.steadfast
        others = self._others(case, at)
        together = sum(abs(one.began - at) <= TIE for one in self._below[case.root])
        for one in self._below[case.root]:
            if one.fate is not None:
                if self._doubtful(one, going, at, steadfast=steadfast, together=together):
                    self._unsettle(one, at)
                continue
            if one is going and (steadfast or not others):
                one.free = True
                continue
            if one.began >= at - TIE:
                self._drop(one, one.never(), at)
            elif not steadfast:
                self._drop(one, one.after_cut(at), at)

    def _doubtful(self, one: Going, going: Going, at: float, *, steadfast: bool, together: int) -> bool:
        """Whether one that is over may not have come so far when its run changes at a moment."""
        if one.began >= at - TIE:  # of those that begin together, any may be the first
            return one is not going or together > 1
        return one.settled >= at - TIE and one is not going and not steadfast

    def _others(self, case: Case, at: float) -> bool:
        """Whether something else is at work in its run at a moment, or begins beside it."""
        stays = [stay for stay in self.record.stays.get(case.root, ()) if stay.key != case.key]
        if at <= case.began + TIE:
            return any(
                stay.began <= at + TIE and (stay.ended > at + TIE or stay.began >= at - TIE) for stay in stays
            )
        # What ends at this very moment may have made something else begin.
        return any(stay.began < at - TIE and stay.ended >= at - AFTER for stay in stays)

    def _unsettle(self, going: Going, at: float) -> None:
        """It ended at the very moment at which its run may have ended."""
        until = going.began + going.unsettle(at).latency.high
        self.shared.lose_call(going, Loose(at, max(at + TIE, until), math.inf, BOTH))

    def _drop(self, going: Going, fate: Fate, at: float) -> None:
        self.shared.lose(going, fate, at)
        going.fate = fate


def _resolved(made: Try) -> Try:
    """For an estimate: the likelier of what is possible."""
    statuses = SUCCESS if "success" in made.statuses else made.statuses & FAILED or CANCELLED
    ends = exactly(made.ends.low)
    return Try(ends, statuses, exactly(made.calls.low), made.error, made.over, made.departs, made.on_record)
