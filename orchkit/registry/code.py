"""What the code of a registered callable is: a hash that tells an edit from a mere change of looks."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchkit.registry.layers import layers_of
from orchkit.registry.origin import origin_of

_SCHEME = "orchkit code 1"
"""Part of what is hashed: another way to hash must get another number."""


@dataclass(frozen=True, slots=True)
class Code:
    """The identity of a piece of code.

    The hash covers

    - the function, lambda or class itself, without comments, formatting, docstrings, its position and
      orchkit's own decorators (a callable instance counts by its class);
    - the values of defaults, of the frozen arguments of a partial, and of free variables, as far as they
      can be stored; free variables and the owner of a bound method only where they cannot change, or are
      plain lists and dicts (of other objects the class counts, and the functions that they hold, by name);
    - the wrappers around it: those of its own package in full, others by name and free variables;
    - the version that the user pinned.

    It is the same in every process and, with source, in every version of Python. Where there is no source,
    or it is not what is running (the file was edited after the import), the compiled code is hashed instead,
    which is another in another version of Python. Builtin functions count by their names.

    Functions that it calls, global variables and installed packages do not count: ``version=`` is for them.
    """

    hash: str
    """SHA-256, 64 hexadecimal digits."""
    source: str | None
    """The text as written, dedented; None when there is none, or it is not what is running."""
    version: str | None
    """What the user pinned."""
    place: str
    """Where it comes from, for people."""


def code_of(function: Callable[..., Any], *, version: str | None = None, place: str | None = None) -> Code:
    """The code of any callable; ``place`` is read off it unless given.

    Takes about 0.1 ms for a function of twenty lines; the first one of a file, which is parsed and compiled
    for it, some 10 µs per line of the file more.
    """
    forms, source = layers_of(function)
    text = json.dumps([_SCHEME, version, forms], separators=(",", ":"))
    # In a process that multiprocessing spawned, the script of its parent has another name.
    text = text.replace("__mp_main__:", "__main__:")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Code(digest, source, version, origin_of(function).text if place is None else place)


def changes(old_source: str | None, new_source: str | None, *, limit: int = 40) -> str:
    """What changed between two sources, for people: a unified diff of at most ``limit`` lines.

    Empty when they are equal; if their hashes differ then, it is a default, a free variable, a wrapper or
    the version that changed.
    """
    if old_source == new_source:
        return ""
    if old_source is None or new_source is None:
        return f"there is no source of the {'old' if old_source is None else 'new'} code to compare with"
    old, new = old_source.splitlines(), new_source.splitlines()
    lines = list(difflib.unified_diff(old, new, "before", "now", n=2, lineterm=""))
    if len(lines) > limit:
        lines[limit:] = [f"… and {len(lines) - limit} more lines"]
    return "\n".join(lines)
