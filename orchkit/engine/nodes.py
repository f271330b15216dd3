"""How each kind of step is run: a task, a map over a list, a sub-workflow, a compensation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchkit.engine.dispatch import Operation
from orchkit.engine.plan import Node, Undo
from orchkit.engine.recorder import StepScope
from orchkit.engine.references import Scope
from orchkit.engine.scheduling import Skip
from orchkit.engine.steprun import finish, run_step
from orchkit.errors import ExecutionError, ParameterError, Problem, WorkflowExecutionError
from orchkit.model.request import Request
from orchkit.model.result import OutputDict, StepResult
from orchkit.registry.registry import Target
from orchkit.store import codec

if TYPE_CHECKING:
    from orchkit.engine.execution import Execution


@dataclass(frozen=True, slots=True)
class _Item:
    """One element of a map."""

    step_id: str
    index: int
    scope: Scope


class NodeRunner:
    """Runs the steps of one execution; knows nothing of their order."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._recorder = execution.recorder
        self._orchestrator = execution.orchestrator
        self._prepared: dict[tuple[str, str], Operation] = {}
        self._params: dict[str, Mapping[str, Any]] = {}
        """What the steps that can be undone were given."""

    def remember(self, step_id: str, params: Mapping[str, Any] | None) -> None:
        """What a step was given that was completed in an earlier life of the run."""
        if params is not None and self._execution.plan.nodes[step_id].undo is not None:
            self._params[step_id] = params

    def _kept(self, step_id: str) -> StepResult | None:
        """The result of an item or a compensation that need not run again."""
        before = self._execution.before
        return None if before is None else before.kept.get(step_id)

    async def run(self, node: Node) -> StepResult | Skip:
        """Run a step whose predecessors are over. Its failure is in the result."""
        try:
            if node.condition is not None and not self._wanted(node):
                return Skip(f"its condition {node.condition.expression!r} is false", False)
            if node.over is not None:
                return await self._run_map(node)
            params = node.template.resolve(self._execution.scope)
        except Exception as error:  # also what the user's own values raise when they are looked at
            return self._execution.record_failure(node, error)
        if edited := self._execution.gate.edited(self._recorder.run_id, node.step.step_id):
            params = {**params, **edited}
        if node.sub_plan is not None:
            return await self._run_workflow(node, params)
        assert node.target is not None
        result = await self._operate(
            node, node.target, node.step.step_id, params, node_type=node.step.node_type
        )
        if node.undo is not None:
            self._params[node.step.step_id] = params
        return result

    def _wanted(self, node: Node) -> bool:
        assert node.condition is not None
        outcome = node.condition.evaluate(self._execution.scope)
        self._recorder.decided(
            node.step.step_id,
            None,
            point="condition",
            decision=str(outcome.result).lower(),
            rationale=f"{node.condition.expression} is {str(outcome.result).lower()}",
            input_data=codec.pack(outcome.operands, "operands").value,
        )
        return outcome.result

    async def _operate(
        self,
        node: Node,
        target: Target,
        step_id: str,
        params: Mapping[str, Any],
        *,
        node_type: str,
        more: Mapping[str, Any] | None = None,
    ) -> StepResult:
        """One dispatched operation as one step."""
        execution, orchestrator = self._execution, self._orchestrator

        async def perform(scope: StepScope) -> Any:
            valid = orchestrator.registry.validate(target, params)
            operation, request = self._operation(node, target), self._request(target, params)
            return (await orchestrator.perform(operation, request, valid, scope)).output

        return await run_step(
            execution.recorder, step_id, target.name, params, perform, node_type=node_type, more=more
        )

    def _operation(self, node: Node, target: Target) -> Operation:
        """What all items of a map share is prepared once."""
        key = (node.step.step_id, target.name)
        operation = self._prepared.get(key)
        if operation is None:
            operation = self._prepared[key] = self._prepare(node, target)
        return operation

    def _prepare(self, node: Node, target: Target) -> Operation:
        step = node.step
        return self._orchestrator.prepare(
            target,
            policy=step.reliability,
            executor=step.executor,
            directives=self._execution.options.directives,
        )

    def _request(self, target: Target, params: Mapping[str, Any]) -> Request:
        options = self._execution.options
        return Request(
            target.name,
            params,
            options.user_id,
            options.session_id,
            options.casefile_id,
            options.request_id,
            options.directives,
        )

    # --- sub-workflows -----------------------------------------------------------------------

    async def _run_workflow(self, node: Node, params: Mapping[str, Any]) -> StepResult:
        """A run of its own, linked to this step; its output is the outputs of its steps by id."""
        assert node.sub_plan is not None
        step = node.step
        child = self._execution.child(node, params)

        async def perform(scope: StepScope) -> Any:
            result = await child.run()
            if not result.success:
                raise WorkflowExecutionError(
                    f"sub-workflow {result.name!r} ended {result.status}: {result.error}",
                    run_id=result.run_id,
                    step_id=step.step_id,
                    cause=result.error,
                )
            return OutputDict(result.outputs)

        return await run_step(
            self._recorder,
            step.step_id,
            child.workflow.name,
            params,
            perform,
            node_type="workflow",
            more={"child_run_id": child.run_id},
        )

    # --- maps --------------------------------------------------------------------------------

    async def _run_map(self, node: Node) -> StepResult:
        """The map's own step around the steps of its items; its output is the list of their outputs."""
        assert node.over is not None
        step = node.step
        name = node.target.name if node.target is not None else step.tool_name
        over = _as_list(node.over.resolve(self._execution.scope), step.step_id)

        async def perform(scope: StepScope) -> Any:
            count = len(over)
            scope.decided("map.expanded", str(count), f"one step per element: {count}", {"items": count})
            return await self._run_items(node, over)

        params = {"items": len(over), "max_concurrency": step.max_concurrency}
        return await run_step(self._recorder, step.step_id, name, params, perform, node_type="map")

    async def _run_items(self, node: Node, over: list[Any]) -> list[Any]:
        """All items, at most ``max_concurrency`` at a time; the first failure ends the rest.

        With ``continue_on_failure`` the others are finished first; the map fails all the same.
        """
        stop_early = self._execution.workflow.error_handling == "stop_on_failure"
        room = asyncio.Semaphore(node.step.max_concurrency or max(1, len(over)))
        failures = self._kept_failures(node, len(over)) if stop_early else []

        async def one(item: _Item) -> StepResult:
            async with room:
                result = await self._run_item(node, item)
            if result.status == "failed":
                failures.append(result)
                if stop_early:
                    self._recorder.cancel_reason = f"item {result.step_id!r} failed"
                    raise _ItemFailed
            return result

        items = self._items(node, over) if not failures else ()
        results = await _together(one(item) for item in items)
        if failures:
            first = min(failures, key=lambda result: int(result.step_id.rpartition("[")[2][:-1]))
            raise WorkflowExecutionError(
                f"{len(failures)} of {len(over)} items failed, first {first.step_id}: {first.error}",
                run_id=self._recorder.run_id,
                step_id=first.step_id,
                attempt=first.attempts,
                cause=first.error,
            ) from first.exception
        return [result.output for result in results if result is not None]

    def _kept_failures(self, node: Node, count: int) -> list[StepResult]:
        """The items that had failed for good before the run was cut off."""
        if self._execution.before is None:
            return []
        kept = (self._kept(f"{node.step.step_id}[{index}]") for index in range(count))
        return [result for result in kept if result is not None and result.status == "failed"]

    def _items(self, node: Node, over: list[Any]) -> Iterable[_Item]:
        scope = self._execution.scope
        for index, item in enumerate(over):
            yield _Item(f"{node.step.step_id}[{index}]", index, replace(scope, item=item, index=index))

    async def _run_item(self, node: Node, item: _Item) -> StepResult:
        assert node.target is not None
        if (kept := self._kept(item.step_id)) is not None:
            return kept
        more = {"parent": node.step.step_id, "index": item.index}
        try:
            params = node.template.resolve(item.scope)
        except Exception as error:
            return await run_step(
                self._recorder, item.step_id, node.target.name, {}, _raising(error), more=more
            )
        return await self._operate(node, node.target, item.step_id, params, node_type="task", more=more)

    # --- compensation ------------------------------------------------------------------------

    async def compensate(self) -> None:
        """Undo the completed steps that can be undone, the last completed first.

        A compensation that fails is on the record and does not keep the others from being tried; after one
        that is cancelled the others are skipped.
        """
        cancelled = False
        for node, undo in self._undoable():
            if cancelled:
                self._skip_undo(node.step.step_id, undo)
            else:
                cancelled = (await self._undo(node)).status == "cancelled"

    def skip_undoing(self) -> None:
        """Undo nothing: it was cancelled before it had begun."""
        for node, undo in self._undoable():
            self._skip_undo(node.step.step_id, undo)

    def _undoable(self) -> Iterator[tuple[Node, Undo]]:
        """What is to be undone and is not yet, the last completed first."""
        for step_id, result in reversed(self._execution.results.items()):  # in order of completion
            node = self._execution.plan.nodes[step_id]
            if node.undo is not None and result.success and not self._kept(f"compensate:{step_id}"):
                yield node, node.undo

    def _skip_undo(self, step_id: str, undo: Undo) -> None:
        result = StepResult(f"compensate:{step_id}", "skipped", reason=self._recorder.cancel_reason)
        finish(self._recorder, result, undo.target.name, "compensation")

    async def _undo(self, node: Node) -> StepResult:
        assert node.undo is not None
        step_id, undo = node.step.step_id, node.undo
        self._recorder.decided(
            step_id,
            None,
            point="compensation",
            decision=undo.target.name,
            rationale=f"the run failed after step {step_id!r} was completed",
        )
        compensation_id = f"compensate:{step_id}"
        try:
            template = undo.template
            params = self._given(step_id) if template is None else template.resolve(self._execution.scope)
        except Exception as error:
            return await run_step(
                self._recorder,
                compensation_id,
                undo.target.name,
                {},
                _raising(error),
                node_type="compensation",
            )
        return await self._operate(node, undo.target, compensation_id, params, node_type="compensation")

    def _given(self, step_id: str) -> Mapping[str, Any]:
        if step_id not in self._params:
            raise ExecutionError(f"what step {step_id!r} was given cannot be read from the record any more")
        return self._params[step_id]


class _ItemFailed(Exception):  # noqa: N818 - a signal to the task group, never seen outside
    """An item of a map failed and the others are not wanted any more."""


async def _together(coroutines: Iterable[Any]) -> list[StepResult | None]:
    """Await all; when one raises `_ItemFailed`, or we are cancelled, the rest is cancelled and awaited."""
    tasks: list[asyncio.Task[StepResult]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(coroutine) for coroutine in coroutines)
    except* _ItemFailed:
        pass  # the caller knows which failed
    return [None if task.cancelled() or task.exception() else task.result() for task in tasks]


def _raising(error: Exception) -> Any:
    async def perform(scope: StepScope) -> Any:
        raise error

    return perform


def _as_list(value: Any, step_id: str) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        cause = f"a map needs a list, not {type(value).__name__}"
        raise ParameterError(f"step {step_id!r}", [Problem("over", cause)])
    return list(value)
