"""Names that are like a wrong one, as far as there is time to look for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches

_LONGEST = 200
"""Characters of a name that others are compared with: comparing takes the square of that."""
_left: ContextVar[list[int] | None] = ContextVar("orchkit_comparisons", default=None)


def near(name: str, known: Collection[str]) -> list[str]:
    """The name that is most like this one, or nothing: none is, or `at_most` so many were compared."""
    if len(name) > _LONGEST:
        return []
    left = _left.get()
    if left is not None:
        if left[0] <= 0:
            return []
        left[0] -= len(known)
    return get_close_matches(name, known, n=1)


@contextmanager
def at_most(comparisons: int) -> Iterator[None]:
    """Inside, names are compared no more often than that, whoever asks.

    Comparing two takes 30 µs. What somebody else has written may be wrong in thousands of places.
    """
    token = _left.set([comparisons])
    try:
        yield
    finally:
        _left.reset(token)


def spent() -> bool:
    """Whether no name will be found near to any other one any more."""
    left = _left.get()
    return left is not None and left[0] <= 0
