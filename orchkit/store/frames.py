"""DuckDB results as pandas DataFrames and as rows."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchkit.errors import StoreError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

Params = Sequence[Any] | Mapping[str, Any] | None
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
ZONED = "TIMESTAMP WITH TIME ZONE"


@contextmanager
def only_reading(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[None]:
    """Make sure that what is executed meanwhile changes nothing in the database.

    Raises `StoreError` for a query that would, and for one that ends transactions by itself.
    """
    import duckdb

    statements = connection.extract_statements(query)
    if any(statement.type == duckdb.StatementType.TRANSACTION for statement in statements):
        raise StoreError("transactions are not for queries: the record is only read here")
    connection.execute("BEGIN TRANSACTION READ ONLY")
    try:
        yield
    except duckdb.Error as error:
        if "launched in read-only mode" in str(error):
            raise StoreError("this query would change the record, which is only read here") from error
        raise
    finally:
        connection.execute("ROLLBACK")


def to_frame(connection: duckdb.DuckDBPyConnection, query: str, params: Params = None) -> pd.DataFrame:
    """The whole result of a query, fetched at once."""
    with warnings.catch_warnings():
        # duckdb 2.0 calls DataFrame.drop(inplace=True) for time zone columns, which pandas 3.1 deprecates.
        warnings.filterwarnings("ignore", message="The inplace keyword in DataFrame.drop")
        return connection.execute(query, params).df()


def to_rows(
    connection: duckdb.DuckDBPyConnection, query: str, params: Params = None
) -> list[tuple[Any, ...]]:
    """The same as tuples, times with time zone as datetimes in UTC."""
    import duckdb

    result = connection.execute(query, params)
    zoned = {place for place, column in enumerate(result.description or ()) if str(column[1]) == ZONED}
    statements = connection.extract_statements(query) if zoned else []
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        rows: list[tuple[Any, ...]] = result.fetchall()
        return rows
    # Left to itself, duckdb wants the package pytz for them.
    connection.abort()
    relation = connection.sql(query, params=params)
    columns = [
        f"epoch_us(#{place + 1})" if place in zoned else f"#{place + 1}"
        for place in range(len(relation.columns))
    ]
    return [
        tuple(_utc(value) if place in zoned else value for place, value in enumerate(row))
        for row in relation.project(", ".join(columns)).fetchall()
    ]


def _utc(microseconds: int | None) -> dt.datetime | None:
    return None if microseconds is None else EPOCH + dt.timedelta(microseconds=microseconds)
