"""The questions: one policy, several, and what was on record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from orchkit.analysis.retries.source import OneRun, Origin, Selection, Source
from orchkit.analysis.whatif.answer import Fates, Replay, summarized
from orchkit.analysis.whatif.asked import Assumption, Estimate, as_policies, as_policy, checked
from orchkit.analysis.whatif.bounds import CANCELLED, FAILED, SUCCESS, US, Fate, Range, Status, exactly
from orchkit.analysis.whatif.calls import Nearby, SameMoment, longest_calls
from orchkit.analysis.whatif.record import Case, Record, read
from orchkit.analysis.whatif.replaying import Replaying
from orchkit.analysis.whatif.waits import Waits
from orchkit.model.policy import ReliabilityPolicy

if TYPE_CHECKING:
    import pandas as pd

SAME_S: Final = 0.01
"""Seconds; what begins no further apart than this is taken to begin at the same moment."""
ON_RECORD: Final = "on record"
"""The row of a comparison that says what happened."""


class Asked(TypedDict, total=False):
    """Which cases count, and what is assumed of them."""

    steps: Sequence[str] | None
    """Steps of these ids alone; of a map also its items. One that has no case is an error."""
    tools: Sequence[str] | None
    """Steps that called these tools alone. One that has no case is an error."""
    assume: Collection[Assumption] | Assumption
    """What is to be taken for granted beyond the record; see the package. By default nothing."""
    estimate: Estimate | None
    """What the estimate rests on; None: there is to be none. By default ``nearby``."""
    same_within_s: float
    """Seconds; what begins no further apart is taken to begin at the same moment. By default 0.01."""
    seed: int
    """Of the waits that an estimate draws."""
    decisions: pd.DataFrame | None
    """For a DataFrame of attempts: the decisions, as `orchkit.Run.decisions` has them."""
    runs: Iterable[str | OneRun]
    """See `orchkit.analysis.retries`; of a DataFrame all runs count."""
    origins: Collection[Origin]
    """The same."""


@dataclass(frozen=True, slots=True)
class Question:
    """A record, and how it is to be read."""

    record: Record
    assumed: frozenset[str]
    estimate: str | None
    within: float
    seed: int

    def replay(self, policy: ReliabilityPolicy) -> Replay:
        """What a policy would have done."""
        fates = self._bounds(policy)
        estimates = None
        if self.estimate is not None:
            guesses = {id(case): guess for case, guess in self._guesses(policy)}
            estimates = [(case, fate.nearest(guesses.get(id(case), fate))) for case, fate in fates]
        base = self.record.base
        return Replay(policy, fates, estimates, assumed=self.assumed, estimate=self.estimate, base=base)

    def _bounds(self, policy: ReliabilityPolicy) -> Fates:
        limits = longest_calls(self.record.cases) if "longest" in self.assumed else None
        knowledge = SameMoment(self.within, "steady" in self.assumed, limits)
        waits = _waits(policy, None, unasked="unasked" in self.assumed)
        return Replaying(
            self.record, policy, knowledge, waits, self.within, fixed="begins" in self.assumed
        ).run()

    def _guesses(self, policy: ReliabilityPolicy) -> Fates:
        luck = Random(self.seed)  # noqa: S311 - to be repeated
        knowledge = Nearby(self.record.cases, self.within, luck, own_first=self.estimate == "steady")
        waits = _waits(policy, luck)
        return Replaying(self.record, policy, knowledge, waits, self.within, fixed=True, strict=False).run()


def question(source: Source, asked: Asked) -> Question:
    """Read what is asked of. Raises as `orchkit.analysis.retries` does, and as `checked`."""
    assumed = checked(asked.get("assume", ()), asked.get("estimate", "nearby"))
    selection = Selection()
    if "runs" in asked:
        selection["runs"] = asked["runs"]
    if "origins" in asked:
        selection["origins"] = asked["origins"]
    record = read(
        source,
        selection,
        decisions=asked.get("decisions"),
        steps=asked.get("steps"),
        tools=asked.get("tools"),
    )
    within = max(0.0, asked.get("same_within_s", SAME_S)) * US
    return Question(record, assumed, asked.get("estimate", "nearby"), within, asked.get("seed", 0))


def _waits(policy: ReliabilityPolicy, rng: Random | None, *, unasked: bool = False) -> Waits | None:
    retry = policy.retry
    if retry is None or (retry.max_attempts == 1 and retry.budget is None):
        return None
    return Waits(retry, rng, unasked)


def replay(source: Source, policy: Any, **asked: Unpack[Asked]) -> Replay:
    """What a policy would have done in the place of what was around the calls on record.

    Args:
        source: A kit, a store, a run, or a DataFrame of attempts with ``started_at`` and ``finished_at``; as
            in `orchkit.analysis.retries`.
        policy: A `ReliabilityPolicy`, one of its parts (a `RetryPolicy`, say), a mapping of its fields, or
            the name of a preset. It is all that is around a call: what is None in it is not there. What a
            fallback gives is no success of the call; only for the run does it matter whether there is one.
        asked: Which cases, under which assumptions; see `Asked`.

    Raises:
        ParameterError: That is no source or no policy, or the policy has a bulkhead, a rate limit or faults:
            what these would do depends on more than is on record.
        UnknownNameError: There is no such assumption, estimate, preset, origin, step or tool (a record
            without any cases knows no names, and accepts all).
    """
    wanted = as_policy(policy)
    return question(source, asked).replay(wanted)


def compare(source: Source, policies: Any, **asked: Unpack[Asked]) -> pd.DataFrame:
    """Several policies over the same record: a row each, and a first one for what is on record.

    The columns are ``policy`` and those of `Replay.summary`. `orchkit.views.plots.whatif` draws it. All other
    arguments, and errors, are those of `replay`.

    Args:
        source: As for `replay`.
        policies: Policies by name, a list of policies, or a single one; each as for `replay`. Those of a list
            are called by the name of their preset, else ``policy 1``, ``policy 2`` and so on.
        asked: As for `replay`.
    """
    import pandas as pd

    wanted = as_policies(policies)
    one = question(source, asked)
    rows = {ON_RECORD: recorded(one.record)} | {
        name: dict(one.replay(policy).summary()) for name, policy in wanted.items()
    }
    frame = pd.DataFrame([{"policy": name, **row} for name, row in rows.items()])
    return frame.astype({"policy": "str"})


def recorded(record: Record) -> dict[str, float]:
    """What is on record, in the form of `Replay.summary`; its estimate is itself."""
    found = summarized([_recorded(case) for case in record.cases])
    lows = {name: value for name, value in found.items() if name.endswith("_low")}
    return found | {f"{name.removesuffix('_low')}_estimate": value for name, value in lows.items()}


_STATUSES: Final[Mapping[str, frozenset[Status]]] = {
    "success": SUCCESS,
    "failed": FAILED,
    "cancelled": CANCELLED,
    "open": CANCELLED,
}


def _recorded(case: Case) -> Fate:
    ends = [attempt.began + attempt.took for attempt in case.attempts.values()]
    ended = max([case.began, *ends, *case.rejections])
    waits = [wait.delay or 0.0 for wait in case.waits]
    waited = exactly(US * sum(waits) if waits else _pauses(case))
    calls = exactly(len(case.attempts))
    return Fate(_STATUSES[case.status], calls, Range(ended - case.began, ended - case.began), waited)


def _pauses(case: Case) -> float:
    """Microseconds between attempts, where the decisions to wait are not on record."""
    found, until = 0.0, float(case.began)
    for attempt in sorted(case.attempts.values(), key=lambda one: one.began):
        found += max(0.0, attempt.began - until)
        until = max(until, attempt.began + attempt.took)
    return found
