"""The state of a run as a fold over its events: what every view and every resume is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.result import RunStatus, StepStatus

PASSED_OVER = "passed over by hand"
"""The reason of a step that somebody skipped, and that is not to run when its run goes on."""


@dataclass(slots=True)
class AttemptState:
    """One try of a step."""

    number: int
    status: str = "running"
    """``running``, ``success``, ``failed``, ``timeout``, ``cancelled`` or ``in_doubt``: it had begun when its
    process ended, so that nobody knows whether it took effect."""
    started_us: int = 0
    finished_us: int | None = None
    error: str | None = None
    error_type: str | None = None
    where: tuple[str, ...] = ()
    """Where its error was raised, the innermost place last."""
    abandoned: bool = False
    """A sync function that overran its timeout: its thread went on, its result was discarded."""


@dataclass(slots=True)
class DecisionState:
    """A choice with its point, outcome, rationale, alternatives and inputs."""

    seq: int
    ts: int
    step_id: str | None
    attempt: int | None
    point: str
    decision: str
    rationale: str | None
    payload: Mapping[str, Any]

    @property
    def by_engine(self) -> bool:
        """Whether the engine made it (and not the user's code)."""
        return self.payload.get("origin") == "engine"


@dataclass(slots=True)
class StepState:
    """One node of a run."""

    step_id: str
    name: str = ""
    node_type: str = "task"
    parent: str | None = None
    """For an item of a map: the map's step id."""
    status: StepStatus = "pending"
    scheduled_us: int | None = None
    scheduled_seq: int = 0
    """The place of that event in the total order: times may be equal, or go backwards."""
    finished_us: int | None = None
    finished_seq: int = 0
    """The same for its end."""
    input: Any = None
    input_types: list[Any] | None = None
    """The type notes of the input, which `orchkit.store.codec.unpack` takes; None for plain JSON."""
    output: Any = None
    output_types: list[Any] | None = None
    error: str | None = None
    error_type: str | None = None
    reason: str | None = None
    attempts: list[AttemptState] = field(default_factory=list)
    forgiven: int = 0
    """How many of the attempts do not count towards a retry limit any more: the step is tried anew since."""
    child_run_id: str | None = None
    """The run of a sub-workflow."""
    source: Mapping[str, Any] | None = None
    """Whose recorded result this is: ``{how, run_id, step_id}``; None: its own."""
    progress: float | None = None
    progress_message: str | None = None

    @property
    def top(self) -> str:
        """The step of the definition that it belongs to: for an item of a map the map."""
        return self.parent or self.step_id

    @property
    def passed_over(self) -> bool:
        """Whether somebody skipped it, by hand."""
        return self.status == "skipped" and self.reason == PASSED_OVER

    def begin_anew(self) -> None:
        """What became of it so far does not count any more; its attempts stay on record."""
        self.status = "pending"
        self.forgive()
        self.scheduled_us = None
        self.forget_outcome()

    def forgive(self) -> None:
        """The attempts so far do not count towards a retry limit any more."""
        self.forgiven = max((attempt.number for attempt in self.attempts), default=0)

    def forget_outcome(self) -> None:
        """It runs (again): what was said of its end, or on the way there, is over."""
        self.finished_us = self.output = self.output_types = self.source = None
        self.error = self.error_type = self.reason = None
        self.progress = self.progress_message = None


@dataclass(slots=True)
class RunState:
    """A run at some position of its event log."""

    run_id: str = ""
    kind: str = "workflow"
    name: str = ""
    status: RunStatus = "pending"
    workflow_id: str | None = None
    definition: Mapping[str, Any] | None = None
    definition_hash: str | None = None
    code: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The code that was run: by tool name ``{hash, source, version}``."""
    context: Any = None
    context_types: list[Any] | None = None
    """The type notes of the context; None for plain JSON."""
    durability: str = "sync"
    directives: Mapping[str, Any] | None = None
    """How it was to be executed, where that was not as usual: a dry run, say."""
    user_id: str | None = None
    session_id: str | None = None
    casefile_id: str | None = None
    request_id: str | None = None
    parent_run_id: str | None = None
    parent_step_id: str | None = None
    forked_from: Mapping[str, Any] | None = None
    """For a fork: ``{run_id, from_step}``."""
    pid: int | None = None
    """The process that runs it, or ran it last."""
    host: str | None = None
    """The machine of that process."""
    born: str | None = None
    """Tells that process from a later one of the same number."""
    imported: Mapping[str, Any] | None = None
    """For a run of another store: the bundle it came in. None again once it was taken up here: until then its
    process is one of elsewhere, whatever its number."""
    resumed: int = 0
    """How many times it was taken up again."""
    started_us: int | None = None
    finished_us: int | None = None
    error: str | None = None
    position: int = 0
    """How many events have been folded in."""
    last_us: int | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    decisions: list[DecisionState] = field(default_factory=list)
    evidence: list[Event] = field(default_factory=list)

    def step(self, step_id: str) -> StepState:
        """The state of a step, created as pending when it is not there yet."""
        state = self.steps.get(step_id)
        if state is None:
            state = self.steps[step_id] = StepState(step_id)
        return state

    @property
    def open(self) -> bool:
        """Whether its end is not on record (any more, when it was taken up again)."""
        return self.status in ("running", "paused")

    def undoes(self, step: StepState) -> bool:
        """Whether a step is the compensation of another one."""
        undone = step.step_id.removeprefix("compensate:")
        return undone != step.step_id and undone in self.steps


def fold(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """Apply events (of one run, in order of ``seq``) to a state; a new one unless one is given."""
    state = RunState() if state is None else state
    for event in events:
        apply = _APPLY.get(event.kind)
        if apply is not None:
            apply(state, event)
        state.position += 1
        if event.kind != ev.RUN_IMPORTED:  # that is said of the record, long after the run
            state.last_us = event.ts
    return state


_FACTS = (
    "workflow_id",
    "definition",
    "definition_hash",
    "context",
    "directives",
    "user_id",
    "session_id",
    "casefile_id",
    "request_id",
    "parent_run_id",
    "parent_step_id",
    "forked_from",
    "pid",
    "host",
    "born",
)


def _run_started(state: RunState, event: Event) -> None:
    payload = event.payload
    state.run_id = event.run_id or ""
    state.kind = payload.get("kind", "workflow")
    state.name = payload.get("name", "")
    for fact in _FACTS:
        setattr(state, fact, payload.get(fact))
    state.context_types = payload.get("types")
    state.durability = payload.get("durability") or "sync"
    state.code = payload.get("code") or {}
    state.started_us = event.ts
    state.status = "running"
    _add_defined_steps(state)


def _add_defined_steps(state: RunState) -> None:
    for step in (state.definition or {}).get("steps", ()):
        known = state.step(step["step_id"])
        known.name = step.get("tool_name", "")
        known.node_type = step.get("node_type", "task")


def _run_finished(state: RunState, event: Event) -> None:
    state.status = event.payload["status"]
    state.error = event.payload.get("error")
    state.finished_us = event.ts


def _run_paused(state: RunState, event: Event) -> None:
    state.status = "paused"


def _run_resumed(state: RunState, event: Event) -> None:
    state.status = "running"
    if "pid" in event.payload:
        _taken_up(state, event.payload)


def _taken_up(state: RunState, payload: Mapping[str, Any]) -> None:
    """A run that was cut off, or had ended, goes on: perhaps in another process, perhaps with other code."""
    state.pid, state.host, state.born = payload["pid"], payload.get("host"), payload.get("born")
    state.code = payload.get("code") or state.code
    if payload.get("definition"):
        state.definition, state.definition_hash = payload["definition"], payload.get("definition_hash")
        _add_defined_steps(state)
    state.imported = None
    state.resumed += 1
    state.finished_us = state.error = None
    again, anew = frozenset(payload.get("again", ())), payload.get("anew", False)
    for step in state.steps.values():
        for attempt in step.attempts:
            if attempt.status == "running":
                attempt.status = "in_doubt"
        if step.top in again:
            step.begin_anew()
            step.child_run_id = None
        elif anew and (state.undoes(step) or not (step.status == "success" or step.passed_over)):
            step.begin_anew()
        elif step.status == "running":
            step.status = "pending"


def _run_imported(state: RunState, event: Event) -> None:
    state.imported = event.payload


def _step_scheduled(state: RunState, event: Event) -> None:
    payload = event.payload
    step = state.step(event.step_id or "")
    step.status = "running"
    step.scheduled_us, step.scheduled_seq = event.ts, event.seq
    step.name = payload.get("name", step.name)
    step.node_type = payload.get("node_type", step.node_type)
    step.parent = payload.get("parent")
    step.input = payload.get("input")
    step.input_types = payload.get("types")
    step.child_run_id = payload.get("child_run_id")
    step.forget_outcome()  # it may have run before, in an earlier life of the run


def _step_reused(state: RunState, event: Event) -> None:
    state.step(event.step_id or "").source = event.payload


def _step_finished(state: RunState, event: Event) -> None:
    payload = event.payload
    step = state.step(event.step_id or "")
    step.status = payload["status"]
    step.finished_us, step.finished_seq = event.ts, event.seq
    step.output = payload.get("output")
    step.output_types = payload.get("types")
    step.error = payload.get("error")
    step.error_type = payload.get("error_type")
    step.reason = payload.get("reason")
    step.name = payload.get("name", step.name)


def _attempt_started(state: RunState, event: Event) -> None:
    step = state.step(event.step_id or "")
    step.attempts.append(AttemptState(number=event.attempt or 1, started_us=event.ts))


def _attempt_finished(state: RunState, event: Event) -> None:
    payload = event.payload
    step = state.step(event.step_id or "")
    for attempt in reversed(step.attempts):
        if attempt.number == event.attempt:
            attempt.status = payload["status"]
            attempt.finished_us = event.ts
            attempt.error = payload.get("error")
            attempt.error_type = payload.get("error_type")
            attempt.where = tuple(payload.get("where") or ())
            attempt.abandoned = bool(payload.get("abandoned"))
            return


def _decision(state: RunState, event: Event) -> None:
    payload = event.payload
    state.decisions.append(
        DecisionState(
            event.seq,
            event.ts,
            event.step_id,
            event.attempt,
            payload["point"],
            payload["decision"],
            payload.get("rationale"),
            payload,
        )
    )
    made = state.decisions[-1]
    if made.step_id is not None and (made.point, made.decision, made.by_engine) == (
        "operator",
        "retry",
        True,
    ):
        state.step(made.step_id).forgive()


def _evidence(state: RunState, event: Event) -> None:
    state.evidence.append(event)


def _progress(state: RunState, event: Event) -> None:
    step = state.step(event.step_id or "")
    step.progress = event.payload.get("fraction")
    step.progress_message = event.payload.get("message")


_APPLY = {
    ev.RUN_STARTED: _run_started,
    ev.RUN_FINISHED: _run_finished,
    ev.RUN_PAUSED: _run_paused,
    ev.RUN_RESUMED: _run_resumed,
    ev.RUN_IMPORTED: _run_imported,
    ev.STEP_SCHEDULED: _step_scheduled,
    ev.STEP_FINISHED: _step_finished,
    ev.STEP_REUSED: _step_reused,
    ev.ATTEMPT_STARTED: _attempt_started,
    ev.ATTEMPT_FINISHED: _attempt_finished,
    ev.DECISION: _decision,
    ev.EVIDENCE: _evidence,
    ev.PROGRESS: _progress,
}
