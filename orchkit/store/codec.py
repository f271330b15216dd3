"""Values to JSON and back to the type they were.

A value is stored as the JSON that a reader of SQL expects (a datetime as its ISO text, a pydantic
model as an object of its fields), and beside it, only where it is needed, a list of *type notes*
``[path, tag]`` that say how to get the Python type back. Plain JSON values need no notes and cost
one walk.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import Path as FilePath
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic_core import from_json, to_json

from orchkit.errors import CodecError
from orchkit.store.tables import parquet_to_table, table_to_parquet

Path = tuple[str | int, ...]
Note = list[Any]
"""``[[path…], tag]`` or ``[[path…], tag, argument]``."""

BLOB_BYTES = 64 * 1024
"""Encoded values larger than this are stored once, by content hash."""

_PLAIN = frozenset({str, int, bool, type(None)})


class Packed(NamedTuple):
    """A JSON-able value and the notes that bring its types back."""

    value: Any
    notes: list[Note]


def dumps(value: Any) -> str:
    """JSON text of a JSON-able value."""
    return to_json(value, inf_nan_mode="constants").decode()


def loads(text: str | bytes) -> Any:
    """The value of a JSON text."""
    return from_json(text, allow_inf_nan=True)


def content_hash(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def pack(value: Any, name: str = "value") -> Packed:
    """Make a value JSON-able. Raises `CodecError` naming the path of what cannot be stored."""
    notes: list[Note] = []
    return Packed(_pack(value, (), notes, name), notes)


def _pack(value: Any, path: Path, notes: list[Note], name: str) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        if value - value == 0.0:  # finite
            return value
        notes.append([list(path), "float"])
        return repr(value)
    if kind is dict:
        return _pack_dict(value, path, notes, name)
    if kind is list:
        return [_pack(item, (*path, index), notes, name) for index, item in enumerate(value)]
    return _pack_other(value, path, notes, name)


def _pack_dict(value: dict[Any, Any], path: Path, notes: list[Note], name: str) -> Any:
    for key in value:
        if type(key) is not str:
            notes.append([list(path), "pairs"])
            return [
                [_pack(k, (*path, index, 0), notes, name), _pack(v, (*path, index, 1), notes, name)]
                for index, (k, v) in enumerate(value.items())
            ]
    return {key: _pack(item, (*path, key), notes, name) for key, item in value.items()}


def _pack_other(value: Any, path: Path, notes: list[Note], name: str) -> Any:
    # First: a pandas Timestamp is also a datetime.
    structured = _pack_structured(value, path, notes)
    if structured is not None:
        return structured[0]
    for kind, tag, encode in _ENCODERS:
        if isinstance(value, kind):
            plain, argument = encode(value)
            notes.append([list(path), tag] if argument is None else [list(path), tag, argument])
            # Notes of the inside come after the note of the outside; unpacking goes backwards.
            return _pack(plain, path, notes, name) if tag in _CONTAINERS else plain
    if isinstance(value, dict):
        return _pack_dict(dict(value), path, notes, name)
    raise CodecError(_path_text(name, path), f"no way to store a {_type_name(type(value))}; {_ADVICE}")


_ADVICE = "return plain data, a dataclass or a pydantic model"


def _pack_structured(value: Any, path: Path, notes: list[Note]) -> tuple[Any] | None:
    """Pydantic models, dataclasses, arrays and tables, in a one-tuple; None for anything else."""
    if isinstance(value, BaseModel):
        notes.append([list(path), "model", _type_name(type(value))])
        return (value.model_dump(mode="json"),)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        notes.append([list(path), "dataclass", _type_name(type(value))])
        return (TypeAdapter(type(value)).dump_python(value, mode="json"),)
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        return _pack_numpy(value, path, notes)
    if module == "pandas":
        return _pack_pandas(value, path, notes)
    return None


def _pack_numpy(value: Any, path: Path, notes: list[Note]) -> tuple[Any] | None:
    import numpy as np

    if isinstance(value, np.generic) and not value.dtype.hasobject:
        notes.append([list(path), "numpy", value.dtype.str])
        return (value.item() if value.dtype.kind in "biuU" else base64.b64encode(value.tobytes()).decode(),)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        notes.append([list(path), "ndarray", {"dtype": value.dtype.str, "shape": list(value.shape)}])
        return (base64.b64encode(np.ascontiguousarray(value).tobytes()).decode(),)
    return None


def _pack_pandas(value: Any, path: Path, notes: list[Note]) -> tuple[Any] | None:
    import pandas as pd

    if isinstance(value, pd.Timestamp) or value is pd.NaT:
        notes.append([list(path), "timestamp"])
        return (value.isoformat(),)
    if isinstance(value, pd.DataFrame):
        data, note = table_to_parquet(value)
        notes.append([list(path), "dataframe", note])
        return (base64.b64encode(data).decode(),)
    return None


def unpack(value: Any, notes: list[Note] | None) -> Any:
    """Bring the types back. A class that does not exist any more stays a plain dict."""
    if not notes:
        return value
    holder = [value]
    for note in reversed(notes):
        path, tag = note[0], note[1]
        decode = _DECODERS.get(tag)
        if decode is None:
            raise CodecError(_path_text("value", tuple(path)), f"unknown type note {tag!r}")
        container: Any = holder
        keys = [0, *path]
        for key in keys[:-1]:
            container = container[key]
        container[keys[-1]] = decode(container[keys[-1]], note[2] if len(note) > 2 else None)
    return holder[0]


def _path_text(name: str, path: Path) -> str:
    return name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _type_name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def find_class(name: str) -> type | None:
    """A class by ``module:QualName`` among the modules that are loaded; None when it is gone.

    Nothing is imported: reading a record must not run code that the record names.
    """
    module_name, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _decode_class(value: Any, name: str | None) -> Any:
    kind = find_class(name or "")
    if kind is None:
        return value
    if issubclass(kind, BaseModel):
        return kind.model_validate(value)
    return TypeAdapter(kind).validate_python(value) if dataclasses.is_dataclass(kind) else value


def _decode_enum(value: Any, name: str | None) -> Any:
    kind = find_class(name or "")
    return kind(value) if kind is not None and issubclass(kind, Enum) else value


def _decode_numpy(value: Any, dtype: Any) -> Any:
    import numpy as np

    if isinstance(value, str) and np.dtype(dtype).kind != "U":
        return np.frombuffer(base64.b64decode(value), dtype=dtype)[0]
    return np.dtype(dtype).type(value)


def _decode_ndarray(value: str, note: Any) -> Any:
    import numpy as np

    return np.frombuffer(base64.b64decode(value), dtype=note["dtype"]).reshape(note["shape"]).copy()


def _decode_timestamp(value: str, _: Any) -> Any:
    import pandas as pd

    return pd.Timestamp(value)


def _decode_dataframe(value: str, note: Any) -> Any:
    return parquet_to_table(base64.b64decode(value), note)


_Encoder = Callable[[Any], tuple[Any, Any]]
# The order matters: a datetime is a date, an Enum may be a str.
_ENCODERS: tuple[tuple[type | tuple[type, ...], str, _Encoder], ...] = (
    (Enum, "enum", lambda v: (v.value, _type_name(type(v)))),
    (dt.datetime, "datetime", lambda v: (v.isoformat(), None)),
    (dt.date, "date", lambda v: (v.isoformat(), None)),
    (dt.time, "time", lambda v: (v.isoformat(), None)),
    (dt.timedelta, "timedelta", lambda v: (v // dt.timedelta(microseconds=1), None)),
    (Decimal, "decimal", lambda v: (str(v), None)),
    (UUID, "uuid", lambda v: (str(v), None)),
    (PurePath, "path", lambda v: (str(v), None)),
    ((bytes, bytearray, memoryview), "bytes", lambda v: (base64.b64encode(bytes(v)).decode(), None)),
    (complex, "complex", lambda v: ([v.real, v.imag], None)),
    (SecretStr, "secret", lambda v: (str(v), None)),
    (tuple, "tuple", lambda v: (list(v), None)),
    (frozenset, "frozenset", lambda v: (_stable(v), None)),
    (set, "set", lambda v: (_stable(v), None)),
    (bool, "bool", lambda v: (bool(v), None)),
)
_CONTAINERS = frozenset({"enum", "tuple", "frozenset", "set", "complex"})
_DECODERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "float": lambda v, _: float(v),
    "pairs": lambda v, _: dict(map(tuple, v)),
    "enum": _decode_enum,
    "datetime": lambda v, _: dt.datetime.fromisoformat(v),
    "date": lambda v, _: dt.date.fromisoformat(v),
    "time": lambda v, _: dt.time.fromisoformat(v),
    "timedelta": lambda v, _: dt.timedelta(microseconds=v),
    "decimal": lambda v, _: Decimal(v),
    "uuid": lambda v, _: UUID(v),
    "path": lambda v, _: FilePath(v),
    "bytes": lambda v, _: base64.b64decode(v),
    "complex": lambda v, _: complex(*v),
    "secret": lambda v, _: SecretStr(v),
    "tuple": lambda v, _: tuple(v),
    "frozenset": lambda v, _: frozenset(v),
    "set": lambda v, _: set(v),
    "bool": lambda v, _: bool(v),
    "model": _decode_class,
    "dataclass": _decode_class,
    "numpy": _decode_numpy,
    "ndarray": _decode_ndarray,
    "timestamp": _decode_timestamp,
    "dataframe": _decode_dataframe,
}


def _stable(items: Any) -> list[Any]:
    """A set's items in an order that does not change from process to process, if they have one."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=repr)
