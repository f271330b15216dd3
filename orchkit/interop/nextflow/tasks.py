"""Which lines of a trace are tries of the same task, and how the task ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchkit.interop.nextflow.trace import CACHED, UNDONE, TraceRow

Outcome = Literal["success", "failed", "cancelled"]

ROUNDING_US = 1_000_000
"""Nextflow writes spans of a minute and more in whole seconds, so that an end that is worked out from one
may seem to be later than the submission that followed it."""


@dataclass(slots=True)
class Try:
    """One line as an attempt: from its submission to its end."""

    row: TraceRow
    number: int
    begin: int
    end: int
    timeless: bool
    """Whether the trace does not say how long it took; without any time it is put where its line stands."""

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if self.row.status == "FAILED":
            return "failed"
        return "cancelled" if self.row.status in UNDONE else "success"


@dataclass(slots=True)
class Task:
    """One task with its tries, in order; a cached one has none."""

    step_id: str
    row: TraceRow
    """Its first line."""
    tries: list[Try] = field(default_factory=list)

    @property
    def cached(self) -> bool:
        """Whether its result was taken over from an earlier execution."""
        return self.row.status == CACHED

    @property
    def outcome(self) -> Outcome:
        """How its last try ended; a task that was taken over or never submitted has none."""
        if self.tries:
            return self.tries[-1].outcome
        return "success" if self.cached else "cancelled"


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a workflow ran, in microseconds since the epoch."""

    begin: int
    end: int


def span_of(rows: Iterable[TraceRow]) -> Span | None:
    """When the tasks of this execution ran; None when no line says so.

    The times of a cached task are those of the execution that it was taken from: they only say when this
    one cannot have begun yet.
    """
    rows = list(rows)
    known = [
        time for row in rows if row.status != CACHED for time in (row.begin, row.end) if time is not None
    ]
    if known:
        return Span(min(known), max(known))
    before = [time for row in rows for time in (row.end, row.begin) if time is not None]
    return Span(max(before), max(before)) if before else None


def tasks_of(rows: Sequence[TraceRow], span: Span) -> list[Task]:
    """The tasks of a trace, those that began first in front.

    A retried task has a line per try, each with the same name. Tasks that are different may have the same
    name, too, where their tags do. So a line continues a task of its name whose last try failed, was over
    by then and, as far as the trace has columns that tell (``attempt``, ``error_action``), was to be
    followed by this one; of several such tasks the one that failed last. Else it is another task.
    """
    tries = [_try(row, span, latest) for row, latest in zip(rows, _latest_ends(rows, span), strict=True)]
    tries.sort(key=lambda one: (one.begin, one.row.attempt or 0, one.row.line))
    by_name: dict[str, list[Task]] = {}
    tasks: list[Task] = []
    for one in tries:
        same_name = by_name.setdefault(one.row.name, [])
        task = _continued(same_name, one)
        if task is None:
            task = Task(one.row.name, one.row)
            same_name.append(task)
            tasks.append(task)
        if one.row.status not in (CACHED, "NEW"):
            _add(task, one)
    _name_apart(tasks, by_name)
    return tasks


def _latest_ends(rows: Sequence[TraceRow], span: Span) -> list[int]:
    """For each line the latest end in the lines above: lines are written as tasks end."""
    latest, found = span.begin, []
    for row in rows:
        if row.status != CACHED and row.end is not None:
            latest = max(latest, row.end)
        found.append(latest)
    return found


def _try(row: TraceRow, span: Span, latest: int) -> Try:
    if row.status == CACHED:
        return Try(row, 1, span.begin, span.begin, False)
    begin, end = row.begin, row.end
    if end is None and row.status in UNDONE:
        end = span.end
    if begin is None and end is None:
        return Try(row, 1, latest, latest, True)
    begin = end if begin is None else begin
    assert begin is not None
    return Try(row, 1, begin, begin if end is None else max(begin, end), end is None)


def _continued(tasks: Iterable[Task], one: Try) -> Task | None:
    """The task that this is the next try of."""
    fitting = [task for task in tasks if _follows(task, one)]
    return max(fitting, key=lambda task: task.tries[-1].end, default=None)


def _follows(task: Task, one: Try) -> bool:
    if not task.tries or one.row.status == CACHED:
        return False
    last = task.tries[-1]
    if last.outcome != "failed" or last.end > one.begin + ROUNDING_US:
        return False
    if last.row.error_action not in (None, "RETRY"):
        return False
    return one.row.attempt is None or one.row.attempt > last.number


def _add(task: Task, one: Try) -> None:
    if task.tries:
        last = task.tries[-1]
        last.end = max(last.begin, min(last.end, one.begin))
        # A try that began within the rounding before the end of one that took no time at all.
        one.begin = max(one.begin, last.end)
        one.end = max(one.end, one.begin)
        one.number = last.number + 1
    one.number = max(one.number, one.row.attempt or 1)
    task.tries.append(one)


def _name_apart(tasks: Iterable[Task], by_name: Mapping[str, Sequence[Task]]) -> None:
    """Make step ids of names: the second task of a name gets ``_2``, and so on."""
    counts: dict[str, int] = {}
    for task in tasks:
        number = counts.get(task.step_id, 0) + 1
        while number > 1 and f"{task.step_id}_{number}" in by_name:
            number += 1
        counts[task.step_id] = number
        if number > 1:
            task.step_id = f"{task.row.name}_{number}"
