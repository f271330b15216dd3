"""One try under another policy: a call within its limits, and the hedges beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from orchkit.analysis.whatif.bounds import (
    CANCELLED,
    EITHER,
    FAILED,
    SUCCESS,
    TIE,
    US,
    Range,
    Status,
    exactly,
)
from orchkit.analysis.whatif.calls import Answer, Knowledge
from orchkit.analysis.whatif.record import Case
from orchkit.model.limits import HedgePolicy

TIMEOUT = "TimeoutExceededError"


@dataclass(frozen=True, slots=True)
class Try:
    """What becomes of a try; microseconds from its beginning."""

    ends: Range
    statuses: frozenset[Status]
    calls: Range
    error: str | None = None
    over: bool = False
    """Whether the limit on the whole case is what ends it: then there is no other."""
    departs: float = math.inf
    """From when on it is not what is on record."""
    on_record: bool = False
    """Whether it was made at this moment on record."""

    @property
    def known(self) -> bool:
        """Whether it is known how and when it ends, and after how many calls."""
        return self.ends.exact and len(self.statuses) == 1 and self.calls.low == self.calls.high


@dataclass(frozen=True, slots=True)
class Tries:
    """The tries of a policy."""

    knowledge: Knowledge
    attempt: float
    """Limit on a call in microseconds."""
    hedge: HedgePolicy | None
    within: float
    """Microseconds; moments that are closer are the same."""

    def made(self, case: Case, number: int, at: float, left: float) -> Try:
        """The try whose first call is the ``number``-th of the case; ``left`` until the case must be over."""
        answer = self.knowledge.call(case, number, at)
        recorded = answer.on_record
        race = _Race(self.hedge, self._limited(answer, left))
        while race.goes_on:
            start = race.next_start
            answer = self.knowledge.call(case, number + len(race.calls), at + start)
            race.add(self._limited(answer, left - start))
        found = race.outcome(self.attempt, left)
        departs = min(race.departs(found), _unasked(case, number + len(race.calls), at, found))
        return replace(found, departs=departs, on_record=recorded)

    def _limited(self, answer: Answer, left: float) -> Answer:
        """A call that is cut off when its time is over."""
        limit, ends, watched = min(self.attempt, left), answer.ends, answer.watched
        same = answer.allowed is not None and abs(answer.allowed - limit) <= TIE
        if answer.limit is not None and (
            abs(limit - answer.limit) <= self.within or (same and answer.limit >= limit)
        ):
            statuses = FAILED | CANCELLED if answer.with_run else FAILED
            return Answer(exactly(answer.limit), statuses, TIMEOUT, answer.on_record)
        if answer.with_run and answer.limit is None:
            return _with_run(watched, limit)
        if limit == math.inf or ends.high < limit - TIE or (same and ends.exact):
            return answer
        watched = min(watched, limit)
        # What was cut off on record had not ended by then.
        if ends.low > limit + TIE or (ends.low >= limit - TIE and not ends.exact):
            return Answer(exactly(limit), FAILED, TIMEOUT, answer.on_record, departs=limit)
        within = Range(min(ends.low, limit), limit)
        return Answer(within, answer.statuses | FAILED, None, answer.on_record, watched)


def _with_run(watched: float, limit: float) -> Answer:
    """A call that ended with its run, unless its own limit comes before."""
    if watched < limit - TIE:
        return Answer(exactly(watched), CANCELLED, None, True)
    if limit < watched - TIE:
        return Answer(exactly(limit), FAILED, TIMEOUT, True, departs=limit)
    return Answer(Range(min(watched, limit), max(watched, limit)), FAILED | CANCELLED, None, True, limit)


def _unasked(case: Case, number: int, at: float, found: Try) -> float:
    """When a call was made on record during the try that is not made here."""
    attempt = case.attempts.get(number)
    if attempt is None or not at <= attempt.began < at + found.ends.low - TIE:
        return math.inf
    return attempt.began - at


class _Race:
    """Calls that are made one beside the other, and what is known of which is first."""

    def __init__(self, hedge: HedgePolicy | None, first: Answer) -> None:
        self.delay = 0.0 if hedge is None else hedge.delay * US
        self.most = 1 if hedge is None else 1 + hedge.max_hedges
        self.calls: list[tuple[float, Answer]] = [(0.0, first)]

    def add(self, answer: Answer) -> None:
        """One more call."""
        self.calls.append((self.next_start, answer))

    @property
    def next_start(self) -> float:
        """When the next call is made, if the try goes on until then."""
        return len(self.calls) * self.delay

    @property
    def goes_on(self) -> bool:
        """Whether it certainly does, and there may be another one."""
        if len(self.calls) >= self.most:
            return False
        return min(self._success.low, self._running.low) > self.next_start + TIE

    @property
    def _may_go_on(self) -> bool:
        """Whether it may."""
        early = self.next_start - TIE
        return len(self.calls) < self.most and min(self._success.high, self._running.high) >= early

    @property
    def _success(self) -> Range:
        """When the first of the calls succeeds; infinite when none may, or none must."""
        possible = [begin + one.ends.low for begin, one in self.calls if "success" in one.statuses]
        certain = [begin + one.ends.high for begin, one in self.calls if one.statuses == SUCCESS]
        return Range(min(possible, default=math.inf), min(certain, default=math.inf))

    @property
    def _running(self) -> Range:
        """Until when something runs."""
        lows, highs = zip(
            *((begin + one.ends.low, begin + one.ends.high) for begin, one in self.calls), strict=True
        )
        return Range(max(lows), max(highs))

    def outcome(self, attempt: float, left: float) -> Try:
        """What is known of the whole, with limits on each call and on all of it."""
        count, success, running = len(self.calls), self._success, self._running
        statuses = frozenset[Status]().union(*(one.statuses for _, one in self.calls))
        calls = exactly(count)
        if self._may_go_on:
            last = (self.most - 1) * self.delay
            begun = (
                math.floor((success.high + TIE) / self.delay) + 1
                if self.delay > 0 and success.high < math.inf
                else self.most
            )
            calls = Range(count, max(count, min(self.most, begun)))
            success = Range(min(success.low, self.next_start), success.high)
            running = Range(running.low, max(running.high, min(last + attempt, left)))
            statuses |= EITHER
        if success.high < math.inf and "cancelled" not in statuses:
            return Try(success, SUCCESS, calls)
        if "success" in statuses:
            return Try(Range(min(success.low, running.low), running.high), statuses, calls)
        over = statuses == FAILED and running.low >= left - TIE
        return Try(running, statuses, calls, self.calls[-1][1].error, over)

    def departs(self, found: Try) -> float:
        """From when on it is not what is on record; infinite when it is, to the end."""
        moments = [self._departure(begin, one, found) for begin, one in self.calls]
        if self._may_go_on and not found.known:
            moments.append(self.next_start)
        return min(moments)

    def _departure(self, begin: float, answer: Answer, found: Try) -> float:
        if not answer.on_record:
            return begin
        if begin + answer.departs <= found.ends.high + TIE:
            return begin + answer.departs
        # Who is not first is cut off, here as there.
        watched = begin + answer.watched
        return watched if watched < found.ends.high - TIE else math.inf
