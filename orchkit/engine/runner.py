"""The workflow engine: three doors to one core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Unpack

from orchkit.engine.compiled import Compiled, CompiledCache
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.execution import Execution
from orchkit.engine.fork import Override, forked
from orchkit.engine.handle import RunHandle
from orchkit.engine.idempotency import Asked, Once, workflow_input
from orchkit.engine.job import Answered, Job, KeyedJob, replayed
from orchkit.engine.loop import loop_thread
from orchkit.engine.options import RunArguments, RunOptions, run_options
from orchkit.engine.resume import give_up, load_run, resumed, taken_over
from orchkit.engine.resumption import OnChange
from orchkit.engine.verify import Verification, verify
from orchkit.errors import (
    DefinitionError,
    DuplicateRequestError,
    ExecutionError,
    ParameterError,
    Problem,
)
from orchkit.model.idempotency import IdempotencyKey
from orchkit.model.request import Durability
from orchkit.model.result import WorkflowResult
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry
from orchkit.store import codec


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
        self.open_run = open_run
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
            arguments: ``session_id``, ``casefile_id``, ``request_id``, ``durability``, ``directives``; and
                ``idempotency_key``, with ``ttl_hours`` (24), ``on_in_flight`` (``raise`` or ``wait``) and
                ``on_failed`` (``execute`` or ``raise``): a request with the same key, definition and
                context as one that has succeeded is not run again, the result is the recorded one.

        Raises:
            WorkflowValidationError: The definition is not sound; nothing has run.
            CodecError: The context cannot be stored; nothing has run.
            StoreError: The record cannot be written, or the store is closed.
            DuplicateRequestError: A run with this idempotency key is going on.
            IdempotencyConflictError: The key was used with another definition or context.
        """
        job = self._job(workflow, user_id, context, arguments)
        _check_unattended(job)
        return await self._finished(job)

    def _job(
        self,
        workflow: Any,
        user_id: str | None,
        context: Mapping[str, Any] | None,
        arguments: RunArguments,
    ) -> Job:
        compiled, options = self.prepared(workflow, user_id, context, arguments)
        if options.key is None:
            return Execution(self.orchestrator, compiled, options)
        return self._keyed(compiled, options, options.key)

    def prepared(
        self, workflow: Any, user_id: str | None, context: Mapping[str, Any] | None, arguments: RunArguments
    ) -> tuple[Compiled, RunOptions]:
        """Check what a run is given; errors as for `execute`."""
        self.orchestrator.check_open()
        _check_workflow(workflow)
        options = run_options(user_id, context, arguments, self.durability)
        return self._compiled.get(workflow), options

    def _keyed(self, compiled: Compiled, options: RunOptions, key: IdempotencyKey) -> Job:
        """A run that may be answered by the record already: then without anything of a run."""
        store = self.orchestrator.store
        bound_to = workflow_input(codec.pack(dict(options.context), "context"), compiled.essence_hash)
        workflow = compiled.plan.workflow
        asked = Asked.of(workflow.name, key, bound_to, workflow.to_essence)
        if (replay := Once(store).recorded(asked, at_hand=True)) is not None:
            return Answered(replayed(store, replay, compiled.code))

        def go_on(run_id: str) -> Execution:
            found = taken_over(self.orchestrator, compiled, run_id)
            # Its process may have ended before anything was written.
            return found or Execution(self.orchestrator, compiled, options, run_id=run_id)

        return KeyedJob(asked, Execution(self.orchestrator, compiled, options), go_on)

    async def _finished(self, job: Job) -> WorkflowResult:
        try:
            result = await job.run()
        finally:
            if job.status != "pending":
                self._tell_finished(job.run_id)
        result._open_run = self.open_run
        return result

    def _tell_finished(self, run_id: str) -> None:
        if self._on_finished is not None:
            self._on_finished(run_id)

    def start(
        self,
        workflow: Workflow,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> RunHandle:
        """Begin a run in the background; arguments and errors as for `execute`.

        Two arguments more: ``pause="before_each"`` starts it paused, to be led step by step;
        ``break_on=["failure", "decision:POINT", "step"]`` pauses it by itself when a step fails (which can
        then be retried with other parameters, or skipped), when a decision is made, or before each step.
        """
        _check_loop()
        return self._begin(self._job(workflow, user_id, context, arguments))

    def _begin(self, job: Job) -> RunHandle:
        future, loop = loop_thread.launch(self._finished(job))
        return RunHandle(job, future, loop, self.orchestrator, self.open_run)

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
        _check_loop()
        job = self._job(workflow, user_id, context, arguments)
        _check_unattended(job)
        if isinstance(job, Answered):
            job.result._open_run = self.open_run
            self._tell_finished(job.run_id)
            return job.result
        handle = self._begin(job)
        try:
            return handle.result()
        except KeyboardInterrupt:
            handle.cancel("interrupted by the user")
            with suppress(DuplicateRequestError):  # it was another one that was waited for
                handle.result()
            raise

    def resume(
        self, run_id: str, *, on_change: OnChange = "rerun", workflow: Workflow | None = None
    ) -> RunHandle:
        """Go on with a run that was cut off, or try one again that did not succeed; await the handle.

        Steps that are completed are not repeated, items of maps and steps of sub-workflows neither. A run
        that has succeeded is not run: the result is the recorded one.

        Args:
            run_id: The run.
            on_change: What to do about completed steps whose code was edited since: ``rerun`` them and all
                that comes after them, ``keep`` their results, or raise an ``error``.
            workflow: An edited definition to go on with; by default the recorded one.

        Raises:
            UnknownNameError: There is no such run.
            ExecutionError: It is not the run of a workflow, or part of another run, or was imported.
            RunInProgressError: It is still going on.
            CodeChangedError: With ``on_change="error"``: what was edited.
            WorkflowValidationError: Its tools are not there any more, or do not fit.
        """
        _check_loop("resume it from a sync one")
        self.orchestrator.check_open()
        if workflow is not None:
            _check_workflow(workflow)
        run = load_run(self.orchestrator.store, run_id)
        return self._begin(resumed(self.orchestrator, self._compiled, run, on_change, workflow))

    def give_up(self, run_id: str, reason: str | None = None) -> None:
        """End a run that was cut off and is not to go on: as cancelled, with this reason on its record.

        What it did stays on record, and `fork` can still begin from it; `resume` may still try it again, as
        any run that did not succeed. An idempotency key that it was executed under counts as failed: the next
        request with it is executed.

        Raises:
            UnknownNameError: There is no such run.
            RunInProgressError: It is still going on: cancel it.
            ExecutionError: It has ended, was imported, or is part of another run.
        """
        self.orchestrator.check_open()
        give_up(self.orchestrator.store, run_id, reason)

    def fork(
        self,
        run_id: str,
        from_step: str | Sequence[str] | None = None,
        overrides: Mapping[str, Override] | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> RunHandle:
        """Begin a new run in the middle of a recorded one; await the handle.

        It shares the recorded results of all steps that do not come after what is different; nothing of
        them is run again. The recorded run stays as it is.

        Args:
            run_id: The run to begin from.
            from_step: The step, or steps, from which on everything is run again.
            overrides: By step id what is different: ``{"input": {...}}`` (in place of those parameters of
                the definition), ``{"output": value}`` (instead of running the step), ``{"function": f}``
                (a function, or the name of another tool). They are run again too, and what comes after.
            context: Values in place of those of the recorded context: the steps that refer to them are run
                again, and all that comes after.

        Raises:
            UnknownNameError: There is no such run.
            ParameterError: An unknown step, or an override that means nothing; all problems at once.
            WorkflowValidationError: The definition with its overrides is not sound.
        """
        _check_loop()
        self.orchestrator.check_open()
        run = load_run(self.orchestrator.store, run_id)
        execution = forked(self.orchestrator, self._compiled, run, from_step, overrides or {}, context)
        return self._begin(execution)

    def verify(self, run_id: str) -> Verification:
        """Run the completed steps of a run again whose methods are ``pure=True``, and compare the outputs.

        Nothing is recorded. Raises `UnknownNameError` when there is no such run, and
        `WorkflowValidationError` when its tools are not there any more.
        """
        _check_loop()
        run = load_run(self.orchestrator.store, run_id)
        return loop_thread.run(verify(self.orchestrator, self._compiled, run))


def _check_unattended(job: Job) -> None:
    if job.gate is not None and job.gate.breakpoints:
        hint = "use start, whose handle can let it go on"
        raise ParameterError("run", [Problem("pause", "nobody could lead a run that is waited for", hint)])


def _check_loop(way_out: str = "use await execute(...)") -> None:
    if loop_thread.is_current:
        raise ExecutionError(f"an async step cannot start a run like this: {way_out}")


def _check_workflow(workflow: Any) -> None:
    if not isinstance(workflow, Workflow):
        way_out = ": call its build() first" if hasattr(workflow, "build") else ""
        raise DefinitionError(f"expected a Workflow, not a {type(workflow).__name__}{way_out}")
