"""Names that are made, not given."""

from __future__ import annotations


def unique_name(name: str, taken: set[str]) -> str:
    """The name itself, or with ``_2``, ``_3`` … the first that is free; it is taken then."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
