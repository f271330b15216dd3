"""Looking at type annotations: what is inside the wrappers, and how to name it to a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    ForwardRef,
    Literal,
    NewType,
    NotRequired,
    ParamSpec,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel
from typing_extensions import ReadOnly, is_typeddict

_WRAPPERS = frozenset({Annotated, Required, NotRequired, ReadOnly, Final, ClassVar})
_DEPTH = 16


def peel(annotation: Any) -> Any:
    """The type inside ``Annotated``, ``Required``, ``Final``, ``NewType`` and type aliases."""
    for _ in range(_DEPTH):  # an alias may refer to itself
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif get_origin(annotation) in _WRAPPERS:
            annotation = get_args(annotation)[0]
        else:
            return NoneType if annotation is None else annotation
    return Any


def is_union(annotation: Any) -> bool:
    """Whether it is ``X | Y``, ``Union[X, Y]`` or ``Optional[X]``."""
    return get_origin(annotation) in (Union, UnionType)


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, peeled and flat; the type itself when it is no union."""
    annotation = peel(annotation)
    if not is_union(annotation):
        return (annotation,)
    return tuple(member for arg in get_args(annotation) for member in members(arg))


def is_open(annotation: Any) -> bool:
    """Whether nothing can be said about the values: ``Any``, ``object``, type variables, unresolved names."""
    if annotation is Any or annotation is object:
        return True
    if isinstance(annotation, TypeVar | ParamSpec | ForwardRef | str | Enum):
        return True
    return not isinstance(annotation, type) and get_origin(annotation) is None


def base_class(annotation: Any) -> type | None:
    """``list`` for ``list[int]``, the class itself for a class, None for everything else."""
    origin = get_origin(annotation) or annotation
    return origin if isinstance(origin, type) else None


def is_model(annotation: Any) -> bool:
    """Whether it is a pydantic model class."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_record(annotation: Any) -> bool:
    """Whether it is a dataclass type (not an instance of one)."""
    return isinstance(annotation, type) and is_dataclass(annotation)


def is_typed_dict(annotation: Any) -> bool:
    """Whether it is a ``TypedDict`` class."""
    return is_typeddict(annotation)


def is_named_tuple(annotation: Any) -> bool:
    """Whether it is a ``NamedTuple`` class."""
    return isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields")


def is_mapping(annotation: Any) -> bool:
    """Whether it is a mapping type, with or without parameters."""
    base = base_class(annotation)
    return base is not None and issubclass(base, Mapping)


def type_name(annotation: Any) -> str:
    """A short name for people: ``int``, ``list[Order]``, ``str | None``; module names left out."""
    if annotation is None or annotation is NoneType:
        return "None"
    if annotation is Any:
        return "Any"
    if annotation is ...:
        return "..."
    if isinstance(annotation, list):  # the parameters of a Callable
        return f"[{', '.join(map(type_name, annotation))}]"
    origin = get_origin(annotation)
    if origin in _WRAPPERS:
        return type_name(get_args(annotation)[0])
    if is_union(annotation):
        return " | ".join(map(type_name, get_args(annotation)))
    if origin is not None:
        return _generic_name(origin, get_args(annotation))
    return str(getattr(annotation, "__name__", None) or annotation).removeprefix("typing.")


def _generic_name(origin: Any, args: tuple[Any, ...]) -> str:
    inside: Callable[[Any], str] = repr if origin is Literal else type_name
    return f"{type_name(origin)}[{', '.join(map(inside, args))}]"
