"""A function as part of a definition: itself in memory, ``package.module:function`` on paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, PlainSerializer, WithJsonSchema

_NAME: Final = re.compile(r"[^:\s]+:[^:\s]+")


def function_name(function: Callable[..., Any] | str) -> str:
    """``package.module:function`` of a function (or whatever names it already)."""
    if isinstance(function, str):
        return function
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def _checked(value: Callable[..., Any] | str) -> Callable[..., Any] | str:
    # Names of lambdas and inner functions pass: they stand in records, and cannot be called from there.
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is neither a function nor 'package.module:function'")
    return value


FunctionName = Annotated[
    Callable[..., Any] | str,
    AfterValidator(_checked),
    PlainSerializer(function_name, return_type=str),
    WithJsonSchema({"type": "string"}),
]
"""A function, or where to import it from at its first use."""
