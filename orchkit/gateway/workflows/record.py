"""What the record says of runs, as the API tells it. All of it may wait for the file: call it in a thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from orchkit.analysis.captions import caption
from orchkit.analysis.liveness import CUT_OFF, given_up, is_run_cut_off, process_of, standing
from orchkit.errors import UnknownNameError
from orchkit.gateway.workflows import cursor
from orchkit.gateway.workflows.shapes import RunKind
from orchkit.model.event import Event
from orchkit.model.state import RunState, StepState, fold
from orchkit.store.log import StoredRow
from orchkit.store.process import this_process
from orchkit.store.store import Store

_COLUMNS = (
    "run_id",
    "kind",
    "name",
    "status",
    "workflow_id",
    "user_id",
    "request_id",
    "started_at",
    "finished_at",
    "duration_ms",
    "error",
)
_PROCESS = ("pid", "host", "born", "imported")
_READ = f"SELECT {', '.join(_COLUMNS + _PROCESS)}, epoch_us(started_at) FROM runs"  # noqa: S608 - names of ours
_EVENTS = (
    "SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event "
    "WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
)
_LAST = "SELECT coalesce(max(seq), 0) FROM event WHERE run_id = $1"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which runs are listed."""

    kind: RunKind = "workflow"
    status: tuple[str, ...] = ()
    name: str | None = None
    since: datetime | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The same for a cursor."""
        since = None if self.since is None else self.since.astimezone(UTC)
        return {"kind": self.kind, "status": sorted(self.status), "name": self.name, "since": since}


class Standing(NamedTuple):
    """How a run stands, as far as somebody who follows it has to know."""

    status: str
    cut_off: bool
    ours: bool
    """Whether it goes on in this process, so that its commits are told of here."""

    @property
    def over(self) -> bool:
        """Whether nothing comes any more."""
        return self.cut_off or self.status not in ("running", "paused")


class RunRecords:
    """Reads runs from a store."""

    def __init__(self, store: Store, *, most_lines: int) -> None:
        self._store, self._most_lines = store, most_lines

    def page(self, filters: Filters, after: str | None, limit: int) -> dict[str, Any]:
        """A page of the list, the newest first, as `RunPage`. Runs of sub-workflows are not in it."""
        wheres, params = _conditions(filters)
        if after is not None:
            place = cursor.read(after, filters.facts)
            wheres.append("(epoch_us(started_at), run_id) < (?, ?)")
            params += place
        query = f"{_READ} WHERE {' AND '.join(wheres)} ORDER BY started_at DESC, run_id DESC LIMIT ?"
        rows = self._store.query(query, [*params, limit + 1])
        shown = rows[:limit]
        more = len(rows) > limit
        last = cursor.Place(int(shown[-1][-1]), str(shown[-1][0])) if more else None
        next_cursor = None if last is None else cursor.written(last, filters.facts)
        return {"runs": self._entries(shown), "next_cursor": next_cursor}

    def _entries(self, rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
        left_alone = (
            given_up(self._store.open_runs) if any(row[3] in ("running", "paused") for row in rows) else ()
        )
        found = []
        for row in rows:
            facts = dict(zip(_COLUMNS + _PROCESS, row, strict=False))
            cut_off = standing(facts, left_alone) == CUT_OFF
            found.append({name: facts[name] for name in _COLUMNS} | {"cut_off": cut_off})
        return found

    def standing(self, run_id: str) -> Standing:
        """How it stands; a single look-up. Raises `UnknownNameError`."""
        rows = self._store.query(f"SELECT status, {', '.join(_PROCESS)} FROM runs WHERE run_id = ?", [run_id])  # noqa: S608
        if not rows:
            raise UnknownNameError("run", run_id)
        facts = dict(zip(("status", *_PROCESS), rows[0], strict=True)) | {"run_id": run_id}
        cut_off = standing(facts, given_up(self._store.open_runs)) == CUT_OFF
        ours = process_of(facts["pid"], facts["host"], facts["born"]) == this_process()
        return Standing(facts["status"], cut_off, ours and not facts["imported"])

    def status(self, run_id: str) -> dict[str, Any]:
        """How it stands, with its steps counted, as `RunStanding`. Raises `UnknownNameError`."""
        found, state = self.standing(run_id), self._state(run_id)
        return {
            "run_id": run_id,
            "status": state.status,
            "cut_off": found.cut_off,
            "steps": dict(Counter(step.status for step in state.steps.values())),
            "last_event": int(self._store.query(_LAST, [run_id])[0][0]),
        }

    def details(self, run_id: str) -> dict[str, Any]:
        """The run with its definition and steps, as `RunDetails`. Raises `UnknownNameError`."""
        state = self._state(run_id)
        left_alone = given_up(self._store.open_runs) if state.open else ()
        found = {name: getattr(state, name, None) for name in _COLUMNS}
        found |= {
            "cut_off": is_run_cut_off(state, left_alone),
            **_times(state.started_us, state.finished_us, "finished_at"),
            "definition": state.definition,
            "context": state.context,
            "steps": [_step(step) for step in state.steps.values()],
        }
        more = ("session_id", "casefile_id", "parent_run_id", "parent_step_id")
        return found | {name: getattr(state, name) for name in more}

    def result(self, run_id: str) -> dict[str, Any]:
        """What came of it so far, and what happened in words, as `WorkflowResponsePayload`.

        Raises `UnknownNameError`.
        """
        events = self._events(run_id)
        state, log = RunState(), []
        for event in events:
            fold((event,), state)
            log.append(f"{_moment(event.ts)} {caption(event, state)}")
        outcome = {
            "run_id": run_id,
            "workflow_id": state.workflow_id,
            "name": state.name,
            "status": state.status,
            "steps": {step.step_id: _outcome(step) for step in state.steps.values()},
            **_times(state.started_us, state.finished_us),
            "error": state.error,
        }
        return {"result": outcome, "execution_log": log[-self._most_lines :]}

    def look(self, run_id: str, seq: int, limit: int) -> tuple[Standing, list[StoredRow]]:
        """How it stands, and its events after a place in the order, so many at most.

        Of a run that is over, when there are fewer, these are the last. Raises `UnknownNameError`.
        """
        # In this order: what ends in between is looked at once more.
        found = self.standing(run_id)
        return found, self._store.query(_EVENTS, [run_id, seq, limit])

    def _events(self, run_id: str) -> list[Event]:
        events = self._store.events(run_id)
        if not events:
            raise UnknownNameError("run", run_id)
        return events

    def _state(self, run_id: str) -> RunState:
        return fold(self._events(run_id))


def _conditions(filters: Filters) -> tuple[list[str], list[Any]]:
    wheres, params = ["parent_run_id IS NULL"], list[Any]()
    if filters.kind != "all":
        wheres.append("kind = ?")
        params.append(filters.kind)
    if filters.status:
        wheres.append("list_contains(?::VARCHAR[], status)")
        params.append(list(filters.status))
    if filters.name is not None:
        wheres.append("name = ?")
        params.append(filters.name)
    if filters.since is not None:
        wheres.append("epoch_us(started_at) >= ?")
        params.append(int(filters.since.timestamp() * 1_000_000))
    return wheres, params


def _step(step: StepState) -> dict[str, Any]:
    return {
        "step_id": step.step_id,
        "tool_name": step.name,
        "status": step.status,
        "attempts": max((attempt.number for attempt in step.attempts), default=0),
        "progress": step.progress,
        "message": step.progress_message,
        "run_id": step.child_run_id,
    }


def _outcome(step: StepState) -> dict[str, Any]:
    return {
        "step_id": step.step_id,
        "status": step.status,
        "output": step.output,
        "error": step.error,
        "reason": step.reason,
        "attempts": max((attempt.number for attempt in step.attempts), default=0),
        **_times(step.scheduled_us, step.finished_us),
    }


def _times(started_us: int | None, finished_us: int | None, ended: str = "completed_at") -> dict[str, Any]:
    took = None if started_us is None or finished_us is None else max(0, finished_us - started_us) / 1000
    return {"started_at": _moment(started_us), ended: _moment(finished_us), "duration_ms": took}


def _moment(us: int | None) -> str | None:
    if us is None:
        return None
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
