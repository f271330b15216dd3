"""The lives of a run that was taken up again: when that was, what was kept, what ran again and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchkit.analysis.facts import COMPENSATION, Facts
from orchkit.analysis.words import error_text, listing, moment, ordinal
from orchkit.model.state import DecisionState, StepState

_HOW = {"resume": "Resumed", "idempotency": "Taken over by another request with its key"}
_STANDINGS = {"timeout": "timed out", "in_doubt": "in doubt"}


@dataclass(frozen=True, slots=True)
class Life:
    """What was decided when a run was taken up again."""

    at_us: int
    how: str
    """``Resumed``, or that another request went on with it."""
    why: str
    """Such as ``its process had ended``."""
    kept: tuple[str, ...]
    """Steps whose results count as they are."""
    kept_changed: tuple[str, ...]
    """The same of steps that had changed."""
    in_doubt: Mapping[str, int]
    """Steps that had begun when the process ended, and in which attempt."""
    left: Mapping[str, str]
    """Those of them that are left at that, and why."""
    changed: Mapping[str, str]
    """Steps whose code or definition had changed, and how."""
    undone: tuple[str, ...]
    """Steps that had been undone."""
    after: tuple[str, ...]
    """Steps that come after others that run again."""
    failed: Mapping[str, str]
    """Steps that had not succeeded, and how they had ended."""

    def lines(self) -> Iterator[str]:
        """For the story of the run."""
        yield f"{self.how} at {moment(self.at_us)} because {self.why}" + (":" if self._tells else "")
        if self.kept:
            yield f"  kept: {listing(_together(self.kept))}"
        if self.kept_changed:
            yield f"  kept, though changed: {listing(map(self._change, self.kept_changed))}"
        doubts = {
            step_id: f"{step_id} (attempt {number})"
            for step_id, number in self.in_doubt.items()
            if step_id not in self.changed
        }
        again = {
            "in doubt whether it took effect": [doubts[one] for one in doubts if one not in self.left],
            "changed": [self._change(one) for one in self.changed if one not in self.kept_changed],
            "undone before": self.undone,
            "after those": _together(self.after),
            "without success before": [f"{step_id} ({how})" for step_id, how in self.failed.items()],
        }
        yield from (f"  again, {why}: {listing(steps)}" for why, steps in again.items() if steps)
        left = [doubts[one] for one in doubts if one in self.left]
        if left:
            yield f"  not again, though in doubt whether it took effect: {listing(left)}"

    @property
    def _tells(self) -> bool:
        return any((self.kept, self.in_doubt, self.changed, self.undone, self.after, self.failed))

    def of_step(self, step_id: str) -> str | None:
        """For the story of one step; None where nothing became of it."""
        when = f"When the run was {self.how[0].lower()}{self.how[1:]} at {moment(self.at_us)}"
        if step_id in self.kept:
            return f"{when}, its result was kept"
        if step_id in self.kept_changed:
            return f"{when}, its result was kept, though {error_text(self.changed[step_id])}"
        if step_id in self.left:
            return f"{when}, it was not run again: {self.left[step_id]}"
        why = self._why(step_id)
        return f"{when}, it was to run again, because {why}" if why else None

    def _why(self, step_id: str) -> str | None:
        if step_id in self.undone:
            return "it had been undone"
        if step_id in self.after:
            return "it comes after others that did"
        if step_id in self.failed:
            return "it had not succeeded"
        whys = [error_text(self.changed[step_id])] if step_id in self.changed else []
        if step_id in self.in_doubt:
            attempt = f"its {ordinal(self.in_doubt[step_id])} attempt had begun when the process ended"
            whys.append(f"{attempt}, and whether it took effect is not known")
        return "; and ".join(whys) or None

    def _change(self, step_id: str) -> str:
        doubt = f"; in doubt: attempt {self.in_doubt[step_id]}" if step_id in self.in_doubt else ""
        return f"{step_id} ({error_text(self.changed[step_id])}{doubt})"


def lives(facts: Facts) -> list[Life]:
    """Each time that the run was taken up again, in order."""
    about = facts.decisions.get(None, ())
    taken_up = [one for one in about if one.by_engine and one.point == "resume"]
    if not taken_up:  # what is no workflow has nothing to sort
        taken_up = [
            one
            for one in about
            if one.by_engine and (one.point, one.decision) == ("idempotency", "take_over")
        ]
    return [_life(facts, decision) for decision in taken_up]


def _life(facts: Facts, decision: DecisionState) -> Life:
    given = decision.payload.get("input_data")
    inputs: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    kept, again, doubtful = (_names(inputs.get(key)) for key in ("kept", "again", "in_doubt"))
    named = inputs.get("changed")
    changed = {str(key): str(what) for key, what in named.items()} if isinstance(named, Mapping) else {}
    before = _before(facts, decision)
    undone = [one for one in again if _was_undone(facts, one, decision.ts)]
    told = {*kept, *again, *doubtful, *changed}
    doubts = {one: found for one in doubtful if (found := _doubt(facts, one, decision)) is not None}
    return Life(
        decision.ts,
        _HOW[decision.point],
        (decision.rationale or "").partition(":")[0] or "somebody asked for it",
        tuple(one for one in kept if one not in changed and not one.startswith(COMPENSATION)),
        tuple(one for one in kept if one in changed),
        {one: found.attempt or 1 for one, found in doubts.items()},
        {one: _why_left(found) for one, found in doubts.items() if found.decision == "leave"},
        changed,
        tuple(one for one in undone if one not in changed),
        tuple(one for one in again if one not in changed and one not in undone),
        {one: how for one, how in before.items() if one not in told and how != "success"}
        if decision.point == "resume"
        else {},
    )


def _together(step_ids: Iterable[str]) -> list[str]:
    """The same with a count for several items of one map."""
    counts = Counter(step_id.partition("[")[0] for step_id in step_ids if step_id.endswith("]"))
    found = (
        f"{counts[map_id]:,} items of {map_id}"
        if step_id.endswith("]") and counts[map_id := step_id.partition("[")[0]] > 1
        else step_id
        for step_id in step_ids
    )
    return list(dict.fromkeys(found))


def _names(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, Iterable) and not isinstance(value, str) else []


def _before(facts: Facts, decision: DecisionState) -> dict[str, str]:
    """For each step with attempts before that: how the last of them had ended."""
    found = {}
    for step in _undertaken(facts):
        earlier = [one for one in step.attempts if one.started_us < decision.ts]
        if earlier:
            status = earlier[-1].status
            found[step.step_id] = _STANDINGS.get(status, status)
    return found


def _undertaken(facts: Facts) -> Iterator[StepState]:
    """The steps of the definition and the items of maps; a map itself has no attempts."""
    return (step for step in facts.state.steps.values() if not step.step_id.startswith(COMPENSATION))


def _doubt(facts: Facts, step_id: str, decision: DecisionState) -> DecisionState | None:
    """What was decided of a step in doubt, right after the run was taken up."""
    made = (one for one in facts.decisions.get(step_id, ()) if one.by_engine and one.point == "resume")
    return next((one for one in made if one.seq > decision.seq), None)


def _why_left(doubt: DecisionState) -> str:
    """Why a step in doubt was not run again."""
    return (doubt.rationale or "").rpartition("; ")[2] or "nobody asked for it"


def _was_undone(facts: Facts, step_id: str, before_us: int) -> bool:
    undoing = facts.compensations.get(step_id)
    return undoing is not None and any(
        one.status == "success" and one.started_us < before_us for one in undoing.attempts
    )
