"""Arguments that a function does not know: the error names the one that was probably meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def hinting(function: Callable[P, R]) -> Callable[P, R]:
    """A method whose `TypeError` for an unknown keyword offers those that there are."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    named = frozenset(known)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs.keys() - named:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise TypeError(f"{function.__name__}() has no argument {name!r}, {hint}")
        return function(*args, **kwargs)

    return checked
