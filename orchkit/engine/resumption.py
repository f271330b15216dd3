"""Taking up a run where it was left: what is kept, what runs again, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchkit.engine.compiled import Compiled
from orchkit.engine.options import RunOptions
from orchkit.engine.plan import Plan
from orchkit.engine.recorder import Earlier, RunRecorder
from orchkit.errors import CodecError
from orchkit.model.result import OutputDict, StepResult
from orchkit.model.state import RunState, StepState
from orchkit.model.workflow import StepDefinition
from orchkit.store import codec

OnChange = Literal["rerun", "keep", "error"]
"""What to do about steps whose code was edited since they ran: run them and all that comes after them again,
keep their results, or `CodeChangedError`."""


@dataclass(slots=True)
class Resumption:
    """The earlier life of a run, sorted for the next one."""

    state: RunState
    kept: dict[str, StepResult] = field(default_factory=dict)
    """The steps that are not run again, in order of completion; items of maps and compensations, too."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What the kept steps were given (for those that can be undone)."""
    earlier: dict[str, Earlier] = field(default_factory=dict)
    """Attempts of the steps that run again."""
    in_doubt: list[str] = field(default_factory=list)
    """Steps that had begun when the process ended: whether they took effect is not known."""
    changed: dict[str, str] = field(default_factory=dict)
    """Steps whose code or definition is another one now, and what is different."""
    again: list[str] = field(default_factory=list)
    """Completed steps that run again, because of a change in or above them."""
    children: dict[str, Resumption] = field(default_factory=dict)
    """By step id, the runs of sub-workflows that go on."""

    @property
    def started_us(self) -> int | None:
        """When the run began, in its first life."""
        return self.state.started_us

    @property
    def ended(self) -> bool:
        """Whether it had come to an end; else it was cut off."""
        return self.state.status not in ("running", "paused")

    @property
    def facts(self) -> dict[str, Any]:
        """For the record: what is kept and what is not."""
        top = [step_id for step_id in self.kept if step_id in self.state.steps]
        found = {"kept": top, "again": self.again, "in_doubt": self.in_doubt, "changed": self.changed}
        return {name: value for name, value in found.items() if value}

    @property
    def all_changes(self) -> list[str]:
        """Every change in words, those in sub-workflows too."""
        below = [
            f"{step_id} / {change}"
            for step_id, child in self.children.items()
            for change in child.all_changes
        ]
        return [f"{step_id}: {what}" for step_id, what in self.changed.items()] + below

    # --- what the execution asks -----------------------------------------------------------

    def record(self, recorder: RunRecorder, compiled: Compiled, options: RunOptions) -> None:
        """Put on the record that the run goes on, in this process, and how."""
        payload: dict[str, Any] = {"code": compiled.code, **self.facts}
        if self.state.definition_hash != compiled.definition_hash:
            payload |= {"definition": compiled.definition, "definition_hash": compiled.definition_hash}
        compiled.put_large()
        recorder.run_taken_up(self.state, payload)
        recorder.earlier = self.earlier
        recorder.decided(
            None,
            None,
            point="resume",
            decision="go_on" if not self.ended else "try_again",
            rationale=_rationale(self),
            input_data=self.facts,
        )
        for step_id in self.in_doubt:
            number = self.earlier[step_id].attempts
            recorder.decided(
                step_id,
                number,
                point="resume",
                decision="rerun",
                rationale=f"attempt {number} had begun when its process ended: "
                "whether it took effect is not known",
                input_data={"in_doubt": True},
            )


def _rationale(resumption: Resumption) -> str:
    how = f"it had ended {resumption.state.status}" if resumption.ended else "its process had ended"
    counts = {"kept": len(resumption.facts.get("kept", ()))}
    counts |= {"changed": len(resumption.changed), "in doubt": len(resumption.in_doubt)}
    return f"{how}: " + ", ".join(
        f"{count} {what}" for what, count in counts.items() if count or what == "kept"
    )


def plan_resumption(
    states: Mapping[str, RunState], run_id: str, compiled: Compiled, on_change: OnChange
) -> Resumption:
    """Sort the steps of a run; ``states``: the run and all runs below it, by id.

    A run that was cut off goes on exactly there: what failed stays failed, and attempts made before count
    towards the retry limit. Of one that has ended, what did not succeed is tried anew.
    """
    state = states[run_id]
    found = Resumption(state)
    plan = compiled.plan
    _note_changes(found, states, compiled, on_change)
    below = {step_id for step_id, child in found.children.items() if child.all_changes}
    rerun: set[str] = set()
    if on_change == "rerun":
        rerun = _with_all_after(plan, below.union(found.changed))
    if found.ended:
        undone = [step_id for step_id in plan.nodes if _succeeded(state.steps.get(f"compensate:{step_id}"))]
        rerun |= _with_all_after(plan, undone)
    for step in sorted(state.steps.values(), key=lambda step: step.finished_us or 0):
        _sort_in(found, step, plan, rerun)
    for step_id in list(found.children):
        # Only where the input is the same can the run of a sub-workflow go on.
        new_input = step_id in rerun and (
            step_id not in below or rerun.intersection(plan.nodes[step_id].after)
        )
        if step_id in found.kept or new_input:
            del found.children[step_id]
    return found


def _note_changes(
    found: Resumption, states: Mapping[str, RunState], compiled: Compiled, on_change: OnChange
) -> None:
    """What has changed about steps that have begun, here and in sub-workflows."""
    state, before = found.state, {}
    if state.definition_hash != compiled.definition_hash:
        before = {step["step_id"]: step for step in (state.definition or {}).get("steps", ())}
    for step_id, node in compiled.plan.nodes.items():
        step = state.steps.get(step_id)
        if step is None or step.status == "pending":
            continue
        what = _difference(before.get(step_id), node.step, state.code, compiled.code)
        if what is not None:
            found.changed[step_id] = what
        elif node.sub_plan is not None and (child_id := step.child_run_id) in states:
            below = compiled.below(step_id, node.sub_plan)
            found.children[step_id] = plan_resumption(states, str(child_id), below, on_change)


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
    present = now.model_dump(mode="json", exclude_defaults=True)
    fields = {name for name in {**before, **present} if before.get(name) != present.get(name)} - {"workflow"}
    return f"its definition changed: {', '.join(sorted(fields))}" if fields else None


def _with_all_after(plan: Plan, step_ids: Iterable[str]) -> set[str]:
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


def _sort_in(found: Resumption, step: StepState, plan: Plan, rerun: set[str]) -> None:
    """Keep a step, or note what was tried of it before."""
    top = step.parent or step.step_id
    if top.startswith("compensate:"):
        _sort_in_undoing(found, step)
        return
    if top not in plan.nodes:
        return  # the definition has it no more
    again = top in rerun
    failed_for_good = step.status == "failed" and not found.ended and not step.parent
    if not again and (step.status == "success" or failed_for_good):
        if (result := _kept(found, step)) is not None:
            found.kept[step.step_id] = result
            return
        again = True
    if step.status == "success" and not step.parent:
        found.again.append(step.step_id)
    _note_attempts(found, step, forgiven=again or found.ended)


def _sort_in_undoing(found: Resumption, step: StepState) -> None:
    """A run that was cut off while it was being undone goes on undoing; what is undone stays so."""
    if not found.ended and step.status == "success":
        found.kept[step.step_id] = StepResult(step.step_id, "success", finished_us=step.finished_us)
    else:
        _note_attempts(found, step, forgiven=found.ended)


def _note_attempts(found: Resumption, step: StepState, *, forgiven: bool) -> None:
    if not step.attempts:
        return
    count = max(attempt.number for attempt in step.attempts)
    found.earlier[step.step_id] = Earlier(count, count if forgiven else 0)
    # An attempt that succeeded without the end of its step on record: its output was lost with the process.
    if step.status in ("running", "pending") and step.attempts[-1].status in (
        "running",
        "in_doubt",
        "success",
    ):
        found.in_doubt.append(step.step_id)


def _kept(found: Resumption, step: StepState) -> StepResult | None:
    """The result on record; None when it cannot be read as what it was."""
    try:
        output = codec.unpack(step.output, step.output_types)
        if step.input is not None:
            found.inputs[step.step_id] = codec.unpack(step.input, step.input_types)
    except CodecError as error:
        found.changed[step.step_id] = f"its recorded result cannot be read any more: {error}"
        return None
    return recorded_step(step, output)


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
