"""Definitions by name, in layers: what is not here is looked up in the parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from orchkit.errors import RegistrationError
from orchkit.registry.origin import Origin
from orchkit.registry.revision import Revision


class Definition(Protocol):
    """What can be listed: it has a name and comes from somewhere."""

    @property
    def name(self) -> str:
        """The name it is known by."""
        ...

    @property
    def place(self) -> Origin:
        """Where it was written."""
        ...


D = TypeVar("D", bound=Definition)


class Catalogue(Generic[D]):
    """What `MethodRegistry` and `ToolRegistry` have in common."""

    noun: ClassVar[str]
    """What is in it, in the singular."""

    def __init__(self, parent: Self | None, revision: Revision | None) -> None:
        self.parent = parent
        self._revision: Revision = revision or (parent._revision if parent is not None else Revision())
        self._own: dict[str, D] = {}

    def find(self, name: str) -> D | None:
        """The one of this name, or None."""
        return self._by_name(name)

    def _by_name(self, name: str) -> D | None:
        found = self._own.get(name)
        if found is None and self.parent is not None:
            return self.parent._by_name(name)
        return found

    def _known_from_here(self, definition: D) -> D | None:
        """The one of its name that it takes the place of; RegistrationError when that is from elsewhere."""
        known = self._own.get(definition.name)
        if known is not None and not known.place.same_place(definition.place):
            raise RegistrationError(definition.name, _taken(known.place.text, definition.place.text))
        return known

    def _visible(self) -> dict[str, D]:
        inherited = self.parent._visible() if self.parent is not None else {}
        return inherited | self._own

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def __len__(self) -> int:
        return len(self._visible())

    def __iter__(self) -> Iterator[str]:
        """The names, sorted."""
        return iter(sorted(self._visible()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self)} {self.noun}s: {', '.join(self)}>"


def _taken(first: str, second: str) -> str:
    """The cause of a name clash."""
    return (
        f"the name is taken: first registered by {first}, now again by {second}. "
        "Give one of them another name=, or unregister the first"
    )
