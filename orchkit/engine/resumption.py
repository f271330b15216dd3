"""Taking up a run where it was left: what is kept, what runs again, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from orchkit.engine.compiled import Compiled
from orchkit.engine.options import RunOptions
from orchkit.engine.plan import Plan
from orchkit.engine.recorder import Earlier, RunRecorder
from orchkit.errors import CodecError
from orchkit.model.result import OutputDict, StepResult
from orchkit.model.state import RunState, StepState
from orchkit.model.workflow import StepDefinition, step_essence
from orchkit.store import codec

OnChange = Literal["rerun", "keep", "error"]
"""What to do about steps whose code was edited since they ran: run them and all that comes after them again,
keep their results, or `CodeChangedError`."""


@dataclass(slots=True)
class Resumption:
    """The earlier life of a run, sorted for the next one."""

    state: RunState
    anew: bool
    """Whether all of it had ended: then what did not succeed is tried anew, with new limits."""
    reserved: bool = False
    """Whether it was made ours before it was read."""
    undoing: str | None = None
    """Why it had failed, when it was cut off while it was being undone: only that is left to do."""
    kept: dict[str, StepResult] = field(default_factory=dict)
    """The steps that are not run again, in order of completion; items of maps and compensations, too."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What the kept steps were given (for those that can be undone)."""
    given: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What steps that run again were given by hand."""
    earlier: dict[str, Earlier] = field(default_factory=dict)
    """Attempts of the steps that run again."""
    in_doubt: dict[str, list[int]] = field(default_factory=dict)
    """Steps that had begun when the process ended, and the attempts of which is not known whether they took
    effect: two, say, when a slow one was hedged."""
    left: dict[str, str] = field(default_factory=dict)
    """Those of them that are not run again, and why."""
    changed: dict[str, str] = field(default_factory=dict)
    """Steps whose code or definition is another one now, and what is different."""
    changes: dict[str, str] = field(default_factory=dict)
    """The same with those in sub-workflows, as ``sub / step``."""
    again: list[str] = field(default_factory=list)
    """Steps of which nothing counts that was done before, because of a change in or above them."""
    children: dict[str, Resumption] = field(default_factory=dict)
    """By step id, the runs of sub-workflows that go on."""
    strays: list[RunState] = field(default_factory=list)
    """Of the run on top: runs of sub-workflows that were cut off, too, and do not go on."""

    @property
    def started_us(self) -> int | None:
        """When the run began, in its first life."""
        return self.state.started_us

    @property
    def ended(self) -> bool:
        """Whether it had come to an end; else it was cut off."""
        return not self.state.open

    def runs(self) -> Iterator[str]:
        """The ids of the runs that go on: this one, and those of sub-workflows."""
        yield self.state.run_id
        for child in self.children.values():
            yield from child.runs()

    @property
    def facts(self) -> dict[str, Any]:
        """For the record: what is kept and what is not."""
        top = [step_id for step_id in self.kept if step_id in self.state.steps]
        found = {"kept": top, "again": self.again, "in_doubt": list(self.in_doubt), "changed": self.changes}
        return {name: value for name, value in found.items() if value}

    # --- what the execution asks -----------------------------------------------------------

    def record(self, recorder: RunRecorder, compiled: Compiled, options: RunOptions) -> None:
        """Put on the record that the run goes on, in this process, and how."""
        payload: dict[str, Any] = {"code": compiled.code, **self.facts}
        if self.anew:
            payload["anew"] = True
        if self.state.definition_hash != compiled.definition_hash:
            payload |= {"definition": compiled.definition, "definition_hash": compiled.definition_hash}
        if self.reserved:
            with recorder.store.together():
                compiled.put_large()
                recorder.run_goes_on(payload)
        else:
            compiled.put_large()
            recorder.run_taken_up(self.state, payload)
        recorder.earlier = self.earlier
        recorder.decided(
            None,
            None,
            point="resume",
            decision="go_on" if not self.anew else "try_again",
            rationale=self._rationale(),
            input_data=self.facts,
        )
        for step_id, numbers in self.in_doubt.items():
            for number in numbers:
                self._record_doubt(recorder, step_id, number)

    def _record_doubt(self, recorder: RunRecorder, step_id: str, number: int) -> None:
        why_left = self.left.get(step_id)
        rationale = f"attempt {number} had begun when its process ended: whether it took effect is not known"
        recorder.decided(
            step_id,
            number,
            point="resume",
            decision="rerun" if why_left is None else "leave",
            rationale=rationale if why_left is None else f"{rationale}; {why_left}",
            input_data={"in_doubt": True},
        )

    def _rationale(self) -> str:
        how = f"it had ended {self.state.status}" if self.ended else "its process had ended"
        counts = {"kept": len(self.facts.get("kept", ()))}
        counts |= {"changed": len(self.changes), "in doubt": len(self.in_doubt)}
        said = [f"{count} {what}" for what, count in counts.items() if count or what == "kept"]
        return f"{how}: {', '.join(said)}"


def plan_resumption(
    states: Mapping[str, RunState],
    run_id: str,
    compiled: Compiled,
    on_change: OnChange,
    *,
    anew: bool | None = None,
) -> Resumption:
    """Sort the steps of a run; ``states``: the run and all runs below it, by id.

    A run that was cut off goes on exactly there: what failed stays failed, and attempts made before count
    towards the retry limit. Of one that has ended, what did not succeed is tried anew. A run below stands
    as the one on top does (``anew``): its end may be on record, and what came of that not.
    """
    state = states[run_id]
    found = Resumption(state, not state.open if anew is None else anew)
    if not found.anew:
        found.undoing = _undoing(state)
    if found.undoing is None:
        _note_changes(found, states, compiled, on_change)
    rerun = _to_run_again(found, compiled.plan, on_change)
    outputs = _outputs(found, compiled.plan, rerun, on_change)
    below = found.children.items()
    found.changes = found.changed | {
        f"{step_id} / {name}": what for step_id, child in below for name, what in child.changes.items()
    }
    for step in sorted(state.steps.values(), key=lambda step: step.finished_seq):
        _sort_in(found, step, compiled.plan, rerun, outputs)
    _note_given(found, compiled.plan, rerun)
    _leave(found, compiled.plan)
    _sort_children(found, compiled.plan, rerun)
    begun = {step.step_id for step in state.steps.values() if step.scheduled_us is not None}
    again = (rerun & begun) - found.children.keys()
    found.again = [step_id for step_id in compiled.plan.order if step_id in again]
    if anew is None:
        going_on = set(found.runs())
        found.strays = [run for run in states.values() if run.open and run.run_id not in going_on]
    return found


def _undoing(state: RunState) -> str | None:
    """Why the run had failed, when its compensations had begun."""
    if not any(state.undoes(step) and step.scheduled_us is not None for step in state.steps.values()):
        return None
    for decision in reversed(state.decisions):
        if (decision.point, decision.step_id, decision.by_engine) == ("timeout", None, True):
            return decision.rationale
    return "the run had failed"


# --- what has changed ------------------------------------------------------------------------


def _note_changes(
    found: Resumption, states: Mapping[str, RunState], compiled: Compiled, on_change: OnChange
) -> None:
    """What has changed about steps that have begun, here and in sub-workflows."""
    state, before = found.state, {}
    if state.definition_hash != compiled.definition_hash:
        before = {step["step_id"]: step for step in (state.definition or {}).get("steps", ())}
    for step_id, node in compiled.plan.nodes.items():
        step = state.steps.get(step_id)
        if step is None:
            continue
        what = None
        if step.scheduled_us is not None:
            what = _difference(before.get(step_id), node.step, state.code, compiled.code)
        if what is not None:
            found.changed[step_id] = what
        child_id = step.child_run_id
        if node.sub_plan is not None and child_id in states and (what is None or on_change == "keep"):
            below = compiled.below(step_id, node.sub_plan)
            found.children[step_id] = plan_resumption(
                states, str(child_id), below, on_change, anew=found.anew
            )


def _difference(
    before: Mapping[str, Any] | None,
    now: StepDefinition,
    code_before: Mapping[str, Mapping[str, Any]],
    code_now: Mapping[str, Mapping[str, Any]],
) -> str | None:
    """What is different about a step, in words; None when nothing is, or nothing is known."""
    old, new = code_before.get(now.tool_name, {}), code_now.get(now.tool_name, {})
    if old.get("hash") and new.get("hash") and old["hash"] != new["hash"]:
        if old.get("version") != new.get("version"):
            return f"version {old.get('version')} of {now.tool_name} became {new.get('version')}"
        return f"the code of {now.tool_name} was edited"
    if before is None:
        return None
    # How a step is tried does not change what it gives.
    past, present = step_essence(before), step_essence(now.model_dump(mode="json", exclude_defaults=True))
    fields = {name for name in {**past, **present} if past.get(name) != present.get(name)} - {"workflow"}
    return f"its definition changed: {', '.join(sorted(fields))}" if fields else None


def _to_run_again(found: Resumption, plan: Plan, on_change: OnChange) -> set[str]:
    """The steps whose results do not count: because of a change in or above them, or undone since."""
    first: set[str] = set()
    if on_change == "rerun":
        first.update(found.changed, (name for name, child in found.children.items() if child.changes))
    if found.anew:
        steps = found.state.steps
        first.update(step_id for step_id in plan.nodes if _succeeded(steps.get(f"compensate:{step_id}")))
    return with_all_after(plan, first)


def with_all_after(plan: Plan, step_ids: Iterable[str]) -> set[str]:
    """These steps and every step that waits for one of them, directly or not."""
    found, waiting = set(step_ids), list(step_ids)
    while waiting:
        for dependent in plan.nodes[waiting.pop()].dependents:
            if dependent not in found:
                found.add(dependent)
                waiting.append(dependent)
    return found


def _succeeded(step: StepState | None) -> bool:
    return step is not None and step.status == "success"


# --- what is kept ----------------------------------------------------------------------------


def _outputs(found: Resumption, plan: Plan, rerun: set[str], on_change: OnChange) -> dict[str, Any]:
    """The outputs on record of what may be kept.

    A step whose output cannot be read as what it was runs again, and so does (added to ``rerun``) what
    comes after it, unless all that can be is to be kept.
    """
    outputs: dict[str, Any] = {}
    lost: list[str] = []
    for step in found.state.steps.values():
        node = plan.nodes.get(step.top)
        whole = step.parent is None or not _succeeded(found.state.steps.get(step.parent))
        if node is None or step.status != "success" or step.top in rerun or not whole:
            continue
        try:
            outputs[step.step_id] = codec.unpack(step.output, step.output_types)
        except CodecError as error:
            found.changed[step.step_id] = f"its recorded result cannot be read any more: {error.cause}"
            if step.parent is None:
                lost.append(step.step_id)
    rerun |= set(lost) if on_change == "keep" else with_all_after(plan, lost)
    return outputs


def _sort_in(
    found: Resumption, step: StepState, plan: Plan, rerun: set[str], outputs: Mapping[str, Any]
) -> None:
    """Keep a step, or note what was tried of it before."""
    if found.state.undoes(step):
        _sort_in_undoing(found, step)
        return
    node = plan.nodes.get(step.top)
    if node is None:
        return  # the definition has it no more
    again = step.top in rerun
    decided = step.passed_over or (step.status == "failed" and not found.anew)
    if not again and (step.step_id in outputs or decided):
        found.kept[step.step_id] = recorded_step(step, outputs.get(step.step_id))
        if node.undo is not None and node.undo.template is None and not step.parent:
            _remember_input(found, step)
        return
    _note_attempts(found, step, forgiven=again or found.anew or step.status == "success")


def _note_given(found: Resumption, plan: Plan, rerun: set[str]) -> None:
    """What steps were given by hand when they began last, in place of their own parameters."""
    edits = {d.step_id: d.seq for d in found.state.decisions if (d.point, d.decision) == ("operator", "edit")}
    for step_id, seq in edits.items():
        step, node = found.state.steps.get(step_id or ""), plan.nodes.get(step_id or "")
        if step is None or node is None or node.target is None or node.over is not None:
            continue
        if seq < step.scheduled_seq and step.step_id not in rerun and step.step_id not in found.kept:
            with suppress(CodecError):
                found.given[step.step_id] = codec.unpack(step.input, step.input_types)


def _remember_input(found: Resumption, step: StepState) -> None:
    # One that cannot be read is missed when the step is to be undone, and said then.
    with suppress(CodecError):
        found.inputs[step.step_id] = codec.unpack(step.input, step.input_types)


def _sort_in_undoing(found: Resumption, step: StepState) -> None:
    """A run that was cut off while it was being undone goes on undoing; what is undone stays so."""
    if not found.anew and step.status == "success":
        found.kept[step.step_id] = StepResult(step.step_id, "success", finished_us=step.finished_us)
    else:
        _note_attempts(found, step, forgiven=found.anew)


def _note_attempts(found: Resumption, step: StepState, *, forgiven: bool) -> None:
    if not step.attempts:
        return
    count = max(attempt.number for attempt in step.attempts)
    found.earlier[step.step_id] = Earlier(count, count if forgiven else step.forgiven)
    if step.status in ("running", "pending") and (numbers := _doubtful(step)):
        found.in_doubt[step.step_id] = numbers


def _doubtful(step: StepState) -> list[int]:
    """The attempts that had begun, and of whose effect nothing is known."""
    last = step.attempts[-1]
    # One that succeeded without the end of its step on record: its output was lost with the process.
    lost = last.status == "success" and last.number > step.forgiven
    if lost or last.status == "in_doubt":
        return [last.number]
    return [attempt.number for attempt in step.attempts if attempt.status == "running"]


def _leave(found: Resumption, plan: Plan) -> None:
    """What is in doubt and yet not run again: the run had failed, or the map, when it was cut off."""
    state, failed = found.state, []
    if plan.workflow.error_handling == "stop_on_failure":
        failed = [step_id for step_id, result in found.kept.items() if result.status == "failed"]
    for step_id in found.in_doubt:
        step = state.steps[step_id]
        if state.undoes(step):
            continue
        culprits = (other for other in failed if state.steps[other].parent in (None, step.parent))
        culprit = next(culprits, None)
        if culprit is not None:
            found.left[step_id] = f"it is left at that, because {culprit!r} had failed"
        elif found.undoing is not None:
            found.left[step_id] = f"it is left at that, because {found.undoing}"


# --- sub-workflows ---------------------------------------------------------------------------


def _sort_children(found: Resumption, plan: Plan, rerun: set[str]) -> None:
    """Only where the input is the same can the run of a sub-workflow go on."""
    for step_id, child in list(found.children.items()):
        new_input = step_id in rerun and (not child.changes or rerun.intersection(plan.nodes[step_id].after))
        if step_id in found.kept or new_input:
            del found.children[step_id]


def recorded_step(step: StepState, output: Any) -> StepResult:
    """The result of a step as its record tells it."""
    return StepResult(
        step.step_id,
        step.status,
        OutputDict(output) if type(output) is dict else output,
        step.error,
        step.reason,
        max((attempt.number for attempt in step.attempts), default=0),
        step.scheduled_us,
        step.finished_us,
    )
