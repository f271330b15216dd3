"""Writing down what happens: the engine's events, and the user's decisions and evidence."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any, NamedTuple, Protocol

from orchkit.engine.groupcommit import GroupCommit, group_commit
from orchkit.errors import UnknownNameError
from orchkit.ids import new_id
from orchkit.model import event as ev
from orchkit.model.request import Durability
from orchkit.model.state import RunState
from orchkit.model.tracecontext import trace_facts
from orchkit.reliability.classify import error_name, error_text, raised_at
from orchkit.store import codec
from orchkit.store.process import this_process
from orchkit.store.store import Store

EXIT_BUFFER = 10_000
"""With ``durability="exit"``: how many events are held in memory before some are written anyway."""


class Earlier(NamedTuple):
    """Attempts of a step in an earlier life of its run."""

    attempts: int
    forgiven: int = 0
    """How many of them do not count towards the limit of its retry policy."""


_NOTHING: Mapping[str, Earlier] = {}


class RunRecorder:
    """Appends the events of one run. Thread-safe where user code can reach it."""

    __slots__ = (
        "_append",
        "_commit",
        "_durable",
        "_numbers",
        "_once",
        "_store",
        "cancel_reason",
        "durability",
        "earlier",
        "run_id",
        "watch",
    )

    def __init__(self, store: Store, run_id: str, durability: Durability) -> None:
        self._store = store
        self._append = store.append
        self._durable = durability == "sync"
        self._commit: GroupCommit | None = None
        self._once: set[tuple[str, ...]] = set()
        self._numbers: dict[str, count[int]] = {}
        self.run_id = run_id
        self.durability: Durability = durability
        self.cancel_reason: str | None = None
        """Why the run is being cancelled, once it is."""
        self.earlier: Mapping[str, Earlier] = _NOTHING
        """By step id, what was tried before the run was taken up again."""
        self.watch: Callable[[str], None] | None = None
        """Told the point of each decision, in the thread that makes it."""

    @property
    def store(self) -> Store:
        """Where it writes."""
        return self._store

    def event(
        self, kind: str, payload: Mapping[str, Any], step_id: str | None = None, attempt: int | None = None
    ) -> None:
        """Append one event; the payload must be JSON-able (see `codec.pack`)."""
        if self.watch is not None and kind == ev.DECISION:
            self.watch(payload["point"])
        text = codec.dumps(payload)
        if len(text) <= codec.BLOB_BYTES:
            self._append_text(kind, text, step_id, attempt)
            return
        text, large = self._slimmed(payload)
        with self._store.together():
            self._put(large)
            self._append_text(kind, text, step_id, attempt)

    def _append_text(self, kind: str, text: str, step_id: str | None, attempt: int | None) -> None:
        self._append(kind, text, run_id=self.run_id, step_id=step_id, attempt=attempt, durable=self._durable)

    def _slimmed(self, payload: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """The payload with the hashes of its large values in their place, and those values."""
        slim, large = dict(payload), {}
        for key, value in payload.items():
            text = codec.dumps(value)
            if len(text) > codec.BLOB_BYTES:
                digest = codec.content_hash(text)
                large[digest] = text
                slim[key] = {"$blob": digest, "bytes": len(text)}
        return codec.dumps(slim), large

    def _put(self, large: Mapping[str, str]) -> None:
        for digest, text in large.items():
            self._store.put_blob(text, digest)

    async def barrier(self) -> None:
        """Return when everything appended so far is as durable as the run asks."""
        if self.durability == "exit":
            if self._store.log.pending > EXIT_BUFFER:
                self._store.commit()
            return
        if self._commit is None:  # not before: a recorder may be made off the loop
            self._commit = group_commit(self._store)
        await self._commit.barrier()

    def commit_soon(self, failed: Callable[[BaseException], object]) -> None:
        """Make it durable although nobody waits for that; ``failed`` is told if it cannot be done."""
        if self.durability == "exit":
            return

        def done(future: asyncio.Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                failed(error)

        group_commit(self._store).barrier().add_done_callback(done)

    def first_time(self, *key: str) -> bool:
        """Whether this is the first time in this run (for choices that are the same for every step)."""
        if key in self._once:
            return False
        self._once.add(key)
        return True

    def next_number(self, key: str) -> int:
        """1 the first time in this run, then 2, and so on; from any thread."""
        return next(self._numbers.setdefault(key, count(1)))

    def scope(self, step_id: str) -> StepScope:
        """Where a step that begins now records what happens to it."""
        earlier = self.earlier.get(step_id)
        if earlier is None:
            return StepScope(self, step_id)
        return StepScope(self, step_id, earlier.attempts, earlier.forgiven)

    # --- the run itself --------------------------------------------------------------------

    def run_started(self, payload: Mapping[str, Any]) -> None:
        """The run begins, in this process: ``kind``, ``name`` and the other facts of it."""
        parent = payload.get("parent_run_id")
        trace = trace_facts() if parent is None else {}
        with self._store.together():
            self.event(ev.RUN_STARTED, {**payload, **trace, **this_process().facts})
            self._store.open_runs.begin(self.run_id, payload["kind"], payload["name"], parent)

    def run_goes_on(self, payload: Mapping[str, Any]) -> None:
        """A run that was made ours (`OpenRuns.take_up`) goes on in this process."""
        self.event(ev.RUN_RESUMED, {**payload, **this_process().facts})

    def run_taken_up(self, state: RunState, payload: Mapping[str, Any]) -> None:
        """A run that was cut off, or had ended, goes on in this process, and in no other.

        On disk when it returns. Raises `RunInProgressError` when it goes on elsewhere, `UnknownNameError`
        when a sweep has removed it since it was read.
        """
        text, large = self._slimmed({**payload, **this_process().facts})
        self._put(large)
        event = (self._store.clock.now_us(), ev.RUN_RESUMED, self.run_id, None, None, text)
        self._store.open_runs.take_up(self.run_id, state.kind, state.name, state.parent_run_id, event)
        if state.parent_run_id is not None:
            return  # it is not removed as long as the one above it goes on
        # No sweep removes it from here on; one that had begun before is over when this is answered.
        if not self._store.query("SELECT 1 FROM run_start WHERE run_id = ? LIMIT 1", [self.run_id]):
            self._store.open_runs.end(self.run_id)
            self._store.commit()
            raise UnknownNameError("run", self.run_id)

    def run_finished(self, status: str, error: str | None, duration_us: int) -> None:
        """The run is over."""
        payload = {"status": status, "error": error, "duration_us": duration_us}
        with self._store.together():
            self.event(ev.RUN_FINISHED, payload)
            self._store.open_runs.end(self.run_id)

    # --- the engine's events ---------------------------------------------------------------

    def scheduled(self, step_id: str, name: str, node_type: str, params: Any, **more: Any) -> None:
        """A step is about to run with these parameters. Raises `CodecError` for unstorable ones."""
        packed = codec.pack(params, "input")
        payload = {"name": name, "node_type": node_type, "input": packed.value, **more}
        if packed.notes:
            payload["types"] = packed.notes
        self.event(ev.STEP_SCHEDULED, payload, step_id)

    def decided(self, step_id: str | None, attempt: int | None, **fields: Any) -> None:
        """Record a choice of the engine: ``point``, ``decision``, ``rationale``, ``input_data``."""
        self.event(ev.DECISION, {**fields, "origin": "engine"}, step_id, attempt)


class TraceScope(Protocol):
    """Where the decisions, the evidence and the progress of the running code go."""

    step_id: str | None
    attempt: int | None

    def trace(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Take one of them; the payload is JSON-able. Called from any thread."""
        ...


class StepScope:
    """One step of one run, as code inside it sees it; also the `CallRecord` of its pipeline."""

    __slots__ = ("attempt", "forgiven", "recorder", "step_id")

    def __init__(
        self, recorder: RunRecorder, step_id: str | None, attempt: int | None = None, forgiven: int = 0
    ) -> None:
        self.recorder = recorder
        self.step_id = step_id
        self.attempt = attempt
        """The number of the attempt that runs or ran last; at first, of the last one before a crash."""
        self.forgiven = forgiven
        """How many attempts before a crash do not count towards the limit of its retry policy."""

    def trace(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Put on the record what code inside the step says; see `TraceScope`."""
        self.recorder.event(kind, payload, self.step_id, self.attempt)

    @property
    def subject(self) -> tuple[str | None, str | None]:
        """The run and the step."""
        return self.recorder.run_id, self.step_id

    async def attempt_started(self, attempt: int) -> None:
        """Record the start of an attempt, durably: after a crash the record says what was in doubt."""
        self.attempt = attempt
        recorder = self.recorder
        # An own scope for each attempt: what an abandoned one says later is not said by the next one.
        current_scope.set(StepScope(recorder, self.step_id, attempt))
        recorder.event(ev.ATTEMPT_STARTED, _EMPTY, self.step_id, attempt)
        await recorder.barrier()

    def attempt_finished(
        self,
        attempt: int,
        status: str,
        duration_s: float,
        error: BaseException | None = None,
        *,
        abandoned: bool = False,
        injected: bool = False,
    ) -> None:
        """Record the end of an attempt."""
        duration_us = int(duration_s * 1e6)
        payload: dict[str, Any] = {
            "status": status,
            "started_us": self.recorder.store.clock.now_us() - duration_us,
            "duration_us": duration_us,
        }
        if error is not None:
            payload["error"] = error_text(error)
            payload["error_type"] = error_name(error)
            if where := raised_at(error):
                payload["where"] = where
        if abandoned:
            payload["abandoned"] = True
        if injected:
            payload["injected"] = True
        self.recorder.event(ev.ATTEMPT_FINISHED, payload, self.step_id, attempt)

    async def written(self) -> None:
        """Return when what was recorded is as durable as the run asks."""
        await self.recorder.barrier()

    def decided(self, point: str, decision: str, rationale: str, inputs: Mapping[str, Any]) -> None:
        """Record a choice that the engine or a policy made about this step."""
        self.recorder.decided(
            self.step_id, self.attempt, point=point, decision=decision, rationale=rationale, input_data=inputs
        )


_EMPTY: Mapping[str, Any] = {}
current_scope: ContextVar[TraceScope | None] = ContextVar("orchkit_step", default=None)
"""The step that the running code belongs to; carried into worker threads and tasks."""


# --- what user code calls ------------------------------------------------------------------


def trace_decision(  # noqa: PLR0913 - the parts of a decision, all but two by keyword
    point: str,
    decision: str,
    rationale: str | None = None,
    *,
    alternatives: Sequence[Any] | None = None,
    input_data: Any = None,
    output_data: Any = None,
    duration_ms: float | None = None,
    evidence: Sequence[str] | str | None = None,
) -> None:
    """Put a choice on the record of the step that is running.

    Outside a run nothing is recorded, so that functions can be called on their own; a test of one sees with
    `orchkit.testing.capture` what it traces.

    Args:
        point: What had to be decided, such as ``"choose_carrier"``.
        decision: What was chosen.
        rationale: Why.
        alternatives: What else could have been chosen.
        input_data: What the choice was based on; any storable value.
        output_data: What came of it; any storable value.
        duration_ms: How long deciding took, in milliseconds.
        evidence: Ids returned by `bundle_evidence` that support it.

    Raises:
        CodecError: A value cannot be stored; the error names its path.
    """
    scope = current_scope.get()
    if scope is None:
        return
    payload: dict[str, Any] = {"point": str(point), "decision": _outcome(decision), "origin": "user"}
    if rationale is not None:
        payload["rationale"] = str(rationale)
    if duration_ms is not None:
        payload["duration_ms"] = float(duration_ms)
    if evidence is not None:
        payload["evidence"] = [evidence] if isinstance(evidence, str) else list(evidence)
    _add_packed(payload, {"alternatives": alternatives, "input_data": input_data, "output_data": output_data})
    scope.trace(ev.DECISION, payload)


def bundle_evidence(
    type: str,
    data: Any,
    *,
    source: str | None = None,
    confidence_score: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """Put data that supports decisions on the record; returns its id (``evd_…``).

    Args:
        type: What it is, such as ``"document_text"``.
        data: The data; any storable value. Its SHA-256 is recorded with it.
        source: Where it comes from, such as ``"Document:42"``.
        confidence_score: From 0 (none) to 1 (certain).
        metadata: More about it.

    Raises:
        ValueError: ``confidence_score`` is not within [0, 1].
        CodecError: The data cannot be stored; the error names its path.
    """
    if confidence_score is not None and not 0 <= confidence_score <= 1:
        raise ValueError(f"confidence_score must be within [0, 1], not {confidence_score!r}")
    evidence_id = new_id("evd")
    scope = current_scope.get()
    if scope is None:
        return evidence_id
    packed = codec.pack(data, "data")
    payload: dict[str, Any] = {
        "evidence_id": evidence_id,
        "type": str(type),
        "data": packed.value,
        "hash": codec.content_hash(codec.dumps(packed.value)),
    }
    if packed.notes:
        payload["types"] = packed.notes
    if source is not None:
        payload["source"] = str(source)
    if confidence_score is not None:
        payload["confidence_score"] = float(confidence_score)
    if metadata is not None:
        payload["metadata"] = codec.pack(dict(metadata), "metadata").value
    scope.trace(ev.EVIDENCE, payload)
    return evidence_id


def report_progress(fraction: float | None = None, message: str | None = None) -> None:
    """Say how far the running step is: a fraction from 0 to 1, a message, or both.

    Raises:
        ValueError: ``fraction`` is not within [0, 1].
    """
    if fraction is not None and (math.isnan(fraction) or not 0 <= fraction <= 1):
        raise ValueError(f"fraction must be within [0, 1], not {fraction!r}")
    scope = current_scope.get()
    if scope is not None:
        payload = {"fraction": fraction, "message": message}
        scope.trace(ev.PROGRESS, payload)


def _outcome(decision: Any) -> str:
    return decision if isinstance(decision, str) else str(decision)


def _add_packed(payload: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is not None:
            payload[name] = codec.pack(value, name).value
