"""``orchkit show``: one run, or one step of it: what happened and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import orchkit as ok
from orchkit.analysis.facts import Facts
from orchkit.cli.failure import UsageError, note
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.records import records
from orchkit.cli.runcard import print_run, print_step
from orchkit.cli.screen import print_json, stdout
from orchkit.errors import UnknownNameError

LAST = "last"


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An id, the begin of one, or: last.")],
    step: Annotated[str | None, typer.Option(metavar="ID", help="One step of it, in full.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it into this file.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a run: how it ended, its steps, decisions and reasons."""
    with reading(store) as kit:
        found = find_run(kit, run)
        state = found.state
        facts = Facts(state, found.known_of(state))
        if step is not None and step not in state.steps:
            raise UnknownNameError("step", step, state.steps)
        if svg is not None:
            _draw(found.dag_of(state, facts.known), svg)
        row = records(kit.runs.frame(run_id=found.id, sub_runs=True))[0]
        if as_json:
            print_json({"run": {**row, "cut_off": facts.cut_off}, **_tables(found, step)})
        elif step is None:
            print_run(stdout(), facts, row)
        else:
            print_step(stdout(), facts, state.steps[step])


def find_run(kit: ok.Kit, text: str) -> ok.Run:
    """The run that a user means: by its id, the begin of one, or as the last."""
    if text != LAST:
        return kit.runs[text]
    try:
        return kit.runs[-1]
    except IndexError:
        raise UsageError(f"there are no runs in {kit.store.path} yet") from None


def _draw(picture: Any, path: Path) -> None:
    try:
        picture.save(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:  # not a name for a picture
        raise UsageError(str(error)) from error
    note(f"drawn into {path}")


def _tables(found: ok.Run, step: str | None) -> dict[str, Any]:
    """The explanation and the tables of a run, or the rows of one step."""
    tables = {
        "steps": found.steps(),
        "lineage": found.lineage(),
        "shared": found.shared(),
        "attempts": found.attempts(),
        "decisions": found.decisions(),
        "evidence": found.evidence(),
    }
    if step is not None:
        tables = {name: table[table["step_id"] == step] for name, table in tables.items()}
    rows = {name: records(table) for name, table in tables.items()}
    return {"explanation": str(found.explain(step)), **rows}
