"""``orchkit runs``: the runs on record."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

import orchkit as ok
from orchkit.analysis.liveness import CUT_OFF, standing
from orchkit.analysis.words import plural
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.records import records
from orchkit.cli.screen import print_json, stdout
from orchkit.cli.shortids import shortest_ids
from orchkit.cli.tables import runs_table

_OPEN = ("running", "paused", CUT_OFF)
"""How runs stand that have no end on record."""


class Status(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCESS = "success"
    FAILED = "failed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"
    CUT_OFF = "cut-off"


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
    filters = {key: value for key, value in {"name": name, "casefile_id": casefile}.items() if value}
    wanted = {CUT_OFF if one is Status.CUT_OFF else str(one) for one in status or ()}
    with reading(store) as kit:
        # One more than is shown tells whether there are more.
        found = _newest(kit.runs, wanted, limit + 1, filters)
        shown = found[:limit]
        if as_json:
            print_json([{**run, "cut_off": _standing(run) == CUT_OFF} for run in shown])
            return
        all_ids = (row[0] for row in kit.store.query("SELECT run_id FROM runs"))
        shortest = shortest_ids((run["run_id"] for run in shown), all_ids)
    console = stdout()
    if not shown:
        console.print("no such runs" if filters or wanted else "no runs yet", style="dim")
        return
    console.print(runs_table(console, shown, shortest))
    if len(found) > limit:
        console.print(f"the newest {plural(limit, 'run')}; --limit shows more", style="dim")


def _newest(runs: ok.Runs, wanted: set[str], limit: int, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The newest runs that stand like one of these, or any: the newest first.

    The store cannot tell which of those without an end were cut off, so all of them are looked at.
    """
    if not wanted:
        return records(runs.frame(limit=limit, **filters))[::-1]
    found: list[dict[str, Any]] = []
    if not wanted.isdisjoint(_OPEN):
        open_runs = records(runs.frame(status=("running", "paused"), **filters))
        found += [run for run in open_runs if _standing(run) in wanted]
    ended = wanted.difference(_OPEN)
    if ended:
        found += records(runs.frame(status=sorted(ended), limit=limit, **filters))
    found.sort(key=lambda run: (run["started_at"], run["run_id"]), reverse=True)
    return found[:limit]


def _standing(run: Mapping[str, Any]) -> str:
    return standing(run["status"], run["pid"], run["host"], run["imported"])
