"""An engine under virtual time, and what it wrote down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from orchkit.engine.builder import WorkflowBuilder
from orchkit.engine.compiled import CompiledCache
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.hooks import HookManager
from orchkit.engine.policies import PolicyEngine
from orchkit.engine.resume import RecordedRun, going_on
from orchkit.engine.resumption import OnChange
from orchkit.engine.runner import WorkflowEngine
from orchkit.executors.body import Bodies
from orchkit.model.event import Event
from orchkit.model.policy import OperationPolicy
from orchkit.model.request import Durability, Request, Response
from orchkit.model.result import WorkflowResult
from orchkit.model.state import RunState, fold
from orchkit.model.workflow import ExecutionMode, Workflow
from orchkit.registry.registry import Registry
from orchkit.store.log import StoredRow
from orchkit.store.store import Store
from orchkit.testing import FakeClock, MemoryStore


class Lab:
    """One engine with a store, a registry and a clock of its own; remembers every committed event."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: FakeClock | None = None,
        durability: Durability = "sync",
        policies: Iterable[OperationPolicy] = (),
        hooks: HookManager | None = None,
        threads: int = 128,
        registry: Registry | None = None,
        store: Store | None = None,
    ) -> None:
        self.clock = FakeClock() if clock is None else clock
        self.store = Store(path, clock=self.clock) if store is None else store
        self.registry = Registry() if registry is None else registry
        self.hooks = hooks
        self.orchestrator = Orchestrator(
            hooks,
            PolicyEngine(policies),
            registry=self.registry,
            store=self.store,
            bodies=Bodies(self.clock.threads(threads)),
            rng=Random(7),
        )
        self.engine = WorkflowEngine(self.orchestrator, durability=durability)
        self._rows: list[StoredRow] = []
        self.store.subscribe(self._rows.extend)

    def tool(self, function: Callable[..., Any], name: str | None = None, **options: Any) -> Any:
        """Register a function here only; for use as a decorator too."""
        self.registry.methods.register_method(function, name=name, **options)
        return function

    def flow(self, name: str = "flow", mode: ExecutionMode = "dag") -> WorkflowBuilder:
        """A builder over the tools of this lab."""
        return WorkflowBuilder(name, registry=self.registry).with_execution_mode(mode)

    async def aexecute(self, workflow: Workflow | WorkflowBuilder, **arguments: Any) -> WorkflowResult:
        """Execute on the running loop."""
        built = workflow.build() if isinstance(workflow, WorkflowBuilder) else workflow
        return await self.engine.execute(built, **arguments)

    def execute(self, workflow: Workflow | WorkflowBuilder, **arguments: Any) -> WorkflowResult:
        """Execute on a loop of its own."""
        return asyncio.run(self.aexecute(workflow, **arguments))

    def dispatch(self, operation: str, payload: Mapping[str, Any] | None = None, **more: Any) -> Response:
        """Dispatch one operation on a loop of its own."""
        return asyncio.run(self.orchestrator.dispatch(Request(operation, payload or {}, **more)))

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on a loop of its own."""
        return asyncio.run(coroutine)

    def resume(self, run_id: str, **options: Any) -> WorkflowResult:
        """Go on with a run, to its end."""
        return self.engine.resume(run_id, **options).result(30)

    def states(self) -> dict[str, RunState]:
        """The states of all runs, by id."""
        of_run: dict[str, list[Event]] = {}
        for event in self.events():
            if event.run_id is not None:
                of_run.setdefault(event.run_id, []).append(event)
        return {run_id: fold(events) for run_id, events in of_run.items()}

    def go_on(
        self, run_id: str, on_change: OnChange = "rerun", workflow: Workflow | None = None
    ) -> WorkflowResult:
        """The same as `resume`, on a loop of its own and without a look into the history."""
        run = RecordedRun(self.states(), run_id)
        compiled = CompiledCache(self.registry, self.store).get(workflow or run.workflow())
        return asyncio.run(going_on(self.orchestrator, compiled, run, on_change).run())

    def cut(self, count: int) -> Lab:
        """A lab in whose store are the first events of this one: as after a crash, with nobody at work."""
        rest = Lab(
            clock=self.clock,
            registry=self.registry,
            durability=self.engine.durability,
            store=MemoryStore(clock=self.clock),
        )
        if any('"$blob"' in row[-1] for row in self._rows[:count]):
            for digest, text in self.store.query("SELECT hash, data FROM blob"):
                rest.store.put_blob(text, digest)
        for _, *row in self._rows[:count]:
            rest.store.log.append(tuple(row), durable=True)
        rest.store.commit()
        return rest

    def cut_after(self, kind: str, step_id: str | None = None, nth: int = 1) -> Lab:
        """The same, cut behind the n-th event of a kind (about a step)."""
        found = [n for n, row in enumerate(self._rows, 1) if row[2] == kind and row[4] == step_id]
        return self.cut(found[nth - 1])

    def events(self, run_id: str | None = None, *kinds: str) -> list[Event]:
        """The committed events of a run (of all runs), of these kinds only if any are named."""
        return [
            Event(seq, ts, kind, run, step, attempt, json.loads(payload))
            for seq, ts, kind, run, step, attempt, payload in self._rows
            if (run_id is None or run == run_id) and (not kinds or kind in kinds)
        ]

    def attempts(self, run_id: str, step_id: str) -> list[str]:
        """How the attempts of a step ended, in order; ``running`` for those without an end."""
        ends = {
            event.attempt: str(event.payload["status"])
            for event in self.events(run_id, "attempt.finished")
            if event.step_id == step_id
        }
        starts = [e.attempt for e in self.events(run_id, "attempt.started") if e.step_id == step_id]
        return [ends.get(number, "running") for number in starts]

    def decisions(self, run_id: str, point: str | None = None) -> list[tuple[str | None, str, str]]:
        """``(step, point, decision)`` of the run, in order."""
        return [
            (event.step_id, event.payload["point"], event.payload["decision"])
            for event in self.events(run_id, "decision")
            if point is None or event.payload["point"] == point
        ]


MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab() -> Iterator[MakeLab]:
    """A maker of labs; their stores are closed when the test is over."""
    made: list[Lab] = []

    def make(*args: Any, **options: Any) -> Lab:
        made.append(Lab(*args, **options))
        return made[-1]

    yield make
    for lab in made:
        lab.store.close()


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A lab with everything at its default."""
    return make_lab()
