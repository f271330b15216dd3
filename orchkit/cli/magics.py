"""What ``%load_ext orchkit`` brings: ``%orchkit``, ``%%orchkit_sql`` and ``%%step``, thin over the kit."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

import orchkit as ok
from orchkit.cli.cellstep import function_source
from orchkit.cli.doctor import doctor
from orchkit.cli.failure import UsageError
from orchkit.cli.options import DEFAULT_STORE
from orchkit.errors import OrchkitError

HELP = """\
%orchkit last            the newest run
%orchkit runs [STATUS]   the runs on record, to look through
%orchkit doctor          what is installed, what is missing, how the store is
%%orchkit_sql [NAME]     the cell is a query over the record; its DataFrame is shown, or assigned to NAME
%%step NAME(PARAMETERS)  the cell is the body of a method: %%step total(price: float, count: int = 1) -> float
The kit is the variable kit, or the only one that there is."""


def load(shell: Any) -> None:
    """Register the magics with an IPython shell."""
    magics = _Magics(shell)
    shell.register_magic_function(_told(magics.orchkit), "line", "orchkit")
    shell.register_magic_function(_told(magics.sql), "cell", "orchkit_sql")
    shell.register_magic_function(_told(magics.step), "cell", "step")


def _told(magic: Callable[..., Any]) -> Callable[..., Any]:
    """An error of orchkit's is a message, not a traceback through its insides."""

    @wraps(magic)
    def call(*arguments: str) -> Any:
        from IPython.core.error import UsageError as Told

        try:
            return magic(*arguments)
        except UsageError as error:
            raise Told(str(error)) from None
        except OrchkitError as error:
            raise Told(f"{type(error).__name__}: {error}") from None

    return call


class _Magics:
    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def orchkit(self, line: str) -> Any:
        """Look at the record: ``%orchkit last``, ``%orchkit runs [STATUS]``, ``%orchkit doctor``."""
        words = shlex.split(line)
        match words:
            case []:
                typer.echo(HELP)
                return None
            case ["last"]:
                return self._kit().last
            case ["runs"]:
                return self._kit().runs.table()
            case ["runs", status]:
                return self._kit().runs.table(status=status)
            case ["doctor"]:
                return self._doctor()
        raise UsageError(f"there is no %orchkit {line}\n{HELP}")

    def _doctor(self) -> None:
        kits = self._kits()
        path = self._kit().store.path if kits else None
        try:
            doctor(Path(path) if path is not None else DEFAULT_STORE)
        except typer.Exit:  # it has said what is wrong; there is no exit code in a notebook
            return

    def sql(self, line: str, cell: str) -> Any:
        """A query over the record; the DataFrame is shown, or assigned to the name on the first line."""
        name = line.strip()
        if name and not name.isidentifier():
            raise UsageError(f"{name!r} is no name: write %%orchkit_sql, or %%orchkit_sql NAME")
        if not cell.strip():
            raise UsageError("the cell has no query, such as: select name, status from runs")
        frame = self._kit().sql(cell)
        if not name:
            return frame
        self._shell.user_ns[name] = frame
        return None

    def step(self, line: str, cell: str) -> None:
        """The cell becomes the body of a function, registered as a method of the kit, or of every kit."""
        name, source = function_source(line, cell)
        # the same names as for cells: tracebacks show the lines, and the record gets the source
        file = self._shell.compile.cache(source, self._shell.execution_count)
        code = compile(source, file, "exec", dont_inherit=True)
        space = self._shell.user_ns
        exec(code, space)  # noqa: S102 - it is the user's own cell
        registry = self._kit().registry if self._kits() else None
        ok.register_method(registry=registry)(space[name])
        typer.echo(f"step {source.splitlines()[0].removesuffix(':').replace('def ', '', 1)}")

    # --- the kit ---------------------------------------------------------------------------

    def _kit(self) -> ok.Kit:
        kits = self._kits()
        if not kits:
            raise UsageError('there is no open kit in this notebook: write kit = ok.open("runs.duckdb")')
        if "kit" in kits:
            return kits["kit"]
        if len({id(kit) for kit in kits.values()}) > 1:
            several = ", ".join(sorted(kits))
            raise UsageError(f"there are several kits ({several}): name the one that is meant kit")
        return next(iter(kits.values()))

    def _kits(self) -> dict[str, ok.Kit]:
        """The open kits among the variables of the notebook, but not among its outputs."""
        return {
            name: value
            for name, value in self._shell.user_ns.items()
            if isinstance(value, ok.Kit) and not value.store.closed and not name.startswith("_")
        }
