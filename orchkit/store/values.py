"""The standard library's plain values to JSON and back."""

from __future__ import annotations

import base64
import datetime as dt
import pathlib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretBytes, SecretStr

Encoder = Callable[[Any], tuple[Any, Any]]
"""Gives the plain form, and what else the decoder needs or None."""


def zone_key(value: Any) -> str | None:
    """The name of the time zone of a datetime or time, when it has one with a name."""
    key = getattr(value.tzinfo, "key", None)
    return key if isinstance(key, str) else None


def _decode_datetime(value: str, key: str | None) -> dt.datetime:
    found = dt.datetime.fromisoformat(value)
    zone = _zone(key)
    if zone is None:
        return found
    # The same wall clock; `fold` tells the two equal hours of an autumn night apart.
    local = found.replace(tzinfo=zone)
    return local if local.utcoffset() == found.utcoffset() else local.replace(fold=1)


def _decode_time(value: str, key: str | None) -> dt.time:
    found = dt.time.fromisoformat(value)
    zone = _zone(key)
    return found if zone is None else found.replace(tzinfo=zone)


def _zone(key: str | None) -> ZoneInfo | None:
    try:
        return None if key is None else ZoneInfo(key)
    except ZoneInfoNotFoundError:
        return None  # unknown on this machine: the offset still says which moment it is


def _text(data: Any) -> str:
    return base64.b64encode(bytes(data)).decode()


# By name, and no others: a record may come from elsewhere, and is not to name what is called.
_PATHS: Mapping[str, type[pathlib.PurePath]] = {
    kind.__name__: kind for kind in (pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
}


def _decode_path(value: str, kind: str | None) -> pathlib.PurePath:
    return pathlib.Path(value) if kind is None else _PATHS[kind](value)


def _stable(items: Iterable[Any]) -> list[Any]:
    """A set's items in an order that does not change from process to process, if they have one."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=repr)


def _or_list(kind: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Make a set or dict, unless an item is a dict now, because its class is gone."""

    def decode(value: list[Any], _: Any) -> Any:
        try:
            return kind(value)
        except TypeError:
            return value

    return decode


# The order matters: a datetime is a date.
ENCODERS: tuple[tuple[type | tuple[type, ...], str, Encoder], ...] = (
    (dt.datetime, "datetime", lambda v: (v.isoformat(), zone_key(v))),
    (dt.date, "date", lambda v: (v.isoformat(), None)),
    (dt.time, "time", lambda v: (v.isoformat(), zone_key(v))),
    (dt.timedelta, "timedelta", lambda v: (v // dt.timedelta(microseconds=1), None)),
    (Decimal, "decimal", lambda v: (str(v), None)),
    (UUID, "uuid", lambda v: (str(v), None)),
    (pathlib.Path, "path", lambda v: (str(v), None)),
    (pathlib.PurePath, "path", lambda v: (str(v), type(v).__name__)),
    ((bytes, memoryview), "bytes", lambda v: (_text(v), None)),
    (bytearray, "bytearray", lambda v: (_text(v), None)),
    (complex, "complex", lambda v: ([v.real, v.imag], None)),
    (SecretStr, "secret", lambda v: (str(v), None)),
    (SecretBytes, "secret_bytes", lambda v: ("*" * 10 if v else "", None)),
    (tuple, "tuple", lambda v: (list(v), None)),
    (frozenset, "frozenset", lambda v: (_stable(v), None)),
    (set, "set", lambda v: (_stable(v), None)),
)
DECODERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "float": lambda v, _: float(v),
    "int": lambda v, _: int(v, 16),
    "text": lambda _, data: base64.b64decode(data).decode("utf-8", "surrogatepass"),
    "pairs": _or_list(dict),
    "datetime": _decode_datetime,
    "date": lambda v, _: dt.date.fromisoformat(v),
    "time": _decode_time,
    "timedelta": lambda v, _: dt.timedelta(microseconds=v),
    "decimal": lambda v, _: Decimal(v),
    "uuid": lambda v, _: UUID(v),
    "path": _decode_path,
    "bytes": lambda v, _: base64.b64decode(v),
    "bytearray": lambda v, _: bytearray(base64.b64decode(v)),
    "complex": lambda v, _: complex(*v),
    "secret": lambda v, _: SecretStr(v),
    "secret_bytes": lambda v, _: SecretBytes(v.encode()),
    "tuple": lambda v, _: tuple(v),
    "frozenset": _or_list(frozenset),
    "set": _or_list(set),
}
