"""Running a workflow many times in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal

from orchkit.engine.policies import PolicyEngine
from orchkit.engine.runner import WorkflowEngine
from orchkit.errors import ParameterError, Problem
from orchkit.kit import Kit
from orchkit.model.spelling import hinting
from orchkit.model.workflow import Workflow
from orchkit.registry.registration import default_registry
from orchkit.simulation.cast import Cast, checked_methods, models_of
from orchkit.simulation.like import outputs_of
from orchkit.simulation.loop import run_in_virtual_time
from orchkit.simulation.models import FaultModel
from orchkit.simulation.result import Simulation
from orchkit.simulation.stage import PlayedExecution, Stage
from orchkit.simulation.stores import SimulatedStore, copy
from orchkit.store.store import Store
from orchkit.testing.clock import START_US, FakeClock

Faults = Mapping[str, FaultModel | Sequence[FaultModel]]
Contexts = Callable[[int], Mapping[str, Any] | None]


@hinting
def simulate(  # noqa: PLR0913 - what is simulated, all by keyword
    flow: Workflow,
    *,
    faults: Faults | FaultModel | Sequence[FaultModel] = (),
    runs: int = 1_000,
    every: float = 60.0,
    arrivals: Literal["regular", "poisson"] = "regular",
    seed: int = 0,
    context: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None = None,
    outputs: Mapping[str, Any] | None = None,
    like: Any = None,
    call: Sequence[str] = (),
    policies: PolicyEngine | Mapping[str, Any] | None = None,
    kit: Kit | None = None,
    into: Kit | Store | None = None,
) -> Simulation:
    """Run a workflow many times in virtual time, against services that fail as told.

    The engine, the policies and the record are the real ones; only time and the bodies of the functions are
    not: **no function is called** unless it is named in ``call``, and no service is made, also none of a
    fallback. A week takes seconds. The same arguments give the same record, but for the ids of the runs.

    Another policy meets the same world with the same seed: what a call does depends on which call it is (of
    which run, step and attempt) and on when it begins, never on which calls were made before; jitter is the
    n-th number of its step. So two simulations differ only in what the policies make of the world.

    Args:
        flow: The workflow.
        faults: How services behave (see `orchkit.simulation`): by tool or ``"*"``, or one for all tools.
        runs: How many runs.
        every: Seconds between their beginnings; a run may begin while others go on.
        arrivals: ``regular``, or ``poisson`` for random times with that mean.
        seed: Of everything random.
        context: The context of all runs, or a function from a run's number to it.
        outputs: By step id or tool, what a call gives: a value, or a function of the parameters. Of items of
            a map also by ``step[index]``, in a sub-workflow also by ``step/step``; of fallbacks by their
            tool or function (else they give what the step would have given).
        like: A recorded run of the same workflow whose outputs are used where ``outputs`` says nothing.
        call: Step ids, tools or functions of fallbacks that are really called.
        policies: Operation policies, as for `orchkit.open`; by default those of the kit.
        kit: Whose registry and policies are used; by default the default registry and no policies.
        into: A kit or store that gets a copy of the record, marked as simulated.

    Raises:
        ParameterError: An output is needed and not given, a name means nothing, a number makes no sense.
        WorkflowValidationError: The workflow is not sound.
    """
    _check(flow, runs, every, arrivals, seed)
    registry = kit.registry if kit is not None else default_registry
    chosen = PolicyEngine.of(policies) if policies is not None or kit is None else kit.policies
    cast = Cast(models_of(faults), {**outputs_of(like), **(outputs or {})}, frozenset(_names(call)), seed)
    cast = replace(cast, called_methods=checked_methods(flow, registry, chosen, cast))
    clock = FakeClock(start_us=START_US, autojump=False)
    store = SimulatedStore(clock)
    stage = Stage(cast, clock, store, registry, chosen)
    engine = WorkflowEngine(stage, durability="exit")
    times = list(_times(runs, every, arrivals, Random(f"{seed} arrivals")))  # noqa: S311 - to be repeated
    marks = {"seed": seed, "runs": runs}
    contexts = _contexts(context)
    run_in_virtual_time(clock, lambda: _drive(engine, clock, flow, times, contexts, marks))
    simulation = Simulation(flow.name, Kit(store, registry=stage.registry, policies=chosen), seed)
    if into is not None:
        copy(store, into if isinstance(into, Store) else into.store)
    return simulation


def _check(flow: Any, runs: Any, every: Any, arrivals: Any, seed: Any) -> None:
    problems = []
    if not isinstance(flow, Workflow):
        way_out = ": call its build() first" if hasattr(flow, "build") else ""
        problems.append(Problem("flow", f"expected a Workflow, not a {type(flow).__name__}{way_out}"))
    if not isinstance(runs, int) or runs < 1:
        problems.append(Problem("runs", f"expected a number from 1 upwards, got {runs!r}"))
    if not isinstance(every, int | float) or not 0 <= every < math.inf:
        problems.append(Problem("every", f"expected seconds from 0 upwards, got {every!r}"))
    if arrivals not in ("regular", "poisson"):
        problems.append(Problem("arrivals", f"unknown value {arrivals!r}", "use regular or poisson"))
    if not isinstance(seed, int):
        problems.append(Problem("seed", f"expected a whole number, got {seed!r}"))
    if problems:
        raise ParameterError("simulate", problems)


def _names(call: Any) -> Sequence[str]:
    """One name is meant as one, not as its letters."""
    return [call] if isinstance(call, str) else list(call)


def _times(runs: int, every: float, arrivals: str, rng: Random) -> Iterator[float]:
    """When each run begins, in seconds."""
    at = 0.0
    for number in range(runs):
        if arrivals == "poisson" and every > 0:
            at += rng.expovariate(1 / every)
            yield at
        else:
            yield every * number


def _contexts(context: Any) -> Contexts:
    return context if callable(context) else lambda _: context


async def _drive(
    engine: WorkflowEngine,
    clock: FakeClock,
    flow: Workflow,
    times: Sequence[float],
    context_of: Contexts,
    marks: Mapping[str, Any],
) -> None:
    going: set[asyncio.Task[Any]] = set()
    try:
        for number, at in enumerate(times):
            pause = at - clock.monotonic()
            if pause > 0:
                await clock.sleep(pause)
            compiled, options = engine.prepared(flow, None, context_of(number), {})
            marked = replace(options, simulated={**marks, "number": number})
            task = asyncio.ensure_future(PlayedExecution(engine.orchestrator, compiled, marked).run())
            going.add(task)
            task.add_done_callback(
                lambda over: None if over.cancelled() or over.exception() else going.discard(over)
            )
        await asyncio.gather(*going)
    finally:
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
