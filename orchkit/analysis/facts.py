"""Facts about a folded run that words and pictures share: which steps count, who failed, who undid whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property

from orchkit.analysis.known import NOTHING, Known
from orchkit.analysis.links import Link, links, workflow_of
from orchkit.analysis.liveness import CUT_OFF, IN_DOUBT, is_run_cut_off
from orchkit.analysis.words import listing
from orchkit.model.event import Event
from orchkit.model.state import DecisionState, RunState, StepState
from orchkit.model.workflow import StepDefinition, Workflow

COMPENSATION = "compensate:"
"""What the step id of a compensation begins with; the id of the step that it undoes follows."""

CALL = "call"
"""The kind of a step that is a reliable function called inside of another step, its parent."""

OVER = ("success", "failed", "skipped", "cancelled")
"""The statuses of a step that has ended."""

_MOST_CULPRITS = 6
_WORDS = {
    "success": ("succeeded", "succeeded"),
    "failed": ("failed", "failed"),
    "skipped": ("was skipped", "were skipped"),
    "cancelled": ("was cancelled", "were cancelled"),
    "running": ("is running", "are running"),
    CUT_OFF: ("was cut off", "were cut off"),
    "pending": ("has not begun", "have not begun"),
}


class Facts:
    """A run's state and its definition, looked at from several sides; each side is worked out once."""

    def __init__(self, state: RunState, known: Known = NOTHING) -> None:
        self.state, self.known = state, known

    @cached_property
    def cut_off(self) -> bool:
        """Whether the run has no end and will have none; looked up once, for the record as a whole."""
        return not self.known.past and is_run_cut_off(self.state, self.known.given_up)

    @property
    def run_standing(self) -> str:
        """The status of the run, or that it was cut off."""
        return CUT_OFF if self.cut_off else self.state.status

    def standing(self, status: str) -> str:
        """The status of a step or an attempt: what was running when the run was cut off, was so too."""
        if status == "in_doubt":
            return IN_DOUBT
        return CUT_OFF if status == "running" and self.cut_off else status

    def counted(self, steps: Iterable[StepState]) -> Counter[str]:
        """How many of these steps stand how."""
        return Counter(self.standing(step.status) for step in steps)

    @cached_property
    def workflow(self) -> Workflow | None:
        """The definition; None where there is none or this version cannot read it."""
        return workflow_of(self.state.definition)

    @cached_property
    def definitions(self) -> dict[str, StepDefinition]:
        """The defined steps by id."""
        return {step.step_id: step for step in self.workflow.steps} if self.workflow else {}

    @cached_property
    def links_into(self) -> dict[str, list[Link]]:
        """For each step that has some: the links into it."""
        found: dict[str, list[Link]] = {}
        for link in links(self.workflow) if self.workflow else ():
            found.setdefault(link.target, []).append(link)
        return found

    @cached_property
    def items(self) -> dict[str, list[StepState]]:
        """For each map that has some: the steps of its items."""
        found: dict[str, list[StepState]] = {}
        for step in self.state.steps.values():
            if step.parent is not None and step.node_type != CALL:
                found.setdefault(step.parent, []).append(step)
        return found

    @cached_property
    def own_steps(self) -> list[StepState]:
        """The steps without the items of maps and without compensations."""
        return [
            step
            for step in self.state.steps.values()
            if step.parent is None and not step.step_id.startswith(COMPENSATION)
        ]

    @cached_property
    def pipeline(self) -> StepState | None:
        """Of an orchestrator's run the step that is its pipeline, in which everything else happened."""
        if self.state.kind != "orchestrator":
            return None
        steps = (step for step in self.own_steps if step.name == self.state.name)
        return next((step for step in steps if step.node_type != "workflow"), None)

    @cached_property
    def compensations(self) -> dict[str, StepState]:
        """The compensations that were begun, by the id of the step that they undo."""
        return {
            step_id.removeprefix(COMPENSATION): step
            for step_id, step in self.state.steps.items()
            if step_id.startswith(COMPENSATION)
        }

    @cached_property
    def decisions(self) -> dict[str | None, list[DecisionState]]:
        """The decisions by step id; those about the whole run under None."""
        found: dict[str | None, list[DecisionState]] = {}
        for decision in self.state.decisions:
            found.setdefault(decision.step_id, []).append(decision)
        return found

    @cached_property
    def evidence(self) -> dict[str, Event]:
        """The evidence of the run by its id."""
        return {str(event.payload.get("evidence_id")): event for event in self.state.evidence}

    def decided(self, step_id: str | None, point: str) -> DecisionState | None:
        """The last decision of a step at this point."""
        return next((one for one in reversed(self.decisions.get(step_id, ())) if one.point == point), None)

    @cached_property
    def culprits(self) -> dict[str, list[str]]:
        """For each step downstream of failed ones: those steps, first failed first, at most six."""
        targets: dict[str, list[str]] = {}
        for into in self.links_into.values():
            for link in into:
                targets.setdefault(link.source, []).append(link.target)
        found: dict[str, list[str]] = {}
        failed = [step for step in self.state.steps.values() if step.status == "failed"]
        for step in sorted(failed, key=lambda step: step.finished_us or 0):
            _mark(step.step_id, targets, found)
        return found

    def since_start(self, us: int | None) -> float | None:
        """Milliseconds from the begin of the run."""
        return span_ms(self.state.started_us, us)


def _mark(culprit: str, targets: Mapping[str, list[str]], found: dict[str, list[str]]) -> None:
    """Note a culprit at everything downstream of it.

    A step that has enough of them is not passed through again: so has everything after it. That keeps the
    work proportional to the size of the graph, however many steps failed.
    """
    stack = list(targets.get(culprit, ()))
    while stack:
        step_id = stack.pop()
        known = found.setdefault(step_id, [])
        if culprit not in known and len(known) < _MOST_CULPRITS:
            known.append(culprit)
            stack.extend(targets.get(step_id, ()))


def span_ms(start_us: int | None, end_us: int | None) -> float | None:
    """Milliseconds between two times, 0 when the clock was set back; None when one is not known."""
    return None if start_us is None or end_us is None else max(0, end_us - start_us) / 1000


def evidence_ids(decision: DecisionState) -> list[str]:
    """The ids of the evidence that a decision names."""
    ids = decision.payload.get("evidence")
    return [ids] if isinstance(ids, str) else list(map(str, ids)) if isinstance(ids, list | tuple) else []


def tally(counts: Mapping[str, int]) -> str:
    """``5 succeeded, 1 failed and 2 were skipped``."""
    return listing(
        f"{counts[status]:,} {words[counts[status] != 1]}"
        for status, words in _WORDS.items()
        if counts.get(status)
    )
