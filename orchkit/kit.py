"""The composition root: opens a store and wires everything that works on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self, Unpack

from orchkit.analysis.incomplete import incomplete, remark
from orchkit.analysis.redaction import Redact
from orchkit.clock import Clock
from orchkit.engine.builder import WorkflowBuilder
from orchkit.engine.chain import ChainExecutor
from orchkit.engine.dispatch import Orchestrator, default_hooks
from orchkit.engine.errand import calls_loop
from orchkit.engine.fork import Override
from orchkit.engine.handle import RunHandle
from orchkit.engine.hooks import HookManager, MetricsHook
from orchkit.engine.loop import loop_thread
from orchkit.engine.options import RunArguments, check_durability
from orchkit.engine.policies import PolicyEngine
from orchkit.engine.policyargs import PolicyParts
from orchkit.engine.reliable import F, reliable
from orchkit.engine.resumption import OnChange
from orchkit.engine.runner import WorkflowEngine
from orchkit.engine.sessions import SessionOrchestrator
from orchkit.engine.verify import Verification
from orchkit.errors import ParameterError, Problem
from orchkit.executors.body import Bodies
from orchkit.executors.threads import ThreadWorkers
from orchkit.health.monitor import HealthMonitor
from orchkit.interop import bundle
from orchkit.model.display import Displayable
from orchkit.model.gateway import Gateway, gateway_of
from orchkit.model.notice import tell
from orchkit.model.policy import ReliabilityPolicy
from orchkit.model.request import Durability, Request, Response
from orchkit.model.result import WorkflowResult
from orchkit.model.workflow import Workflow
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry
from orchkit.registry.services import ServiceContainer
from orchkit.store.store import Params, Store
from orchkit.views.comparison import Comparison, compare
from orchkit.views.report import page_of, write_page
from orchkit.views.run import Run
from orchkit.views.runs import Runs

if TYPE_CHECKING:
    import pandas as pd

MOST_REPORTED = 20
"""So many runs are in a report that does not name any."""


class Kit(Displayable):
    """One store and what works on it. Use it as a context manager, or `close` it.

    Attributes:
        engine: Runs workflows (`WorkflowEngine`); `execute`, `run` and `start` are its doors.
        orchestrator: Dispatches single operations (`Orchestrator`).
        registry: Methods, tools and services (`Registry`): the kit's own, over the default one that the
            decorators fill. What is registered here is seen by this kit alone.
        services: What methods get by the type of a parameter: ``kit.services.register(Mail, Mail(...))``.
        hooks: What is told of operations: ``kit.hooks.register_hook("mine", hook)`` (`HookManager`).
        policies: Which retry, timeout and hooks an operation gets (`PolicyEngine`).
        breakers: The circuit breakers (`Breakers`): ``kit.breakers["mail"].reset()``, and by hand
            ``kit.breakers.force_open("mail", "the service moves")``, ``disable``, ``enable``.
        budgets, bulkheads, rate_limits: What else calls share by name, as tables.
        sessions: Who works on which casefile (`SessionOrchestrator`).
        chains: Sequences in which each tool gets the output of the one before (`ChainExecutor`).
        runs: The runs on record (`Runs`).
        health: Watches services in the background: ``kit.health.watch({"mail": "http://..."})``
            (`HealthMonitor`); made at its first use.
        gateway: Services and workflows behind one door, over HTTP: ``kit.gateway.start()``.
        store: The record itself (`Store`).
    """

    def __init__(
        self,
        store: Store,
        *,
        registry: Registry | None = None,
        policies: PolicyEngine | None = None,
        hooks: HookManager | None = None,
        durability: Durability = "sync",
        max_threads: int = 128,
        rng: Random | None = None,
    ) -> None:
        if isinstance(store, str | Path):
            hint = f"ok.open({str(store)!r}) opens it and makes a kit"
            raise ParameterError("Kit", [Problem("store", f"{str(store)!r} is the path of one", hint)])
        self.store = store
        self.registry = registry or Registry(parent=default_registry)
        self.policies = policies or PolicyEngine()
        self.hooks = hooks or default_hooks()
        self.sessions = SessionOrchestrator(store)
        self.services: ServiceContainer = self.registry.services
        for service in (self.store, self.sessions):
            self.services.register(type(service), service)
        self.orchestrator = Orchestrator(
            self.hooks,
            self.policies,
            self.sessions,
            self.registry,
            store=store,
            bodies=Bodies(ThreadWorkers(max_threads)),
            rng=rng,
        )
        guards = self.orchestrator.guards
        self.breakers, self.budgets = guards.breakers, guards.budgets
        self.bulkheads, self.rate_limits = guards.bulkheads, guards.rate_limits
        self.engine = WorkflowEngine(
            self.orchestrator,
            durability=durability,
            open_run=self._open_run,
            on_finished=self._remember,
        )
        self.chains = ChainExecutor(self.engine)
        self.runs = Runs(store)
        self._last_run_id: str | None = None
        for thread in (loop_thread, calls_loop):
            thread.hold(self)
        self._rng = rng
        self._health: HealthMonitor | None = None
        self._gateway: Gateway | None = None

    def workflow(self, name: str, *, description: str | None = None) -> WorkflowBuilder:
        """A builder that knows the tools of this kit's registry."""
        return WorkflowBuilder(name, registry=self.registry, description=description)

    @property
    def health(self) -> HealthMonitor:
        """Services that are watched while cells run: see `HealthMonitor`."""
        if self._health is None:
            self._health = HealthMonitor(self.store, self.breakers, rng=self._rng)
        return self._health

    @property
    def gateway(self) -> Gateway:
        """The HTTP face of this kit: see `orchkit.gateway.server.GatewayServer`.

        Raises `MissingExtraError` without the extra ``gateway``.
        """
        if self._gateway is None:
            self._gateway = gateway_of(self)
        return self._gateway

    # --- running ---------------------------------------------------------------------------

    async def execute(
        self,
        workflow: Workflow,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> WorkflowResult:
        """Run a workflow on the caller's loop: see `WorkflowEngine.execute`."""
        return await self.engine.execute(workflow, user_id, context, **arguments)

    def run(
        self,
        workflow: Workflow,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> WorkflowResult:
        """Run a workflow and block until it ends; safe in a notebook cell: see `WorkflowEngine.run`."""
        return self.engine.run(workflow, user_id, context, **arguments)

    def start(
        self,
        workflow: Workflow,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> RunHandle:
        """Begin a run in the background and return its handle at once: see `WorkflowEngine.start`."""
        return self.engine.start(workflow, user_id, context, **arguments)

    async def dispatch(self, request: Request) -> Response:
        """Perform one operation: see `Orchestrator.dispatch`."""
        response = await self.orchestrator.dispatch(request, durability=self.engine.durability)
        self._remember(response.metadata["run_id"])
        return response

    def resume(
        self,
        run_id: str | Run | WorkflowResult,
        *,
        on_change: OnChange = "rerun",
        workflow: Workflow | None = None,
    ) -> RunHandle:
        """Go on with a run that was cut off, or try one again: see `WorkflowEngine.resume`."""
        return self.engine.resume(self._id_of(run_id), on_change=on_change, workflow=workflow)

    def give_up(self, run_id: str | Run | WorkflowResult, reason: str | None = None) -> None:
        """End a run that was cut off and is not to go on: see `WorkflowEngine.give_up`."""
        self.engine.give_up(self._id_of(run_id), reason)

    def fork(
        self,
        run_id: str | Run | WorkflowResult,
        from_step: str | Sequence[str] | None = None,
        overrides: Mapping[str, Override] | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> RunHandle:
        """Begin a new run in the middle of a recorded one: see `WorkflowEngine.fork`."""
        return self.engine.fork(self._id_of(run_id), from_step, overrides, context=context)

    def verify(self, run_id: str | Run | WorkflowResult) -> Verification:
        """Run the pure steps of a run again and compare: see `WorkflowEngine.verify`."""
        return self.engine.verify(self._id_of(run_id))

    def reliable(
        self,
        policy: ReliabilityPolicy | str | Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        idempotent: bool = False,
        **parts: Unpack[PolicyParts],
    ) -> Callable[[F], F]:
        """Put policies around a function whose calls are recorded here: see `orchkit.reliable`."""
        return reliable(policy, name=name, kit=self, idempotent=idempotent, **parts)

    def forget(self, key: str) -> bool:
        """Forget an idempotency key (or request id) before its time: the next request with it is executed.

        What it did stays on the record. False when it is being executed right now.
        """
        return self.store.claims.forget(key)

    # --- looking ---------------------------------------------------------------------------

    @property
    def last(self) -> Run:
        """The record of the run that finished last in this process, else the newest in the store."""
        return self.runs[-1] if self._last_run_id is None else self._open_run(self._last_run_id)

    def incomplete(self) -> pd.DataFrame:
        """The runs that were cut off when their process ended: see `orchkit.analysis.incomplete.incomplete`.

        Columns: ``run_id, kind, name, started_at, last_event_at, steps_done, steps, in_doubt`` (a list of
        steps), ``pid, host``. `resume` goes on with one; nothing goes on by itself.
        """
        return incomplete(self.store)

    def report(
        self,
        path: str | Path,
        runs: Iterable[Run | WorkflowResult | str] | Run | WorkflowResult | str | None = None,
        redact: Redact | None = None,
    ) -> Path:
        """Write the replays of several runs into one HTML file that needs no network; returns its path.

        Args:
            path: The file, named ``*.html``; one that is there is replaced.
            runs: Runs, their results, or their ids (as much as tells them apart); by default the newest 20,
                the last first.
            redact: What is shown instead of a value: see `Run.to_html`, also for what is raised.
        """
        if runs is None:
            chosen = self.runs[-MOST_REPORTED:][::-1]
        else:
            many = isinstance(runs, Iterable) and not isinstance(runs, str)
            given: Iterable[Any] = runs if many else [runs]  # type: ignore[assignment]
            chosen = [self._reported(one) for one in given]
        return write_page(page_of(chosen, redact, made_us=self.store.clock.now_us()), path)

    def sql(self, query: str, params: Params = None) -> pd.DataFrame:
        """A SQL query over the history views as a DataFrame: see `Store.sql`.

        The views are ``runs``, ``steps``, ``attempts``, ``decision_traces``, ``evidence_bundles``,
        ``events``, ``lineage``, ``sessions``, ``idempotency_keys``, ``breaker_transitions``,
        ``health_checks`` and ``maintenance_windows``; ``describe runs`` shows the columns of one. Other
        tables are what they are made of, and may change.
        """
        return self.store.sql(query, params)

    def compare(
        self, a: Run | WorkflowResult | str, b: Run | WorkflowResult | str, *, redact: Redact | None = None
    ) -> Comparison:
        """In what two runs differ, and where they part; also by id: see `orchkit.compare`."""
        return compare(a, b, kit=self, redact=redact)

    def import_bundle(self, path: str | Path, *, max_bytes: int = bundle.MAX_BYTES) -> Run:
        """Bring a run that `Run.export` has written into this store, and return it.

        Every byte is verified first; then all of it is written, or nothing. Ids, times and values are those
        of the original. The run is marked as imported: it counts neither as going on here nor as one that can
        be resumed. A run that is here already stays as it is; one that was exported before its end is
        continued by a file that was exported later.

        Args:
            path: The file.
            max_bytes: How much it may unpack to.

        Raises:
            BundleError: The file was changed, is damaged, is not safe to unpack, is of a newer orchkit, or
                says something else of a run than this store does; ``differences`` names each place.
            StoreError: The store cannot be written.
        """
        return self._open_run(bundle.import_run(self.store, path, max_bytes=max_bytes))

    def metrics(self) -> dict[str, dict[str, float]]:
        """Calls, failures and mean duration per operation since the kit was opened."""
        return {
            operation: counts
            for name in self.hooks.names
            if isinstance(hook := self.hooks.get_hook(name), MetricsHook)
            for operation, counts in hook.snapshot().items()
        }

    def _id_of(self, run: str | Run | WorkflowResult) -> str:
        """The id of a run that is given as such, as its result, or by (the begin of) its id."""
        if isinstance(run, Run):
            return run.id
        return run.run_id if isinstance(run, WorkflowResult) else self.runs[run].id

    def _reported(self, given: Any) -> Run:
        """A run that is given as such, as its result or handle, or by its id."""
        run = self.runs[given] if isinstance(given, str) else given
        found = run if isinstance(run, Run) else getattr(run, "run", None)
        if isinstance(found, Run):
            return found
        hint = "give runs, their results or their ids"
        raise ParameterError("report", [Problem("runs", f"a {type(given).__name__} is no run", hint)])

    def _open_run(self, run_id: str) -> Run:
        return Run(self.store, run_id)

    def _remember(self, run_id: str) -> None:
        self._last_run_id = run_id

    # --- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Stop serving and watching, close the services and the store; idempotent."""
        if self._gateway is not None:
            self._gateway.stop()
        if self._health is not None:
            self._health.stop()
        if not self.store.closed:
            self.services.close()
            self.store.close()
        self.orchestrator.bodies.threads.release()
        for thread in (loop_thread, calls_loop):
            thread.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Kit on {self.store.path or 'memory'}>"


def open(
    path: str | Path | None = None,
    *,
    durability: Durability = "sync",
    registry: Registry | None = None,
    policies: PolicyEngine | Mapping[str, Any] | str | Path | None = None,
    clock: Clock | None = None,
    max_threads: int = 128,
    rng: Random | None = None,
) -> Kit:
    """Open (or create) a store and return the kit on it.

    Args:
        path: The history file, such as ``runs.duckdb``; its log is put beside it as ``runs.duckdb-log``.
            Without a path everything is kept in memory.
        durability: ``sync`` (default: a step's result is on disk before anything that depends on it
            starts), ``async`` (survives a killed process) or ``exit`` (written when a run ends).
        registry: Methods and tools; by default a new one over what the decorators registered.
        policies: Operation policies: a `PolicyEngine`, a mapping in its YAML form, or a YAML file.
        clock: Time; by default the real one.
        max_threads: How many sync functions may run at the same time.
        rng: Source of jitter; pass a seeded one for reproducible delays.

    Raises:
        ParameterError: ``durability`` is none of the three.
        PolicyError: The policies cannot be read.
        StoreError: The folder does not exist, or the file cannot be used.
        StoreVersionError: The store was written by a newer orchkit.

    Runs that were cut off because their process ended are told in one line, see `Kit.incomplete`; they
    do not go on by themselves.

    For a store that you made yourself, such as `orchkit.testing.MemoryStore`, call `Kit` with it.
    """
    check_durability(durability)
    chosen = PolicyEngine.of(policies)
    store = Store(path, clock=clock)
    kit = Kit(
        store, registry=registry, policies=chosen, durability=durability, max_threads=max_threads, rng=rng
    )
    _tell_of_cut_off(store)
    return kit


def _tell_of_cut_off(store: Store) -> None:
    """Say in one line that runs were cut off: where a notebook shows it, else as a warning to the log."""
    # Opening a store must not fail over a remark.
    with suppress(Exception):
        text = remark(store.open_runs.cut_off())
        if text is not None:
            tell(text)
