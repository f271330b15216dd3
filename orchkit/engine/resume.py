"""Loading runs from the record, to go on with them or to begin others from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from orchkit.engine.compiled import Compiled, CompiledCache
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.execution import Execution
from orchkit.engine.idempotency import Once
from orchkit.engine.job import Answered, ClaimedJob, Job
from orchkit.engine.options import RunOptions
from orchkit.engine.recorded import recorded_result
from orchkit.engine.recorder import RunRecorder
from orchkit.engine.resumption import OnChange, plan_resumption
from orchkit.engine.strays import end_left
from orchkit.errors import (
    CodecError,
    CodeChangedError,
    DefinitionError,
    ExecutionError,
    ParameterError,
    Problem,
    UnknownNameError,
)
from orchkit.model.request import Durability, ExecutionDirective
from orchkit.model.state import RunState, fold
from orchkit.model.workflow import Workflow
from orchkit.store import codec
from orchkit.store.store import Store


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run of a workflow as the record has it, with all runs below it."""

    states: Mapping[str, RunState]
    run_id: str

    @property
    def state(self) -> RunState:
        """The run itself."""
        return self.states[self.run_id]

    def workflow(self) -> Workflow:
        """Its definition. Raises `DefinitionError` when this version cannot read it."""
        try:
            found = Workflow.model_validate(self.state.definition)
        except ValidationError as error:
            raise DefinitionError(
                f"the recorded definition of {self.run_id} cannot be read: {error}"
            ) from error
        workflow_id = self.state.workflow_id
        return found.model_copy(update={"workflow_id": workflow_id}) if workflow_id else found

    def options(self, durability: Durability | None = None) -> RunOptions:
        """What it was given beside its definition. Raises `ExecutionError` when that cannot be read."""
        state = self.state
        recorded: Any = state.durability
        try:
            context = codec.unpack(state.context or {}, state.context_types)
        except CodecError as error:
            where = error.path.replace("value", "context", 1)
            raise ExecutionError(
                f"{where} of {self.run_id} cannot be read any more: {error.cause}"
            ) from error
        return RunOptions(
            user_id=state.user_id,
            context=context,
            session_id=state.session_id,
            casefile_id=state.casefile_id,
            request_id=state.request_id,
            durability=durability or recorded,
            directives=ExecutionDirective.model_validate(state.directives or {}),
            parent_run_id=state.parent_run_id,
            parent_step_id=state.parent_step_id,
        )


def load_run(store: Store, run_id: str) -> RecordedRun:
    """Read a run of a workflow. Raises `UnknownNameError`, `ExecutionError` for one of another kind."""
    run = _load(store, run_id)
    state = run.state
    if state.kind != "workflow":
        hint = "make its request again, with the same key: it goes on from there"
        raise ExecutionError(
            f"{run_id} is the run of an {state.kind} ({state.name}), not of a workflow: {hint}"
        )
    return run


def _load(store: Store, run_id: str) -> RecordedRun:
    states = {found: fold(events) for found, events in store.events_below(run_id).items()}
    if run_id not in states:
        raise UnknownNameError("run", run_id)
    return RecordedRun(states, run_id)


def executed_under(state: RunState) -> str | None:
    """The idempotency key that a run was executed under, as its record tells."""
    for decision in reversed(state.decisions):
        if decision.point == "idempotency" and decision.by_engine:
            key = (decision.payload.get("input_data") or {}).get("key")
            return str(key) if key is not None else None
    return None


def check_on_change(on_change: Any) -> None:
    """Raises `ParameterError` unless it is one of the three."""
    if on_change not in ("rerun", "keep", "error"):
        problem = Problem("on_change", f"unknown value {on_change!r}", "use rerun, keep or error")
        raise ParameterError("resume", [problem])


def resumed(
    orchestrator: Orchestrator,
    compiled_cache: CompiledCache,
    run: RecordedRun,
    on_change: OnChange,
    workflow: Workflow | None = None,
) -> Job:
    """What goes on where a run was left, under its key if it had one; or the recorded result of a success.

    Raises `CodeChangedError`, `RunInProgressError` (also when it begins), `WorkflowValidationError`.
    """
    check_on_change(on_change)
    state = run.state
    if state.parent_run_id is not None:
        raise ExecutionError(f"{run.run_id} belongs to {state.parent_run_id}: resume that one")
    if state.status == "success":
        return Answered(recorded_result(state))
    if state.imported is not None:
        hint = "fork it: the fork shares its results and goes on from them"
        raise ExecutionError(
            f"{run.run_id} was imported, and goes on in the store that it is of, or never: {hint}"
        )
    with _ours(orchestrator.store, run) as found:
        if found.state.status == "success":  # somebody was faster
            orchestrator.store.open_runs.give_back(found.run_id, ended=True)
            return Answered(recorded_result(found.state))
        compiled = compiled_cache.get(workflow or found.workflow())
        execution = going_on(orchestrator, compiled, found, on_change, reserved=True)
        key = executed_under(found.state)
        granted = Once(orchestrator.store).claim_again(key, found.run_id) if key is not None else None
        return execution if granted is None else ClaimedJob(execution, granted)


def taken_over(orchestrator: Orchestrator, compiled: Compiled, run_id: str) -> Execution | None:
    """An execution that goes on with the run of an owner that died; None when nothing of it is on record.

    Raises `RunInProgressError` when somebody has resumed it.
    """
    try:
        found = load_run(orchestrator.store, run_id)
    except UnknownNameError:
        return None
    with _ours(orchestrator.store, found) as run:
        return going_on(orchestrator, compiled, run, "rerun", reserved=True)


def give_up(store: Store, run_id: str, reason: str | None = None) -> None:
    """End a run that was cut off, and those below it, as cancelled; its key counts as failed.

    Raises `UnknownNameError`, `RunInProgressError`, and `ExecutionError` for a run that has ended, was
    imported, or belongs to another one.
    """
    run = _load(store, run_id)
    if run.state.parent_run_id is not None:
        raise ExecutionError(f"{run_id} belongs to {run.state.parent_run_id}: give that one up")
    if run.state.imported is not None:
        raise ExecutionError(f"{run_id} was imported: only the store that it is of can end it")
    with _ours(store, run) as found:
        if not found.state.open:
            raise ExecutionError(f"{run_id} has ended: {found.state.status}")
        said = reason or "it was cut off, and given up by hand"
        once, key = Once(store), executed_under(found.state)
        granted = once.claim_again(key, run_id) if key is not None else None
        with store.together():
            RunRecorder(store, run_id, "sync").decided(
                None, None, point="operator", decision="give_up", rationale=said
            )
            for state in found.states.values():
                if state.open:
                    end_left(store, state, said)
            if granted is not None:
                once.settle(granted.claim, result=None, error=said)
        store.commit()
        if granted is not None:
            once.finish(granted.claim)
    store.ingest_soon()


@contextmanager
def _ours(store: Store, run: RecordedRun) -> Iterator[RecordedRun]:
    """Make a run ours and give it as it stands then; an error inside leaves it as it was.

    Only what was read after that can be trusted: somebody else may have resumed it since, and ended.
    """
    state = run.state
    store.open_runs.take_up(run.run_id, state.kind, state.name, state.parent_run_id)
    ended = not state.open
    try:
        ((events,),) = store.query("SELECT count(*) FROM event WHERE run_id = ?", [run.run_id])
        if events != state.position:
            ended = events == 0  # a sweep has removed it
            run = _load(store, run.run_id)
            ended = not run.state.open
        yield run
    except BaseException:
        store.open_runs.give_back(run.run_id, ended=ended)
        raise


def going_on(
    orchestrator: Orchestrator,
    compiled: Compiled,
    run: RecordedRun,
    on_change: OnChange,
    *,
    reserved: bool = False,
) -> Execution:
    """The execution itself; ``reserved``: nobody else can take it up. Raises `CodeChangedError`."""
    before = plan_resumption(run.states, run.run_id, compiled, on_change)
    before.reserved = reserved
    if on_change == "error" and before.changes:
        raise CodeChangedError(run.run_id, [f"{step}: {what}" for step, what in before.changes.items()])
    return Execution(orchestrator, compiled, run.options(), run_id=run.run_id, before=before)
