"""A DuckDB in memory, for questions about DataFrames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@contextmanager
def in_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose times are in UTC, as those of a store are; closed at the end."""
    import duckdb

    connection = duckdb.connect(":memory:", config=_OFFLINE)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()
