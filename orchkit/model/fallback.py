"""Fallbacks as data: what takes the place of a result when a call has failed for good."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from orchkit.model.base import Record
from orchkit.model.manual import documented
from orchkit.model.reference import FunctionName, function_name
from orchkit.model.selectors import Selectors


def arguments_of(function: Callable[..., Any]) -> int:
    """How many arguments a fallback function gets: the error, or none; ValueError when neither fits."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some that are written in C do not tell
        return 1
    for count in (1, 0):
        with suppress(TypeError):
            signature.bind(*[None] * count)
            return count
    name = function_name(function).rpartition(":")[2]
    raise ValueError(
        f"{name}{signature} cannot be a fallback: it is called with the error alone, or with nothing"
    )


@documented
class FallbackOption(Record):
    """One fallback: a value (None unless said otherwise), a function or a tool."""

    value: Any = None
    function: FunctionName | None = None
    """A function (sync or async) that gets the error as its only argument, or nothing if it takes no
    parameter; it never gets the parameters of the call (a ``tool`` does)."""
    tool: str | None = Field(default=None, validation_alias=AliasChoices("tool", "tool_name"))
    """A tool or method; it gets ``params``, or the parameters of the call."""
    params: dict[str, Any] | None = Field(default=None, validation_alias=AliasChoices("params", "parameters"))
    on: Selectors = ("Exception",)
    """The errors that it is for: exception types, statuses or kinds."""

    @field_validator("function", mode="after")
    @classmethod
    def _callable_so(cls, value: Any) -> Any:
        if not isinstance(value, str) and value is not None:
            arguments_of(value)
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [self.value is not None, self.function is not None, self.tool is not None]
        if sum(given) > 1:
            raise ValueError("a fallback is a value, a function or a tool: give one of them")
        if self.params is not None and self.tool is None:
            raise ValueError("params are those of a tool, and there is none")
        return self

    def __str__(self) -> str:
        if self.tool is not None:
            return f"tool {self.tool!r}"
        return "a value" if self.function is None else f"function {function_name(self.function)}"


@documented
class FallbackPolicy(Record):
    """Fallbacks, tried in order; the first that is for the error and does not fail itself counts."""

    chain: tuple[FallbackOption, ...]
    """Each a `FallbackOption`, or what one is written as: a number, a function, a tool, ``{"value": …}``."""

    @field_validator("chain", mode="before")
    @classmethod
    def _chain(cls, value: Any) -> Any:
        return tuple(map(_option, value)) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.chain:
            raise ValueError("a fallback needs at least one option")
        return self


def _option(value: Any) -> Any:
    if isinstance(value, str):
        return FallbackOption(tool=value)
    if callable(value):
        return FallbackOption(function=value)
    if isinstance(value, bool | int | float):
        return FallbackOption(value=value)
    return value


def as_fallback(value: Any) -> FallbackPolicy | None:
    """A fallback from what people write.

    A number or a bool is a value, a function one to call, a text the name of a tool, a mapping the fields of
    a `FallbackOption` (``{"value": []}``), a list a chain of those.
    """
    if value is None or isinstance(value, FallbackPolicy):
        return value
    if isinstance(value, Mapping) and "chain" in value:
        return FallbackPolicy.model_validate(value)
    if isinstance(value, list | tuple):
        return FallbackPolicy(chain=tuple(value))
    return FallbackPolicy.model_validate({"chain": [value]})
