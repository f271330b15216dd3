"""Following the path of a reference into a value, and saying what is there when it leads nowhere."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

from orchkit.engine.grammar import Reference
from orchkit.errors import UnresolvedReferenceError

_SHOWN = 10
_NOT_DATA = (ModuleType, FrameType, CodeType, TracebackType)


def follow(value: Any, reference: Reference) -> Any:
    """What the path of a reference leads to from a value. Raises `UnresolvedReferenceError`."""
    path = reference.path
    for depth, key in enumerate(path):
        try:
            value = value[key] if type(value) is dict else _member(value, key)
        except LookupError:
            if not isinstance(value, dict | Mapping) or str(key) not in value:
                raise _absent(value, depth, reference) from None
            value = value[str(key)]  # JSON made text of the number that the key was
        except Exception as error:
            cause = f"reading {path_text(path[: depth + 1])!r} raised {error!r}"
            raise UnresolvedReferenceError(reference.text, cause) from error
    return value


def _member(value: Any, key: str | int) -> Any:
    """What a name or an index means on a value that is not a plain dict; LookupError if nothing."""
    if isinstance(value, dict | Mapping):
        if key in value:  # asked first: a defaultdict would make an entry
            return value[key]
    elif isinstance(key, str):
        return _attribute(value, key)
    elif not isinstance(value, str | bytes) and hasattr(value, "__getitem__"):
        return value[key]
    raise LookupError(key)


def _attribute(value: Any, name: str) -> Any:
    if name.startswith("_"):
        raise LookupError(name)
    try:
        member = getattr(value, name)
    except AttributeError:
        raise LookupError(name) from None
    if inspect.isroutine(member) or isinstance(member, _NOT_DATA):
        raise LookupError(name)
    return member


# --- saying what is there instead ----------------------------------------------------------


def _absent(value: Any, depth: int, reference: Reference) -> UnresolvedReferenceError:
    key = reference.path[depth]
    what = f"no field {key!r}" if isinstance(key, str) else f"no index {key}"
    whole = reference.root if reference.step_id is None else f"the output of step {reference.step_id!r}"
    taken = path_text(reference.path[:depth])
    place = f"{taken!r} of {whole}" if taken else whole
    return UnresolvedReferenceError(reference.text, f"{place} has {what}; it is {_described(value)}")


def path_text(path: Sequence[str | int]) -> str:
    """A path as people write it: ``rows[0].total``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _described(value: Any) -> str:
    """What a value offers to a path, without showing its contents (they may be secret)."""
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, Mapping):
        return f"of type {name} with the keys {listed(value)}" if value else f"an empty {name}"
    if isinstance(value, list | tuple):
        return f"of type {name} with {len(value)} items"
    names = _field_names(value)
    return f"of type {name} with {listed(names)}" if names else f"of type {name}"


def _field_names(value: Any) -> list[str]:
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    model_fields = getattr(type(value), "model_fields", None)
    names = model_fields if isinstance(model_fields, dict) else getattr(value, "__dict__", {})
    return [str(name) for name in names if not str(name).startswith("_")]


def listed(names: Mapping[Any, Any] | Sequence[str]) -> str:
    """The first few names, for a message."""
    shown = [str(name) for name in list(names)[:_SHOWN]]
    more = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more > 0 else "")
