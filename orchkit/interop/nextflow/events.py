"""The tasks of a trace as the events of a run, at the times at which they happened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchkit.interop.nextflow.tasks import Span, Task, Try
from orchkit.interop.nextflow.trace import Trace, TraceRow
from orchkit.model import event as ev
from orchkit.store import codec
from orchkit.store.log import Row

FORMAT = "nextflow"
EVIDENCE_TYPE = "nextflow.task"
"""The type of the evidence that holds what a line of the trace says."""
NO_EXIT_CODE = "no exit code"
"""The error type of tasks that failed without one: killed by the executor, say, or out of time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNALS: Mapping[int, str] = {
    1: "SIGHUP",
    2: "SIGINT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL, as when memory runs out",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
    24: "SIGXCPU",
}
"""Of Linux, where tasks run; a shell gives 128 and the signal's number as exit code."""
_PARTS: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("duration", "realtime", "time"), ("_s", 1e-6)),
    **dict.fromkeys(("rss", "vmem", "peak_rss", "peak_vmem", "memory", "disk"), ("_bytes", 1)),
    **dict.fromkeys(("rchar", "wchar", "read_bytes", "write_bytes"), ("_bytes", 1)),
}


@dataclass(frozen=True, slots=True)
class _Moment:
    """An event before its run is known."""

    ts: int
    kind: str
    step_id: str
    payload: Mapping[str, Any]
    attempt: int | None = None


def events_of(trace: Trace, tasks: Sequence[Task], span: Span, run_id: str, name: str) -> list[Row]:
    """All events of the run, in order of time and, at the same time, of what must come first."""
    began = {"kind": "workflow", "name": name, "imported": origin_of(trace)}
    moments = [moment for task in tasks for moment in _moments(task, span, trace, run_id)]
    # The moments of one task are in order already, and the sort keeps it.
    moments.sort(key=lambda moment: moment.ts)
    return [
        (span.begin, ev.RUN_STARTED, run_id, None, None, codec.dumps(began)),
        *((one.ts, one.kind, run_id, one.step_id, one.attempt, codec.dumps(one.payload)) for one in moments),
        (span.end, ev.RUN_FINISHED, run_id, None, None, codec.dumps(_run_end(tasks, span))),
    ]


def origin_of(trace: Trace) -> dict[str, str]:
    """Where the run comes from."""
    return {"format": FORMAT, "file": trace.path.name, "hash": trace.hash}


# --- the run -------------------------------------------------------------------------------


def _run_end(tasks: Sequence[Task], span: Span) -> dict[str, Any]:
    failed = [task for task in tasks if task.outcome == "failed"]
    error = None
    if failed:
        first = min(failed, key=lambda task: task.tries[-1].end)
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        error = f"step {first.step_id!r} failed: {_error(first.tries[-1].row)[1]}{others}"
    return {"status": _run_status(tasks), "error": error, "duration_us": span.end - span.begin}


def _run_status(tasks: Sequence[Task]) -> str:
    """What the tasks say about the run, of which the trace itself says nothing.

    A failed task that did not stop the others was ignored: then the run is ``partial``.
    """
    outcomes = {task.outcome for task in tasks}
    if outcomes == {"success"}:
        return "success"
    if "failed" not in outcomes:
        return "cancelled"
    actions = {task.tries[-1].row.error_action for task in tasks if task.outcome == "failed"}
    stopped = "cancelled" in outcomes or not actions.isdisjoint(("TERMINATE", "FINISH"))
    return "failed" if stopped or "success" not in outcomes else "partial"


# --- a task --------------------------------------------------------------------------------


def _moments(task: Task, span: Span, trace: Trace, run_id: str) -> Iterator[_Moment]:
    begin = task.tries[0].begin if task.tries else span.begin
    end = task.tries[-1].end if task.tries else begin
    row, step_id = task.row, task.step_id
    scheduled = {
        "name": row.process,
        "node_type": "task",
        "input": {} if row.tag is None else {"tag": row.tag},
    }
    yield _Moment(begin, ev.STEP_SCHEDULED, step_id, scheduled)
    if not task.tries:
        yield _evidence(trace, row, begin, step_id, run_id, None)
    for one in task.tries:
        yield _Moment(one.begin, ev.ATTEMPT_STARTED, step_id, {}, one.number)
        yield _evidence(trace, one.row, one.end, step_id, run_id, one.number)
        yield _Moment(one.end, ev.ATTEMPT_FINISHED, step_id, _attempt_end(one), one.number)
        yield from _choice(one, step_id)
    yield _Moment(end, ev.STEP_FINISHED, step_id, _step_end(task, begin))


def _attempt_end(one: Try) -> dict[str, Any]:
    row = one.row
    payload: dict[str, Any] = {"status": one.outcome, "started_us": one.begin}
    if not one.timeless:
        # What the trace says, rather than what is left of it when the next try began a little earlier.
        payload["duration_us"] = one.end - one.begin if row.duration is None else row.duration
    if one.outcome == "failed":
        payload["error_type"], payload["error"] = _error(row)
    if row.exit is not None:
        payload["exit"] = row.exit
    return payload


def _step_end(task: Task, begin: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "status": task.outcome,
        "name": task.row.process,
        "node_type": "task",
        "started_us": begin,
        "attempts": task.tries[-1].number if task.tries else 0,
    }
    if task.outcome == "failed":
        payload["error_type"], payload["error"] = _error(task.tries[-1].row)
    if reason := _reason(task):
        payload["reason"] = reason
    return payload


def _reason(task: Task) -> str | None:
    """Why it was not run to an end."""
    if task.cached:
        return "cached: its result was taken over from an earlier execution"
    if task.outcome != "cancelled":
        return None
    status = task.tries[-1].row.status if task.tries else task.row.status
    return "aborted" if status == "ABORTED" else f"still {status} when the workflow ended"


def _error(row: TraceRow) -> tuple[str, str]:
    """Type and text of the error of a failed try."""
    if row.exit is None:
        return NO_EXIT_CODE, "failed without an exit code"
    signal = _SIGNALS.get(row.exit - 128)
    kind = f"exit {row.exit}"
    return kind, f"{kind} (killed by {signal})" if signal else kind


def _choice(one: Try, step_id: str) -> Iterable[_Moment]:
    """What Nextflow chose to do about a failure, where the trace has the column."""
    action = one.row.error_action
    if one.outcome != "failed" or action is None:
        return
    payload = {
        "point": "retry",
        "decision": "retry" if action == "RETRY" else "give_up",
        "rationale": f"the error strategy of Nextflow: {action}",
        "input_data": {"attempt": one.number, "error": _error(one.row)[1]},
        "origin": FORMAT,
    }
    yield _Moment(one.end, ev.DECISION, step_id, payload, one.number)


# --- what the line says --------------------------------------------------------------------


def _evidence(
    trace: Trace, row: TraceRow, ts: int, step_id: str, run_id: str, attempt: int | None
) -> _Moment:
    data = dict(_fact(column, value) for column, value in row.cells.items())
    payload = {
        # The same for the same line, so that loading a file again makes the same record.
        "evidence_id": f"evd_{hashlib.sha256(f'{run_id}:{row.line}'.encode()).hexdigest()[:32]}",
        "type": EVIDENCE_TYPE,
        "data": data,
        "hash": codec.content_hash(codec.dumps(data)),
        "source": f"{trace.path.name}, line {row.line}",
    }
    return _Moment(ts, ev.EVIDENCE, step_id, payload, attempt)


def _fact(column: str, value: Any) -> tuple[str, Any]:
    """A cell under a name that says its unit: ``peak_rss_bytes``, ``realtime_s``, ``cpu_percent``."""
    if column in ("submit", "start", "complete"):
        return column, (_EPOCH + timedelta(microseconds=value)).isoformat()
    if column.startswith("%"):
        return f"{column[1:]}_percent", value
    if column not in _PARTS:
        return column, value
    suffix, factor = _PARTS[column]
    return column if column.endswith(suffix) else column + suffix, value * factor
