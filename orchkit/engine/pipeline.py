"""One execution of an orchestrator's pipeline, as code inside it sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from orchkit.engine.compiled import Compiled
from orchkit.engine.execution import Execution
from orchkit.engine.names import unique_name
from orchkit.engine.options import RunArguments, RunOptions
from orchkit.engine.recorded import recorded_result
from orchkit.engine.recorder import RunRecorder, StepScope
from orchkit.engine.resume import RecordedRun, going_on
from orchkit.engine.runner import WorkflowEngine
from orchkit.engine.steprun import run_step
from orchkit.errors import ParameterError, Problem, WorkflowExecutionError
from orchkit.executors.threads import away
from orchkit.model.request import Request
from orchkit.model.result import OutputDict, WorkflowResult
from orchkit.model.state import RunState, fold
from orchkit.model.workflow import Workflow
from orchkit.store import codec

T = TypeVar("T")


class PipelineRun:
    """Who asked for it, how long it takes, and the workflows that it runs."""

    def __init__(
        self, engine: WorkflowEngine, request: Request, recorder: RunRecorder, before: RunState | None
    ) -> None:
        self.request = request
        self._engine, self._recorder, self._before = engine, recorder, before
        self._loop = asyncio.get_running_loop()
        self._clock = engine.orchestrator.clock
        self._started = self._clock.monotonic()
        self._step_ids = {request.operation}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since it began."""
        return (self._clock.monotonic() - self._started) * 1000

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Block a worker thread until the loop has run a coroutine."""

        async def tracked() -> T:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            return await coroutine

        with away():
            return asyncio.run_coroutine_threadsafe(tracked(), self._loop).result()

    async def end(self) -> None:
        """Cancel what an abandoned thread waits for, and wait until that is on the record."""
        left = [task for task in self._tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def run_workflow(
        self,
        workflow: Workflow,
        context: Mapping[str, Any] | None,
        arguments: RunArguments,
        *,
        check: bool = False,
    ) -> WorkflowResult:
        """Run a workflow as a step of the orchestrator's run; its result, with ``check`` if it succeeded."""
        result = await self._result(workflow, context, arguments)
        return result.raise_for_status() if check else result

    async def _result(
        self, workflow: Workflow, context: Mapping[str, Any] | None, arguments: RunArguments
    ) -> WorkflowResult:
        compiled, options = self._engine.prepared(workflow, self.request.user_id, context, arguments)
        if options.key is not None:
            hint = "the request id of the orchestrator covers its workflows"
            raise ParameterError("run_workflow", [Problem("idempotency_key", "is not for here", hint)])
        step_id = unique_name(workflow.name, self._step_ids)
        options = replace(
            options,
            request_id=self.request.request_id,
            parent_run_id=self._recorder.run_id,
            parent_step_id=step_id,
        )
        known = await self._known(step_id, compiled, options)
        if isinstance(known, WorkflowResult):
            return known
        return await self._run(step_id, known or Execution(self._engine.orchestrator, compiled, options))

    async def _known(
        self, step_id: str, compiled: Compiled, options: RunOptions
    ) -> WorkflowResult | Execution | None:
        """What is on record of this workflow, when the pipeline runs again after its process had ended."""
        step = self._before.steps.get(step_id) if self._before is not None else None
        if step is None or step.child_run_id is None:
            return None
        store, run_id = self._engine.orchestrator.store, step.child_run_id
        events = await asyncio.to_thread(store.events_below, run_id)
        states = {found: fold(of_run) for found, of_run in events.items()}
        state = states.get(run_id)
        if state is None:
            return None
        packed = codec.pack(dict(options.context), "context")
        same = (state.definition_hash, state.context) == (compiled.definition_hash, packed.value)
        self._recorder.decided(
            step_id,
            None,
            point="resume",
            decision="go_on" if same else "restart",
            rationale=f"its run {run_id} is on record"
            if same
            else f"its definition or context is not that of {run_id}, which was run before",
            input_data={"run_id": run_id, "status": state.status},
        )
        if not same:
            return None
        if state.status in ("success", "failed", "partial"):
            return recorded_result(state)
        return going_on(self._engine.orchestrator, compiled, RecordedRun(states, run_id), "rerun")

    async def _run(self, step_id: str, child: Execution) -> WorkflowResult:
        results: list[WorkflowResult] = []

        async def perform(scope: StepScope) -> Any:
            results.append(await child.run())
            if not results[0].success:
                raise WorkflowExecutionError(
                    f"workflow {child.name!r} ended {results[0].status}: {results[0].error}",
                    run_id=child.run_id,
                    step_id=step_id,
                    cause=results[0].error,
                )
            return OutputDict(results[0].outputs)

        more = {"child_run_id": child.run_id}
        context = child.options.context
        step = await run_step(
            self._recorder, step_id, child.name, context, perform, node_type="workflow", more=more
        )
        if not results:
            raise (
                asyncio.CancelledError(step.reason)
                if step.status == "cancelled"
                else step.exception
                or (WorkflowExecutionError(str(step.error), run_id=child.run_id, step_id=step_id))
            )
        results[0]._open_run = self._engine.open_run
        return results[0]
