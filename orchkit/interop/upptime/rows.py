"""A table of Upptime's commits, read and checked: a `CheckRow` per line."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from orchkit.errors import ParameterError, Problem

State = Literal["healthy", "degraded", "unhealthy", "maintenance"] | None
"""As it is recorded; None: nobody looked."""

STATES: Mapping[str, State] = {
    "up": "healthy",
    "degraded": "degraded",
    "down": "unhealthy",
    "maintenance": "maintenance",
    "unknown": None,
    "🟩": "healthy",
    "🟨": "degraded",
    "🟥": "unhealthy",
}
"""The states that Upptime has, in words and as its commits begin, and two that people add."""
RECORDED: tuple[State, ...] = ("healthy", "degraded", "unhealthy", "maintenance", None)

NEEDED = ("committed_at", "site", "state")
_OTHERS = ("http_code", "response_ms", "commit")
_MOST_PROBLEMS = 20
_GAP = re.compile(r" +([+-]\d\d:?\d\d)$")
"""Git has a space before the offset."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One line of the table. What a cell does not say is None."""

    line: int
    at_us: int
    """Microseconds since the epoch."""
    site: str
    state: str
    """As it is written."""
    status: State
    http_code: int | None
    response_ms: float | None
    commit: str | None

    @property
    def key(self) -> str:
        """The same for the same row in whatever file."""
        said = (self.site, self.at_us, self.state, self.http_code, self.response_ms, self.commit)
        return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


def read(path: Path, states: Mapping[str, State]) -> list[CheckRow]:
    """The rows in the order of their times; of one time in the order in which they were written.

    Raises `ParameterError` with all problems, each with its line and column; `OSError` when the file cannot
    be opened.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(path, [Problem(f"byte {error.start}", "is not UTF-8 text")]) from None
    lines = _lines(path, text)
    header = next(lines, None)
    if header is None:
        raise _refused(path, [Problem("the file", "is empty", f"its columns are {', '.join(NEEDED)}")])
    places = _places(path, header[1])
    reader = _Reader(places, len(header[1]), {name.casefold(): state for name, state in states.items()})
    rows = [row for number, cells in lines if (row := reader.row(number, cells)) is not None]
    if reader.problems:
        raise _refused(path, reader.problems)
    # Of a table that is written newest first, as git tells its log, rows of one second are to be turned, too.
    if rows and rows[0].at_us > rows[-1].at_us:
        rows.reverse()
    return sorted(rows, key=lambda row: row.at_us)


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines with something in them, each with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise _refused(path, [Problem(f"line {number}", f"cannot be read: {error}")]) from None


def _places(path: Path, header: Sequence[str]) -> dict[str, int]:
    found = [name.strip().casefold() for name in header]
    problems = [
        Problem(f"line 1, column {name!r}", "is missing", f"the columns are {', '.join(header)}")
        for name in NEEDED
        if name not in found
    ]
    problems += [
        Problem(f"line 1, column {name!r}", "is there more than once")
        for name in (*NEEDED, *_OTHERS)
        if found.count(name) > 1
    ]
    if problems:
        raise _refused(path, problems)
    return {name: found.index(name) for name in (*NEEDED, *_OTHERS) if name in found}


class _Reader:
    """Reads cells, and collects what is wrong with them."""

    def __init__(self, places: Mapping[str, int], width: int, states: Mapping[str, State]) -> None:
        self._places, self._width, self._states = places, width, states
        self.problems: list[Problem] = []

    def row(self, line: int, cells: Sequence[str]) -> CheckRow | None:
        """The row, or None where something is wrong with it."""
        before = len(self.problems)
        if len(cells) > self._width:
            self._wrong(line, None, f"has {len(cells)} cells, and the first line {self._width}")
            return None
        at_us = self._cell(line, cells, "committed_at", _time)
        site = self._cell(line, cells, "site", str)
        state = self._cell(line, cells, "state", self._state)
        code = self._cell(line, cells, "http_code", _whole)
        spent = self._cell(line, cells, "response_ms", _decimal)
        commit = self._cell(line, cells, "commit", str)
        if len(self.problems) > before or at_us is None or site is None or state is None:
            return None
        return CheckRow(line, at_us, site, state, self._states[state.casefold()], code, spent, commit)

    def _cell(self, line: int, cells: Sequence[str], column: str, convert: Callable[[str], Any]) -> Any:
        place = self._places.get(column)
        text = "" if place is None or place >= len(cells) else cells[place].strip()
        if not text:
            # A state that is empty may mean something: whoever says what, says so.
            if column == "state" and "" in self._states:
                return ""
            if column in NEEDED:
                self._wrong(line, column, "is empty")
            return None
        try:
            return convert(text)
        except ValueError as error:
            self._wrong(line, column, f"{text!r} {error}")
            return None

    def _state(self, text: str) -> str:
        if text.casefold() in self._states:
            return text
        known = ", ".join(name or "(empty)" for name in self._states)
        raise ValueError(
            f'is no state that is known: {known} (say what it means: states={{{text!r}: "healthy"}})'
        )

    def _wrong(self, line: int, column: str | None, cause: str) -> None:
        if len(self.problems) == _MOST_PROBLEMS:
            self.problems.append(Problem("further lines", "have problems, too"))
        elif len(self.problems) < _MOST_PROBLEMS:
            where = f"line {line}" if column is None else f"line {line}, column {column!r}"
            self.problems.append(Problem(where, cause))


def _time(text: str) -> int:
    try:
        time = datetime.fromisoformat(_GAP.sub(r"\1", text))
    except ValueError:
        raise ValueError("is no time such as 2026-05-10T17:13:31+00:00") from None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def _whole(text: str) -> int:
    number = _decimal(text)
    if number != int(number):
        raise ValueError("is no whole number")
    return int(number)


def _decimal(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("is no number") from None
    if not (math.isfinite(number) and number >= 0):
        raise ValueError("is no number from 0 upwards")
    return number


def _refused(path: Path, problems: Sequence[Problem]) -> ParameterError:
    return ParameterError(f"history {path.name}", problems)
