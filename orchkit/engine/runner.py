"""The workflow engine: three doors to one core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack

from orchkit.engine.compiled import CompiledCache
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.execution import Execution
from orchkit.engine.handle import RunHandle
from orchkit.engine.loop import loop_thread
from orchkit.engine.options import RunArguments, run_options
from orchkit.errors import DefinitionError, ExecutionError
from orchkit.model.request import Durability
from orchkit.model.result import WorkflowResult
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry


class WorkflowEngine:
    """Executes workflows.

    ``await execute(...)`` runs on the caller's loop, ``run(...)`` blocks, ``start(...)`` returns a
    handle at once; both of these use one daemon loop thread per process. Without arguments the engine
    records in memory and finds tools in the default registry.
    """

    def __init__(
        self,
        orchestrator: Orchestrator | None = None,
        method_registry: Registry | None = None,
        *,
        durability: Durability = "sync",
        open_run: Callable[[str], Any] | None = None,
        on_finished: Callable[[str], None] | None = None,
    ) -> None:
        self.orchestrator = orchestrator or Orchestrator(registry=method_registry)
        self.registry = method_registry or self.orchestrator.registry
        self.durability: Durability = durability
        self._open_run = open_run
        self._on_finished = on_finished
        self._compiled = CompiledCache(self.registry, self.orchestrator.store)

    async def execute(
        self,
        workflow: Workflow,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> WorkflowResult:
        """Run a workflow to its end and return the result, whatever it is.

        Args:
            workflow: The definition.
            user_id: On whose behalf.
            context: What ``${context.key}`` refers to.
            arguments: ``session_id``, ``casefile_id``, ``request_id``, ``durability``, ``directives``.

        Raises:
            WorkflowValidationError: The definition is not sound; nothing has run.
            CodecError: The context cannot be stored; nothing has run.
            StoreError: The record cannot be written, or the store is closed.
        """
        return await self._finished(self._execution(workflow, user_id, context, arguments))

    def _execution(
        self,
        workflow: Any,
        user_id: str | None,
        context: Mapping[str, Any] | None,
        arguments: RunArguments,
    ) -> Execution:
        self.orchestrator.check_open()
        if not isinstance(workflow, Workflow):
            way_out = ": call its build() first" if hasattr(workflow, "build") else ""
            raise DefinitionError(f"expected a Workflow, not a {type(workflow).__name__}{way_out}")
        options = run_options(user_id, context, arguments, self.durability)
        return Execution(self.orchestrator, self._compiled.get(workflow), options)

    async def _finished(self, execution: Execution) -> WorkflowResult:
        try:
            result = await execution.run()
        finally:
            if self._on_finished is not None and execution.status != "pending":
                self._on_finished(execution.run_id)
        result._open_run = self._open_run
        return result

    def start(
        self,
        workflow: Workflow,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> RunHandle:
        """Begin a run in the background; arguments and errors as for `execute`."""
        if loop_thread.is_current:
            raise ExecutionError("an async step cannot start a run like this: use await execute(...)")
        execution = self._execution(workflow, user_id, context, arguments)
        future = loop_thread.submit(self._finished(execution))
        return RunHandle(execution, future, loop_thread.loop, self._open_run)

    def run(
        self,
        workflow: Workflow,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> WorkflowResult:
        """Run a workflow and block until it ends; safe in a notebook cell.

        An interrupt (Ctrl-C) cancels the run, waits until that is on the record, and is raised on.
        Arguments and errors as for `execute`.
        """
        handle = self.start(workflow, user_id, context, **arguments)
        try:
            return handle.result()
        except KeyboardInterrupt:
            handle.cancel("interrupted by the user")
            handle.result()
            raise
