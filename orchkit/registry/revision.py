"""A counter that tells caches whether anything has been registered since they were filled."""

from __future__ import annotations


class Revision:
    """Shared by a registry, its parents and its children: a change in any of them shows in all.

    A single integer comparison on the hot path replaces change notifications, which would need weak
    references from the long-lived global registry to every kit that ever was.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def bump(self) -> None:
        """Say that something changed; call it after the change, not before."""
        self.value += 1
