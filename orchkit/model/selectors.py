"""How a policy names errors: exception types, HTTP statuses, kinds of trouble."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
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
_STATUS: Final = re.compile(r"[1-5](\d\d|xx)")


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


def meant(name: str) -> str | None:
    """The error that was probably meant by a name which no known error has; None for any other name."""
    last = name.rpartition(".")[2]
    if name in KINDS or not last.isidentifier() or _STATUS.fullmatch(name):
        return None
    known = _error_names()
    if last in known:
        return None
    near = get_close_matches(
        last, sorted(known) if "." in name else [*KINDS, *sorted(known)], n=1, cutoff=0.85
    )
    return near[0] if near else None


def _error_names() -> set[str]:
    """The names of all exception types there are at the moment."""
    names, left = set[str](), [BaseException]
    while left:
        kind = left.pop()
        if kind.__name__ not in names:
            names.add(kind.__name__)
        left += kind.__subclasses__()
    return names


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
