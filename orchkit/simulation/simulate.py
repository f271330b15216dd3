"""Running a workflow many times in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from orchkit.engine.execution import Execution
from orchkit.engine.policies import PolicyEngine
from orchkit.engine.runner import WorkflowEngine
from orchkit.errors import ParameterError, Problem
from orchkit.executors.threads import away
from orchkit.kit import Kit
from orchkit.model.display import Displayable
from orchkit.model.workflow import Workflow
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry
from orchkit.simulation.models import FaultModel
from orchkit.simulation.stage import Stage, check_cast
from orchkit.store import codec
from orchkit.store.store import Store
from orchkit.testing.clock import START_US, FakeClock

if TYPE_CHECKING:
    import pandas as pd

Faults = Mapping[str, FaultModel | Sequence[FaultModel]]
COPIED = 5_000
"""Events that are copied at a time into another store."""
Z_95 = 1.959963984540054
"""The standard normal distribution's quantile for two-sided 95 %."""


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
    not: **no function is called** unless it is named in ``call``. A week takes seconds. The same arguments
    give the same record, but for the ids of the runs.

    Args:
        flow: The workflow.
        faults: How services behave (see `orchkit.simulation`): by tool or ``"*"``, or one for all tools.
        runs: How many runs.
        every: Seconds between their beginnings; a run may begin while others go on.
        arrivals: ``regular``, or ``poisson`` for random times with that mean.
        seed: Of everything random.
        context: The context of all runs, or a function from a run's number to it.
        outputs: By step id or tool, what a call gives: a value, or a function of the parameters.
        like: A recorded run of the same workflow whose outputs are used where ``outputs`` says nothing.
        call: Step ids or tools whose functions are really called.
        policies: Operation policies, as for `orchkit.open`; by default those of the kit.
        kit: Whose registry and policies are used; by default the default registry and no policies.
        into: A kit or store that gets a copy of the record, marked as simulated.

    Raises:
        ParameterError: An output is needed and not given, a name means nothing, a number makes no sense.
        WorkflowValidationError: The workflow is not sound.
    """
    _check(runs, every, arrivals)
    cast = _Cast.of(flow, faults, {**_outputs_of(like), **(outputs or {})}, frozenset(call))
    registry = Registry(parent=kit.registry if kit is not None else default_registry)
    check_cast(flow, registry, cast.faults, cast.outputs, cast.called)
    chosen = PolicyEngine.of(policies) if policies is not None or kit is None else kit.policies
    clock = FakeClock(start_us=START_US)
    store = Store(clock=clock)
    stage = Stage(policy_engine=chosen, registry=registry, store=store, rng=Random(seed))  # noqa: S311 - jitter
    stage.play(cast.faults, cast.outputs, cast.called, seed)
    engine = WorkflowEngine(stage, durability="exit")
    times = list(_times(runs, every, arrivals, Random(f"{seed} arrivals")))  # noqa: S311 - to be repeated
    marks = {"seed": seed, "runs": runs}
    with ThreadPoolExecutor(1, "orchkit-simulation") as thread, away():
        # A loop of its own: in a notebook one is running already, and time stands still on ours.
        thread.submit(asyncio.run, _drive(engine, clock, flow, times, _contexts(context), marks)).result()
    simulation = Simulation(flow.name, Kit(store, registry=registry, policies=chosen), seed)
    if into is not None:
        copy(store, into if isinstance(into, Store) else into.store)
    return simulation


@dataclass(frozen=True, slots=True)
class _Cast:
    """Who plays what."""

    faults: Mapping[str, Sequence[FaultModel]]
    outputs: Mapping[str, Any]
    called: frozenset[str]

    @classmethod
    def of(cls, flow: Any, faults: Any, outputs: Mapping[str, Any], called: frozenset[str]) -> _Cast:
        if not isinstance(flow, Workflow):
            way_out = ": call its build() first" if hasattr(flow, "build") else ""
            problem = Problem("flow", f"expected a Workflow, not a {type(flow).__name__}{way_out}")
            raise ParameterError("simulate", [problem])
        by_tool = faults if isinstance(faults, Mapping) else {"*": faults}
        lists = {name: _as_list(models) for name, models in by_tool.items()}
        for name, models in lists.items():
            for model in models:
                if not hasattr(model, "start"):
                    cause = f"expected fault models, got {model!r}"
                    raise ParameterError("simulate", [Problem(f"faults[{name!r}]", cause)])
        return cls(lists, outputs, called)


def _as_list(models: Any) -> Sequence[FaultModel]:
    return list(models) if isinstance(models, list | tuple) else [models]


def _check(runs: Any, every: Any, arrivals: Any) -> None:
    problems = []
    if not isinstance(runs, int) or runs < 1:
        problems.append(Problem("runs", f"expected a number from 1 upwards, got {runs!r}"))
    if not isinstance(every, int | float) or not 0 <= every < math.inf:
        problems.append(Problem("every", f"expected seconds from 0 upwards, got {every!r}"))
    if arrivals not in ("regular", "poisson"):
        problems.append(Problem("arrivals", f"unknown value {arrivals!r}", "use regular or poisson"))
    if problems:
        raise ParameterError("simulate", problems)


def _outputs_of(run: Any) -> dict[str, Any]:
    if run is None:
        return {}
    steps = run.state.steps.values()
    return {
        step.step_id: codec.unpack(step.output, step.output_types)
        for step in steps
        if step.status == "success" and step.node_type != "workflow"
    }


def _times(runs: int, every: float, arrivals: str, rng: Random) -> Iterator[float]:
    """The pauses before each run, in seconds."""
    for number in range(runs):
        if arrivals == "poisson" and every > 0:
            yield rng.expovariate(1 / every)
        else:
            yield every if number else 0.0


def _contexts(context: Any) -> Callable[[int], Mapping[str, Any] | None]:
    return context if callable(context) else lambda _: context


async def _drive(
    engine: WorkflowEngine,
    clock: FakeClock,
    flow: Workflow,
    pauses: Sequence[float],
    context_of: Callable[[int], Mapping[str, Any] | None],
    marks: Mapping[str, Any],
) -> None:
    async with asyncio.TaskGroup() as group:
        for number, pause in enumerate(pauses):
            if pause > 0:
                await clock.sleep(pause)
            marked = {**marks, "number": number}
            compiled, options = engine.prepared(flow, None, context_of(number), {})
            execution = Execution(engine.orchestrator, compiled, replace(options, simulated=marked))
            group.create_task(execution.run())


class Simulation(Displayable):
    """What came of it. ``kit`` looks at the record, in memory: ``kit.runs``, ``kit.sql``, the analyses."""

    def __init__(self, name: str, kit: Kit, seed: int) -> None:
        self.name, self.kit, self.seed = name, kit, seed

    def frame(self) -> pd.DataFrame:
        """One row per run, in order.

        Columns: ``run_id``, ``started_at``, ``status``, ``duration_s``, ``attempts`` (calls of all steps),
        ``failed_attempts``, ``error``.
        """
        return self.kit.sql("""
            SELECT r.run_id, r.started_at, r.status, r.duration_ms / 1000 AS duration_s,
                   coalesce(a.attempts, 0) AS attempts, coalesce(a.failed, 0) AS failed_attempts, r.error
            FROM runs r LEFT JOIN (
                SELECT coalesce(s.parent_run_id, a.run_id) AS run_id, count(*) AS attempts,
                       count(*) FILTER (a.status <> 'success') AS failed
                FROM attempts a JOIN runs s ON s.run_id = a.run_id GROUP BY 1
            ) a ON a.run_id = r.run_id
            WHERE r.parent_run_id IS NULL ORDER BY r.started_at, r.run_id
        """)

    def summary(self) -> pd.Series[Any]:
        """The whole in numbers.

        ``runs``, ``success_rate`` with its 95 % Wilson interval ``low`` and ``high``, the quantiles
        ``p50_s``, ``p95_s`` and ``p99_s`` of the duration, ``attempts_per_run``.
        """
        import pandas as pd

        frame = self.frame()
        good, count = int((frame.status == "success").sum()), len(frame)
        low, high = wilson(good, count)
        quantiles = frame.duration_s.quantile([0.5, 0.95, 0.99])
        return pd.Series(
            {
                "runs": count,
                "success_rate": good / count,
                "low": low,
                "high": high,
                **dict(zip(("p50_s", "p95_s", "p99_s"), quantiles, strict=True)),
                "attempts_per_run": frame.attempts.mean(),
            },
            name=self.name,
        )

    def __repr__(self) -> str:
        found = self.summary()
        rate = f"{found.success_rate:.1%} succeeded ({found.low:.1%} to {found.high:.1%})"
        return f"<Simulation of {self.name}: {int(found.runs):,} runs, {rate}, median {found.p50_s:.3g} s>"


def wilson(good: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, 1927); the whole unit interval for no observation."""
    if count == 0:
        return 0.0, 1.0
    share, square = good / count, Z_95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def copy(source: Store, target: Store) -> int:
    """Copy the whole record of one store into another, times as they are; returns the number of events."""
    for digest, data in source.query("SELECT hash, data FROM blob"):
        target.put_blob(data, digest)
    seq = copied = 0
    while rows := source.query(_PAGE, [seq, COPIED]):
        seq = rows[-1][0]
        with target.together():
            for row in rows:
                target.log.append(row[1:], durable=True)
        target.commit()
        copied += len(rows)
    target.ingest_soon()
    return copied


_PAGE = """
SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event
WHERE seq > ? AND run_id IS NOT NULL ORDER BY seq LIMIT ?
"""
