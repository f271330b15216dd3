"""What the record says of a call that another policy would make."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Final, Protocol

from orchkit.analysis.whatif.bounds import EITHER, FAILED, SUCCESS, US, Range, Status, exactly
from orchkit.analysis.whatif.record import Attempt, Case

NEAR: Final = 3
"""So many recorded calls before, and as many after, a moment are taken to be near it."""
ENDED: Final = ("success", "failed")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call would have gone without any limit; microseconds from its beginning."""

    ends: Range
    statuses: frozenset[Status]
    error: str | None = None
    """The name of the error, where it is known that it fails and how."""
    on_record: bool = False
    """Whether it was made on record, at this moment."""
    watched: float = math.inf
    """For how long it went on record as it does here."""
    departs: float = math.inf
    """When it is cut off that was not cut off then on record."""
    limit: float | None = None
    """After how long a limit cut it off on record."""
    allowed: float | None = None
    """The limit on it on record, as far as clocks and loops were exact."""
    with_run: bool = False
    """Whether its run cut it off on record, and was over then."""


NEVER_MADE: Final = Answer(Range(0.0, math.inf), EITHER, watched=0.0)
"""Nothing is known of it."""


class Knowledge(Protocol):
    """Something that answers for calls."""

    def call(self, case: Case, number: int, at: float) -> Answer:
        """The ``number``-th call of a case, made at a moment."""
        ...

    def longest(self, tool: str) -> float:
        """The longest that a call may take, in microseconds."""
        ...


@dataclass(frozen=True, slots=True)
class SameMoment:
    """Only the record: a call at the same moment ends as it did. Of any other nothing is known.

    With ``steady`` the n-th call of a case ends as it did whenever it is made. ``limits`` are the longest
    calls by tool, by assumption.
    """

    within: float
    """Microseconds; moments that are closer are the same."""
    steady: bool = False
    limits: dict[str, float] | None = None

    def call(self, case: Case, number: int, at: float) -> Answer:
        """See `Knowledge`."""
        attempt = case.attempts.get(number)
        if attempt is None or attempt.injected:
            return self._unknown(case.tool)
        there = abs(attempt.began - at) <= self.within
        if not there and not self.steady:
            return self._unknown(case.tool)
        return _answer(case, attempt, there, self.longest(case.tool))

    def longest(self, tool: str) -> float:
        """See `Knowledge`."""
        return math.inf if self.limits is None else self.limits.get(tool, math.inf)

    def _unknown(self, tool: str) -> Answer:
        if self.limits is None:
            return NEVER_MADE
        return Answer(Range(0.0, self.longest(tool)), EITHER, watched=0.0)


def _answer(case: Case, attempt: Attempt, there: bool, longest: float) -> Answer:
    took = attempt.took
    if attempt.status in ENDED:
        statuses = SUCCESS if attempt.status == "success" else FAILED
        return Answer(exactly(took), statuses, attempt.error, there, allowed=_allowed(case))
    # It was cut off: what it would have come to nobody knows, only that it went on until then.
    with_run = there and case.status == "cancelled" and attempt is case.last
    limit = took if attempt.status == "timeout" else None
    ends = Range(took, max(took, longest))
    return Answer(ends, EITHER, None, there, took, limit=limit, allowed=_allowed(case), with_run=with_run)


def _allowed(case: Case) -> float | None:
    limits = None if case.policy is None else case.policy.timeout
    return None if limits is None or limits.attempt is None else limits.attempt * US


# --- estimates -----------------------------------------------------------------------------


class Nearby:
    """An estimate: a call that is not on record goes as a recorded one of its tool that began near that time.

    It is drawn from the few that began next before and after it, those of other cases only: its own failure
    says when the service was asked, but was chosen because it failed. So outages and slow times stay where
    they were, and independent failures come back at their rate. With ``own_first`` the n-th call of a case
    is taken for its own n-th on record, whenever it is made, if there is one that ended.
    """

    def __init__(self, cases: Iterable[Case], within: float, rng: Random, *, own_first: bool = False) -> None:
        self._record, self._rng = SameMoment(within, steady=own_first), rng
        ended: defaultdict[str, list[tuple[Attempt, Case]]] = defaultdict(list)
        for case in cases:
            ended[case.tool] += [(one, case) for one in case.attempts.values() if _tells(one)]
        self._ended = {tool: sorted(found, key=_began) for tool, found in ended.items()}
        self._moments = {tool: [_began(one) for one in found] for tool, found in self._ended.items()}

    def call(self, case: Case, number: int, at: float) -> Answer:
        """See `Knowledge`."""
        known = self._record.call(case, number, at)
        if known.ends.exact or known.with_run:
            return known
        drawn = self._near(case, at)
        if drawn is None:
            return Answer(exactly(0.0), FAILED)
        took = max(drawn.took, known.ends.low)
        statuses = SUCCESS if drawn.status == "success" else FAILED
        return Answer(exactly(took), statuses, drawn.error, known.on_record, known.watched, limit=known.limit)

    def longest(self, tool: str) -> float:
        """See `Knowledge`."""
        return math.inf

    def _near(self, case: Case, at: float) -> Attempt | None:
        found = self._ended.get(case.tool, [])
        place = bisect_left(self._moments.get(case.tool, []), at)
        before = (found[index] for index in range(place - 1, -1, -1))
        after = (found[index] for index in range(place, len(found)))
        near = [*_of_others(before, case), *_of_others(after, case)]
        return self._rng.choice(near) if near else None


def _of_others(found: Iterable[tuple[Attempt, Case]], case: Case) -> list[Attempt]:
    return list(islice((one for one, whose in found if whose is not case), NEAR))


def _tells(attempt: Attempt) -> bool:
    return attempt.status in ENDED and not attempt.injected


def _began(found: tuple[Attempt, Case]) -> int:
    return found[0].began


def longest_calls(cases: Iterable[Case]) -> dict[str, float]:
    """The longest call on record by tool, those that were cut off included; microseconds."""
    found: dict[str, float] = {}
    for case in cases:
        for attempt in case.attempts.values():
            found[case.tool] = max(found.get(case.tool, 0.0), attempt.took)
    return found
