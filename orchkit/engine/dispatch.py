"""One operation in eight steps: request in, response out, hooks and policy around it."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from orchkit.clock import Clock
from orchkit.engine.fresh import with_fresh_arguments
from orchkit.engine.hooks import AuditHook, HookCall, HookManager, HookSet, MetricsHook
from orchkit.engine.idempotency import Replay
from orchkit.engine.policies import PolicyChoice, PolicyEngine
from orchkit.engine.recorder import StepScope, current_scope
from orchkit.engine.reuse import reuse_or_compute
from orchkit.engine.sessions import SessionLifecycleHook, SessionOrchestrator
from orchkit.engine.single import Single, SingleRun, output_soon
from orchkit.engine.substitutes import tools_of
from orchkit.errors import ParameterError, Problem, StoreClosedError
from orchkit.executors.body import Bodies
from orchkit.model.policy import NO_POLICY, FallbackOption, ReliabilityPolicy
from orchkit.model.request import Durability, ExecutionDirective, Request, Response
from orchkit.model.state import RunState
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry, Target
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.fallback import Substitute
from orchkit.reliability.guards import Guards
from orchkit.reliability.pipeline import build_pipeline
from orchkit.store.store import Store


@dataclass(frozen=True, slots=True)
class Operation:
    """A target with everything about it that does not change from call to call.

    ``overrides`` names what comes from the step and not from its policy: ``retry``, ``timeout``, ...
    """

    target: Target
    name: str
    choice: PolicyChoice
    policy: ReliabilityPolicy
    pipeline: Handler
    body: Callable[[Mapping[str, Any]], Awaitable[Any]]
    in_thread: bool
    services: Mapping[str, Any]
    overrides: tuple[str, ...] = ()


def default_hooks(hooks: HookManager | None = None) -> HookManager:
    """The built-in hooks (``metrics``, ``audit``, ``session_lifecycle``), added to others if there are any.

    Policies name them, so they are always there; a hook of the same name takes the place of one.
    """
    manager = hooks or HookManager()
    built_in = {"metrics": MetricsHook, "audit": AuditHook, "session_lifecycle": SessionLifecycleHook}
    for name, make in built_in.items():
        if name not in manager.names:
            manager.register_hook(name, make())
    return manager


KEPT_POLICIES = 1_024

_of_stores: weakref.WeakKeyDictionary[Store, weakref.ref[Orchestrator]] = weakref.WeakKeyDictionary()


def orchestrator_of(store: Store) -> Orchestrator | None:
    """The orchestrator that was made last over a store, if it is still there."""
    reference = _of_stores.get(store)
    return None if reference is None else reference()


class Orchestrator:
    """Dispatches operations; the engine's steps go through the same eight steps (`perform`).

    Everything it needs comes from outside, with working defaults: an in-memory store, the default
    registry, the built-in hooks, one default policy.
    """

    def __init__(
        self,
        hook_manager: HookManager | None = None,
        policy_engine: PolicyEngine | None = None,
        session_orchestrator: SessionOrchestrator | None = None,
        registry: Registry | None = None,
        *,
        store: Store | None = None,
        bodies: Bodies | None = None,
        rng: Random | None = None,
    ) -> None:
        self.store = store or Store()
        self.hooks = default_hooks(hook_manager)
        self.policies = policy_engine or PolicyEngine()
        self.sessions = session_orchestrator or SessionOrchestrator(self.store)
        self.registry = registry or default_registry
        self.bodies = bodies or Bodies()
        self.rng = rng or Random()  # noqa: S311 - jitter, not secrets
        self.guards = Guards.of(self.store)
        """The breakers, budgets and the like that calls share by name."""
        self._wholes: dict[tuple[int, int], tuple[ReliabilityPolicy, ...]] = {}
        self._aside = partial(self.bodies.threads.run, kwargs={})
        _of_stores[self.store] = weakref.ref(self)

    @property
    def clock(self) -> Clock:
        """The clock of the store."""
        return self.store.clock

    def check_open(self) -> None:
        """Raise `StoreClosedError` when nothing can be recorded any more, before anything is done."""
        if self.store.closed:
            raise StoreClosedError(f"{self.store!r}: open it again to run anything")

    async def dispatch(self, request: Request, *, durability: Durability = "sync") -> Response:
        """Perform one operation as a run of its own and return its response.

        A failure of the operation is in the response (see `Response.raise_for_status`). An unknown
        operation or parameters that do not fit raise `UnknownNameError` or `ParameterError`, and
        nothing is run or recorded.
        """
        self.check_open()
        _check_request(request)
        target = self.registry.resolve(request.operation)
        params = self.registry.validate(target, request.payload)
        operation = self.prepare(target, directives=request.directives)
        directives = request.directives
        single = Single(
            "operation",
            operation.name,
            target.name,
            request,
            params,
            directives.durability or durability,
            directives.key(),
            target.method,
        )
        run = SingleRun(self.store, single)
        started_us = self.clock.now_us()
        responses: list[Response] = []

        async def perform(scope: StepScope, before: RunState | None) -> Any:
            responses.append(await self.perform(operation, request, params, scope))
            return responses[0].output

        result = await run.execute(perform)
        if isinstance(result, Replay):
            output = await output_soon(self.store, result)
            metadata = self._metadata(operation, request, 0, started_us, result.claim.run_id)
            return Response(operation.name, "success", output, metadata={**metadata, "replayed": True})
        if responses and result.success:
            return responses[0]
        metadata = self._metadata(operation, request, result.attempts, started_us, run.run_id)
        if result.success:
            return Response(operation.name, "success", result.output, metadata=metadata)
        return Response(operation.name, "failed", None, result.error, result.exception, metadata)

    def prepare(
        self,
        target: Target,
        *,
        policy: ReliabilityPolicy = NO_POLICY,
        executor: str | None = None,
        directives: ExecutionDirective | None = None,
    ) -> Operation:
        """Look up once what calls of this target share; what ``policy`` has goes before its operation's."""
        method = target.method
        name = method.operation
        choice = self.policies.choose(name)
        if directives is not None and directives.timeout is not None:
            policy = ReliabilityPolicy(timeout=directives.timeout).over(policy)
        whole = self._whole(policy, choice.policy)
        body, in_thread = self.bodies.runner(
            method.function, is_async=method.is_async, executor=executor or method.executor
        )
        services = self.registry.inject(method)
        # A method that must not be called twice is not, whatever a policy for many operations says.
        allowed = (
            whole if method.idempotent or whole.hedge is None else whole.model_copy(update={"hedge": None})
        )
        pipeline = build_pipeline(allowed, self.guards, name, self._substitute)
        overrides = tuple(policy.parts)
        return Operation(target, name, choice, whole, pipeline, body, in_thread, services, overrides)

    def _whole(self, policy: ReliabilityPolicy, under: ReliabilityPolicy) -> ReliabilityPolicy:
        """A step's policy over that of its operation: the same object for the same two, in every run."""
        key = id(policy), id(under)
        found = self._wholes.get(key)
        if found is None:
            if len(self._wholes) >= KEPT_POLICIES:
                self._wholes.clear()
            # Both are kept too, so that their ids cannot be given to others meanwhile.
            found = self._wholes[key] = (policy.over(under), policy, under)
        return found[0]

    def _substitute(self, option: FallbackOption) -> Substitute:
        """How the tool of a fallback is called."""
        return tools_of(self.registry, self.bodies)(option)

    async def perform(
        self, operation: Operation, request: Request, params: Mapping[str, Any], scope: StepScope
    ) -> Response:
        """The eight steps, inside a step that is already on the record. Raises what the body raised."""
        # 1. directives  2. policy
        directives, choice = request.directives, operation.choice
        self._trace_policy(operation, scope)
        # 3. context
        token = current_scope.set(scope)
        call = HookCall(request, operation.name, params, choice.policy, scope)
        started = self.clock.monotonic()
        try:
            # 4. filter hooks  5. pre-hooks
            hooks = self.hooks.filter_hooks(
                choice.policy.hooks, directives.skip_hooks, directives.execution_mode
            )
            try:
                if hooks.before:
                    await self.hooks.run_hooks("before", hooks, call)
                # 6. execute
                status, output = await self._execute(operation, directives, params, scope)
            except Exception as error:
                if hooks.failed:
                    await self.hooks.run_hooks("failed", hooks, call, error)
                raise
            # 8. attach metadata, so that post-hooks see it too  7. post-hooks
            response = self._response(operation, request, scope, hooks, (status, output, started))
            if hooks.after:
                await self.hooks.run_hooks("after", hooks, call, response)
            return response
        finally:
            current_scope.reset(token)

    async def _execute(
        self,
        operation: Operation,
        directives: ExecutionDirective,
        params: Mapping[str, Any],
        scope: StepScope,
    ) -> tuple[str, Any]:
        if directives.execution_mode == "dry_run":
            scope.decided("execution_mode", "dry_run", "the directives ask for a dry run", {})
            return "dry_run", None
        call = Call(
            with_fresh_arguments(operation.body, params, operation.services),
            scope,
            self.clock,
            self.rng,
            operation.in_thread,
            attempt=scope.attempt or 0,
            forgiven=scope.forgiven,
            aside=self._aside,
            arguments=params,
        )
        if operation.target.method.cache is not None:
            compute = partial(operation.pipeline, call)
            return "success", await reuse_or_compute(self.store, operation.target, params, scope, compute)
        return "success", await operation.pipeline(call)

    def _trace_policy(self, operation: Operation, scope: StepScope) -> None:
        """The choice is the same for every call of an operation, so it is recorded once per run.

        A step that overrides something has a record of its own (one for all items of a map).
        """
        own = (str(id(operation)),) if operation.overrides else ()
        if not scope.recorder.first_time("policy", operation.name, *own):
            return
        policy, whole = operation.choice.policy, operation.policy
        inputs = {
            "operation": operation.name,
            "hooks": policy.hooks,
            **whole.described,
            "overrides": operation.overrides,
        }
        warnings = whole.told(operation.target.method.idempotent)
        if warnings:
            inputs["warnings"] = warnings
        scope.decided("policy.selected", policy.pattern, operation.choice.reason, inputs)

    def _response(
        self,
        operation: Operation,
        request: Request,
        scope: StepScope,
        hooks: HookSet,
        outcome: tuple[str, Any, float],
    ) -> Response:
        status, output, started = outcome
        metadata = {
            "run_id": scope.recorder.run_id,
            "request_id": request.request_id,
            "policy": operation.choice.policy.pattern,
            "hooks": hooks.names,
            "attempts": scope.attempt or 0,
            "duration_ms": (self.clock.monotonic() - started) * 1000,
        }
        return Response(operation.name, status, output, metadata=metadata)  # type: ignore[arg-type]

    def _metadata(
        self, operation: Operation, request: Request, attempts: int, started_us: int, run_id: str
    ) -> dict[str, Any]:
        return {
            "run_id": run_id,
            "request_id": request.request_id,
            "policy": operation.choice.policy.pattern,
            "hooks": operation.choice.policy.hooks,
            "attempts": attempts,
            "duration_ms": (self.clock.now_us() - started_us) / 1000,
        }


def _check_request(request: Any) -> None:
    if not isinstance(request, Request):
        cause = f"expected a Request, got {type(request).__name__}"
        raise ParameterError("dispatch", [Problem("request", cause, 'write Request("name", {...})')])
