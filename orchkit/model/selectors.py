"""How a policy names errors: exception types, HTTP statuses, kinds of trouble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from orchkit.model.span import Seconds

KINDS: Final = (
    "timeout",
    "connection",
    "throttling",
    "transient",
    "client_error",
    "server_error",
    "rejected",
)
"""What `orchkit.reliability.traits` can tell of an error whatever library raised it."""


def exception_name(exception: type[BaseException] | str) -> str:
    """The name under which an exception type is kept in a policy: ``module.QualName``, builtins bare."""
    if isinstance(exception, str):
        return exception
    if exception.__module__ == "builtins":
        return exception.__qualname__
    return f"{exception.__module__}.{exception.__qualname__}"


def selector(value: Any) -> str:
    """One selector as text: an exception type or its name, a status (503, ``"5xx"``), a kind."""
    if isinstance(value, bool) or not isinstance(value, str | int | type):
        # Not a TypeError, which pydantic would not take for a wrong value.
        raise ValueError(f"{value!r} names no error: use an exception, its name, a status or a kind")  # noqa: TRY004
    if isinstance(value, int):
        if not 100 <= value <= 599:
            raise ValueError(f"{value} is no HTTP status")
        return str(value)
    if isinstance(value, type) and not issubclass(value, BaseException):
        raise ValueError(f"{value.__name__} is not an exception type")  # noqa: TRY004
    name = exception_name(value)
    if not name.strip():
        raise ValueError("a selector of errors is empty")
    return name


def _selectors(value: Any) -> Any:
    if value is None:
        return ()
    if isinstance(value, str | int | type) or not isinstance(value, Iterable):
        value = (value,)
    return tuple(selector(item) for item in value)


def _by_selector(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {selector(key): amount for key, amount in value.items()}
    return value


Selectors = Annotated[tuple[str, ...], BeforeValidator(_selectors)]
"""Errors that are meant: each an exception name (subclasses count), a status or a kind."""
BySelector = Annotated[dict[str, float], BeforeValidator(_by_selector)]
"""A number per selector; the first that fits counts."""
SecondsBySelector = Annotated[dict[str, Seconds], BeforeValidator(_by_selector)]
"""A span of time per selector; the first that fits counts."""
