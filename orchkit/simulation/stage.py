"""The engine with services that are played: everything is real but the bodies of the functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from orchkit.clock import Clock
from orchkit.engine.dispatch import Operation, Orchestrator
from orchkit.engine.plan import Plan, compile_plan
from orchkit.engine.recorder import current_scope
from orchkit.engine.validation import check
from orchkit.errors import ParameterError, Problem, WorkflowValidationError
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry
from orchkit.registry.target import Target
from orchkit.simulation.models import Draw, FaultModel, together

EVERYTHING = "*"


class Stage(Orchestrator):
    """An orchestrator whose operations behave as fault models say, and give the outputs that were given."""

    def play(
        self,
        faults: Mapping[str, Sequence[FaultModel]],
        outputs: Mapping[str, Any],
        called: frozenset[str],
        seed: int,
    ) -> None:
        """Say how it is to be; before anything is run."""
        self._faults, self._outputs, self._called, self._seed = faults, outputs, called, seed
        self._draws: dict[str, Draw] = {}
        self._started = self.clock.monotonic()

    def prepare(self, target: Target, **options: Any) -> Operation:
        """The same with a body that is played."""
        operation = super().prepare(target, **options)
        draw = self._draw_of(target.name)
        body = _played(self.clock, self._started, draw, self._output_of(operation))
        return replace(operation, body=body, in_thread=False)

    def _draw_of(self, tool: str) -> Draw:
        """One course of things for each tool, whichever steps call it."""
        draw = self._draws.get(tool)
        if draw is None:
            models = self._faults.get(tool, self._faults.get(EVERYTHING, ()))
            draw = self._draws[tool] = together(models, Random(f"{self._seed} {tool}"))  # noqa: S311 - to be repeated
        return draw

    def _output_of(self, operation: Operation) -> Callable[[Mapping[str, Any]], Awaitable[Any]]:
        outputs, tool = self._outputs, operation.target.name

        async def given(kwargs: Mapping[str, Any]) -> Any:
            step_id = _step_id()
            if step_id in self._called or tool in self._called:
                return await operation.body(kwargs)
            output = outputs.get(step_id, outputs.get(tool))
            return output(**kwargs) if callable(output) else output

        return given


def _played(
    clock: Clock, started: float, draw: Draw, output: Callable[[Mapping[str, Any]], Awaitable[Any]]
) -> Callable[[Mapping[str, Any]], Awaitable[Any]]:
    async def body(kwargs: Mapping[str, Any]) -> Any:
        behaviour = draw(clock.monotonic() - started)
        if behaviour.duration_s > 0:
            await clock.sleep(behaviour.duration_s)
        if behaviour.error is not None:
            raise behaviour.error
        return await output(kwargs)

    return body


def _step_id() -> str:
    scope = current_scope.get()
    return ((scope.step_id if scope else None) or "").partition("[")[0]


def check_cast(
    workflow: Workflow,
    registry: Registry,
    faults: Mapping[str, Sequence[FaultModel]],
    outputs: Mapping[str, Any],
    called: frozenset[str],
) -> None:
    """Raise what is wrong with it, all at once.

    `WorkflowValidationError`; `ParameterError` naming every output that is needed and not given, and every
    name that means nothing.
    """
    problems = check(workflow, registry)
    if problems:
        raise WorkflowValidationError(workflow.name, problems)
    plan = compile_plan(workflow, registry)
    names = _names(plan)
    found = [
        Problem(where, f"no step or tool is called {name!r}", f"there are {', '.join(sorted(names))}")
        for where, given in (("faults", faults), ("outputs", outputs), ("call", called))
        for name in given
        if name not in names and name != EVERYTHING
    ]
    found += _missing(plan, outputs, called)
    if found:
        raise ParameterError("simulate", found)


def _names(plan: Plan) -> set[str]:
    names: set[str] = set()
    for step_id, node in plan.nodes.items():
        names |= {step_id}
        names |= {node.target.name} if node.target is not None else set()
        names |= {node.undo.target.name} if node.undo is not None else set()
        names |= _names(node.sub_plan) if node.sub_plan is not None else set()
    return names


def _missing(plan: Plan, outputs: Mapping[str, Any], called: frozenset[str]) -> list[Problem]:
    needed = {step_id for node in plan.nodes.values() for step_id in node.needs_output}
    problems = []
    for step_id, node in plan.nodes.items():
        if node.sub_plan is not None:
            problems += _missing(node.sub_plan, outputs, called)
        elif step_id in needed and node.target is not None:
            known = {*outputs, *called}
            if not known & {step_id, node.target.name}:
                hint = "give it in outputs=, take those of a recorded run with like=, or name it in call="
                problems.append(Problem(f"step {step_id!r}", "other steps use its output", hint))
    return problems
