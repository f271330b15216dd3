"""A policy proposed from one part of a record, and what it would have done in the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack

from orchkit.analysis.retries.source import Source
from orchkit.analysis.whatif.asked import UNTOLD, as_policy
from orchkit.analysis.whatif.asking import ON_RECORD, Asked, Question, question, recorded
from orchkit.analysis.whatif.record import Case
from orchkit.analysis.whatif.rules import Advice, attempt_timeout, failure_threshold, max_attempts
from orchkit.analysis.words import duration, moment
from orchkit.errors import ParameterError, Problem
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.display import Displayable
from orchkit.model.policy import NO_POLICY, ReliabilityPolicy

if TYPE_CHECKING:
    import pandas as pd

FEWEST: Final = 30
"""Cases that each of the two parts needs."""
SUGGESTED: Final = "suggested"
LEARNED, HELD_OUT = "learned on", "held out"


class Suggestion(Displayable):
    """A policy that the earlier part of a record suggests, and how it fares in the later one.

    Attributes:
        policy: The policy: what was on record, with another attempt timeout, number of attempts and
            threshold, as far as the record tells.
        on_record: The policy that most cases were under; None when that is not on record.
        reasons: Why, for ``timeout``, ``max_attempts`` and ``failure_threshold``.
        split_at: When the later part begins, with its first call.
    """

    def __init__(
        self,
        policy: ReliabilityPolicy,
        on_record: ReliabilityPolicy | None,
        reasons: Mapping[str, str],
        split_at: datetime,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        self.policy, self.on_record, self.reasons, self.split_at = policy, on_record, reasons, split_at
        self._rows = rows

    def table(self) -> pd.DataFrame:
        """A row for what is on record and one for the suggestion, in each part of the record.

        The columns are ``part`` (``learned on``, the earlier one, or ``held out``), ``policy`` (``on record``
        or ``suggested``), and those of `Replay.summary`. What counts are the two last rows: a policy fits the
        cases it was chosen by.
        """
        import pandas as pd

        return pd.DataFrame(list(self._rows)).astype({"part": "str", "policy": "str"})

    def settings(self) -> dict[str, Any]:
        """The three numbers, by the names of `reasons`; None: there is no such limit."""
        policy = self.policy
        return {
            "timeout": None if policy.timeout is None else policy.timeout.attempt,
            "max_attempts": 1 if policy.retry is None else policy.retry.max_attempts,
            "failure_threshold": None if policy.breaker is None else policy.breaker.failure_threshold,
        }

    def __repr__(self) -> str:
        learned, _, before, after = self._rows
        lines = [f"<Suggestion from {learned['cases']:,.0f} cases before {moment(self.split_at)}"]
        for name, value in self.settings().items():
            lines.append(f"  {name:<18} {_told(name, value):<8} {self.reasons[name]}")
        lines.append(f"  in the {before['cases']:,.0f} cases since then:")
        for name in ("success_rate", "calls", "p50_ms", "p99_ms"):
            there = _range(before, name).removesuffix(" (exact)")
            lines.append(f"    {name:<16} {_range(after, name)}, on record {there}")
        return "\n".join([*lines, f"    {'on bounds':<16} {after['on_bounds']:,.0f} cases"]) + ">"


def suggest(
    source: Source, *, held_out: float = 0.3, policy: Any = None, **asked: Unpack[Asked]
) -> Suggestion:
    """Propose an attempt timeout, a number of attempts and a breaker's threshold, and try them.

    The record is split by time: by runs, or by steps where there are too few runs. The earlier part proposes;
    the later one, which had no say, is asked what the proposal would have done there (see `replay`), beside
    what is on record. Each part begins with closed breakers and full budgets. The rules are those of
    experience, not the best fit to the record:

    - *timeout*: decide how many good calls may be cut off, one in a thousand; take the latency that so few
      exceed, and half as much again, since services get slower. That is how the Amazon Builders' Library
      describes it ("Timeouts, retries, and backoff with jitter"). Never longer than a limit that has cut
      calls off on record.
    - *max_attempts*: as many as were worth it: of the last ones at least one in ten succeeded. Never raised
      beyond what was made.
    - *failure_threshold*: one more than the longest series of failures that passed by itself before an open
      breaker would have tried again, so that single losses do not open it.

    Each says why (`Suggestion.reasons`), and leaves the setting as it is where the record does not tell.
    Everything else is as it was on record, or as in ``policy``.

    Args:
        source: As for `replay`. One tool at a time (``tools=``) gives limits that fit it.
        held_out: Which share of the cases is the later part.
        policy: What to begin from; by default the policy on record.
        asked: As for `replay`.

    Raises:
        ParameterError: There are too few cases to learn from, or to report on; ``held_out`` is no share; or
            as `replay` does.
        UnknownNameError: As `replay` does.
    """
    if not 0 < held_out < 1:
        problem = Problem("held_out", f"expected a share between 0 and 1, got {held_out!r}")
        raise ParameterError("suggest", [problem])
    given = None if policy is None else as_policy(policy)
    one = question(source, asked)
    early, late = _split(one, held_out)
    there = _usual(early.record.cases)
    chosen, reasons = _proposed(early.record.cases, given or there or NO_POLICY)
    tried = chosen.but(**dict.fromkeys(UNTOLD))
    rows = [
        {"part": part, "policy": name, **numbers}
        for part, half in ((LEARNED, early), (HELD_OUT, late))
        for name, numbers in (
            (ON_RECORD, recorded(half.record)),
            (SUGGESTED, dict(half.replay(tried).summary())),
        )
    ]
    split_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=one.record.base + late.record.cases[0].began
    )
    return Suggestion(chosen, there, reasons, split_at, rows)


def _split(one: Question, held_out: float) -> tuple[Question, Question]:
    """The earlier and the later runs, whole; the earlier and the later cases where there are too few runs."""
    cases = one.record.cases
    begins: dict[str, int] = {}
    for case in cases:  # in order of their beginning
        begins.setdefault(case.root, case.began)
    by_run = _parts(cases, held_out, lambda case: begins[case.root])
    by_case = _parts(cases, held_out, lambda case: case.began)
    early, late = next((two for two in (by_run, by_case) if min(map(len, two)) >= FEWEST), by_case)
    if min(len(early), len(late)) < FEWEST:
        cause = f"{len(early):,} to learn from and {len(late):,} to report on, {FEWEST} of each are needed"
        least = math.ceil(round(FEWEST / min(held_out, 1 - held_out), 6))
        enough = len(cases) >= 2 * FEWEST
        hint = "held_out=0.5 may leave enough" if enough else f"{least:,} cases are enough"
        raise ParameterError("suggest", [Problem("cases", cause, hint)])
    return (
        replace(one, record=replace(one.record, cases=early)),
        replace(one, record=replace(one.record, cases=late)),
    )


def _parts(
    cases: Sequence[Case], held_out: float, began: Callable[[Case], int]
) -> tuple[list[Case], list[Case]]:
    if not cases:
        return [], []
    moment_of_split = began(cases[min(len(cases) - 1, round(len(cases) * (1 - held_out)))])
    early = [case for case in cases if began(case) < moment_of_split]
    return early, [case for case in cases if began(case) >= moment_of_split]


def _usual(cases: Sequence[Case]) -> ReliabilityPolicy | None:
    """The policy that most cases were under."""
    known = {id(case.policy): case.policy for case in cases}
    counts = Counter(id(case.policy) for case in cases)
    return known[counts.most_common(1)[0][0]]


def _proposed(cases: Sequence[Case], base: ReliabilityPolicy) -> tuple[ReliabilityPolicy, Mapping[str, str]]:
    breaker = base.breaker or BreakerPolicy()
    limit, tries, threshold = (
        attempt_timeout(cases),
        max_attempts(cases, 1 if base.retry is None else base.retry.max_attempts),
        failure_threshold(cases, breaker),
    )
    changes: dict[str, Any] = {}
    if limit.value is not None:
        total = math.inf if base.timeout is None else base.timeout.total or math.inf
        changes["timeout"] = {"attempt": min(limit.value, total)}
    if base.retry is not None or tries.value != 1:
        changes["retry"] = {"max_attempts": tries.value}
    if threshold.value is not None:
        changes["breaker"] = {"failure_threshold": threshold.value}
    found: Mapping[str, Advice] = {
        "timeout": limit,
        "max_attempts": tries,
        "failure_threshold": threshold,
    }
    return base.but(**changes), {name: advice.reason for name, advice in found.items()}


def _told(name: str, value: Any) -> str:
    if value is None:
        return "none"
    return duration(value * 1000) if name == "timeout" else f"{value:,}"


def _range(row: Mapping[str, Any], name: str) -> str:
    low, high = (_number(name, row[f"{name}_{end}"]) for end in ("low", "high"))
    if low == high:
        return f"{low} (exact)"
    guess = row.get(f"{name}_estimate")
    return f"{low} to {high}" + (f" (estimate {_number(name, guess)})" if guess is not None else "")


def _number(name: str, value: float) -> str:
    if value == math.inf:
        return "any number"
    if name == "success_rate":
        return f"{value:.1%}"
    return duration(value) if name.endswith("_ms") else f"{value:,.0f}"
