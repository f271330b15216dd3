"""What is noted beside a packed value: where in it which type was."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from orchkit.errors import CodecError

Path = tuple[str | int, ...]
Note = list[Any]
"""``[[path…], tag]`` or ``[[path…], tag, argument]``."""


class Packed(NamedTuple):
    """A JSON-able value and the notes that bring its types back."""

    value: Any
    notes: list[Note]


class Packer(Protocol):
    """What the packers of single types may use of the whole."""

    def pack(self, value: Any, path: Path) -> Any:
        """The JSON-able form of something inside."""
        ...

    def note(self, path: Path, tag: str, argument: Any = None) -> None:
        """Note the type of what is at a path; what is outside before what is inside."""
        ...

    def error(self, path: Path, cause: str) -> CodecError:
        """The error for a value that cannot be stored."""
        ...


def path_text(name: str, path: Path) -> str:
    """A path as people write it: ``output.rows[3].when``."""
    return name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def type_name(kind: type) -> str:
    """How a class is noted: ``module:QualName``."""
    return f"{kind.__module__}:{kind.__qualname__}"
