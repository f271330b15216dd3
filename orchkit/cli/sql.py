"""``orchkit sql``: a query over the record."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, NamedTuple

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

    There are the views runs, steps, attempts, decision_traces, evidence_bundles, sessions and events;
    "describe runs" lists the columns of one.
    """
    if as_csv and as_json:
        raise UsageError("choose one of --csv and --json")
    with reading(store) as kit:
        statement = _only_reading(query)
        frame = kit.sql(statement.text)
        json_columns = _json_columns(kit, statement) if as_json else set()
    if as_csv:
        sys.stdout.write(frame.to_csv(index=False, lineterminator="\n"))
    elif as_json:
        print_json([_parsed(row, json_columns) for row in records(frame)])
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


def _json_columns(kit: ok.Kit, statement: Statement) -> set[str]:
    """The columns whose text is JSON."""
    if statement.is_plan:  # cannot be described
        return set()
    return {name for name, kind, *_ in kit.store.query(f"DESCRIBE {statement.text}") if kind == "JSON"}


def _parsed(row: dict[str, Any], json_columns: set[str]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in json_columns and isinstance(value, str) else value
        for name, value in row.items()
    }
