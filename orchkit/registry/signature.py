"""What the signature of a function says: its parameters, their types and its result."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import Enum
from inspect import Parameter
from types import MethodType, NoneType, SimpleNamespace
from typing import Annotated, Any, Final, Optional, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from orchkit.errors import RegistrationError
from orchkit.registry.typeforms import is_open, members, type_name


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return self.value


MISSING: Final = Missing.MISSING
"""Stands for "no default"; None would be a default like any other."""


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter of a method or a tool."""

    name: str
    annotation: Any = Any
    """A type object; ``Any`` when there is none or it cannot be resolved."""
    required: bool = True
    default: Any = MISSING
    description: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {type_name(self.annotation)}"
        if self.default is not MISSING:
            return f"{text} = {self.default!r}"
        return text if self.required else f"{text} = ..."


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters and the result of a function, with annotations resolved."""

    parameters: tuple[ParameterSpec, ...]
    result_type: Any
    accepts_extra: bool
    """Whether there is a ``**kwargs`` that takes names not listed."""
    complete: bool
    """False when an annotation could not be resolved (yet) and is ``Any`` for now."""


def underlying(function: Callable[..., Any]) -> Any:
    """The Python function that carries code and annotations, behind partials, methods and wrappers."""
    inner: Any = function
    while True:
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif isinstance(inner, MethodType):
            inner = inner.__func__
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif isinstance(inner, type):
            return inspect.getattr_static(inner, "__init__")
        elif not hasattr(inner, "__code__") and hasattr(type(inner).__call__, "__code__"):
            inner = type(inner).__call__
        else:
            return inner


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; sees through partials and ``async def __call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return False
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def check_signature(name: str, function: Callable[..., Any]) -> inspect.Signature:
    """The raw signature; RegistrationError when the function cannot be called with named parameters."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise RegistrationError(name, f"its signature cannot be read: {error}") from error
    inner = underlying(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise RegistrationError(name, "it is a generator; a method returns its result, for example a list")
    for position, parameter in enumerate(signature.parameters.values()):
        cause = _refusal(parameter, position, getattr(inner, "__qualname__", ""))
        if cause is not None:
            raise RegistrationError(name, cause)
    return signature


def _refusal(parameter: Parameter, position: int, qualname: str) -> str | None:
    """Why a parameter cannot be given by name, or None."""
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return f"*{parameter.name} cannot be given by name: use a list parameter instead"
    if parameter.kind is Parameter.POSITIONAL_ONLY:
        return f"parameter {parameter.name!r} is positional-only and cannot be given by name"
    if isinstance(parameter.default, FieldInfo):
        return f"parameter {parameter.name!r} has a Field as its default: write Annotated[type, Field(...)]"
    owner = qualname.rpartition(".")[0]
    if position == 0 and parameter.name in ("self", "cls") and owner and not owner.endswith("<locals>"):
        return f"it needs {parameter.name!r}: register the method of an instance, such as {owner}().method"
    return None


def read_signature(
    function: Callable[..., Any], raw: inspect.Signature, local_names: Mapping[str, Any]
) -> Signature:
    """The signature with string annotations resolved; what cannot be resolved is ``Any``."""
    annotations = {
        p.name: p.annotation for p in raw.parameters.values() if p.annotation is not Parameter.empty
    }
    if raw.return_annotation is not inspect.Signature.empty:
        annotations["return"] = raw.return_annotation
    hints = _resolve(annotations, underlying(function), local_names)
    named = [p for p in raw.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    result = function if isinstance(function, type) else hints.get("return", Any)
    return Signature(
        parameters=tuple(_spec(parameter, hints.get(parameter.name, Any)) for parameter in named),
        result_type=_awaited(result),
        accepts_extra=len(named) < len(raw.parameters),
        complete=len(hints) == len(annotations),
    )


def _spec(parameter: Parameter, annotation: Any) -> ParameterSpec:
    if parameter.default is Parameter.empty:
        return ParameterSpec(parameter.name, annotation, True, MISSING, _description(annotation))
    if parameter.default is None and not any(m is NoneType or is_open(m) for m in members(annotation)):
        annotation = Optional[annotation]  # noqa: UP045 - ``|`` fails on some type objects; "x: int = None"
    return ParameterSpec(parameter.name, annotation, False, parameter.default, _description(annotation))


def _description(annotation: Any) -> str:
    """The text in ``Annotated[int, Field(description=...)]``, ``Doc(...)`` or ``Annotated[int, "text"]``."""
    if get_origin(annotation) is not Annotated:
        return ""
    for extra in get_args(annotation)[1:]:
        text = getattr(extra, "description", None) or getattr(extra, "documentation", None) or extra
        if isinstance(text, str):
            return text
    return ""


def _awaited(result: Any) -> Any:
    """``X`` for ``Awaitable[X]`` and ``Coroutine[…, …, X]``."""
    if get_origin(result) in (Awaitable, Coroutine) and get_args(result):
        return get_args(result)[-1]
    return result


# --- annotations that are strings ----------------------------------------------------------------


def enclosing_names(function: Callable[..., Any], raw: inspect.Signature) -> dict[str, Any]:
    """The local names that the annotations use, when the function is defined inside a running one.

    ``typing.get_type_hints`` sees globals only; a type defined in the same function body as the method
    is found by walking up to the frame that is still executing that body.
    """
    source = underlying(function)
    outers = getattr(source, "__qualname__", "").split(".<locals>.")[:-1]
    code = getattr(source, "__code__", None)
    if not outers or code is None:
        return {}
    scopes = {".<locals>.".join(outers[: depth + 1]) for depth in range(len(outers))}
    annotations = (*(p.annotation for p in raw.parameters.values()), raw.return_annotation)
    wanted = set(re.findall(r"[^\W\d]\w*", " ".join(map(str, annotations))))
    found: dict[str, Any] = {}
    frame = sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_code.co_qualname in scopes and frame.f_code.co_filename == code.co_filename:
            found = {name: frame.f_locals[name] for name in wanted & set(frame.f_locals)} | found
        frame = frame.f_back
    return found


def _resolve(annotations: dict[str, Any], source: Any, local_names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations as type objects; those that cannot be resolved are left out."""
    scope = getattr(source, "__globals__", {})
    names = {**local_names, **_closure(source)}
    hints = _evaluate(annotations, scope, names)
    if hints is not None:
        return hints
    one_by_one = (_evaluate({name: annotation}, scope, names) for name, annotation in annotations.items())
    return {name: hint for found in one_by_one if found is not None for name, hint in found.items()}


def _evaluate(
    annotations: dict[str, Any], scope: dict[str, Any], names: dict[str, Any]
) -> dict[str, Any] | None:
    """All of them as type objects, or None when one of them cannot be resolved."""
    carrier = SimpleNamespace(__annotations__=annotations)
    try:
        hints = get_type_hints(carrier, scope, names, include_extras=True)
    except Exception:  # evaluating runs the user's expression: anything may come out of it
        return None
    # An annotation may be any object; a number or a list of words says nothing about the type.
    return {n: Any if isinstance(h, int | float | list | dict | tuple | set) else h for n, h in hints.items()}


def _closure(source: Any) -> dict[str, Any]:
    """The free variables of a closure that already have a value."""
    names = getattr(getattr(source, "__code__", None), "co_freevars", ())
    found: dict[str, Any] = {}
    for name, cell in zip(names, getattr(source, "__closure__", None) or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet: then no annotation can use it either
            continue
    return found
