"""Where things are in a definition file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    import yaml

Place = tuple[int | str, ...]
"""The keys and indexes that lead to a value, from the outside in."""


class StepPlace(NamedTuple):
    """A step of a definition file."""

    name: str
    """Its id, or its number (from 1) when it has none."""
    depth: int
    """How many keys and indexes lead to it."""


class Lines:
    """The places in a YAML or JSON text (for this purpose JSON is YAML); empty when it is neither."""

    def __init__(self, text: str) -> None:
        import yaml

        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            root = None
        self._found = {place: (line, value) for place, line, value in _walk(root, ())} if root else {}

    @classmethod
    def of(cls, data: Any) -> Self:
        """The same without a text: everything is in line 1."""
        lines = cls("")
        lines._found = {
            place: (1, value if isinstance(value, str) else "") for place, value in _inside(data, ())
        }
        return lines

    def line(self, place: Place) -> int:
        """The line of what is at a place, or else of what is nearest around it."""
        while place and place not in self._found:
            place = place[:-1]
        return self._found[place][0] if place else 1

    def step_around(self, place: Place) -> StepPlace | None:
        """The innermost step that a place is in."""
        for depth in range(len(place), 1, -1):
            number = place[depth - 1]
            if place[depth - 2] == "steps" and isinstance(number, int):
                ids = [self._found.get((*place[:depth], key)) for key in ("step_id", "id")]
                named = [found[1] for found in ids if found is not None]
                return StepPlace(repr(named[0]) if named else f"number {number + 1}", depth)
        return None


def _inside(data: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Every value in plain data, with its place."""
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(data, Mapping):
        children = data.items()
    elif isinstance(data, list | tuple):
        children = enumerate(data)
    for part, child in children:
        yield (*place, part), child
        yield from _inside(child, (*place, part))


def _walk(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int, str]]:
    """Every value below a node: its place, the line where it (or its key) stands, its text if it is one."""
    import yaml

    children: list[tuple[int | str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(index, item, item) for index, item in enumerate(node.value)]
    for part, mark, child in children:
        here = (*place, part)
        yield here, mark.start_mark.line + 1, child.value if isinstance(child, yaml.ScalarNode) else ""
        yield from _walk(child, here)
