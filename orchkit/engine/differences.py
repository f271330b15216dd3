"""What differs between two inputs, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchkit.errors import Difference

MISSING = type("Missing", (), {"__repr__": lambda self: "nothing", "__slots__": ()})()
"""Stands for a field that one of the two has not."""


def differences(recorded: Any, given: Any, path: str = "") -> Iterator[Difference]:
    """Each place in which two JSON-able values differ, such as ``items[2].price``."""
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in [*recorded, *(key for key in given if key not in recorded)]:
            below = f"{path}.{key}" if path else str(key)
            yield from differences(recorded.get(key, MISSING), given.get(key, MISSING), below)
    elif isinstance(recorded, list) and isinstance(given, list):
        for place in range(max(len(recorded), len(given))):
            before, after = (items[place] if place < len(items) else MISSING for items in (recorded, given))
            yield from differences(before, after, f"{path}[{place}]")
    elif type(recorded) is not type(given) or recorded != given:
        yield Difference(path or "input", recorded, given)
