"""``orchkit resume``: go on with a run that was cut off, or try one again that did not succeed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

import orchkit as ok
from orchkit.cli.failure import note
from orchkit.cli.feed import Feed
from orchkit.cli.following import document, follow, tell
from orchkit.cli.modules import import_modules
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.screen import nothing_else_on_stdout, print_json, stdout
from orchkit.cli.show import find_run
from orchkit.errors import WorkflowValidationError


class OnChange(StrEnum):
    """What to do about steps whose code was edited since they ran."""

    RERUN = "rerun"
    KEEP = "keep"
    ERROR = "error"


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An id, the begin of one, or: last.")],
    on_change: Annotated[
        OnChange,
        typer.Option(
            help="What to do about completed steps whose code was edited since: rerun them and all that "
            "comes after them, keep their results, or stop with an error that names them."
        ),
    ] = OnChange.RERUN,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--module",
            metavar="NAME",
            help="A module to import first, for tools that the definition does not name. Repeatable.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Go on with a run that was cut off, or try a failed one again.

    What was completed is not repeated. Modules that the definition's `imports` name are looked for in the
    current folder first. Ctrl-C cancels the run.
    """
    with nothing_else_on_stdout(as_json), reading(store) as kit:
        found = find_run(kit, run)
        state = found.state
        # What is no workflow has no definition; that it cannot be resumed is said when it is tried.
        workflow = found.definition or ok.Workflow(name=state.name, steps=())
        import_modules(workflow, modules or ())
        try:
            ended = follow(
                kit,
                lambda: kit.resume(found.id, on_change=on_change.value),
                workflow,
                Feed(state, found.known_of(state).below),
                held_back=state.durability == "exit",
            )
        except WorkflowValidationError:
            if not modules and not workflow.imports:
                note("its definition names no modules: say with --module NAME where its tools are")
            raise
        if ended.result.replayed:
            note("it had succeeded already: nothing was run")
        if not as_json:
            tell(stdout(), ended, store)
    if as_json:
        print_json(document(ended, store))
    raise typer.Exit(ended.exit_code)
