"""The values that belong to a piece of code, such as defaults and free variables, ready to be hashed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from orchkit.store.codec import pack

_SCALARS = (
    *(NoneType, bool, int, float, complex, str, bytes),
    *(Decimal, dt.date, dt.time, dt.timedelta, UUID, PurePath, Enum),
)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_DEPTH = 20
"""Levels of nesting that are looked into; deeper, or in a circle, only the type counts."""


def value_form(value: Any) -> Any:
    """A value as it is stored, JSON-able; the name of its type where it cannot be.

    In containers that cannot be stored as a whole this holds for each item. Functions, classes and modules
    count by their names. Never a repr, which could hold an address.
    """
    return _form(value, 0, settled=False)


def settled_form(value: Any) -> Any:
    """As `value_form`, but objects that may change while the program runs count by their type only.

    Numbers, texts, dates, enums, frozen dataclasses and models, and containers of these count in full.
    """
    return _form(value, 0, settled=True)


def name_form(value: Any) -> str:
    """``module:QualName`` of a function, class or module, of any other object ``a module:QualName``."""
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    return f"a {type(value).__module__}:{type(value).__qualname__}"


def _form(value: Any, depth: int, *, settled: bool) -> Any:
    packed = None if settled and not _is_settled(value, 0) else _packed(value)
    if packed is not None:
        return packed
    if type(value) not in _CONTAINERS or depth == _DEPTH:
        return name_form(value)
    kind = type(value).__name__
    if isinstance(value, dict):
        value = [each for pair in value.items() for each in pair]
    forms = [_form(each, depth + 1, settled=settled) for each in value]
    return [kind, *(sorted(forms, key=json.dumps) if kind in ("set", "frozenset") else forms)]


def _packed(value: Any) -> Any:
    try:
        return ["value", *pack(value)]
    except Exception:  # it cannot be stored, or the code of its class fails
        return None


def _is_settled(value: Any, depth: int) -> bool:
    if isinstance(value, _SCALARS):
        return True
    if depth == _DEPTH:
        return False
    if isinstance(value, dict):
        return all(_is_settled(each, depth + 1) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_settled(each, depth + 1) for each in value)
    return _is_settled(_fields(value), depth + 1) if _is_frozen(value) else False


def _is_frozen(value: Any) -> bool:
    if isinstance(value, BaseModel):
        return bool(value.model_config.get("frozen"))
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _fields(value: Any) -> list[Any]:
    if isinstance(value, BaseModel):
        return list(value.__dict__.values())
    return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
