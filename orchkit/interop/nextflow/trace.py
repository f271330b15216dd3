"""A Nextflow trace file, read and checked: a `TraceRow` per line."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from orchkit.errors import Problem, WorkflowValidationError
from orchkit.interop.nextflow import units

DONE = ("COMPLETED", "FAILED")
"""Statuses of tasks that ran to an end."""
CACHED = "CACHED"
"""The status of tasks whose result was taken over from an earlier execution."""
UNDONE = ("ABORTED", "RUNNING", "SUBMITTED", "PENDING", "NEW")
"""Statuses of tasks that the end of the workflow found on their way."""

Cell = Callable[[str], Any]

_MOST_PROBLEMS = 20
_STATUSES = (*DONE, CACHED, *UNDONE)
_TIMES = ("submit", "start", "complete")
_SPANS = ("duration", "realtime", "time")
_SIZES = (
    "rss",
    "vmem",
    "peak_rss",
    "peak_vmem",
    "rchar",
    "wchar",
    "read_bytes",
    "write_bytes",
    "memory",
    "disk",
)
_COUNTS = ("syscr", "syscw", "vol_ctxt", "inv_ctxt", "attempt")
_READERS: Mapping[str, Cell] = {
    **dict.fromkeys(_SPANS, units.span),
    **dict.fromkeys(_SIZES, units.size),
    **dict.fromkeys(_COUNTS, units.whole),
    "%cpu": units.percent,
    "%mem": units.percent,
    "cpus": units.decimal,
    "exit": units.exit_code,
}
_TELLING = frozenset({*_TIMES, *_READERS, "task_id", "hash", "native_id", "name", "process", "tag", "status"})
"""Columns by which a trace is known."""
_MULTILINE = ("script", "env")
_FIELDS = "the setting trace.fields chooses the columns"


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One try of a task. Times are microseconds since the epoch, spans microseconds; None where unknown."""

    line: int
    name: str
    process: str
    tag: str | None
    status: str
    exit: int | None
    attempt: int | None
    error_action: str | None
    submit: int | None
    start: int | None
    complete: int | None
    duration: int | None
    realtime: int | None
    cells: Mapping[str, Any]
    """Every column that holds something, by its name in the trace, read as what it is."""

    @property
    def begin(self) -> int | None:
        """When it was handed to the executor, as far as the trace tells."""
        if self.submit is not None:
            return self.submit
        if self.complete is not None and self.duration is not None:
            return self.complete - self.duration
        if self.start is not None or self.complete is None or self.realtime is None:
            return self.start
        return self.complete - self.realtime

    @property
    def end(self) -> int | None:
        """When it was over, as far as the trace tells."""
        if self.complete is not None:
            return self.complete
        if self.submit is not None and self.duration is not None:
            return self.submit + self.duration
        began = self.submit if self.start is None else self.start
        return None if began is None or self.realtime is None else began + self.realtime


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as it was read."""

    path: Path
    hash: str
    """SHA-256 of the file, hexadecimal."""
    rows: Sequence[TraceRow]


def read(path: Path, *, zone: tzinfo = UTC, layout: str | None = None) -> Trace:
    """Read a trace.

    Raises `WorkflowValidationError` with all problems, each with its line and column; `OSError` when the
    file cannot be opened.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refused(
            path, [Problem(f"line {line}", "is not UTF-8 text", "a trace is a text file")]
        ) from None
    # Not splitlines(): it would also split at separators that a task's name may contain.
    lines = text.replace("\r\n", "\n").split("\n")
    columns = _header(path, lines[0])
    readers = {**_READERS, **dict.fromkeys(_TIMES, units.time_reader(zone, layout))}
    problems: list[Problem] = []
    rows = [
        row
        for number, line in enumerate(lines[1:], start=2)
        if line.strip() and (row := _row(number, line, columns, readers, problems)) is not None
    ]
    if not rows and not problems:
        problems.append(Problem("the file", "has a header line and no tasks"))
    if problems:
        raise refused(path, problems)
    return Trace(path, hashlib.sha256(data).hexdigest(), rows)


def refused(path: Path, problems: Sequence[Problem]) -> WorkflowValidationError:
    """The error that names the file and what is wrong in it, the first of too many."""
    shown = list(problems[:_MOST_PROBLEMS])
    if hidden := len(problems) - len(shown):
        shown.append(Problem("the file", f"has {hidden} more problems"))
    return WorkflowValidationError(str(path), shown)


# --- the header ----------------------------------------------------------------------------


def _header(path: Path, line: str) -> list[str]:
    columns = [column.strip() for column in line.split("\t")]
    problems = list(_header_problems(columns))
    if problems:
        raise refused(path, problems)
    return columns


def _header_problems(columns: Sequence[str]) -> Iterator[Problem]:
    if _TELLING.isdisjoint(columns):
        hint = "its first line names columns such as task_id, name and status, with tabs between them"
        yield Problem("line 1", "is not the header of a Nextflow trace", hint)
        return
    for column, count in Counter(columns).items():
        if count > 1:
            yield Problem("line 1", f"names column {column!r} {count} times")
        if column in _MULTILINE:
            cause = "cannot be read, because its values may go over several lines"
            yield Problem(f"line 1, column {column!r}", cause, f"leave it out: {_FIELDS}")
    if "status" not in columns:
        yield Problem("line 1", "has no column 'status'", _FIELDS)
    if "name" not in columns and "process" not in columns:
        yield Problem("line 1", "has neither column 'name' nor 'process'", _FIELDS)
    if not set(_TIMES) & set(columns):
        yield Problem("line 1", "has no column of times: 'submit', 'start' or 'complete'", _FIELDS)


# --- the rows ------------------------------------------------------------------------------


def _row(
    number: int,
    line: str,
    columns: Sequence[str],
    readers: Mapping[str, Cell],
    problems: list[Problem],
) -> TraceRow | None:
    """The row of a line; what is wrong with it is added to the problems."""
    texts = [text.strip() for text in line.split("\t")]
    if len(texts) != len(columns):
        cause = f"has {len(texts)} cells under {len(columns)} columns"
        problems.append(Problem(f"line {number}", cause, "there is one tab between two cells"))
        return None
    cells: dict[str, Any] = {}
    before = len(problems)
    for column, text in zip(columns, texts, strict=True):
        if text in units.NOTHING:
            continue
        try:
            cells[column] = readers[column](text) if column in readers else text
        except (ValueError, OverflowError) as error:
            problems.append(Problem(f"line {number}, column {column!r}", f"{text!r} {error}"))
    problems.extend(_missing(number, cells))
    return _made(number, cells) if len(problems) == before else None


def _missing(number: int, cells: Mapping[str, Any]) -> Iterator[Problem]:
    status = cells.get("status")
    if status is None or status.upper() not in _STATUSES:
        cause = "is empty" if status is None else f"{status!r} is no status of a task"
        yield Problem(f"line {number}, column 'status'", cause, f"these are: {', '.join(_STATUSES)}")
    if "name" not in cells and "process" not in cells:
        yield Problem(f"line {number}, column 'name'", "is empty")


def _made(number: int, cells: dict[str, Any]) -> TraceRow:
    process, tag = cells.get("process"), cells.get("tag")
    name: str = cells.get("name") or (f"{process} ({tag})" if tag else str(process))
    # Nextflow names a task after its process, with the tag, or else a number, in brackets.
    head, found, rest = name.partition(" (")
    if found and rest.endswith(")"):
        process, tag = process or head, tag or rest[:-1]
    return TraceRow(
        line=number,
        name=name,
        process=process or name,
        tag=tag,
        status=cells["status"].upper(),
        exit=cells.get("exit"),
        attempt=cells.get("attempt"),
        error_action=cells.get("error_action"),
        **{column: cells.get(column) for column in (*_TIMES, "duration", "realtime")},
        cells={column: value for column, value in cells.items() if value is not None},
    )
