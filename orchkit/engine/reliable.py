"""Policies around any function, by a decorator: in a workflow, beside one, and without."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial, wraps
from random import Random
from typing import Any, Protocol, TypeVar, Unpack

from pydantic import ValidationError

from orchkit.clock import SystemClock
from orchkit.engine.callrecord import Unrecorded, alone, inside
from orchkit.engine.dispatch import Orchestrator, orchestrator_of
from orchkit.engine.errand import Errand
from orchkit.engine.policyargs import PolicyParts
from orchkit.engine.recorder import StepScope, current_scope
from orchkit.engine.substitutes import tools_of
from orchkit.errors import PolicyError
from orchkit.executors.body import Bodies
from orchkit.model.faults import faults_of
from orchkit.model.policy import NO_POLICY, ReliabilityPolicy
from orchkit.model.presets import as_policy
from orchkit.model.request import Durability
from orchkit.registry.registration import default_registry
from orchkit.registry.signature import is_async
from orchkit.reliability.call import Call, CallRecord, Handler
from orchkit.reliability.fallback import CallTool
from orchkit.reliability.guards import Guards
from orchkit.reliability.pipeline import build_pipeline
from orchkit.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])
Aside = Callable[[Callable[[], Any]], Awaitable[Any]]


class HasOrchestrator(Protocol):
    """A kit, as far as it is needed here."""

    orchestrator: Orchestrator


@dataclass(frozen=True, slots=True)
class Tools:
    """What calls are made with."""

    rng: Random
    bodies: Bodies
    call_tool: CallTool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call finds the state of its policies, and where it is recorded."""

    guards: Guards
    tools: Tools
    store: Store | None = None
    durability: Durability = "sync"


def reliable(
    policy: ReliabilityPolicy | str | Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    kit: HasOrchestrator | None = None,
    store: Store | None = None,
    idempotent: bool = False,
    **parts: Unpack[PolicyParts],
) -> Callable[[F], F]:
    """Put policies around a function, sync or async: ``@ok.reliable(retry=3, breaker="mail")``.

    Called inside a step, the function is recorded in that run, as a step below it; with a ``kit`` or
    ``store`` each call outside of steps is a run of its own; else nothing is recorded. Breakers, budgets and
    the like are shared with everything on the same store under the same name, without a store within the
    process: `Kit.breakers` shows a breaker only of what is decorated by `Kit.reliable`, or with ``kit=``.

    The tool of a fallback is looked up at the first call: in the registry of the kit, or of that of the step,
    else in the default one.

    A sync function blocks its caller as ever; it runs in the caller's own thread, but in a worker thread when
    it has a timeout or is hedged, because it must be possible to leave it behind.

    Args:
        policy: A `ReliabilityPolicy`, or the name of a preset (``"gateway"``).
        name: What breakers and the like are shared under, and the name on record; by default the function's.
        kit: Where calls outside of runs are recorded (`Kit`).
        store: The same, of a store alone.
        idempotent: Twice is as good as once: it may be hedged.
        **parts: ``retry``, ``timeout``, ``breaker``, ``fallback``, ``bulkhead``, ``rate_limit``, ``hedge``
            and ``faults``, as for a step; they go before those of ``policy``, mappings change single fields.

    Raises:
        PolicyError: There are no policies, they cannot be read, or the function cannot be wrapped.
    """
    whole = _read(policy, parts)

    def decorate(function: F) -> F:
        return _wrapped(function, whole, name, kit, store, idempotent)

    return decorate


def _read(policy: Any, parts: Mapping[str, Any]) -> ReliabilityPolicy:
    if callable(policy) and not isinstance(policy, ReliabilityPolicy):
        raise PolicyError("reliable", "say which policies: @reliable(retry=3)")
    given = {name: part for name, part in parts.items() if part is not None}
    try:
        whole = (as_policy(policy) or NO_POLICY).but(**given)
    except ValidationError as error:
        raise PolicyError("reliable", "; ".join(faults_of(error))) from error
    except ValueError as error:
        raise PolicyError("reliable", str(error)) from error
    if not whole.parts:
        raise PolicyError("reliable", "there are no policies: write @reliable(retry=3), for example")
    return whole


def _wrapped(
    function: F,
    policy: ReliabilityPolicy,
    name: str | None,
    kit: HasOrchestrator | None,
    store: Store | None,
    idempotent: bool,
) -> F:
    name = name or getattr(function, "__qualname__", type(function).__name__).rpartition("<locals>.")[2]
    _check(function, name, policy, idempotent)
    calls = _Calls(function, name, policy, kit, store)
    if is_async(function):

        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await calls.perform(partial(function, *args, **kwargs), args, kwargs)

    else:

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return calls.perform_and_wait(partial(function, *args, **kwargs), args, kwargs)

    wrapper.policy = policy  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


def _check(function: Any, name: str, policy: ReliabilityPolicy, idempotent: bool) -> None:
    if isinstance(function, staticmethod | classmethod | property):
        raise PolicyError(f"reliable {name!r}", f"put @{type(function).__name__} above @reliable")
    if not callable(function) or isinstance(function, type):
        raise PolicyError(f"reliable {name!r}", f"a {type(function).__name__} is no function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise PolicyError(f"reliable {name!r}", "it is a generator: what fails later cannot be tried again")
    if policy.hedge is not None and not idempotent:
        raise PolicyError(f"reliable {name!r}", "a hedge calls it twice: say idempotent=True if it may be")


class _Calls:
    """The calls of one decorated function."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        policy: ReliabilityPolicy,
        kit: HasOrchestrator | None,
        store: Store | None,
    ) -> None:
        self._name, self._policy, self._kit, self._store = name, policy, kit, store
        self._signature, self._is_async = _signature(function), is_async(function)
        timeout = policy.timeout
        self._left_behind = policy.hedge is not None or (timeout is not None and timeout.limits)
        """Whether a sync function may have to be left behind, in a thread of its own."""

    async def perform(self, ask: Callable[[], Any], args: Any, kwargs: Any) -> Any:
        """An async function, on the loop of the caller."""
        place, arguments = self._place(), self._arguments(args, kwargs)
        aside = partial(place.tools.bodies.threads.run, kwargs={})
        return await self._recorded(place, arguments, self._call(place, ask, aside, arguments))

    def perform_and_wait(self, ask: Callable[[], Any], args: Any, kwargs: Any) -> Any:
        """A sync function; blocks."""
        place, arguments, errand = self._place(), self._arguments(args, kwargs), Errand()
        apart = partial(place.tools.bodies.threads.run, kwargs={})
        body = partial(apart if self._left_behind else errand.here, ask)
        make = self._call(place, body, errand.here, arguments)
        return errand.wait_for(self._recorded(place, arguments, make))

    def _call(
        self, place: Place, body: Callable[[], Awaitable[Any]], aside: Aside, arguments: dict[str, Any]
    ) -> Callable[[CallRecord], Call]:
        """One call, once there is a record for it."""
        return lambda record: Call(
            body,
            record,
            place.guards.clock,
            place.tools.rng,
            self._left_behind and not self._is_async,
            arguments=arguments,
            aside=aside,
        )

    async def _recorded(
        self, place: Place, arguments: Mapping[str, Any], make: Callable[[CallRecord], Call]
    ) -> Any:
        """Make the call, on the record where there is one."""
        handler = self._handler(place)

        async def perform(scope: StepScope) -> Any:
            self._tell(scope)
            return await handler(make(scope))

        scope = current_scope.get()
        if isinstance(scope, StepScope):
            return await inside(scope, self._name, arguments, perform)
        if place.store is not None:
            return await alone(place.store, place.durability, self._name, arguments, perform)
        return await handler(make(Unrecorded(scope)))

    def _tell(self, scope: StepScope) -> None:
        """Which policies hold, once per run."""
        if not scope.recorder.first_time("reliable", self._name):
            return
        inputs = {"operation": self._name, **self._policy.described, "overrides": tuple(self._policy.parts)}
        if warnings := self._policy.told():
            inputs["warnings"] = warnings
        scope.decided("policy.selected", "reliable", "the function is decorated with it", inputs)

    def _handler(self, place: Place) -> Handler:
        pipelines = place.guards.pipelines
        handler = pipelines.get(self)
        if handler is None:
            handler = build_pipeline(self._policy, place.guards, self._name, place.tools.call_tool)
            pipelines[self] = handler
        return handler

    def _arguments(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """What it is called with, by name; without the object that a method belongs to."""
        if self._signature is None:
            return dict(kwargs)
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError:  # the call itself will say so
            return dict(kwargs)
        return {name: value for name, value in bound.items() if name not in ("self", "cls")}

    def _place(self) -> Place:
        """That of the kit or store that was given, of the run that it is called in, or none."""
        if self._kit is not None:
            engine = getattr(self._kit, "engine", None)
            return _place_at(self._kit.orchestrator, getattr(engine, "durability", "sync"))
        scope = current_scope.get()
        store = self._store
        if store is None and isinstance(scope, StepScope):
            store = scope.recorder.store
        if store is None:
            return _nowhere()
        orchestrator = orchestrator_of(store)
        return Place(Guards.of(store), _usual(), store) if orchestrator is None else _place_at(orchestrator)


# --- places ----------------------------------------------------------------------------------

_tools: weakref.WeakKeyDictionary[Orchestrator, Tools] = weakref.WeakKeyDictionary()


def _place_at(orchestrator: Orchestrator, durability: Durability = "sync") -> Place:
    tools = _tools.get(orchestrator)
    if tools is None:
        bodies = orchestrator.bodies
        tools = _tools[orchestrator] = Tools(
            orchestrator.rng, bodies, tools_of(orchestrator.registry, bodies)
        )
    return Place(orchestrator.guards, tools, orchestrator.store, durability)


@cache
def _nowhere() -> Place:
    """Of all calls without a store and outside of runs."""
    return Place(Guards(clock=SystemClock()), _usual())


@cache
def _usual() -> Tools:
    """Without a kit."""
    bodies = Bodies()
    return Tools(Random(), bodies, tools_of(default_registry, bodies))  # noqa: S311 - jitter, not secrets


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None
