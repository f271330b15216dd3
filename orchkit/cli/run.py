"""``orchkit run``: read a definition, run it, show what it does and what came of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchkit.cli.definition import read_definition
from orchkit.cli.feed import Feed
from orchkit.cli.following import document, follow, tell
from orchkit.cli.modules import hinting_at_imports, import_modules
from orchkit.cli.options import DEFAULT_STORE, DebugOption, ImportOption, JsonOption, StoreOption
from orchkit.cli.place import recording
from orchkit.cli.screen import nothing_else_on_stdout, print_json, stdout
from orchkit.cli.settings import parse_settings


class Durability(StrEnum):
    """What a finished step survives."""

    SYNC = "sync"
    ASYNC = "async"
    EXIT = "exit"


def run(  # noqa: PLR0913, PLR0917 - the options of a command, each by its name
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A workflow definition, .yaml or .json.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value for ${context.KEY}; a.b nests; JSON (10, true, [1,2]) or else text. Repeatable.",
        ),
    ] = None,
    modules: ImportOption = None,
    store: StoreOption = DEFAULT_STORE,
    user: Annotated[str | None, typer.Option(metavar="ID", help="On whose behalf.")] = None,
    durability: Annotated[
        Durability,
        typer.Option(
            help="What a finished step survives: sync also power loss, async a killed process; "
            "exit: written when the run ends."
        ),
    ] = Durability.SYNC,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a workflow definition.

    Modules that its `imports` or --import name are looked for in the current folder first. Ctrl-C cancels the
    run.
    """
    context = parse_settings(settings or ())
    with nothing_else_on_stdout(as_json):
        workflow = read_definition(file)
        import_modules(workflow, modules or ())
        with recording(store) as kit, hinting_at_imports():
            ended = follow(
                kit,
                lambda: kit.start(workflow, user, context, durability=durability.value),
                workflow,
                Feed(),
                # What is held back until the end cannot be shown before it.
                held_back=durability is Durability.EXIT,
            )
            if not as_json:
                tell(stdout(), ended, store)
    if as_json:
        print_json(document(ended, store))
    raise typer.Exit(ended.exit_code)
