"""DataFrames to Parquet bytes and back, written by DuckDB, so that no Arrow package is needed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchkit.errors import CodecError
from orchkit.store.frames import to_frame

if TYPE_CHECKING:
    import pandas as pd


def table_to_parquet(frame: pd.DataFrame) -> tuple[bytes, dict[str, Any]]:
    """Parquet bytes and the note ``{"dtypes": {column: dtype}, "index": [[name, column], ...] | None}``.

    The index is kept when it is not the default one. Raises `CodecError` for columns whose names
    are not unique strings.
    """
    import duckdb
    import pandas as pd

    default_index = isinstance(frame.index, pd.RangeIndex) and frame.index.equals(pd.RangeIndex(len(frame)))
    index: list[Any] | None = None
    if not default_index:
        index = [
            [name, f"index_{level}" if name is None else str(name)]
            for level, name in enumerate(frame.index.names)
        ]
        frame = frame.reset_index(names=[column for _, column in index])
    columns = list(frame.columns)
    if not all(isinstance(column, str) for column in columns) or len({c.lower() for c in columns}) < len(
        columns
    ):
        raise CodecError("DataFrame", "column names must be strings that differ in more than case")
    note = {"dtypes": {column: str(frame[column].dtype) for column in columns}, "index": index}
    if not columns:
        return b"", note
    with tempfile.TemporaryDirectory(prefix="orchkit-") as folder, duckdb.connect() as connection:
        path = Path(folder) / "table.parquet"
        connection.register("frame", frame)
        connection.execute(f"COPY (SELECT * FROM frame) TO '{path}' (FORMAT parquet)")
        return path.read_bytes(), note


def parquet_to_table(data: bytes, note: dict[str, Any]) -> pd.DataFrame:
    """The DataFrame that `table_to_parquet` was given, with its dtypes and index."""
    import duckdb
    import pandas as pd

    if not data:
        return pd.DataFrame()
    with tempfile.TemporaryDirectory(prefix="orchkit-") as folder, duckdb.connect() as connection:
        path = Path(folder) / "table.parquet"
        path.write_bytes(data)
        frame = to_frame(connection, "SELECT * FROM read_parquet(?)", [str(path)])
    frame = frame.astype({column: dtype for column, dtype in note["dtypes"].items() if dtype != "object"})
    if note["index"]:
        frame = frame.set_index([column for _, column in note["index"]])
        frame.index.names = [name for name, _ in note["index"]]
    return frame
