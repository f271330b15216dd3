"""What differs between two plain values, place by place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchkit.errors import Difference

MISSING = type("Missing", (), {"__repr__": lambda self: "nothing", "__slots__": ()})()
"""Stands for a field that one of the two has not."""


def differences(recorded: Any, given: Any, path: str = "", *, whole: str = "input") -> Iterator[Difference]:
    """Each place in which two JSON-able values differ, such as ``items[2].price``.

    ``whole`` is the path of the values themselves. Numbers of different types differ, two NaNs do not.
    """
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in [*recorded, *(key for key in given if key not in recorded)]:
            below = f"{path}.{key}" if path else str(key)
            before, after = recorded.get(key, MISSING), given.get(key, MISSING)
            yield from differences(before, after, below, whole=whole)
    elif isinstance(recorded, list) and isinstance(given, list):
        for place in range(max(len(recorded), len(given))):
            before, after = (items[place] if place < len(items) else MISSING for items in (recorded, given))
            yield from differences(before, after, f"{path}[{place}]", whole=whole)
    elif (type(recorded) is not type(given) or recorded != given) and not _both_nan(recorded, given):
        yield Difference(path or whole, recorded, given)


def _both_nan(one: Any, other: Any) -> bool:
    """NaN is unlike itself."""
    return bool(one != one and other != other)  # noqa: PLR0124
