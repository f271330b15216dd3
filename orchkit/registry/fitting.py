"""Whether a value of one type can possibly be given where another type is expected."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from inspect import isabstract
from pathlib import PurePath
from types import NoneType
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, RootModel
from typing_extensions import is_protocol

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

_DEPTH = 16
_NUMBER = (int, float, Decimal)
_ACCEPTED: dict[type, tuple[type, ...]] = {
    bool: _NUMBER,
    int: _NUMBER,
    float: _NUMBER,
    Decimal: (*_NUMBER, str),
    str: (str, bytes, bytearray),
    bytes: (bytes, bytearray, str),
    datetime: (date, str, bytes, *_NUMBER),
    date: (date, str, bytes, *_NUMBER),
    time: (time, str, bytes, *_NUMBER),
    timedelta: (timedelta, str, bytes, *_NUMBER),
    UUID: (UUID, str, bytes),
    PurePath: (PurePath, str),
}
"""What pydantic takes for a scalar in lax mode, except text for a number: "5" would do, most would not."""

_SCALARS = (*_ACCEPTED, NoneType)
_PLAIN_HOOKS = [vars(model)["__get_pydantic_core_schema__"].__func__ for model in (BaseModel,)]
_ELEMENTS = (list, tuple, set, frozenset, AbstractSet, Sequence)


def compatible(source_type: Any, target_type: Any) -> bool:
    """Whether a value of the source type can possibly fit a parameter of the target type.

    Follows pydantic's lax mode. True when unsure, so False is worth reporting: ``str`` for ``list[int]``,
    ``str`` for ``int``. None in a union counts only if there is nothing else, and so do empty containers.
    """
    return _fits(source_type, target_type, 0)


def _fits(source: Any, target: Any, depth: int) -> bool:
    source, target = peel(source), peel(target)
    if depth > _DEPTH or source is target or is_open(source) or is_open(target):
        return True
    sources = [member for member in members(source) if member is not NoneType] or [NoneType]
    targets = members(target)
    if len(sources) > 1 or len(targets) > 1:
        return any(_fits(s, t, depth + 1) for s in sources for t in targets)
    return _fits_one(sources[0], targets[0], depth + 1)


def _fits_one(source: Any, target: Any, depth: int) -> bool:
    """Two types that are no unions: the first rule that has an opinion decides."""
    if is_open(source) or is_open(target) or source == target:
        return True
    for rule in _RULES:
        verdict = rule(source, target, depth)
        if verdict is not None:
            return verdict
    return True


# --- rules: True, False, or None for no opinion ----------------------------------------------------


def _literals(source: Any, target: Any, depth: int) -> bool | None:
    if get_origin(source) is Literal:
        values = get_args(source)
        if get_origin(target) is Literal:
            return any(value == wanted for value in values for wanted in get_args(target))
        return any(_fits(type(value), target, depth) for value in values)
    if get_origin(target) is Literal:
        return any(_fits(source, type(value), depth) for value in get_args(target))
    return None


def _own_schema(source: Any, target: Any, depth: int) -> bool | None:
    """A class that tells pydantic itself what it takes may take anything."""
    base = base_class(target)
    hook = getattr(base, "__get_pydantic_core_schema__", None)
    inherited = getattr(hook, "__func__", hook) in _PLAIN_HOOKS
    return None if hook is None or inherited or is_record(base) or is_typed_dict(base) else True


def _related(source: Any, target: Any, depth: int) -> bool | None:
    """A subclass always fits; a superclass may hold an instance of the subclass."""
    one, other = base_class(source), base_class(target)
    if one is None or other is None or (get_args(source) and get_args(target)):
        return None
    if other in _ELEMENTS or any(is_typed_dict(base) or is_protocol(base) for base in (one, other)):
        return None  # text is a sequence, but is not taken for one; the others refuse to be asked
    return True if issubclass(one, other) or issubclass(other, one) else None


def _enums(source: Any, target: Any, depth: int) -> bool | None:
    if isinstance(target, type) and issubclass(target, Enum):
        return any(_fits(source, type(member.value), depth) for member in target)
    if isinstance(source, type) and issubclass(source, Enum):
        return True if target is str else any(_fits(type(member.value), target, depth) for member in source)
    return None


def _scalars(source: Any, target: Any, depth: int) -> bool | None:
    base = base_class(target)
    if target is NoneType:
        return False
    accepted = _ACCEPTED.get(PurePath if base is not None and issubclass(base, PurePath) else target)
    given = base_class(source)
    if accepted is None or given is None:
        return None
    if issubclass(given, accepted):
        return True
    return False if target is str or _is_closed(source) else None


def _elements(source: Any, target: Any, depth: int) -> bool | None:
    """Lists, sets, tuples and sequences from one another, element by element."""
    base = base_class(target)
    if base not in _ELEMENTS:
        return None
    if is_model(source):  # pydantic iterates over a model's (name, value) pairs
        return _fits(tuple[str, Any], _element(target), depth)
    given = base_class(source)
    if given is None or is_mapping(source) or issubclass(given, str | bytes | bytearray):
        return None if given is None else False
    if base is tuple and given is tuple:
        return _tuples(source, target, depth)
    if issubclass(given, Collection | Iterable):
        return _fits(_element(source), _element(target), depth)
    return False if _is_closed(source) else None


def _tuples(source: Any, target: Any, depth: int) -> bool:
    ones, others = get_args(source), get_args(target)
    if not ones or not others or ... in ones or ... in others:
        return _fits(_element(source), _element(target), depth)
    return len(ones) == len(others) and all(map(functools.partial(_fits, depth=depth), ones, others))


def _element(annotation: Any) -> Any:
    """The one element type of a container; Any for several or none."""
    args = [arg for arg in get_args(annotation) if arg is not ...]
    return args[0] if len(args) == 1 else Any


def _mappings(source: Any, target: Any, depth: int) -> bool | None:
    if not is_mapping(target) or is_typed_dict(target):
        return None
    if is_typed_dict(source):
        return True
    if not is_mapping(source):
        return False if _is_closed(source) else None
    ones, others = get_args(source), get_args(target)
    if len(ones) != 2 or len(others) != 2:
        return True
    return _fits(ones[0], others[0], depth) and _fits(ones[1], others[1], depth)


def _models(source: Any, target: Any, depth: int) -> bool | None:
    if not is_model(target):
        return None
    if issubclass(target, RootModel):
        return _fits(source, target.model_fields["root"].annotation, depth)
    generic = target.__pydantic_generic_metadata__["origin"]
    if is_model(source) and generic and generic is source.__pydantic_generic_metadata__["origin"]:
        return True  # pydantic reads the attributes anew for the other parameters
    before = target.__pydantic_decorators__.model_validators.values()
    if target.model_config.get("from_attributes") or any(v.info.mode != "after" for v in before):
        return True
    return _from_mapping(source)


def _records(source: Any, target: Any, depth: int) -> bool | None:
    """Dataclasses and typed dicts from mappings, named tuples from sequences too."""
    if is_named_tuple(target):
        base = base_class(source)
        return True if base is not None and issubclass(base, list | tuple) else _from_mapping(source)
    return _from_mapping(source) if is_record(target) or is_typed_dict(target) else None


def _from_mapping(source: Any) -> bool | None:
    """For targets that are made of a mapping with string keys."""
    if not is_mapping(source):
        return False if _is_closed(source) else None
    keys = get_args(source)
    return not keys or _fits(keys[0], str, 0)


def _classes(source: Any, target: Any, depth: int) -> bool | None:
    """Other classes are taken by instance only."""
    if not isinstance(target, type) or is_protocol(target) or isabstract(target):
        return None
    if target.__module__.partition(".")[0] in sys.stdlib_module_names:
        return None  # pydantic has rules of its own for many of these
    given = base_class(source)
    return False if given is not None and (_is_closed(source) or not _is_loose(given)) else None


def _is_closed(annotation: Any) -> bool:
    """Whether it is known what pydantic does with its values: no class with surprising abilities."""
    base = base_class(annotation)
    if base is None:
        return False
    standard = (
        base in _SCALARS or base in _ELEMENTS or base in (dict, bytearray) or issubclass(base, PurePath)
    )
    return standard or is_model(base) or is_record(base) or is_typed_dict(base) or is_named_tuple(base)


def _is_loose(given: type) -> bool:
    """Whether a value may well be of a class that the annotation does not mention."""
    standard = given.__module__.partition(".")[0] in sys.stdlib_module_names
    return is_protocol(given) or isabstract(given) or standard or issubclass(given, Mapping)


_RULES: Sequence[Callable[[Any, Any, int], bool | None]] = (
    _literals,
    _own_schema,
    _related,
    _enums,
    _scalars,
    _elements,
    _mappings,
    _models,
    _records,
    _classes,
)
