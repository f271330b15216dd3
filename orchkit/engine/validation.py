"""The check of a definition before it runs: all its mistakes at once, each with step and cause."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Final

from pydantic_core import PydanticSerializationError, to_json

from orchkit.engine.calls import call_problems, compensation_problems
from orchkit.engine.draft import Draft, Use, did_you_mean, quoting_hint, step_name
from orchkit.engine.graph import find_cycle
from orchkit.engine.policychecks import policy_problems
from orchkit.engine.reference_types import over_problems, use_problems
from orchkit.errors import Problem
from orchkit.model.near import spent
from orchkit.model.policy import READERS
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.registry.registry import Registry

EXECUTORS: Final = ("inline", "threads")
"""Where the body of a step can run."""

_MANY_CYCLES: Final = 10
_LONG_CYCLE: Final = 20
_USE_DAG: Final = "use execution mode 'dag'"
_MOVE: Final = f"move it behind, or {_USE_DAG}"
_ITEM_ID = re.compile(r"(.*)\[\d+\]", re.DOTALL)

Pairs = Collection[tuple[str, str]]


def check(
    workflow: Workflow,
    registry: Registry,
    *,
    executors: Collection[str] = EXECUTORS,
    services_to_come: bool = False,
) -> list[Problem]:
    """All mistakes of a definition, those of its sub-workflows included; empty when it can run.

    With ``services_to_come`` a missing parameter that could only be a service is no mistake yet: the kit
    that will run the workflow may have it.
    """
    found = check_by_step(workflow, registry, executors=executors, services_to_come=services_to_come)
    return [problem for _, problem in found]


def check_by_step(
    workflow: Workflow,
    registry: Registry,
    *,
    executors: Collection[str] = EXECUTORS,
    services_to_come: bool = False,
) -> list[tuple[int, Problem]]:
    """As `check`, each with the place of its step; -1 for the workflow itself."""
    return _check(Draft(workflow, registry, services_to_come=services_to_come), executors, None)


def _check(
    draft: Draft, executors: Collection[str], context: Collection[str] | None
) -> list[tuple[int, Problem]]:
    """The mistakes of a draft; ``context`` are the keys that a sub-workflow is given, None when unknown."""
    workflow = draft.workflow
    if not workflow.steps:
        return [(-1, Problem(f"workflow {workflow.name!r}", "has no steps", "add one with add_step"))]
    cycles = _cycles(draft) if workflow.execution_mode != "parallel" else []
    tangled = {pair for cycle in cycles for pair in pairwise(cycle)}
    found: list[tuple[int, Problem]] = []
    for index, step in enumerate(workflow.steps):
        problems: list[Problem] = []
        problems += _id_problems(draft, index)
        problems += _setting_problems(workflow, step, executors)
        problems += draft.unreadable[index]
        problems += _data_problems(step)
        problems += _dependency_problems(draft, index, tangled)
        problems += _context_problems(step, draft.uses[index], context)
        problems += use_problems(draft, step, draft.uses[index])
        problems += over_problems(draft, step)
        problems += call_problems(draft, step)
        problems += compensation_problems(draft, step)
        problems += policy_problems(draft, step)
        problems += _sub_workflow_problems(draft, step, executors)
        problems += [_cycle_problem(cycle) for cycle in cycles if draft.position[cycle[0]] == index]
        found += [(index, problem) for problem in problems]
    return list(_told_once(found))


def _told_once(found: Iterable[tuple[int, Problem]]) -> Iterator[tuple[int, Problem]]:
    """That another mode would help is said at the first problem of a workflow that it would solve."""
    told: set[tuple[str, str]] = set()
    for index, problem in found:
        key = (problem.where.rpartition(" > ")[0], problem.hint or "")
        yield index, replace(problem, hint=None) if key in told else problem
        if problem.hint in (_USE_DAG, _MOVE):
            told.add(key)


def _id_problems(draft: Draft, index: int) -> Iterator[Problem]:
    """An id must be usable in references, and must not be one that the engine gives to something else."""
    step_id = draft.workflow.steps[index].step_id
    where = step_name(step_id)
    if not step_id.strip():
        yield Problem(f"{where} (number {index + 1})", "its id is empty")
    if "${" in step_id:
        yield Problem(where, "its id contains '${'", "an id is plain text")
    first = draft.position[step_id]
    if first != index:
        yield Problem(
            where, f"its id is used twice, by steps number {first + 1} and {index + 1}", "set step_id"
        )
    item = _ITEM_ID.fullmatch(step_id)
    if item and item[1] in draft.position and draft.workflow.steps[draft.position[item[1]]].is_map:
        yield Problem(where, f"its id is the one of an item of map {item[1]!r}")
    undone = step_id.removeprefix("compensate:")
    if undone != step_id and undone in draft.position:
        yield Problem(where, f"its id is the one of the compensation of step {undone!r}")


def _data_problems(step: StepDefinition) -> Iterator[Problem]:
    """A definition is data: it goes on the record, and into files."""
    try:
        to_json(step.parameters)
    except (PydanticSerializationError, UnicodeEncodeError, ValueError):
        for name, value in step.parameters.items():
            try:
                to_json(value)
            except (PydanticSerializationError, UnicodeEncodeError, ValueError):
                cause = f"parameter {name!r}: a {type(value).__name__} cannot be part of a definition"
                yield Problem(
                    step_name(step.step_id), cause, "pass it as ${context...}, or make it in a step"
                )


def _setting_problems(
    workflow: Workflow, step: StepDefinition, executors: Collection[str]
) -> Iterator[Problem]:
    where = step_name(step.step_id)
    if step.executor is not None and step.executor not in executors:
        yield Problem(where, f"unknown executor {step.executor!r}", did_you_mean(step.executor, executors))
    limits = (step.timeout.attempt, step.timeout.total) if step.timeout else ()
    for seconds in limits:
        if seconds is not None and workflow.timeout is not None and seconds > workflow.timeout:
            cause = (
                f"its timeout of {seconds:g} s is longer than that of the workflow, {workflow.timeout:g} s"
            )
            yield Problem(where, cause)
    if step.max_concurrency is not None and not step.is_map:
        yield Problem(where, "max_concurrency is set, but it is not a map", "use add_map")


# --- dependencies --------------------------------------------------------------------------


def _dependency_problems(draft: Draft, index: int, tangled: Pairs) -> Iterator[Problem]:
    """Unknown steps, and steps that are not over when this one starts; each pair of steps is named once."""
    step = draft.workflow.steps[index]
    named = [("depends_on", other) for other in step.depends_on]
    for use in draft.uses[index]:
        if use.reference.step_id is not None:
            named += [(f"{use.where}: {use.reference.text}", use.reference.step_id)]
    seen: set[str] = set()
    for where, other in named:
        if other not in draft.position:
            cause = f"{where} names unknown step {other!r}"
            hint = quoting_hint(where, draft.quoted_ids) or _other_step(draft, step.step_id, other)
            yield Problem(step_name(step.step_id), cause, hint)
        elif other not in seen and (step.step_id, other) not in tangled:
            seen.add(other)
            yield from _order_problems(draft, index, where, other)


def _other_step(draft: Draft, step_id: str, wrong: str) -> str | None:
    if spent():
        return None
    others = draft.position.keys() - {step_id}
    return did_you_mean(wrong, sorted(others, key=draft.position.__getitem__))


def _order_problems(draft: Draft, index: int, where: str, other: str) -> Iterator[Problem]:
    step_id = draft.workflow.steps[index].step_id
    mode = draft.workflow.execution_mode
    if other == step_id:
        yield Problem(step_name(step_id), f"{where} names the step itself")
    elif mode == "parallel":
        cause = f"{where} names step {other!r}, but in parallel mode all steps start at once"
        yield Problem(step_name(step_id), cause, _USE_DAG)
    elif mode == "sequential" and draft.position[other] > index:
        cause = f"{where} names step {other!r}, which runs later"
        yield Problem(step_name(step_id), cause, _MOVE)


def _cycles(draft: Draft) -> list[list[str]]:
    """Some cycle of each knot, as long as there are not too many."""
    edges = draft.edges()
    cycles: list[list[str]] = []
    while len(cycles) < _MANY_CYCLES and (cycle := find_cycle(edges)):
        cycles.append(cycle)
        found = set(cycle)
        edges = {step_id: needed for step_id, needed in edges.items() if step_id not in found}
    return cycles


def _cycle_problem(cycle: list[str]) -> Problem:
    shown = cycle if len(cycle) <= _LONG_CYCLE else [*cycle[: _LONG_CYCLE - 3], "…", *cycle[-2:]]
    path = " -> ".join(shown)
    return Problem(step_name(cycle[0]), f"depends on itself in a cycle: {path}", "each needs the next one")


# --- sub-workflows -------------------------------------------------------------------------


def _sub_workflow_problems(
    draft: Draft, step: StepDefinition, executors: Collection[str]
) -> Iterator[Problem]:
    if step.workflow is None:
        return
    where = step_name(step.step_id)
    if step.tool_name:
        yield Problem(where, f"has both a tool ({step.tool_name!r}) and a sub-workflow", "choose one")
    if step.is_map:
        yield Problem(where, "is both a map and a sub-workflow", "put the map inside of the sub-workflow")
    for setting in ("executor", "retry_policy", *(name for name in READERS if name != "retry")):
        if getattr(step, setting) is not None:
            cause = f"{setting} has no effect on a sub-workflow"
            yield Problem(where, cause, "set it on the steps inside, or use its with_timeout")
    inner = Draft(step.workflow, draft.registry, services_to_come=draft.services_to_come)
    for _, problem in _check(inner, executors, step.parameters.keys()):
        yield Problem(f"{where} > {problem.where}", problem.cause, problem.hint)


def _context_problems(
    step: StepDefinition, uses: Iterable[Use], context: Collection[str] | None
) -> Iterator[Problem]:
    """The context of a sub-workflow is what its step is given as parameters, and nothing else."""
    for use in uses:
        reference = use.reference
        if context is None or reference.root != "context" or not reference.path or reference.has_default:
            continue
        if reference.path[0] not in context:
            cause = f"{use.where}: {reference.text}: the sub-workflow is not given {reference.path[0]!r}"
            yield Problem(step_name(step.step_id), cause, did_you_mean(str(reference.path[0]), context))
