"""The type behind a path such as ``orders[0].price``, as far as annotations tell."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from orchkit.registry.typeforms import (
    base_class,
    is_mapping,
    is_model,
    is_named_tuple,
    is_open,
    is_record,
    is_typed_dict,
    members,
    peel,
)


class Lack(Enum):
    """The type of `UNKNOWN` and `NO_FIELD`."""

    UNKNOWN = "UNKNOWN"
    NO_FIELD = "NO_FIELD"

    def __repr__(self) -> str:
        return self.value


UNKNOWN: Final = Lack.UNKNOWN
"""The annotations do not tell."""
NO_FIELD: Final = Lack.NO_FIELD
"""No value of the type has the field."""

_PYDANTIC_GETATTR = getattr(BaseModel, "__getattr__", None)
"""Every model has this one; it finds private attributes and extra fields."""
_SCALARS = (int, float, complex, NoneType)


def field_type(result_type: Any, path: Iterable[str | int]) -> Any:
    """The type found by following attribute names and keys (str) and positions (int) from a type.

    `UNKNOWN` when the annotations do not tell, `NO_FIELD` when the type definitely lacks the field. What may
    be None is followed as if it were not.
    """
    current = result_type
    for part in path:
        current = _step(current, part)
        if isinstance(current, Lack):
            return current
    current = peel(current)
    return UNKNOWN if is_open(current) else current


def _step(annotation: Any, part: str | int) -> Any:
    """One part of the path, in all members of a union: NO_FIELD only if all of them lack it."""
    found = [_of_member(member, part) for member in members(annotation) if member is not NoneType]
    if UNKNOWN in found:
        return UNKNOWN
    types = [type_ for type_ in found if type_ is not NO_FIELD]
    return functools.reduce(operator.or_, types) if types else NO_FIELD


def _of_member(annotation: Any, part: str | int) -> Any:
    if is_open(annotation):
        return UNKNOWN
    if get_origin(annotation) is Literal:
        values = [_of_member(type(value), part) for value in get_args(annotation)]
        return NO_FIELD if all(value is NO_FIELD for value in values) else UNKNOWN
    for applies, follow in _KINDS:
        if applies(annotation):
            return follow(annotation, part)
    return _of_class(annotation, part)


# --- kinds of types ------------------------------------------------------------------------------


def _of_model(model: Any, part: str | int) -> Any:
    if not model.__pydantic_complete__:  # its fields name types that were defined after it
        model.model_rebuild(raise_errors=False)
    if part in model.model_fields:
        return model.model_fields[str(part)].annotation
    if part in model.model_computed_fields:
        return model.model_computed_fields[str(part)].return_type
    open_ended = model.model_config.get("extra") == "allow" or hasattr(model, "__getitem__")
    return UNKNOWN if open_ended else _of_attribute(model, part)


def _of_record(record: Any, part: str | int) -> Any:
    hints = _hints(base_class(record))
    if hints is None:
        return UNKNOWN
    return hints[part] if part in hints else _of_attribute(record, part)


def _of_typed_dict(typed_dict: Any, part: str | int) -> Any:
    hints = _hints(typed_dict)
    return UNKNOWN if hints is None else hints.get(str(part), NO_FIELD)


def _of_named_tuple(named_tuple: Any, part: str | int) -> Any:
    if isinstance(part, str):
        return _of_record(named_tuple, part)
    names: tuple[str, ...] = named_tuple._fields
    return _of_record(named_tuple, names[part]) if -len(names) <= part < len(names) else NO_FIELD


def _of_mapping(mapping: Any, part: str | int) -> Any:
    args = get_args(mapping)
    if len(args) != 2:  # a plain dict, or a subclass with a meaning of its own
        return UNKNOWN
    keys = members(args[0])
    return args[1] if any(is_open(key) or key is type(part) for key in keys) else UNKNOWN


def _of_tuple(annotation: Any, part: str | int) -> Any:
    if isinstance(part, str):
        return _of_attribute(tuple, part)
    if annotation is tuple:
        return UNKNOWN
    args = get_args(annotation)
    if len(args) == 2 and args[1] is ...:
        return args[0]
    return args[part] if -len(args) <= part < len(args) else NO_FIELD


def _of_collection(annotation: Any, part: str | int) -> Any:
    base = base_class(annotation)
    if isinstance(part, str):
        return _of_attribute(base, part)
    if not hasattr(base, "__getitem__"):
        return NO_FIELD
    args = get_args(annotation)
    return args[0] if len(args) == 1 else UNKNOWN


def _of_scalar(scalar: type, part: str | int) -> Any:
    return _of_attribute(scalar, part)


def _of_class(annotation: Any, part: str | int) -> Any:
    """A class of the user's: its annotations, else unknown, because __init__ may set anything."""
    hints = _hints(base_class(annotation))
    return hints.get(part, UNKNOWN) if hints is not None else UNKNOWN


def _of_attribute(owner: Any, part: str | int) -> Any:
    """Properties and other attributes that a class has besides its declared fields."""
    if not isinstance(part, str):
        return UNKNOWN if hasattr(owner, "__getitem__") else NO_FIELD
    if getattr(owner, "__getattr__", _PYDANTIC_GETATTR) is not _PYDANTIC_GETATTR:
        return UNKNOWN
    attribute = getattr(owner, part, NO_FIELD)
    getter = attribute.fget if isinstance(attribute, property) else None
    hints = _hints(getter) if getter is not None else None
    if hints and "return" in hints:
        return hints["return"]
    return attribute if attribute is NO_FIELD else UNKNOWN


def _hints(owner: Any) -> dict[Any, Any] | None:
    """Resolved annotations, or None when they cannot be resolved."""
    try:
        return get_type_hints(owner, include_extras=True)
    except Exception:  # evaluating runs the user's expressions: anything may come out of it
        return None


def _is_sized_collection(annotation: Any) -> bool:
    base = base_class(annotation)
    standard = base is not None and base.__module__ in ("builtins", "collections", "collections.abc")
    return standard and issubclass(base or object, Collection) and not issubclass(base or object, str | bytes)


def _is_tuple(annotation: Any) -> bool:
    return base_class(annotation) is tuple


def _is_scalar(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, _SCALARS)


_KINDS: Sequence[tuple[Callable[[Any], bool], Callable[[Any, str | int], Any]]] = (
    (is_model, _of_model),
    (is_typed_dict, _of_typed_dict),
    (is_named_tuple, _of_named_tuple),
    (is_record, _of_record),
    (is_mapping, _of_mapping),
    (_is_tuple, _of_tuple),
    (_is_sized_collection, _of_collection),
    (_is_scalar, _of_scalar),
)
