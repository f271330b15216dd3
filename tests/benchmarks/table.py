"""The one table, and what must be known to read it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from harness import Row
    from rich.console import Console

WIDTH = 176
VERDICTS = {"met": "[bold green]met[/]", "missed": "[bold red]missed[/]", "": ""}
NOTES = """\
Each measurement has a process and a folder of its own; the candidates of a section take turns, round after
round. Shown is the median of the rounds, and the smallest – the largest. Workflows, graphs and databases are
made, and the workload is run once in small, before the time is taken.
on disk: what is there before anything that depends on it begins (each attempt: also its start, before it
runs), and whether it survives a power loss or only a killed process. × floor: over bare SQLite that writes
one 200-byte row per record at the same guarantee, its WAL file at full size before, in the same process just
before and after. × orchkit: the peer over orchkit sync of the same round (LangGraph exit: over orchkit exit;
imports: over orchkit.open); 5 means that the peer takes five times as long.
orchkit records every attempt and every decision, peers only results. Peers run in the shape that is fastest
for them: DBOS W3 and W5 and LangGraph W2, W3 and W5 with sync functions; a chain in LangGraph is one node in
a loop."""


def show(console: Console, rows: list[Row], facts: Mapping[str, Any]) -> None:
    """Print the facts about the machine, the table and the notes."""
    console.print(
        " · ".join(f"{name} {value}" for name, value in facts.items()), style="dim", highlight=False
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("what", overflow="fold")
    table.add_column("on disk", no_wrap=True)
    for heading in ("median", "", "min – max", "× floor", "× orchkit", "target"):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for title, members in itertools.groupby(rows, key=lambda row: row.title):
        table.add_section()
        table.add_row(f"[bold]{escape(title)}[/]")
        for row in members:
            table.add_row(*_cells(row))
    console.print(table)
    console.print(NOTES, style="dim", highlight=False)
    counts = [sum(row.verdict == word for row in rows) for word in ("met", "missed")]
    console.print(f"targets: {counts[0]} met, {counts[1]} missed", highlight=False)


def _cells(row: Row) -> list[str]:
    target = row.line.target
    goal = target.text if target else ""
    cells = [escape(row.line.label), str(row.case.task.guarantee or "")]
    if row.failure:
        cells[0] += f": [yellow]{escape(row.failure)}[/]"
        return [*cells, "–", "", "", "", "", goal, ""]
    spread = f"{_number(min(row.values))} – {_number(max(row.values))}" if len(row.values) > 1 else ""
    verdict = VERDICTS[row.verdict]
    if target is not None and not target.applies:
        verdict = "[dim]--large[/]"
    median = _number(statistics.median(row.values))
    return [*cells, median, row.line.unit, spread, _times(row.ratios), _times(row.beside), goal, verdict]


def _times(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def _number(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}"
