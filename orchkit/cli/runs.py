"""``orchkit runs``: the runs on record."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from orchkit.analysis.words import plural
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.records import records
from orchkit.cli.screen import print_json, stdout
from orchkit.cli.shortids import shortest_ids
from orchkit.cli.tables import runs_table


class Status(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCESS = "success"
    FAILED = "failed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"


def runs(
    status: Annotated[
        list[Status] | None, typer.Option(help="Only runs that stand like this. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only runs of this workflow or operation.")] = None,
    casefile: Annotated[str | None, typer.Option(metavar="ID", help="Only runs of this case file.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The newest N.", show_default=True)] = 20,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List runs, the newest first. Those of sub-workflows are left out."""
    filters: dict[str, Any] = {
        "status": [str(one) for one in status or ()],
        "name": name,
        "casefile_id": casefile,
    }
    filters = {key: value for key, value in filters.items() if value}
    with reading(store) as kit:
        # One more than is shown tells whether there are more.
        found = records(kit.runs.frame(sub_runs=False, limit=limit + 1, **filters))[::-1]
        shown = found[:limit]
        if as_json:
            print_json(shown)
            return
        all_ids = (row[0] for row in kit.store.query("SELECT run_id FROM runs"))
        shortest = shortest_ids((run["run_id"] for run in shown), all_ids)
    console = stdout()
    if not shown:
        console.print("no such runs" if filters else "no runs yet", style="dim")
        return
    console.print(runs_table(console, shown, shortest))
    if len(found) > limit:
        console.print(f"the newest {plural(limit, 'run')}; --limit shows more", style="dim")
