"""``orchkit runs``: the runs on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

import orchkit as ok
from orchkit.analysis.liveness import CUT_OFF, GivenUp, given_up, standing
from orchkit.analysis.words import plural
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.records import records
from orchkit.cli.screen import print_json, stdout
from orchkit.cli.shortids import shortest_ids
from orchkit.cli.tables import runs_table
from orchkit.views.runmarks import mark_rows

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
        open_runs = given_up(kit.store.open_runs)
        # One more than is shown tells whether there are more.
        found = _newest(kit.runs, wanted, limit + 1, filters, open_runs)
        shown = found[:limit]
        if as_json:
            print_json([{**run, "cut_off": standing(run, open_runs) == CUT_OFF} for run in shown])
            return
        mark_rows(kit.store, shown)
        all_ids = (row[0] for row in kit.store.query("SELECT run_id FROM runs"))
        shortest = shortest_ids((run["run_id"] for run in shown), all_ids)
    console = stdout()
    if not shown:
        console.print("no such runs" if filters or wanted else "no runs yet", style="dim")
        return
    console.print(runs_table(console, shown, shortest, open_runs))
    if len(found) > limit:
        console.print(f"the newest {plural(limit, 'run')}; --limit shows more", style="dim")
    cut_off = [run for run in shown if standing(run, open_runs) == CUT_OFF]
    if cut_off:
        console.print(_hint(cut_off, shortest), style="dim")


def _hint(cut_off: Sequence[Mapping[str, Any]], shortest: Mapping[str, str]) -> str:
    """What to do about runs that were cut off; of what is no workflow, `orchkit show` tells it."""
    those = [run for run in cut_off if run["kind"] == "workflow" and not run["imported"]]
    if not those:
        return f"{plural(len(cut_off), 'run')} cut off: orchkit show tells what to do"
    which = shortest[those[0]["run_id"]] if len(those) == 1 else "RUN"
    return f"{plural(len(cut_off), 'run')} cut off: orchkit resume {which} goes on"


def _newest(
    runs: ok.Runs, wanted: set[str], limit: int, filters: Mapping[str, Any], open_runs: GivenUp
) -> list[dict[str, Any]]:
    """The newest runs that stand like one of these, or any: the newest first.

    The store cannot tell which of those without an end were cut off, so all of them are looked at.
    """
    if not wanted:
        return records(runs.frame(limit=limit, **filters))[::-1]
    found: list[dict[str, Any]] = []
    if not wanted.isdisjoint(_OPEN):
        unended = records(runs.frame(status=("running", "paused"), **filters))
        found += [run for run in unended if standing(run, open_runs) in wanted]
    ended = wanted.difference(_OPEN)
    if ended:
        found += records(runs.frame(status=sorted(ended), limit=limit, **filters))
    found.sort(key=lambda run: (run["started_at"], run["run_id"]), reverse=True)
    return found[:limit]
