"""``orchkit sql``: a query over the record."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

import orchkit as ok
from orchkit.analysis.words import plural
from orchkit.cli.failure import UsageError
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.records import records
from orchkit.cli.result import print_result
from orchkit.cli.screen import print_json, stdout
from orchkit.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 200
"""Rows of a table on a screen."""


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help='Such as "select name, status from runs".')],
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of a table.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Query the record with SQL (DuckDB's).

    There are the views runs, steps, attempts, decision_traces, evidence_bundles, idempotency_keys, lineage,
    sessions, breaker_transitions, health_checks, maintenance_windows and events; "describe runs" lists the
    columns of one.
    """
    if as_csv and as_json:
        raise UsageError("choose one of --csv and --json")
    with reading(store) as kit:
        statement = _only_reading(query)
        types = _types(kit, statement)
        frame = _with_whole_numbers(kit.sql(statement.text), types)
    if as_csv:
        sys.stdout.write(frame.to_csv(index=False, lineterminator="\n"))
    elif as_json:
        print_json([_parsed(row, types) for row in records(frame)])
    elif statement.is_plan:
        for text in frame["explain_value"]:
            typer.echo(text)
    else:
        console = stdout(cropped=False)
        print_result(console, records(frame.head(SHOWN)), list(frame.columns))
        if len(frame) > SHOWN:
            console.print(f"the first {SHOWN} of {plural(len(frame), 'row')}; --csv gives all", style="dim")


class Statement(NamedTuple):
    """One statement that changes nothing."""

    text: str
    is_plan: bool
    """Whether it is an EXPLAIN, whose answer is a drawing."""


def _only_reading(query: str) -> Statement:
    """The one statement of a query; `UsageError` unless it only reads: the record is not to be changed."""
    import duckdb

    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise StoreError(str(error)) from error
    if len(statements) != 1:
        raise UsageError(f"one statement at a time, please: these are {len(statements)}")
    kind = statements[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise UsageError(
            f"orchkit sql only reads (select, with, describe, summarize, explain): {kind.name} is refused"
        )
    return Statement(statements[0].query.strip().rstrip(";"), kind == duckdb.StatementType.EXPLAIN)


def _types(kit: ok.Kit, statement: Statement) -> dict[str, str]:
    """DuckDB's types of the columns, which a DataFrame does not know any more."""
    if statement.is_plan:  # cannot be described
        return {}
    return {name: kind for name, kind, *_ in kit.store.query(f"DESCRIBE {statement.text}")}


def _with_whole_numbers(frame: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """Sums of whole numbers (HUGEINT) come as floats: make them whole again where floats are exact."""
    for name, kind in types.items():
        if kind in ("HUGEINT", "UHUGEINT") and (frame[name].abs().max() < 2**53 or not len(frame)):
            frame[name] = frame[name].astype("Int64")
    return frame


def _parsed(row: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    """With recorded JSON as what it says, not as a text."""
    return {
        name: json.loads(value) if types.get(name) == "JSON" and isinstance(value, str) else value
        for name, value in row.items()
    }
