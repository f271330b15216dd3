"""``orchkit keys``: the idempotency keys on record, and what came of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from orchkit.analysis.liveness import CUT_OFF, GivenUp, given_up, standing
from orchkit.analysis.words import duration, plural
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.records import records
from orchkit.cli.screen import print_json, stdout
from orchkit.cli.shortids import shortest_ids
from orchkit.cli.tables import grid
from orchkit.cli.words import STYLES, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLES = {"COMPLETED": STYLES["success"], "FAILED": STYLES["failed"], "PROCESSING": STYLES["running"]}
_OF_RUN = ("status", "pid", "host", "born", "imported")
_KEYS = f"""
SELECT k.*, {", ".join(f"r.{name} AS run_{name}" for name in _OF_RUN)}
FROM idempotency_keys k LEFT JOIN runs r ON r.run_id = k.run_id
WHERE ($1::VARCHAR[] IS NULL OR list_contains($1::VARCHAR[], k.status))
  AND ($2::VARCHAR IS NULL OR k.orchestrator_name = $2::VARCHAR)
ORDER BY k.created_at DESC, k.request_id LIMIT $3
"""  # noqa: S608 - only names of ours


class KeyStatus(StrEnum):
    """How the execution under a key stands."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


def keys(
    status: Annotated[
        list[KeyStatus] | None, typer.Option(help="Only keys that stand like this. Repeatable.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Only keys of this orchestrator, workflow or operation.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The newest N.", show_default=True)] = 20,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List idempotency keys, the newest first, and what came of each.

    Until it expires, a request with a completed key gets the recorded result: a replay.
    """
    wanted = [one.value.upper() for one in status] if status else None
    with reading(store) as kit:
        open_runs = given_up(kit.store.open_runs)
        # One more than is shown tells whether there are more.
        found = records(kit.sql(_KEYS, [wanted, name, limit + 1]))
        shown = [_row(row, open_runs) for row in found[:limit]]
        if as_json:
            print_json(shown)
            return
        all_ids = (row[0] for row in kit.store.query("SELECT run_id FROM runs"))
        shortest = shortest_ids((row["run_id"] for row in shown if row["run_id"]), all_ids)
        now = datetime.fromtimestamp(kit.store.clock.now_us() / 1e6).astimezone()
    console = stdout()
    if not shown:
        console.print("no such keys" if wanted or name else "no keys yet", style="dim")
        return
    console.print(_table(console, shown, shortest, now))
    if len(found) > limit:
        console.print(f"the newest {plural(limit, 'key')}; --limit shows more", style="dim")


def _row(row: dict[str, Any], open_runs: GivenUp) -> dict[str, Any]:
    """A key, and whether the run that works on it was cut off."""
    run = {"run_id": row["run_id"], **{name: row.pop(f"run_{name}") for name in _OF_RUN}}
    known = run["status"] is not None
    row["cut_off"] = row["status"] == "PROCESSING" and known and standing(run, open_runs) == CUT_OFF
    return row


def _table(
    console: Console, rows: Sequence[Mapping[str, Any]], shortest: Mapping[str, str], now: datetime
) -> Table:
    body = [
        (
            one_line(row["request_id"]),
            _status(row, now),
            _age(row["created_at"], now),
            f"{row['replays']:,}",
            Text(shortest.get(row["run_id"], ""), style="cyan"),
            _what(row),
        )
        for row in rows
    ]
    headers = ("key", "status", "age", "replays", "run", "of")
    return grid(console, headers, body, right=("age", "replays"))


def _age(created: datetime | None, now: datetime) -> str:
    return "" if created is None else duration(max(0.0, (now - created).total_seconds()) * 1000)


def _what(row: Mapping[str, Any]) -> Text:
    """What was asked for, and how it failed."""
    text = Text(one_line(row["orchestrator_name"] or ""))
    return text.append(f": {one_line(row['error'])}", style="red") if row["error"] else text


def _status(row: Mapping[str, Any], now: datetime) -> Text:
    if row["cut_off"]:
        return Text("cut off", style=STYLES[CUT_OFF])
    status = str(row["status"] or "–")
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return Text("expired", style="dim")
    return Text(status.lower(), style=_STYLES.get(status, ""))
