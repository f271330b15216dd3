"""Rows of DataFrames as plain values, for JSON and for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict per row; what is missing is None, times are `datetime`."""
    columns = [_plain(frame.iloc[:, index]) for index in range(frame.shape[1])]
    return [dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(values: pd.Series[Any]) -> list[Any]:
    """The values of a column as Python's own types."""
    missing = values.isna().tolist()
    return [None if gone else _own(value) for gone, value in zip(missing, values.tolist(), strict=True)]


def _own(value: Any) -> Any:
    """Timestamps and arrays of pandas and numpy as datetimes and lists."""
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)
    return value.tolist() if hasattr(value, "tolist") else value
