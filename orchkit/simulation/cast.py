"""Who plays what: fault models, outputs, and what is really called, checked against the workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchkit.engine.plan import Node, Plan, compile_plan
from orchkit.engine.policies import PolicyEngine
from orchkit.engine.validation import check
from orchkit.errors import ParameterError, Problem, WorkflowValidationError
from orchkit.model.fallback import FallbackOption, FallbackPolicy
from orchkit.model.reference import function_name
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry
from orchkit.simulation.models import FaultModel

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Cast:
    """How services behave and what they give."""

    faults: Mapping[str, Sequence[FaultModel]]
    """By tool, or `EVERYTHING`."""
    outputs: Mapping[str, Any]
    """By step id (of an item with its index, in a sub-workflow after the id of its step) or tool."""
    called: frozenset[str]
    """Step ids, tools and functions of fallbacks that are really called."""
    seed: int
    called_methods: frozenset[str] = frozenset()
    """The methods behind them."""


def models_of(faults: Any) -> dict[str, Sequence[FaultModel]]:
    """Fault models by tool, from what people write. Raises `ParameterError` naming what is none."""
    by_tool = faults if isinstance(faults, Mapping) else {EVERYTHING: faults}
    lists = {name: list(one) if isinstance(one, list | tuple) else [one] for name, one in by_tool.items()}
    problems = [
        Problem(f"faults[{name!r}]", f"expected fault models, got {model!r}")
        for name, models in lists.items()
        for model in models
        if isinstance(model, type) or not hasattr(model, "start")
    ]
    if problems:
        raise ParameterError("simulate", problems)
    return dict(lists)


def step_name(step_id: str) -> str:
    """Of an item of a map: the map."""
    return step_id.partition("[")[0]


def bare_name(function: str) -> str:
    """The last part of ``package.module:Class.function``."""
    return function.rpartition(":")[2].rpartition(".")[2]


def checked_methods(
    workflow: Workflow, registry: Registry, policies: PolicyEngine, cast: Cast
) -> frozenset[str]:
    """The methods of what is really called; raises what is wrong with the cast, all at once.

    `WorkflowValidationError`; `ParameterError` naming every output that is needed and not given, and every
    name that means nothing.
    """
    problems = check(workflow, registry)
    if problems:
        raise WorkflowValidationError(workflow.name, problems)
    plan = compile_plan(workflow, registry)
    names = _names(plan, policies)
    found = [
        Problem(where, f"no step or tool is called {name!r}", f"there are {', '.join(sorted(names))}")
        for where, given in (("faults", cast.faults), ("outputs", cast.outputs), ("call", cast.called))
        for name in given
        if step_name(str(name).rpartition("/")[2]) not in names and name != EVERYTHING and name not in names
    ]
    found += _missing(plan, cast)
    if found:
        raise ParameterError("simulate", found)
    return frozenset(_methods(plan, registry, cast.called))


def _names(plan: Plan, policies: PolicyEngine) -> set[str]:
    """Everything that may be named: steps, tools, functions and tools of fallbacks."""
    names = {name for policy in policies.policies for name in _substitutes(policy.fallback)}
    for step_id, node in plan.nodes.items():
        names |= {step_id, *_substitutes(node.step.fallback)}
        names |= {target.name for target in (node.target, node.undo and node.undo.target) if target}
        names |= _names(node.sub_plan, policies) if node.sub_plan is not None else set()
    return names


def _substitutes(fallback: FallbackPolicy | None) -> Iterator[str]:
    for option in fallback.chain if fallback is not None else ():
        yield from names_of_option(option)


def names_of_option(option: FallbackOption) -> tuple[str, ...]:
    """The names that a fallback goes by; none for a value."""
    if option.tool is not None:
        return (option.tool,)
    if option.function is None:
        return ()
    name = function_name(option.function)
    return name, bare_name(name)


def _methods(plan: Plan, registry: Registry, called: frozenset[str]) -> Iterator[str]:
    for name in called:
        if name in registry.tools or name in registry.methods:
            yield registry.resolve(name).method.name
    for step_id, node in plan.nodes.items():
        if node.target is not None and not called.isdisjoint((step_id, node.target.name)):
            yield node.target.method.name
        if node.sub_plan is not None:
            yield from _methods(node.sub_plan, registry, called)


def _missing(plan: Plan, cast: Cast, path: str = "") -> list[Problem]:
    needed = {step_id for node in plan.nodes.values() for step_id in node.needs_output}
    problems = []
    for step_id, node in plan.nodes.items():
        if node.sub_plan is not None:
            problems += _missing(node.sub_plan, cast, f"{path}{step_id}/")
        elif step_id in needed and not _is_given(node, cast, path):
            hint = "give it in outputs=, take those of a recorded run with like=, or name it in call="
            problems.append(Problem(f"step {path + step_id!r}", "other steps use its output", hint))
    return problems


def _is_given(node: Node, cast: Cast, path: str) -> bool:
    if node.target is None:
        return True
    step_id, known = node.step.step_id, {*cast.outputs, *cast.called}
    items = node.over is not None and any(name.startswith(f"{path}{step_id}[") for name in cast.outputs)
    return items or not known.isdisjoint((f"{path}{step_id}", step_id, node.target.name))
