"""The plan of a run: a definition with its tools looked up, its references compiled, its order known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchkit.engine.conditions import Condition, compile_condition
from orchkit.engine.graph import dependents, topological_order
from orchkit.engine.references import Reference, Template, compile_template
from orchkit.errors import Problem, WorkflowValidationError
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.registry.registry import Registry
from orchkit.registry.target import Target


@dataclass(slots=True)
class Undo:
    """How a completed step is undone."""

    target: Target
    template: Template | None
    """Its parameters; None: those that the step itself was given."""


@dataclass(slots=True)
class Node:
    """One step, ready to run."""

    step: StepDefinition
    target: Target | None
    """What it calls; None for a sub-workflow."""
    template: Template
    """Its parameters."""
    condition: Condition | None
    over: Template | None
    """For a map: the list."""
    undo: Undo | None
    sub_plan: Plan | None
    after: tuple[str, ...]
    """The steps that must be over, however they ended, before this one starts."""
    requires: tuple[str, ...]
    """The steps without whose success this one is skipped: ``depends_on`` and those it refers to."""
    needs_output: tuple[str, ...]
    """The steps whose output it refers to without a default: if one was skipped, so is this one."""
    dependents: tuple[str, ...] = ()
    """The reverse of ``after``: the steps that wait for this one."""


@dataclass(slots=True)
class Plan:
    """What the runner executes; it holds no state of a run and can be used by many at once."""

    workflow: Workflow
    order: tuple[str, ...]
    """All step ids, each after the steps it waits for."""
    nodes: dict[str, Node]
    """By step id, in definition order."""


def compile_plan(workflow: Workflow, registry: Registry) -> Plan:
    """Compile a definition that `orchkit.engine.validation.check` found sound, in linear time.

    Raises `UnknownNameError` for a tool, `ReferenceSyntaxError`, `ConditionSyntaxError`, `DefinitionError`
    for a cycle and `WorkflowValidationError` for a step id that is unknown or used twice.
    """
    position = _positions(workflow)
    targets: dict[str, Target] = {}
    nodes: dict[str, Node] = {}
    previous: str | None = None
    for step in workflow.steps:
        for name in (step.tool_name, step.compensate.tool_name if step.compensate else ""):
            if name and name not in targets:
                targets[name] = registry.resolve(name)
        node = nodes[step.step_id] = _node(step, targets, registry)
        if workflow.execution_mode == "sequential":
            node.after = (*node.requires, previous) if previous else node.requires
            previous = step.step_id
        _put_in_order(workflow, node, position)
    waiting_for = {step_id: node.after for step_id, node in nodes.items()}
    for step_id, waiting in dependents(waiting_for).items():
        nodes[step_id].dependents = tuple(waiting)
    return Plan(workflow, tuple(topological_order(waiting_for)), nodes)


def _positions(workflow: Workflow) -> dict[str, int]:
    position = {step.step_id: index for index, step in enumerate(workflow.steps)}
    if len(position) < len(workflow.steps):
        raise WorkflowValidationError(
            workflow.name, [Problem(f"workflow {workflow.name!r}", "a step id is used twice")]
        )
    return position


def _node(step: StepDefinition, targets: dict[str, Target], registry: Registry) -> Node:
    template = compile_template(step.parameters)
    condition = None if step.when is None else compile_condition(step.when)
    over = None if step.over is None else compile_template(step.over)
    references = [
        *template.references,
        *(condition.references if condition else ()),
        *(over.references if over else ()),
    ]
    requires = (*step.depends_on, *_steps_of(references))
    return Node(
        step=step,
        target=None if step.workflow is not None else targets[step.tool_name],
        template=template,
        condition=condition,
        over=over,
        undo=_undo(step, targets),
        sub_plan=None if step.workflow is None else compile_plan(step.workflow, registry),
        after=requires,
        requires=requires,
        needs_output=_steps_of(reference for reference in references if not reference.has_default),
    )


def _steps_of(references: Iterable[Reference]) -> tuple[str, ...]:
    return tuple(reference.step_id for reference in references if reference.step_id is not None)


def _undo(step: StepDefinition, targets: dict[str, Target]) -> Undo | None:
    if step.compensate is None:
        return None
    parameters = step.compensate.parameters
    template = None if parameters is None else compile_template(parameters)
    return Undo(targets[step.compensate.tool_name], template)


def _put_in_order(workflow: Workflow, node: Node, position: dict[str, int]) -> None:
    """Each id once, in definition order, so that the record of a run does not depend on chance."""
    try:
        node.after = _sorted(node.after, position)
        node.requires = _sorted(node.requires, position)
        node.needs_output = _sorted(node.needs_output, position)
    except KeyError as unknown:
        problem = Problem(f"step {node.step.step_id!r}", f"depends on unknown step {unknown.args[0]!r}")
        raise WorkflowValidationError(workflow.name, [problem]) from None


def _sorted(step_ids: tuple[str, ...], position: dict[str, int]) -> tuple[str, ...]:
    if len(step_ids) == 1 and step_ids[0] in position:
        return step_ids
    return tuple(sorted(set(step_ids), key=position.__getitem__))
