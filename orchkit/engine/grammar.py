"""The grammar of references: a text such as ``total: ${steps.sum.value ?? 0}`` taken apart.

::

    text       a mixture of plain text and references
    reference  ${ROOT PATH}  or  ${ROOT PATH ?? DEFAULT}
    ROOT       steps | context | run | item | index
    PATH       .name  [0]  [-1]  ["any text"]  ['any text'], any number of them
    DEFAULT    a JSON literal: stands in for what is missing or null

Before ``{`` a pair of dollars is one plain dollar: ``$${`` is a plain ``${``, and ``$$${context.price}``
is a plain ``$`` followed by a reference.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from orchkit.errors import ReferenceSyntaxError

ROOTS: Final = ("steps", "context", "run", "item", "index")

_OPENING = re.compile(r"(\$+)\{")
_ROOT = re.compile(r"\s*(\w[\w-]*)")
_SEGMENT = re.compile(r"\.(\w[\w-]*)|\[\s*(-?\d+)\s*\]|\[\s*(?=[\"'])")
_SINGLE_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)


class Missing(Enum):
    """The type of `MISSING`, which stands where None would be a value."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Reference:
    """One ``${...}``, taken apart."""

    root: str
    """``steps``, ``context``, ``run``, ``item`` or ``index``."""
    step_id: str | None
    """Which step's output; only for the root ``steps``."""
    path: tuple[str | int, ...]
    """What to take of it: names and list indexes, outermost first."""
    default: Any = field(default=MISSING, hash=False)
    """What stands in for a missing or null value; `MISSING` without ``??``."""
    text: str = ""
    """As written, ``${`` and ``}`` included."""

    @property
    def has_default(self) -> bool:
        """Whether something stands in when the value is not there."""
        return self.default is not MISSING


Part = str | Reference


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Part, ...]:
    """The plain pieces (unescaped) and the references of a text, in order.

    Raises `ReferenceSyntaxError` with the position of the first fault.
    """
    parts: list[Part] = []
    plain, position = "", 0
    while opening := _OPENING.search(text, position):
        dollars = len(opening[1])
        plain += text[position : opening.start()] + "$" * (dollars // 2)
        position = opening.end()
        if dollars % 2 == 0:
            plain += "{"
            continue
        if plain:
            parts.append(plain)
        reference, position = _reference(text, position)
        parts.append(reference)
        plain = ""
    plain += text[position:]
    if plain:
        parts.append(plain)
    return tuple(parts)


def escape(text: str) -> str:
    """A text that `parse` reads as plain, whatever it contains."""
    return _OPENING.sub(r"\1\1{", text)


def _reference(text: str, body: int) -> tuple[Reference, int]:
    """The reference whose inside starts at ``body``, and the position after its ``}``."""
    opened = _ROOT.match(text, body)
    if opened is None:
        position = _after_space(text, body)
        raise _fault(text, position, "empty reference" if text.startswith("}", position) else None)
    root = opened[1]
    if root not in ROOTS:
        raise ReferenceSyntaxError(text, opened.start(1), _unknown_root(root))
    path, position = _path(text, opened.end())
    step_id: str | None = None
    if root == "steps":
        if not path or not isinstance(path[0], str):
            raise _fault(text, position, "a step id is missing, write ${steps.ID},")
        step_id, path = path[0], path[1:]
    elif root == "index" and path:
        raise ReferenceSyntaxError(text, opened.end(), "${index} is a number, it has no fields;")
    default, position = _default(text, position)
    if not text.startswith("}", position):
        raise _fault(text, position)
    position += 1
    return Reference(root, step_id, path, default, text[body - 2 : position]), position


def _path(text: str, position: int) -> tuple[tuple[str | int, ...], int]:
    path: list[str | int] = []
    while segment := _SEGMENT.match(text, position):
        position = segment.end()
        if segment[1] is not None:
            path.append(segment[1])
        elif segment[2] is not None:
            path.append(int(segment[2]))
        else:
            name, position = _quoted(text, position)
            position = _after_space(text, position)
            if not text.startswith("]", position):
                raise _fault(text, position)
            path.append(name)
            position += 1
    return tuple(path), position


def _quoted(text: str, position: int) -> tuple[str, int]:
    """The quoted text that starts here, and the position after its closing quote."""
    if text[position] == "'":
        quoted = _SINGLE_QUOTED.match(text, position)
        if quoted is None:
            raise ReferenceSyntaxError(text, position, "unclosed quote")
        return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), quoted.end()
    try:
        name, end = _JSON.raw_decode(text, position)
    except ValueError:
        raise ReferenceSyntaxError(text, position, "unclosed or badly escaped quote") from None
    return str(name), end


def _default(text: str, position: int) -> tuple[Any, int]:
    """What follows ``??`` (`MISSING` if nothing does), and the position after it and its spaces."""
    position = _after_space(text, position)
    if not text.startswith("??", position):
        return MISSING, position
    position = _after_space(text, position + 2)
    try:
        default, end = _JSON.raw_decode(text, position)
    except (ValueError, RecursionError):
        cause = "the default after '??' is not a JSON literal (a number, true, false, null, \"text\", [], {})"
        raise ReferenceSyntaxError(text, position, cause) from None
    return default, _after_space(text, end)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant, strict=False)


def _after_space(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


def _fault(text: str, position: int, cause: str | None = None) -> ReferenceSyntaxError:
    if position >= len(text):
        return ReferenceSyntaxError(text, len(text), "unclosed reference: '}' is missing")
    return ReferenceSyntaxError(text, position, cause or f"unexpected {text[position]!r}")


def _unknown_root(root: str) -> str:
    near = get_close_matches(root, ROOTS, n=1)
    if near:
        return f"unknown root {root!r}, did you mean {near[0]!r}?"
    return f"unknown root {root!r}: a reference starts with {', '.join(ROOTS)} (${{steps.{root}}} for a step)"
