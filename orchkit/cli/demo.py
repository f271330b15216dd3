"""``orchkit demo``: a small office case, run and recorded before your eyes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from orchkit.cli.failure import UsageError
from orchkit.cli.options import DEFAULT_STORE, DebugOption, StoreOption
from orchkit.cli.screen import stdout

SCENARIO = "orchkit.demo.scenario"


def demo(
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where pictures and reports go.")] = Path(
        "demo-out"
    ),
    debug: DebugOption = False,
) -> None:
    """Run the demonstration."""
    try:
        scenario = import_module(SCENARIO)
    except ImportError as error:
        raise UsageError(f"the demonstration cannot be loaded: {error}") from error
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror or error}") from error
    scenario.run_demo(store, out, stdout())
