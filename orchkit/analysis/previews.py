"""What stands for values that nobody reads in their stored form: tables, arrays, bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from orchkit.store import codec
from orchkit.store.notes import Note

MOST_ROWS = 12
MOST_COLUMNS = 16
MOST_NUMBERS = 24

_UNREADABLE = {
    "dataframe": "DataFrame",
    "series": "Series",
    "ndarray": "array",
    "npy scalar": "numpy scalar",
    "bytes": "bytes",
    "bytearray": "bytearray",
}


def readable(value: Any, notes: Sequence[Note] | None) -> Any:
    """The same plain value with previews in the places of tables, arrays and bytes.

    A table becomes ``{"$table": {"is": "DataFrame", "shape": [9, 2], "columns": […], "rows": [[…]]}}`` with
    the begin of its rows, an array ``{"$is": "array of float64, shape 3 × 2", "begin": […]}``, bytes
    ``{"$is": "bytes, 12,000 of them"}``. The value itself is not changed.
    """
    found: list[Note] = []
    for note in sorted(notes or (), key=lambda note: len(note[0])):
        inside = any(note[0][: len(outer[0])] == outer[0] for outer in found)
        if note[1] in _UNREADABLE and not inside:
            found.append(note)
    for note in found:
        with suppress(LookupError, TypeError):  # a note about something that is not there says nothing
            value = _replaced(value, note[0], _preview(_at(value, note[0]), note, notes or ()))
    return value


def _at(value: Any, path: Sequence[Any]) -> Any:
    for part in path:
        value = value[part]
    return value


def _replaced(value: Any, path: Sequence[Any], new: Any) -> Any:
    """A copy of the containers along the path, with another value at its end."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def _preview(value: Any, note: Note, notes: Sequence[Note]) -> Any:
    depth, what = len(note[0]), _UNREADABLE[note[1]]
    own = [[one[0][depth:], *one[1:]] for one in notes if one[0][:depth] == note[0]]
    try:
        found = codec.unpack(value, own)
        return _of_bytes(found, what) if isinstance(found, bytes | bytearray) else _of_array(found, what)
    except Exception:  # of another version, or a package is missing: that it is there can still be said
        return {"$is": what}


def _of_bytes(value: bytes | bytearray, what: str) -> Any:
    return {"$is": f"{what}, {len(value):,} of them"}


def _of_array(value: Any, what: str) -> Any:
    if what in ("DataFrame", "Series"):
        return _of_table(value.to_frame() if what == "Series" else value, what)
    shape = " × ".join(f"{size:,}" for size in value.shape)
    begin = [_cell(one) for one in value.ravel()[:MOST_NUMBERS].tolist()]
    return {"$is": f"{what} of {value.dtype}" + (f", shape {shape}" if shape else ""), "begin": begin}


def _of_table(frame: Any, what: str) -> Any:
    begin = frame.iloc[:MOST_ROWS, :MOST_COLUMNS]
    rows = [[_cell(one) for one in row] for row in begin.to_numpy(object).tolist()]
    columns = [str(column) for column in begin.columns]
    return {"$table": {"is": what, "shape": list(frame.shape), "columns": columns, "rows": rows}}


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
