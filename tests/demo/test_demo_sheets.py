"""Tables come out typed, and every row is accounted for."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.demo.sheets import Cell, ColumnType, Sheet, read_table
from orchkit.errors import ParameterError


def table(folder: Path, text: str | bytes, **options: object) -> Sheet:
    """A table of this text."""
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return read_table(path, **options)  # type: ignore[arg-type]


def test_the_ledger_is_typed(case_dir: Path) -> None:
    """Dates are dates and amounts exact decimals; a missing amount is None; the broken row is reported."""
    sheet = read_table(case_dir / "ledger.csv")
    assert [column.type for column in sheet.columns] == ["date", "text", "text", "decimal", "text", "text"]
    assert sheet.rows[2].values == {
        "date": date(2025, 1, 24),
        "party": "buyer",
        "item": "Advance part 1",
        "amount": Decimal("5000.00"),
        "currency": "EUR",
        "note": "30 % of 35,200.00 due on this day",
    }
    (problem,) = sheet.problems
    assert (problem.line, problem.cause) == (15, "has 7 cells where the header has 6")
    assert "folding tables, 12 pieces" in problem.text


@pytest.mark.parametrize(
    ("cells", "kind", "first"),
    [
        (["1", "-20", "0"], "integer", 1),
        (["007", "010", "042"], "text", "007"),
        (["1.50", "2", "-3"], "decimal", Decimal("1.50")),
        (["1,234.50", "12", "0.1"], "decimal", Decimal("1234.50")),
        (["1.234,50", "12", "0,1"], "decimal_comma", Decimal("1234.50")),
        (["2025-01-31", "2024-02-29", ""], "date", date(2025, 1, 31)),
        (["31.01.2025", "1.2.2025", ""], "date_dmy", date(2025, 1, 31)),
        (["2025-01-31T10:00:00", "2025-01-31 11:30", ""], "datetime", datetime(2025, 1, 31, 10, 0)),  # noqa: DTZ001
        (["yes", "No", "TRUE"], "boolean", True),
        (["NaN", "1e5", "inf"], "text", "NaN"),
        (["1/2/2025", "3/4/2025", "5/6/2025"], "text", "1/2/2025"),
        (["", "", ""], "text", None),
    ],
)
def test_column_types_are_found(tmp_path: Path, cells: list[str], kind: ColumnType, first: Cell) -> None:
    """What is ambiguous or would lose something (leading zeros, day and month) stays text."""
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows(
        [("x", "n"), *((cell, index) for index, cell in enumerate(cells))]
    )
    sheet = table(tmp_path, text.getvalue())
    assert sheet.columns[0].type == kind
    assert sheet.rows[0].values["x"] == first
    assert not sheet.problems


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb, c\n1\t2, 3\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("only\none\ncolumn\n", ","),
        ('a,b\n"x;y;z",1\n"p;q;r",2\n', ","),
    ],
)
def test_the_delimiter_is_found(tmp_path: Path, text: str, delimiter: str) -> None:
    """The one that divides the lines into one and the same number of cells."""
    assert table(tmp_path, text).delimiter == delimiter


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """A spreadsheet's export reads the same whichever way it was saved."""
    sheet = table(tmp_path, "Größe,n\nübergroß,1\n".encode(encoding))
    assert [column.name for column in sheet.columns] == ["Größe", "n"]
    assert sheet.rows[0].values["Größe"] == "übergroß"


def test_a_cell_that_does_not_fit_is_reported_with_its_line(tmp_path: Path) -> None:
    """One wrong amount among many does not turn the column into text, and its row is not lost."""
    lines = [f"{number}.00,x" for number in range(1, 10)]
    lines.insert(4, "twelve,x")
    sheet = table(tmp_path, "amount,note\n" + "\n".join(lines) + "\n")
    assert sheet.columns[0].type == "decimal"
    (problem,) = sheet.problems
    assert (problem.line, problem.cause) == (6, "amount 'twelve' is no decimal")
    assert len(sheet.rows) == 9


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    """A cell of several lines and empty lines are counted as an editor counts them."""
    sheet = table(tmp_path, 'a,b\n"one\ntwo",1\n\nx\ny,2\n')
    assert [row.line for row in sheet.rows] == [2, 6]
    assert [problem.line for problem in sheet.problems] == [5]


def test_an_open_quote_swallows_nothing_silently(tmp_path: Path) -> None:
    """The rows behind a quote that is never closed are named as not read."""
    sheet = table(tmp_path, 'a,b\n1,2\n"3,4\n5,6\n7,8\n')
    assert [row.line for row in sheet.rows] == [2]
    (problem,) = sheet.problems
    assert problem.line == 3
    assert "up to line 5" in problem.cause
    assert problem.text.splitlines() == ['"3,4', "5,6", "7,8"]


def test_types_and_delimiter_can_be_given(tmp_path: Path) -> None:
    """A declared type is applied though most cells do not fit it; an unknown column is an error."""
    sheet = table(tmp_path, "n;m\nx;1\ny;2\n3;3\n", types={"n": "integer"}, delimiter=";")
    assert [row.values["n"] for row in sheet.rows] == [3]
    assert [problem.line for problem in sheet.problems] == [2, 3]
    with pytest.raises(ParameterError, match=r"types\['q'\]: no such column"):
        table(tmp_path, "a,b\n1,2\n", types={"q": "integer"})


def test_header_names_are_made_unique(tmp_path: Path) -> None:
    """Two columns of one name would hide each other's cells."""
    sheet = table(tmp_path, "a,a,,a_2\n1,2,3,4\n")
    assert [column.name for column in sheet.columns] == ["a", "a_2", "column_3", "a_2_2"]
    assert list(sheet.rows[0].values.values()) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "no header row"), (b"\n\n", "no header row"), (b"PK\x03\x04\x00\x00", "as CSV")],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    """An empty file and a workbook are errors that say what to do."""
    with pytest.raises(ParameterError, match=complaint):
        table(tmp_path, content)
    with pytest.raises(ParameterError, match="does not exist"):
        read_table(tmp_path / "gone.csv")


def test_types_survive_storage(case_dir: Path) -> None:
    """Decimals and dates come back from JSON as what they were, not as text."""
    sheet = read_table(case_dir / "ledger.csv")
    again = Sheet.model_validate(sheet.model_dump(mode="json"))
    assert again == sheet
    assert type(again.rows[0].values["amount"]) is Decimal
    assert type(again.rows[0].values["date"]) is date


_CELLS = st.text(st.sampled_from('ab1,;"\n .é'), max_size=6)


@given(st.lists(st.lists(_CELLS, min_size=2, max_size=2), min_size=1, max_size=8))
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """Quotes, delimiters and line breaks inside cells survive; no written row is missing."""
    text = io.StringIO()
    csv.writer(text).writerows([["x", "y"], *rows])
    path = tmp_path_factory.getbasetemp() / "roundtrip.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    sheet = read_table(path, delimiter=",", types={"x": "text", "y": "text"})
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    assert [list(row.values.values()) for row in sheet.rows] == [
        [c.strip() or None for c in row] for row in filled
    ]
    assert not sheet.problems


@given(st.text(st.sampled_from('ab1,;"\n\t|é\x00\r'), max_size=60))
def test_no_text_stops_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Any text is refused or read; then no line counts twice, and something on it leads to something."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("h1,h2\n" + text, encoding="utf-8", newline="")
    try:
        sheet = read_table(path, delimiter=",")
    except ParameterError:
        return
    starts = sorted([row.line for row in sheet.rows] + [problem.line for problem in sheet.problems])
    assert len(set(starts)) == len(starts)
    if any(character not in ',"\n\t\r \x00' for character in text):
        assert starts
