"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_TRACEBACK = "orchkit.cli.traceback"

DEFAULT_STORE = Path("runs.duckdb")


def _remember_traceback(ctx: typer.Context, wanted: bool) -> bool:
    ctx.find_root().meta[_TRACEBACK] = wanted
    return wanted


def wants_traceback(ctx: Any) -> bool:
    """Whether the command was given ``--debug``."""
    return bool(ctx.find_root().meta.get(_TRACEBACK))


StoreOption = Annotated[
    Path,
    typer.Option("--store", envvar="ORCHKIT_STORE", metavar="PATH", help="The store.", show_default=False),
]
ImportOption = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import a module, for its tools. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines instead of tables.")]
DebugOption = Annotated[
    bool,
    typer.Option("--debug", callback=_remember_traceback, help="Show the traceback of an error."),
]
