"""A value in a few words: for reprs, which are read, logged and shown by debuggers."""

from __future__ import annotations

import reprlib
from math import prod
from typing import Any

_LONGEST_NAME = 60


class _Brief(reprlib.Repr):
    """Also short where the type is not exactly a built-in one, such as a subclass of dict."""

    def __init__(self) -> None:
        super().__init__()
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 6
        self.maxstring = self.maxother = 80

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, dict):
            return self.repr_dict(x, level)
        if isinstance(x, str):
            return self.repr_str(x, level)
        if isinstance(x, bytes | bytearray):
            return self._repr_bytes(bytes(x[: self.maxstring // 2]), len(x))
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple) and prod(shape) > self.maxlist:  # arrays and DataFrames take many lines
            return f"<{type(x).__qualname__} of shape {shape}>"
        return super().repr1(x, level)

    def _repr_bytes(self, begin: bytes, length: int) -> str:
        """Its begin: the repr of all of it would be made only to be cut."""
        return repr(begin) if len(begin) == length else f"{begin!r}... ({length:,} bytes)"


_BRIEF = _Brief()


def brief(value: Any) -> str:
    """The repr of a value, of a large one what fits on a line or two. Never raises."""
    try:
        return _BRIEF.repr(value)
    except Exception:  # a repr must never raise
        return f"<{type(value).__qualname__}>"


def brief_name(name: str) -> str:
    """A name on one line, cut when it is long."""
    line = " ".join(name[: 4 * _LONGEST_NAME].split())
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"
