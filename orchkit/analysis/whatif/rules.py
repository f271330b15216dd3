"""The rules by which limits are chosen from what is on record: timeout, attempts, threshold."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchkit.analysis.whatif.answer import quantile
from orchkit.analysis.whatif.bounds import US
from orchkit.analysis.whatif.errors import outcomes
from orchkit.analysis.whatif.record import Attempt, Case
from orchkit.analysis.words import duration, ordinal, plural
from orchkit.model.breaker import BreakerPolicy

FALSE_TIMEOUTS: Final = 0.001
"""The share of good calls that a timeout may cut off."""
MARGIN: Final = 1.5
"""Times the latency that so few calls exceed: services get slower."""
WORTH: Final = 0.1
"""The share of attempts of a number that must succeed for them to be worth their calls."""
FEWEST_CALLS: Final = 20
"""Good calls of a tool that a quantile needs."""
FEWEST_TRIES: Final = 10
"""Attempts of a number that a share needs."""
FEWEST_FAILURES: Final = 2
"""No breaker opens after a single failure."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What a rule says, and why; None: the record does not tell."""

    value: float | int | None
    reason: str


def attempt_timeout(cases: Sequence[Case]) -> Advice:
    """Seconds that an attempt may take.

    The latency that one good call in a thousand exceeds, and half as much again; of several tools the
    slowest counts. It is no longer than a limit that has cut calls off: what would have come of these later
    nobody knows.
    """
    good, limit = _good_calls(cases), _longest_cut(cases)
    enough = {tool: sorted(took) for tool, took in good.items() if len(took) >= FEWEST_CALLS}
    if not enough:
        most = max(map(len, good.values()), default=0)
        return Advice(None, f"of no tool {FEWEST_CALLS} calls succeeded (at most {most})")
    slow, tool = max((quantile(took, 1 - FALSE_TIMEOUTS), tool) for tool, took in enough.items())
    share = f"{1 - FALSE_TIMEOUTS:.1%} of the {len(enough[tool]):,} good calls of {tool} took up to "
    reason = f"{share}{duration(slow / 1000)}; {MARGIN:g} times that"
    seconds = _rounded_up(max(slow, 1000.0) * MARGIN / US)
    if limit is not None and seconds > limit / US:
        return Advice(limit / US, f"{reason}, but no more than the limit that cut calls off")
    return Advice(seconds, reason)


def max_attempts(cases: Sequence[Case], present: int = 1) -> Advice:
    """How many attempts are worth their calls: of the last one still one in ten succeeded on record.

    What one gives that was seldom made, or never, nobody knows: up to as many as there are at ``present``
    it stays, beyond them it is not proposed.
    """
    made, good = Counter[int](), Counter[int]()
    for case in cases:
        for number, succeeded in enumerate(_tries(case), 1):
            made[number] += 1
            good[number] += succeeded
    number = 1
    while made[number + 1] >= FEWEST_TRIES and good[number + 1] >= WORTH * made[number + 1]:
        number += 1
    after = number + 1
    of_them = f"of {made[after]:,} {ordinal(after)} attempts {good[after]:,} succeeded"
    if made[after] == 0:
        return Advice(max(number, present), f"no {ordinal(after)} attempts are on record")
    if made[after] < FEWEST_TRIES:
        return Advice(max(number, present), f"{of_them}: too few to tell")
    return Advice(number, f"{of_them}: fewer than one in {1 / WORTH:g}")


def failure_threshold(cases: Sequence[Case], breaker: BreakerPolicy) -> Advice:
    """After how many failures in a row a breaker opens: one more than ever passed by themselves.

    A series of failures passed by itself when its tool answered again before the breaker, had it opened at
    the first of them, would have tried: then it would only have kept good calls from being made.
    """
    passed, lasted = 0, list[int]()
    for failures, seconds in _series(cases, breaker):
        if seconds < breaker.reset_timeout:
            passed = max(passed, failures)
        else:
            lasted.append(failures)
    if not passed and not lasted:
        return Advice(None, "nothing failed")
    threshold = max(FEWEST_FAILURES, passed + 1)
    opened = sum(failures >= threshold for failures in lasted)
    longest = f"the longest of {passed}" if passed else "none on record"
    reason = (
        f"series that were over within {breaker.reset_timeout:g} s: {longest}; "
        f"{plural(opened, 'other')} would have opened it"
    )
    return Advice(threshold, reason)


# --- what they look at ---------------------------------------------------------------------


def _good_calls(cases: Sequence[Case]) -> Mapping[str, list[float]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for case in cases:
        found[case.tool] += [one.took for one in case.attempts.values() if one.status == "success"]
    return found


def _longest_cut(cases: Sequence[Case]) -> float | None:
    attempts = (one for case in cases for one in case.attempts.values())
    return max((one.took for one in attempts if one.status == "timeout"), default=None)


def _tries(case: Case) -> Iterator[bool]:
    """Whether each try succeeded; calls beside each other, as hedges are, are one."""
    until, good, any_made = -math.inf, False, False
    for one in sorted(case.attempts.values(), key=lambda one: one.began):
        if any_made and one.began >= until:
            yield good
            good = False
        any_made, good = True, good or one.status == "success"
        until = max(until, one.began + one.took)
    if any_made:
        yield good


def _series(cases: Sequence[Case], breaker: BreakerPolicy) -> Iterator[tuple[int, float]]:
    """Failures in a row of one tool, and the seconds from the first of them to the next success."""
    ends: defaultdict[str, list[Attempt]] = defaultdict(list)
    for case in cases:
        ends[case.tool] += [one for one in case.attempts.values() if not one.injected]
    for attempts in ends.values():
        failures, since = 0, 0.0
        for one in sorted(attempts, key=lambda one: one.began + one.took):
            if one.status == "success":
                if failures:
                    yield failures, (one.began + one.took - since) / US
                failures = 0
            elif _fails(one, breaker):
                since = since if failures else one.began + one.took
                failures += 1
        if failures:
            yield failures, math.inf


def _fails(attempt: Attempt, breaker: BreakerPolicy) -> bool:
    return attempt.status == "timeout" or (
        attempt.status == "failed" and "failure" in outcomes(breaker, attempt.error)
    )


def _rounded_up(seconds: float) -> float:
    """To two digits."""
    step = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return round(math.ceil(round(seconds / step, 6)) * step, 9)
