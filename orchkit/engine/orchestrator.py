"""Idempotent orchestrators: a pipeline that runs once per request, with its decisions and evidence."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import Any, ForwardRef, Generic, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from orchkit.engine import recorder
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.idempotency import Replay
from orchkit.engine.loop import loop_thread
from orchkit.engine.options import RunArguments
from orchkit.engine.pipeline import PipelineRun
from orchkit.engine.recorder import StepScope
from orchkit.engine.runner import WorkflowEngine
from orchkit.engine.single import Single, SingleRun, output_of, output_soon
from orchkit.errors import ExecutionError, OrchestrationError, ParameterError, Problem
from orchkit.model.brief import brief
from orchkit.model.idempotency import DEFAULT_TTL_HOURS, IdempotencyKey, InFlight, OnFailed
from orchkit.model.request import Durability, Request
from orchkit.model.state import RunState
from orchkit.model.workflow import Workflow
from orchkit.registry.definition import MethodDefinition
from orchkit.registry.target import Target
from orchkit.registry.typeforms import type_name
from orchkit.store.store import Store

T = TypeVar("T")

_pipeline: ContextVar[PipelineRun | None] = ContextVar("orchkit_pipeline", default=None)


class BaseOrchestrator(ABC, Generic[T]):
    """Base of orchestrators: name it, write its pipeline, and execute requests.

    The same request id with the same input executes the pipeline once; later calls get the recorded result.
    What the pipeline decides (`trace_decision`) and what supports it (`bundle_evidence`) is on the record
    under the request id, as is each execution, also one that failed or was cut off.

    ::

        class Sums(BaseOrchestrator[int]):
            @property
            def orchestrator_name(self) -> str:
                return "sums"

            def _execute_pipeline(self, context):
                numbers = context["input"]["numbers"]
                self.trace_decision("method", "plain", f"only {len(numbers)} numbers")
                return sum(numbers)

        Sums(kit, user_id="u_1").execute("sum-1", {"numbers": [1, 2, 3]})

    The result type in the brackets is what a recorded result comes back as: a dataclass, a pydantic model, or
    whatever else can be stored. One orchestrator may execute any number of requests at the same time.

    Args:
        kit: A kit (`orchkit.open`) or a store; with a store alone, tools come from the default registry.
        user_id: On whose behalf; in the context of the pipeline and on the record.
        durability: As for workflows; by default that of the kit.
    """

    def __init__(self, kit: Any, user_id: Any = None, *, durability: Durability | None = None) -> None:
        self._engine = _engine_of(kit)
        self._durability: Durability = durability or self._engine.durability
        self.user_id = user_id

    @property
    @abstractmethod
    def orchestrator_name(self) -> str:
        """A unique name; request ids are bound to it."""

    @abstractmethod
    def _execute_pipeline(self, context: dict[str, Any]) -> Any:
        """The work; sync (run in a worker thread) or async. Returns the result.

        ``context`` has ``input``, ``user_id`` and ``request_id``, and what `_prepare_context` adds.
        """

    # --- to be overridden if need be --------------------------------------------------------

    def _prepare_context(self, input_data: Any) -> dict[str, Any]:
        """What the pipeline is given; runs where the pipeline runs, each time it is executed."""
        run = self._current()
        return {"input": input_data, "user_id": self.user_id, "request_id": run.request.request_id}

    def _serialize_result(self, result: T) -> Any:
        """The result in a form that can be stored: by default itself."""
        return result

    def _deserialize_result(self, response_data: Any) -> T:
        """The result from its stored form: by default validated as the type in the brackets."""
        return as_type(self.result_type, response_data)  # type: ignore[no-any-return]

    @cached_property
    def result_type(self) -> Any:
        """The type in the brackets of ``BaseOrchestrator[…]``; ``Any`` when there is none."""
        for kind in type(self).__mro__:
            for base in getattr(kind, "__orig_bases__", ()):
                origin = get_origin(base)
                if isinstance(origin, type) and issubclass(origin, BaseOrchestrator):
                    argument = get_args(base)[0]
                    if not isinstance(argument, TypeVar | ForwardRef):
                        return argument
        return Any

    # --- executing --------------------------------------------------------------------------

    def execute(
        self,
        request_id: str,
        input_data: Any,
        ttl_hours: float = DEFAULT_TTL_HOURS,
        *,
        on_in_flight: InFlight = "raise",
        on_failed: OnFailed = "execute",
    ) -> T:
        """Execute a request and block until its result is there; safe in a notebook cell.

        Args:
            request_id: The idempotency key.
            input_data: The input; any storable value. It is bound to the request id.
            ttl_hours: How long the recorded result answers, in hours.
            on_in_flight: While the same request is being executed: ``raise``, or ``wait`` for its result.
            on_failed: When it failed before: ``execute`` it again, or ``raise``.

        Raises:
            DuplicateRequestError: The same request is being executed.
            IdempotencyConflictError: The request id was used with another input; names each difference.
            OrchestrationError: The pipeline failed; the cause is chained.
            CodecError: The input or the result cannot be stored; names the place.
            StoreError: The record cannot be written.
        """
        run = self._run_of(
            request_id, input_data, IdempotencyKey(request_id, ttl_hours, on_in_flight, on_failed)
        )
        replay = run.recorded()
        if replay is not None:
            return self._recorded(replay, output_of(self._engine.orchestrator.store, replay))
        if loop_thread.is_current:
            raise ExecutionError("an async step cannot wait for an orchestrator: use await aexecute(...)")
        return loop_thread.run(self._execute(run, request_id, input_data))

    async def aexecute(
        self,
        request_id: str,
        input_data: Any,
        ttl_hours: float = DEFAULT_TTL_HOURS,
        *,
        on_in_flight: InFlight = "raise",
        on_failed: OnFailed = "execute",
    ) -> T:
        """The same on the caller's loop; arguments and errors as for `execute`."""
        run = self._run_of(
            request_id, input_data, IdempotencyKey(request_id, ttl_hours, on_in_flight, on_failed)
        )
        replay = run.recorded()
        if replay is not None:
            return self._recorded(replay, await output_soon(self._engine.orchestrator.store, replay))
        return await self._execute(run, request_id, input_data)

    def _run_of(self, request_id: str, input_data: Any, key: IdempotencyKey) -> SingleRun:
        orchestrator = self._engine.orchestrator
        orchestrator.check_open()
        user_id = self.user_id if self.user_id is None else str(self.user_id)
        name = self.orchestrator_name
        request = Request(name, {}, user_id, request_id=request_id)
        single = Single("orchestrator", name, name, request, input_data, self._durability, key, self._method)
        return SingleRun(orchestrator.store, single)

    @cached_property
    def _method(self) -> MethodDefinition:
        return MethodDefinition(self.orchestrator_name, self._execute_pipeline)

    def _recorded(self, replay: Replay, recorded: Any) -> T:
        try:
            return self._deserialize_result(recorded)
        except ValidationError as error:
            claim, hint = replay.claim, "kit.forget(request_id) lets it be executed again"
            kind = type_name(self.result_type)
            cause = f"its recorded result is no {kind} any more: {_in_short(error)} ({hint})"
            raise OrchestrationError(claim.name, claim.key, cause, run_id=claim.run_id) from error

    async def _execute(self, run: SingleRun, request_id: str, input_data: Any) -> T:
        orchestrator = self._engine.orchestrator
        method = MethodDefinition(self.orchestrator_name, self._pipeline_of(input_data))
        operation = orchestrator.prepare(Target(self.orchestrator_name, None, method))
        results: list[T] = []

        async def perform(scope: StepScope, before: RunState | None) -> Any:
            pipeline = PipelineRun(self._engine, run.request, scope.recorder, before)
            token = _pipeline.set(pipeline)
            try:
                response = await orchestrator.perform(operation, run.request, {}, scope)
                results.append(self._checked(response.output))
                return self._serialize_result(results[0])
            finally:
                _pipeline.reset(token)
                await pipeline.end()

        ended = await run.execute(perform)
        if isinstance(ended, Replay):
            return self._recorded(ended, await output_soon(orchestrator.store, ended))
        if not ended.success:
            cause = ended.error or ended.status
            raise OrchestrationError(
                self.orchestrator_name, request_id, cause, run_id=run.run_id
            ) from ended.exception
        return results[0] if results else self._deserialize_result(ended.output)

    def _checked(self, result: Any) -> Any:
        """The result as the type in the brackets, which the recorded one will be read as."""
        try:
            return as_type(self.result_type, result)
        except ValidationError as error:
            raise ExecutionError(
                f"the pipeline of {self.orchestrator_name} returned {brief(result)}, "
                f"which is no {type_name(self.result_type)}: {_in_short(error)}"
            ) from error

    def _pipeline_of(self, input_data: Any) -> Any:
        def pipeline() -> Any:
            return self._execute_pipeline(self._prepare_context(input_data))

        return pipeline

    # --- inside the pipeline -----------------------------------------------------------------

    def _current(self) -> PipelineRun:
        run = _pipeline.get()
        if run is None:
            raise ExecutionError(f"{self.orchestrator_name}: no pipeline is running here")
        return run

    def get_elapsed_time_ms(self) -> float:
        """Milliseconds since the execution of the request began; inside the pipeline."""
        return self._current().elapsed_ms

    def run_workflow(
        self,
        workflow: Workflow,
        context: Mapping[str, Any] | None = None,
        *,
        check: bool = True,
        **arguments: Any,
    ) -> Any:
        """Run a workflow as part of the pipeline, and return its `WorkflowResult`; inside the pipeline.

        In a sync pipeline it blocks; in an async one await it. Unless it succeeds, `WorkflowExecutionError`
        is raised (and fails the request, if you let it); with ``check=False`` the result is returned whatever
        it is. The run belongs to the orchestrator's: when the process dies and the request is made again, it
        is not repeated if it was completed, and else goes on where it was left. ``arguments`` as for
        `WorkflowEngine.execute`.
        """
        pipeline = self._current()
        given = RunArguments(**arguments)  # type: ignore[typeddict-item]
        coroutine = pipeline.run_workflow(workflow, context, given, check=check)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return pipeline.wait_for(coroutine)
        return coroutine

    def trace_decision(  # noqa: PLR0913 - the parts of a decision
        self,
        decision_point: str,
        decision: str,
        rationale: str | None = None,
        *,
        alternatives: Sequence[Any] | None = None,
        input_data: Any = None,
        output_data: Any = None,
        duration_ms: float | None = None,
        evidence: Sequence[str] | str | None = None,
    ) -> None:
        """Put a choice on the record of the request: see `orchkit.trace_decision`."""
        recorder.trace_decision(
            decision_point,
            decision,
            rationale,
            alternatives=alternatives,
            input_data=input_data,
            output_data=output_data,
            duration_ms=duration_ms,
            evidence=evidence,
        )

    def bundle_evidence(
        self,
        evidence_type: str,
        evidence_data: Any,
        source: str | None = None,
        confidence_score: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Put data that supports decisions on the record; returns its id: see `orchkit.bundle_evidence`."""
        return recorder.bundle_evidence(
            evidence_type,
            evidence_data,
            source=source,
            confidence_score=confidence_score,
            metadata=metadata,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.orchestrator_name!r} on {self._engine.orchestrator.store!r}>"


def _engine_of(kit: Any) -> WorkflowEngine:
    engine = kit if isinstance(kit, WorkflowEngine) else getattr(kit, "engine", None)
    if isinstance(engine, WorkflowEngine):
        return engine
    if isinstance(kit, Store):
        return WorkflowEngine(Orchestrator(store=kit))
    cause = f"expected a kit or a store, got {type(kit).__name__}"
    raise ParameterError("orchestrator", [Problem("kit", cause, 'kit = orchkit.open("runs.duckdb")')])


def _in_short(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(map(str, found["loc"]))
    return f"{place}: {found['msg']}" if place else found["msg"]


def as_type(kind: Any, value: Any) -> Any:
    """A stored value as the type it was; as it is where that type says nothing about it."""
    if kind is Any or (isinstance(kind, type) and isinstance(value, kind)):
        return value
    try:
        adapter = TypeAdapter(kind)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return value  # a class of the user's own making: its type notes brought it back, or nothing can
    return adapter.validate_python(value)
