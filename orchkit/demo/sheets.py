"""Tables as records: CSV and TSV with sniffed dialect and typed columns; no row is ever dropped silently."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from orchkit.errors import ParameterError, Problem
from orchkit.model.base import Record

ColumnType = Literal["integer", "decimal", "decimal_comma", "date", "date_dmy", "datetime", "boolean", "text"]
Cell = bool | int | Decimal | datetime | date | str | None

_DELIMITERS = ("\t", ";", "|", ",")
"""The rarer in prose, the earlier: the first wins a draw."""
_SAMPLE_LINES = 50
_ENOUGH = 0.8
"""Share of a column's filled cells that must fit a type; the others are reported, not turned into text."""


class Column(Record):
    """A column and the type that its cells have."""

    name: str
    type: ColumnType = "text"


class Row(Record):
    """A row that could be read; a missing cell is None."""

    line: int
    """Where it begins in the file, from 1."""
    values: dict[str, Cell]


class RowProblem(Record):
    """A row that could not be read, or not as a whole."""

    line: int
    cause: str
    text: str
    """The row as it stands in the file, shortened."""


class Sheet(Record):
    """A table: its columns, the rows that could be read and the problems of those that could not."""

    path: str
    delimiter: str
    encoding: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    problems: tuple[RowProblem, ...] = ()

    @model_validator(mode="after")
    def _typed(self) -> Self:
        """Cells that came back from JSON as text get their column's type again."""
        types = {column.name: column.type for column in self.columns if column.type != "text"}
        for row in self.rows:
            for name, value in row.values.items():
                if isinstance(value, str) and name in types:
                    row.values[name] = _FROM_JSON[types[name]](value)
        return self


def read_table(
    path: str | Path, *, delimiter: str | None = None, types: Mapping[str, ColumnType] | None = None
) -> Sheet:
    """Read a delimited text file whose first row names the columns.

    Encoding (UTF-8, UTF-16 with a mark, else Windows-1252), delimiter (comma, semicolon, tab, bar) and column
    types are found out; ``delimiter`` and ``types`` (by column name) overrule. A row with too few or too
    many cells, or with a cell that does not fit its column, goes to ``problems`` with its line number and
    is not in ``rows``; empty lines are no rows.

    Raises `ParameterError` when the file does not exist, is not delimited text, or is empty.
    """
    file = Path(path)
    text, encoding = _read_text(file)
    delimiter = delimiter or _sniff(text)
    raw = _records(text, delimiter)
    header = next((record for record in raw if isinstance(record, _Raw)), None)
    if header is None:
        raise ParameterError("read_sheet", [Problem(str(file), "has no header row: it is empty")])
    names = _unique_names(header.cells)
    problems: list[RowProblem] = []
    whole: list[_Raw] = []
    for record in raw:
        if isinstance(record, RowProblem):
            problems.append(record)
        elif len(record.cells) != len(names):
            cause = f"has {len(record.cells)} cells where the header has {len(names)}"
            problems.append(_problem(record, cause, delimiter))
        else:
            whole.append(record)
    columns = _columns(names, whole, types or {})
    rows = tuple(_typed_rows(whole, columns, problems, delimiter))
    return Sheet(
        path=str(file),
        delimiter=delimiter,
        encoding=encoding,
        columns=columns,
        rows=rows,
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
    )


# --- text to raw rows ----------------------------------------------------------------------


class _Raw:
    """The cells of a row and the line where it begins."""

    __slots__ = ("cells", "line")

    def __init__(self, line: int, cells: Sequence[str]) -> None:
        self.line, self.cells = line, cells


def _read_text(path: Path) -> tuple[str, str]:
    if not path.is_file():
        cause = "is not a file" if path.exists() else "does not exist"
        raise ParameterError("read_sheet", [Problem(str(path), cause)])
    data = path.read_bytes()
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    if encodings[0] != "utf-16" and b"\x00" in data[:4096]:
        hint = "save a workbook (.xlsx, .ods) as CSV first"
        raise ParameterError("read_sheet", [Problem(str(path), "is not delimited text", hint)])
    for encoding in encodings[:-1]:
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return data.decode(encodings[-1], "replace"), encodings[-1]


def _sniff(text: str) -> str:
    """The delimiter that divides most of the first lines into one and the same number of cells, at least 2.

    `csv.Sniffer` guesses from character frequencies and takes letters for delimiters.
    """
    lines = [line for line in text.splitlines()[:_SAMPLE_LINES] if line.strip()]

    def score(delimiter: str) -> tuple[int, int]:
        widths = [len(next(csv.reader([line], delimiter=delimiter), [])) for line in lines]
        usual = max((width for width in widths if width > 1), key=widths.count, default=1)
        return (widths.count(usual), usual) if usual > 1 else (0, 0)

    best = max(_DELIMITERS, key=score)
    return best if score(best)[0] else ","


def _records(text: str, delimiter: str) -> Iterator[_Raw | RowProblem]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # strict: a quote that is never closed would otherwise swallow the rest of the file as one cell.
            swallowed = reader.line_num - line
            extent = f" (up to line {reader.line_num})" if swallowed > 0 else ""
            text_there = "\n".join(text.splitlines()[line - 1 : reader.line_num])
            yield RowProblem(line=line, cause=f"{error}{extent}", text=_short(text_there))
            continue
        if any(cell.strip() for cell in cells):
            yield _Raw(line, cells)


def _problem(record: _Raw, cause: str, delimiter: str) -> RowProblem:
    return RowProblem(line=record.line, cause=cause, text=_short(delimiter.join(record.cells)))


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"


def _unique_names(cells: Sequence[str]) -> list[str]:
    names: list[str] = []
    for index, cell in enumerate(cells, start=1):
        base = name = cell.strip() or f"column_{index}"
        repeat = 1
        while name in names:
            repeat += 1
            name = f"{base}_{repeat}"
        names.append(name)
    return names


# --- raw rows to typed rows ----------------------------------------------------------------


def _columns(
    names: Sequence[str], rows: Sequence[_Raw], types: Mapping[str, ColumnType]
) -> tuple[Column, ...]:
    unknown = [name for name in types if name not in names]
    if unknown:
        known = f"the columns are {', '.join(names)}"
        problems = [Problem(f"types[{name!r}]", "no such column", known) for name in unknown]
        raise ParameterError("read_sheet", problems)
    return tuple(
        Column(name=name, type=types.get(name) or _infer([row.cells[index].strip() for row in rows]))
        for index, name in enumerate(names)
    )


def _infer(cells: Sequence[str]) -> ColumnType:
    filled = [cell for cell in cells if cell]
    best: ColumnType = "text"
    most = 0
    for kind, parse in _PARSERS.items():
        hits = sum(_fits(parse, cell) for cell in filled)
        if kind != "text" and hits > most and hits >= _ENOUGH * len(filled):
            best, most = kind, hits
    return best


def _fits(parse: Callable[[str], Cell], cell: str) -> bool:
    try:
        parse(cell)
    except ValueError:
        return False
    return True


def _typed_rows(
    rows: Sequence[_Raw], columns: Sequence[Column], problems: list[RowProblem], delimiter: str
) -> Iterator[Row]:
    for row in rows:
        values: dict[str, Cell] = {}
        wrong: list[str] = []
        for column, cell in zip(columns, row.cells, strict=True):
            stripped = cell.strip()
            try:
                values[column.name] = _PARSERS[column.type](stripped) if stripped else None
            except ValueError:
                wrong.append(f"{column.name} {stripped!r} is no {column.type.split('_')[0]}")
        if wrong:
            problems.append(_problem(row, "; ".join(wrong), delimiter))
        else:
            yield Row(line=row.line, values=values)


_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d*)")  # no leading zeros: 00217 is a post code, not a number
_DECIMAL = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d+)?|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?)")
_DOTTED = re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:,\d+)?|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?)")


def _whole(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(text)
    return text


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


def _dotted_day(text: str) -> date:
    day, month, year = _whole(_DOTTED, text).split(".")
    return date(int(year), int(month), int(day))


def _moment(text: str) -> datetime:
    if len(text) <= len("2025-01-01"):
        raise ValueError(text)
    return datetime.fromisoformat(text)


_PARSERS: dict[ColumnType, Callable[[str], Cell]] = {
    "integer": lambda text: int(_whole(_INTEGER, text)),
    "decimal": lambda text: Decimal(_whole(_DECIMAL, text).replace(",", "")),
    "decimal_comma": lambda text: Decimal(_whole(_DECIMAL_COMMA, text).replace(".", "").replace(",", ".")),
    "date": date.fromisoformat,
    "date_dmy": _dotted_day,
    "datetime": _moment,
    "boolean": _boolean,
    "text": lambda text: text,
}

_FROM_JSON: dict[ColumnType, Callable[[str], Cell]] = {
    **_PARSERS,
    "decimal": Decimal,
    "decimal_comma": Decimal,
    "date_dmy": date.fromisoformat,
}
