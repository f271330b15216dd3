"""Where a registration comes from: to tell a re-run cell from a clash, and to name both in an error."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

from orchkit.registry.signature import underlying


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in the source; ``qualname`` is empty where no function is involved."""

    module: str
    qualname: str
    text: str
    """For people: module, file and line, or the notebook cell."""

    def same_place(self, other: Origin) -> bool:
        """Whether one replaces the other: same module (or notebook) and, if both have one, same function."""
        if self.module != other.module:
            return False
        return not self.qualname or not other.qualname or self.qualname == other.qualname


def origin_of(function: Callable[..., Any]) -> Origin:
    """The place where a callable is defined."""
    named: Any = function
    while isinstance(named, functools.partial | MethodType):
        named = named.func if isinstance(named, functools.partial) else named.__func__
    if not hasattr(named, "__qualname__"):
        named = type(named)
    module = getattr(named, "__module__", None) or "builtins"
    code = getattr(underlying(function), "__code__", None)
    line = None if code is None or isinstance(named, type) else (code.co_filename, code.co_firstlineno)
    return Origin(module, named.__qualname__, _text(module, line))


def origin_of_target(target: str) -> Origin:
    """The place that a lazy ``package.module:function`` names."""
    module, _, qualname = target.partition(":")
    return Origin(module, qualname, f"the target {target!r}")


def origin_of_caller() -> Origin:
    """The place outside this package whose call is being executed."""
    package = __name__.rpartition(".")[0]
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(package):
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "__main__")
    return Origin(module, "", _text(module, (frame.f_code.co_filename, frame.f_lineno)))


def _text(module: str, line: tuple[str, int] | None) -> str:
    if line is None:
        return module
    cell = cell_name(line[0]) if module == "__main__" else None
    if cell is not None:
        return f"notebook {cell}, line {line[1]}"
    return f"{module} ({line[0]}:{line[1]})"


def cell_name(filename: str) -> str | None:
    """``Cell In[3]`` for the made-up file name under which IPython compiles a cell; never imports IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    name_of = getattr(getattr(shell, "compile", None), "format_code_name", None)
    named = name_of(filename) if name_of is not None else None
    return " ".join(named) if named else None


def cell_number() -> int:
    """The number of the notebook cell that is being run; 0 outside IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return int(getattr(shell, "execution_count", 0))
