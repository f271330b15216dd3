"""Values to JSON and back to the type they were.

A value is stored as the JSON that a reader of SQL expects (a datetime as its ISO text, a pydantic
model as an object of its fields), and beside it, only where it is needed, a list of *type notes*
``[path, tag]`` that say how to get the Python type back. Plain JSON values need no notes and cost
one walk.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from orchkit.errors import CodecError
from orchkit.store import arrays, classes, values
from orchkit.store.notes import Note, Packed, Path, path_text, type_name

__all__ = ["BLOB_BYTES", "Packed", "canonical", "content_hash", "dumps", "loads", "pack", "unpack"]

BLOB_BYTES = 64 * 1024
"""Encoded values larger than this are stored once, by content hash."""
MAX_DEPTH = 150
"""Levels of nesting; beyond 200 the JSON could not be read again."""

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ADVICE = "return plain data, a dataclass or a pydantic model"
_PLAIN = frozenset({bool, type(None)})
_LONG = 10**4000  # Python reads no longer decimal numbers
_DECODERS: Mapping[str, Callable[[Any, Any], Any]] = {
    **values.DECODERS,
    **classes.DECODERS,
    **arrays.DECODERS,
}


def dumps(value: Any) -> str:
    """JSON text of a JSON-able value; what is no valid text in it is replaced. Raises `CodecError`."""
    try:
        return to_json(value, inf_nan_mode="constants").decode()
    except PydanticSerializationError as error:
        if "surrogates" not in str(error):
            raise CodecError("value", str(error)) from error
        return dumps(_valid(value))


def _valid(value: Any) -> Any:
    """The same with lone surrogates, which no encoding can write, as question marks."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, list | tuple) else value


def loads(text: str | bytes) -> Any:
    """The value of a JSON text."""
    return from_json(text, allow_inf_nan=True)


def canonical(value: Any) -> str:
    """JSON text of a packed value that does not depend on the order in which its fields were set."""
    return _canonical(value)


def content_hash(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def pack(value: Any, name: str = "value") -> Packed:
    """Make a value JSON-able. Raises `CodecError` naming the path of what cannot be stored."""
    packer = _Packer(name)
    try:
        return Packed(packer.pack(value, ()), packer.notes)
    except _TooDeepError as error:
        raise _too_deep(name, value, error.path) from None
    except RecursionError:
        raise CodecError(name, "nested too deep for Python's stack, or it contains itself") from None


class _TooDeepError(Exception):
    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__()


class _Packer:
    """One value on its way: collects the notes."""

    __slots__ = ("name", "notes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[Note] = []

    def pack(self, value: Any, path: Path) -> Any:
        """The JSON-able form of what is at this path."""
        if _is_plain(value):
            return value
        kind = type(value)
        if kind is str:
            return value if _encodable(value) else self._pack_text(value, path)
        if kind is int:
            return value if -_LONG < value < _LONG else self._noted(path, "int", hex(value))
        if kind is float:
            return self._noted(path, "float", repr(value))
        if len(path) > MAX_DEPTH:
            raise _TooDeepError(path)
        if kind is dict:
            return self._pack_dict(value, path)
        if kind is list:
            return [
                item if _is_plain(item) else self.pack(item, (*path, place))
                for place, item in enumerate(value)
            ]
        return self._pack_other(value, path)

    def note(self, path: Path, tag: str, argument: Any = None) -> None:
        """Note the type of what is at a path; what is outside before what is inside."""
        self.notes.append([list(path), tag] if argument is None else [list(path), tag, argument])

    def error(self, path: Path, cause: str) -> CodecError:
        """The error for a value that cannot be stored."""
        return CodecError(path_text(self.name, path), cause)

    def _noted(self, path: Path, tag: str, plain: Any) -> Any:
        self.note(path, tag)
        return plain

    def _pack_text(self, text: str, path: Path) -> str:
        """With lone surrogates (a file name in an unknown encoding): readable, and exact in the note."""
        self.note(path, "text", base64.b64encode(text.encode("utf-8", "surrogatepass")).decode())
        return str(_valid(text))

    def _pack_dict(self, value: dict[Any, Any], path: Path) -> Any:
        for key in value:
            if type(key) is not str or not (key.isascii() or _encodable(key)):
                self.note(path, "pairs")
                return [
                    [self.pack(k, (*path, place, 0)), self.pack(v, (*path, place, 1))]
                    for place, (k, v) in enumerate(value.items())
                ]
        return {
            key: item if _is_plain(item) else self.pack(item, (*path, key)) for key, item in value.items()
        }

    def _pack_other(self, value: Any, path: Path) -> Any:
        # First: a pandas Timestamp is also a datetime, a named tuple is also a tuple.
        found = classes.pack_instance(self, value, path) or arrays.pack_array(self, value, path)
        if found is not None:
            return found[0]
        for kind, tag, encode in values.ENCODERS:
            if isinstance(value, kind):
                plain, argument = encode(value)
                self.note(path, tag, argument)
                return self.pack(plain, path)
        if isinstance(value, dict):
            return self._pack_dict(dict(value), path)
        if isinstance(value, list):
            return self.pack(list(value), path)
        raise self.error(path, f"no way to store a {type_name(type(value))}; {_ADVICE}")


def _is_plain(value: Any) -> bool:
    """Whether it is its own JSON; in doubt not (this is for speed: most of what is packed is plain)."""
    kind = type(value)
    if kind is str:
        return value.isascii()  # type: ignore[no-any-return]
    if kind is int:
        return -(2**63) <= value < 2**63  # type: ignore[no-any-return]
    if kind is float:
        return value - value == 0.0  # type: ignore[no-any-return]
    return kind in _PLAIN


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep(name: str, value: Any, path: Path) -> CodecError:
    """Says whether it is a circle, and where that closes."""
    seen: dict[int, int] = {}
    for depth, part in enumerate(path):
        if id(value) in seen:
            whole = path_text(name, path[: seen[id(value)]])
            return CodecError(
                path_text(name, path[:depth]), f"it is {whole} itself, so there is no end to it"
            )
        seen[id(value)] = depth
        try:
            value = value[part]
        except Exception:  # an object: its fields are attributes
            value = getattr(value, str(part), None)
        if value is None:
            break
    return CodecError(f"{path_text(name, path[:5])}…", f"nested deeper than {MAX_DEPTH} levels")


def unpack(value: Any, notes: list[Note] | None) -> Any:
    """Bring the types back; ``value`` stays as it is.

    A class that does not exist any more stays a plain dict. Raises `CodecError` where a record does
    not fit its class any more.
    """
    if not notes:
        return value
    holder = [_copied(value)]
    for note in reversed(notes):
        path, tag = note[0], note[1]
        decode = _DECODERS.get(tag)
        if decode is None:
            raise CodecError(path_text("value", tuple(path)), f"unknown type note {tag!r}")
        container: Any = holder
        keys = [0, *path]
        for key in keys[:-1]:
            container = container[key]
        argument = note[2] if len(note) > 2 else None
        try:
            container[keys[-1]] = decode(container[keys[-1]], argument)
        except Exception as error:
            where = path_text("value", tuple(path))
            raise CodecError(where, f"its record does not fit {argument or tag} any more: {error}") from error
    return holder[0]


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if type(value) is list else value
