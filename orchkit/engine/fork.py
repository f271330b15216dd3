"""A new run that begins in the middle of another one: what lies before is shared, the rest is run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from orchkit.engine.compiled import Compiled, CompiledCache
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.execution import Execution
from orchkit.engine.options import RunOptions
from orchkit.engine.plan import Plan
from orchkit.engine.recorder import RunRecorder
from orchkit.engine.resume import RecordedRun
from orchkit.engine.resumption import Resumption, recorded_step, with_all_after
from orchkit.errors import ParameterError, Problem
from orchkit.model import event as ev
from orchkit.model.result import OutputDict, StepResult
from orchkit.model.state import RunState, StepState
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.store import codec

Override = Mapping[str, Any]
"""What is different about a step: ``input`` (parameters that take the place of those of the definition),
``output`` (instead of running it) or ``function`` (another one, or the name of another tool)."""
_KEYS = ("input", "output", "function")


@dataclass(slots=True)
class Fork:
    """How the new run begins; see `orchkit.engine.execution.Before`."""

    source: RunState
    from_steps: tuple[str, ...]
    kept: dict[str, StepResult] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    given: dict[str, codec.Packed] = field(default_factory=dict)
    """Outputs that were given instead of running their steps."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """The overrides, for the record."""
    started_us: int | None = None
    children: Mapping[str, Resumption] = field(default_factory=dict)

    def record(self, recorder: RunRecorder, compiled: Compiled, options: RunOptions) -> None:
        """Put on the record where the run comes from, and what it shares."""
        # All of it or nothing: cut off in between, it would go on as another fork than was asked for.
        with recorder.store.together():
            self._record(recorder, compiled, options)

    def _record(self, recorder: RunRecorder, compiled: Compiled, options: RunOptions) -> None:
        source = {"run_id": self.source.run_id, "from_step": list(self.from_steps)}
        recorder.run_started({**compiled.run_started(options, recorder), "forked_from": source})
        shared = [step_id for step_id in self.kept if step_id not in self.given]
        recorder.decided(
            None,
            None,
            point="fork",
            decision=self._in_short(),
            rationale=f"{len(shared)} results are those of {self.source.run_id}",
            input_data={**source, "shared": shared, "overrides": self.overrides},
        )
        for step_id in self.kept:
            if step_id in self.given:
                self._record_given(recorder, step_id)
            else:
                self._record_shared(recorder, self.source.steps[step_id])

    def _in_short(self) -> str:
        if self.from_steps:
            return f"from {', '.join(self.from_steps)}"
        return f"with the output of {', '.join(self.given)} given" if self.given else "with another context"

    def _record_shared(self, recorder: RunRecorder, step: StepState) -> None:
        began: dict[str, Any] = {"name": step.name, "node_type": step.node_type, "input": step.input}
        if step.input_types:
            began["types"] = step.input_types
        if step.child_run_id is not None:
            began["child_run_id"] = step.child_run_id
        recorder.event(ev.STEP_SCHEDULED, began, step.step_id)
        self._finish(recorder, step, codec.Packed(step.output, step.output_types or []))
        reused = {"how": "fork", "run_id": self.source.run_id, "step_id": step.step_id}
        recorder.event(ev.STEP_REUSED, reused, step.step_id)

    def _record_given(self, recorder: RunRecorder, step_id: str) -> None:
        step = self.source.steps[step_id]
        recorder.decided(
            step_id,
            None,
            point="fork",
            decision="given",
            rationale="its output was given instead of running it",
        )
        recorder.event(ev.STEP_SCHEDULED, {"name": step.name, "node_type": step.node_type}, step_id)
        self._finish(recorder, step, self.given[step_id])

    def _finish(self, recorder: RunRecorder, step: StepState, output: codec.Packed) -> None:
        done: dict[str, Any] = {
            "status": "success",
            "name": step.name,
            "node_type": step.node_type,
            "started_us": recorder.store.clock.now_us(),
            "attempts": 0,
            "output": output.value,
        }
        if output.notes:
            done["types"] = output.notes
        recorder.event(ev.STEP_FINISHED, done, step.step_id)


def forked(
    orchestrator: Orchestrator,
    compiled_cache: CompiledCache,
    run: RecordedRun,
    from_step: str | Sequence[str] | None,
    overrides: Mapping[str, Override],
    context: Mapping[str, Any] | None,
) -> Execution:
    """The execution of the new run. Raises `ParameterError`, `CodecError`, `WorkflowValidationError`."""
    workflow = run.workflow()
    starts = (from_step,) if isinstance(from_step, str) else tuple(from_step or ())
    _check(workflow, starts, overrides, context)
    workflow = _overridden(workflow, overrides, orchestrator)
    compiled = compiled_cache.get(workflow)
    given = {step_id: override["output"] for step_id, override in overrides.items() if "output" in override}
    options = run.options()
    concerned: list[str] = []
    if context is not None:
        concerned = [step_id for step_id in _using(compiled.plan, context) if step_id not in given]
        options = replace(options, context={**options.context, **context})
    begins = tuple(
        dict.fromkeys((*starts, *(step_id for step_id in overrides if step_id not in given), *concerned))
    )
    again = with_all_after(compiled.plan, (*begins, *given)) - (given.keys() - set(begins))
    options = replace(options, parent_run_id=None, parent_step_id=None)
    fork = Fork(run.state, begins, overrides=_described(overrides))
    _keep(fork, compiled, again, given)
    return Execution(orchestrator, compiled, options, before=fork)


def _using(plan: Plan, keys: Collection[str]) -> Iterator[str]:
    """The steps that refer to one of these fields of the context, or to the whole of it."""
    for step_id, node in plan.nodes.items():
        templates = [node.template, node.condition, node.over, node.undo.template if node.undo else None]
        references = [reference for part in templates if part is not None for reference in part.references]
        asked = [reference.path[:1] for reference in references if reference.root == "context"]
        if any(not path or path[0] in keys for path in asked):
            yield step_id


def _keep(fork: Fork, compiled: Compiled, again: set[str], given: Mapping[str, Any]) -> None:
    steps = sorted(fork.source.steps.values(), key=lambda step: step.finished_us or 0)
    for step in steps:
        if step.step_id not in compiled.plan.nodes or step.step_id in again or step.step_id in given:
            continue
        if step.status == "success":
            fork.kept[step.step_id] = recorded_step(step, codec.unpack(step.output, step.output_types))
            fork.inputs[step.step_id] = codec.unpack(step.input, step.input_types)
    for step_id, output in given.items():
        fork.given[step_id] = codec.pack(output, f"overrides[{step_id!r}].output")
        fork.kept[step_id] = StepResult(
            step_id, "success", OutputDict(output) if type(output) is dict else output
        )


def _check(
    workflow: Workflow,
    starts: Sequence[Any],
    overrides: Mapping[str, Override],
    context: Mapping[str, Any] | None,
) -> None:
    problems = []
    known = [step.step_id for step in workflow.steps]
    for where, step_id in [*(("from_step", name) for name in starts), *(("overrides", n) for n in overrides)]:
        if step_id not in known:
            near = get_close_matches(str(step_id), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            problems.append(Problem(where, f"unknown step {step_id!r}", hint))
    for step_id, override in overrides.items():
        problems += _override_problems(f"overrides[{step_id!r}]", override)
    if not starts and not overrides and context is None:
        hint = "name the step from which the new run is to differ, or what is to be different"
        problems.append(Problem("from_step", "nothing would be different", hint))
    if problems:
        raise ParameterError("fork", problems)


def _override_problems(where: str, override: Any) -> Iterable[Problem]:
    if not isinstance(override, Mapping) or not override:
        yield Problem(where, f"expected a mapping, got {override!r}", f"use {', '.join(_KEYS)}")
        return
    for key in override:
        if key not in _KEYS:
            yield Problem(where, f"unknown key {key!r}", f"use {', '.join(_KEYS)}")
    if "output" in override and len(override) > 1:
        yield Problem(where, "a step whose output is given is not run", "leave out the other keys")
    if not isinstance(override.get("input", {}), Mapping):
        yield Problem(f"{where}.input", f"expected a mapping, got {override['input']!r}")


def _overridden(
    workflow: Workflow, overrides: Mapping[str, Override], orchestrator: Orchestrator
) -> Workflow:
    steps = []
    for step in workflow.steps:
        override = overrides.get(step.step_id, {})
        steps.append(_changed(step, override, orchestrator) if override else step)
    return workflow.model_copy(update={"steps": tuple(steps)})


def _changed(step: StepDefinition, override: Override, orchestrator: Orchestrator) -> StepDefinition:
    update: dict[str, Any] = {}
    if "input" in override:
        update["parameters"] = {**step.parameters, **override["input"]}
    function: str | Callable[..., Any] | None = override.get("function")
    if function is not None:
        update["tool_name"] = _tool_of(step, function, orchestrator)
    return step.model_copy(update=update)


def _tool_of(step: StepDefinition, function: str | Callable[..., Any], orchestrator: Orchestrator) -> str:
    registry = orchestrator.registry
    if callable(function) and getattr(function, "__name__", "") == "<lambda>":
        name = f"{step.step_id} in a fork"
        if registry.methods.find(name) is not None:
            registry.methods.unregister(name)
        registry.methods.register_method(function, name=name)
        return name
    return registry.resolve(function).name


def _described(overrides: Mapping[str, Override]) -> dict[str, Any]:
    """The overrides as they can be stored."""
    return {
        step_id: {key: _as_stored(f"overrides[{step_id!r}].{key}", value) for key, value in override.items()}
        for step_id, override in overrides.items()
    }


def _as_stored(where: str, value: Any) -> Any:
    if where.endswith(".function"):
        return getattr(value, "__qualname__", str(value))
    return codec.pack(value, where).value
