"""Which errors a policy means when it names exception types."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

from orchkit.registry.origin import cell_name

MESSAGE_CHARS = 10_000
"""How much of an error's message is kept; some carry the whole input that they are about."""


def names_of(kind: type[BaseException]) -> frozenset[str]:
    """All names under which an exception type can be meant: of it and its bases, bare and qualified."""
    bases = [base for base in kind.__mro__ if issubclass(base, BaseException)]
    bare = {base.__qualname__ for base in bases}
    return frozenset(bare | {f"{base.__module__}.{base.__qualname__}" for base in bases})


def matches(error: BaseException, names: Iterable[str]) -> bool:
    """Whether the error is, or derives from, one of the named exception types."""
    return not names_of(type(error)).isdisjoint(names)


def error_name(error: BaseException) -> str:
    """The type's name as it stands in records: builtins and our own bare, others qualified by module."""
    kind = type(error)
    bare = kind.__module__ in ("builtins", "orchkit.errors")
    return kind.__qualname__ if bare else f"{kind.__module__}.{kind.__qualname__}"


def error_message(error: BaseException) -> str:
    """Its message as text that can be stored, whatever its ``__str__`` does, and never endless."""
    try:
        message = str(error)
    except Exception as broken:
        message = f"(its message cannot be read: {type(broken).__qualname__})"
    if len(message) > MESSAGE_CHARS:
        message = f"{message[:MESSAGE_CHARS]}… and {len(message) - MESSAGE_CHARS} more characters"
    return message.encode("utf-8", "backslashreplace").decode()


def error_text(error: BaseException) -> str:
    """``Type: message`` for records and results."""
    message = error_message(error)
    return f"{type(error).__qualname__}: {message}" if message else type(error).__qualname__


_OURS = str(Path(__file__).resolve().parents[1])
_STANDARD = str(Path(traceback.__file__).resolve().parent)
_MOST_PLACES = 6


def raised_at(error: BaseException) -> list[str]:
    """Where it was raised, the innermost place last: ``file:line in function``, or the notebook cell.

    Places inside of orchkit and of the standard library are left out; of many the last few are kept.
    """
    places = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        name = code.co_filename
        if name.startswith(_OURS) or (name.startswith(_STANDARD) and "site-packages" not in name):
            continue
        cell = cell_name(name)
        place = f"{cell}, line {line}" if cell else f"{name}:{line}"
        places.append(f"{place} in {code.co_name}")
    return places[-_MOST_PLACES:]
