"""The engine with services that are played: everything is real but the bodies of the functions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from orchkit.engine.dispatch import Operation, Orchestrator
from orchkit.engine.execution import Execution
from orchkit.engine.policies import PolicyEngine
from orchkit.engine.recorder import StepScope, current_scope
from orchkit.model.fallback import FallbackOption, FallbackPolicy
from orchkit.model.policy import NO_POLICY, ReliabilityPolicy
from orchkit.model.request import Request, Response
from orchkit.model.result import WorkflowResult
from orchkit.registry.definition import MethodDefinition
from orchkit.registry.registry import Registry
from orchkit.registry.target import Target
from orchkit.reliability.call import Call
from orchkit.reliability.fallback import Substitute
from orchkit.simulation.cast import EVERYTHING, Cast, names_of_option, step_name
from orchkit.simulation.luck import Luck, SimulatedCall, StepLuck
from orchkit.simulation.models import Draw, together
from orchkit.store.store import Store
from orchkit.testing.clock import FakeClock

Body = Callable[[Mapping[str, Any]], Awaitable[Any]]

_place: ContextVar[tuple[int, str]] = ContextVar("orchkit_simulated_place")
"""The number of the run, and the steps above: ``notify/`` in the sub-workflow of a step."""
_performed: ContextVar[tuple[str, Mapping[str, Any]]] = ContextVar("orchkit_simulated_operation")
"""The tool of the step that is running, and its parameters."""


class PlayedExecution(Execution):
    """A run, or one below it, that knows its place in the simulation."""

    async def run(self) -> WorkflowResult:
        """See `Execution.run`."""
        number, path = _place.get((0, ""))
        simulated, step_id = self.options.simulated, self.options.parent_step_id
        place = (number if simulated is None else simulated["number"], f"{path}{step_id}/" if step_id else "")
        token = _place.set(place)
        try:
            return await super().run()
        finally:
            _place.reset(token)


class Stage(Orchestrator):
    """An orchestrator whose operations behave as fault models say, and give the outputs that were given."""

    def __init__(
        self, cast: Cast, clock: FakeClock, store: Store, registry: Registry, policies: PolicyEngine
    ) -> None:
        luck = Luck("jitter", cast.seed)
        super().__init__(
            policy_engine=policies,
            registry=_Served(registry, cast),
            store=store,
            rng=StepLuck(luck, lambda: (*_place.get(), _step())),
        )
        self._cast, self._clock = cast, clock
        self._draws: dict[str, Draw] = {}

    def prepare(
        self,
        target: Target,
        *,
        policy: ReliabilityPolicy = NO_POLICY,
        executor: str | None = None,
        **more: Any,
    ) -> Operation:
        """The same with a body that is played, and fallbacks that are."""
        # What is called blocks nothing but the simulation: virtual time stands still meanwhile.
        own, fallback = policy, policy.over(self.policies.choose(target.method.operation).policy).fallback
        if fallback is not None:
            policy = ReliabilityPolicy(fallback=self._played_fallback(fallback)).over(policy)
        operation = super().prepare(target, policy=policy, executor="inline", **more)
        overrides = tuple(
            name for name in operation.overrides if name != "fallback" or own.fallback is not None
        )
        body = self._played(target.name, operation.body)
        return replace(operation, body=body, in_thread=False, overrides=overrides)

    async def perform(
        self, operation: Operation, request: Request, params: Mapping[str, Any], scope: StepScope
    ) -> Response:
        """See `Orchestrator.perform`."""
        token = _performed.set((operation.target.name, params))
        try:
            return await super().perform(operation, request, params, scope)
        finally:
            _performed.reset(token)

    # --- calls -------------------------------------------------------------------------------

    def _played(self, tool: str, real: Body, *, attempt: int | None = None) -> Body:
        """What a call does: it takes its time and fails, as the models say, or gives its output.

        ``attempt``: 0 for the tool of a fallback, which makes no attempts.
        """
        draw, clock, called = self._draw_of(tool), self._clock, self._cast.called

        async def body(kwargs: Mapping[str, Any]) -> Any:
            behaviour = draw(_this_call(clock.monotonic(), attempt))
            if behaviour.duration_s > 0:
                await clock.sleep(behaviour.duration_s)
            if behaviour.error is not None:
                raise behaviour.error
            names = _step_names() if attempt is None else ()
            if tool in called or not called.isdisjoint(names):
                with clock.busy():
                    return await real(kwargs)
            return await self._output((*names, tool, *_own_names()), kwargs)

        return body

    def _draw_of(self, tool: str) -> Draw:
        """One course of things for each tool, whichever steps call it."""
        draw = self._draws.get(tool)
        if draw is None:
            models = self._cast.faults.get(tool, self._cast.faults.get(EVERYTHING, ()))
            draw = self._draws[tool] = together(models, Luck("world", self._cast.seed, tool))
        return draw

    async def _output(self, names: tuple[str, ...], kwargs: Mapping[str, Any]) -> Any:
        outputs = self._cast.outputs
        output = next((outputs[name] for name in names if name in outputs), None)
        if not callable(output):
            return output
        with self._clock.busy():
            result = output(**kwargs)
            return await result if inspect.isawaitable(result) else result

    # --- fallbacks ---------------------------------------------------------------------------

    def _substitute(self, option: FallbackOption) -> Substitute:
        """The tool of a fallback is a service like any other."""
        real, target = super()._substitute(option), self.registry.resolve(option.tool or "")

        async def call_tool(call: Call, error: Exception) -> Any:
            async def really(kwargs: Mapping[str, Any]) -> Any:
                return await real(call, error)

            given = call.arguments or {} if option.params is None else option.params
            params = self.registry.validate(target, given)
            return await self._played(target.name, really, attempt=0)(params)

        return call_tool

    def _played_fallback(self, fallback: FallbackPolicy) -> FallbackPolicy:
        """Functions that are not called are replaced by others that go by their names."""
        chain = (
            option
            if option.function is None or not self._cast.called.isdisjoint(names_of_option(option))
            else self._played_option(option)
            for option in fallback.chain
        )
        return FallbackPolicy(chain=tuple(chain))

    def _played_option(self, option: FallbackOption) -> FallbackOption:
        names = names_of_option(option)

        async def played(error: Exception) -> Any:
            return await self._output((*names, *_own_names()), _performed.get()[1])

        played.__module__, _, played.__qualname__ = names[0].rpartition(":")
        return option.model_copy(update={"function": played})


class _Served(Registry):
    """The registry of a simulation: services are made for nobody but functions that are called."""

    def __init__(self, parent: Registry, cast: Cast) -> None:
        super().__init__(parent=parent)
        self._cast = cast

    def inject(self, method: MethodDefinition) -> Mapping[str, object]:
        """See `Registry.inject`."""
        return super().inject(method) if method.name in self._cast.called_methods else {}


def _step() -> str:
    scope = current_scope.get()
    return (scope.step_id if scope is not None else None) or ""


def _step_names() -> tuple[str, ...]:
    """What the running step may be called: in full, without the steps above, without its index."""
    step_id, (_, path) = _step(), _place.get()
    return f"{path}{step_id}", f"{path}{step_name(step_id)}", step_id, step_name(step_id)


def _own_names() -> tuple[str, ...]:
    """The same, and its tool."""
    return *_step_names(), _performed.get()[0]


def _this_call(at: float, attempt: int | None) -> SimulatedCall:
    number, path = _place.get()
    if attempt is None:
        scope = current_scope.get()
        attempt = scope.attempt if scope is not None else None
    return SimulatedCall(at, number, f"{path}{_step()}", attempt or 0)
