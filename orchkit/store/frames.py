"""DuckDB results as pandas DataFrames."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


def to_frame(result: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """The whole result of the last statement, fetched at once."""
    with warnings.catch_warnings():
        # duckdb 2.0 calls DataFrame.drop(inplace=True) for time zone columns, which pandas 3.1 deprecates.
        warnings.filterwarnings("ignore", message="The inplace keyword in DataFrame.drop")
        return result.df()
