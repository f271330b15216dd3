"""The result of a query on a screen: a table where it fits, else one block of lines per row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from orchkit.analysis.words import plural
from orchkit.cli.tables import GAP
from orchkit.cli.words import NOTHING, one_line, plain

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 14
"""A column is not cut below this; when that is not enough, rows become blocks."""


def print_result(console: Console, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print rows (dicts with all columns); missing values are a dash."""
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    natural = [
        max([cell_len(name), *(cell_len(one_line(row[index].plain)) for row in cells)])
        for index, name in enumerate(columns)
    ]
    widths = _widths(natural, console.width)
    if widths is None:
        _print_blocks(console, columns, cells)
    else:
        console.print(_table(columns, cells, rows, widths))
    console.print(plural(len(rows), "row"), style="dim")


def _cell(value: Any) -> Text:
    if value is None:
        return NOTHING
    if isinstance(value, datetime):
        return Text(value.isoformat(sep=" ", timespec="milliseconds"))
    if isinstance(value, float):
        return Text(f"{value:.10g}")
    return Text(plain(value))


def _widths(natural: Sequence[int], width: int) -> list[int] | None:
    """The width of each column; the widest are cut first. None when they would become too narrow."""
    room = width - GAP * (len(natural) - 1)
    widths = [min(one, width) for one in natural]
    while sum(widths) > room:
        widest = max(widths)
        if widest <= NARROWEST:
            return None
        widths[widths.index(widest)] -= 1
    return widths


def _table(
    columns: Sequence[str],
    cells: Sequence[Sequence[Text]],
    rows: Sequence[dict[str, Any]],
    widths: Sequence[int],
) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for index, name in enumerate(columns):
        values = [row[name] for row in rows if row[name] is not None]
        number = bool(values) and all(isinstance(value, int | float) for value in values)
        table.add_column(
            Text(name),
            justify="right" if number else "left",
            width=widths[index],
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in cells:
        table.add_row(*(Text(one_line(cell.plain), style=cell.style) for cell in row))
    return table


def _print_blocks(console: Console, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    for number, row in enumerate(cells, start=1):
        console.print(f"row {number}", style="dim")
        table = Table.grid(padding=(0, GAP))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            table.add_row(f"  {name}", cell)
        console.print(table)
