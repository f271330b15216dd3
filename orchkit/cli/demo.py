"""``orchkit demo``: a small office case, run, recorded and shown."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from orchkit.analysis.explain import explain_run
from orchkit.analysis.facts import Facts
from orchkit.analysis.words import duration, plural
from orchkit.cli.failure import UsageError
from orchkit.cli.options import DEFAULT_STORE, DebugOption, StoreOption
from orchkit.cli.place import recording
from orchkit.cli.runcard import print_story
from orchkit.cli.screen import stdout
from orchkit.cli.tables import decisions_table, print_steps
from orchkit.cli.words import status

if TYPE_CHECKING:
    from rich.console import Console

    from orchkit.demo.scenario import Stage

SCENARIO = "orchkit.demo.scenario"
QUERY = "select decision_point, decision, rationale from decision_traces where origin = 'user'"
RETRIED = "ask_carrier"
"""The step in which there is something to see: a service that is down at first."""


def demo(
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[Path, typer.Option(metavar="DIR", help="For the report and the picture.")] = Path(
        "demo-out"
    ),
    debug: DebugOption = False,
) -> None:
    """Run three workflows over a small office case, and show the record."""
    try:
        scenario = import_module(SCENARIO)
        out.mkdir(parents=True, exist_ok=True)
    except ImportError as error:
        raise UsageError(f"the demonstration cannot be loaded: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror or error}") from error
    report = out / "report.md"
    with recording(store) as kit:
        try:
            stages: list[Stage] = scenario.run(kit, report)
        except FileNotFoundError as error:  # an installation without the data
            raise UsageError(str(error)) from error
        console = stdout()
        for stage in stages:
            _print_stage(console, stage)
        main = stages[-1].run
        picture = main.dag().save(out / f"{main.name}.svg")
        print_steps(console, Facts(main.state))
        console.print()
        print_story(console, explain_run(main.state))
        console.print()
        choices = [decision for decision in main.state.decisions if not decision.by_engine]
        console.print(decisions_table(console, choices, with_step=False))
    console.print()
    _print_next(console, store, report, picture)


def _print_stage(console: Console, stage: Stage) -> None:
    state = stage.run.state
    tops = [step for step in state.steps.values() if step.parent is None]
    facts = f"{plural(len(tops), 'step')}, {duration(stage.run.duration_ms)}"
    if not stage.fresh:
        facts += f"  not repeated: same definition and input as {stage.run.id}"
    console.print(
        Text.assemble((state.name, "bold"), "  ", status(state.status), "  ", (facts, "dim")), soft_wrap=True
    )


def _print_next(console: Console, store: Path, report: Path, picture: Path) -> None:
    """What was written, and where to look from here."""
    more = "" if store == DEFAULT_STORE else f" --store {shlex.quote(str(store))}"
    program = _program()
    lines = (
        ("report", str(report)),
        ("picture", str(picture)),
        ("record", str(store)),
        ("look on", f"{program} show last{more}"),
        ("", f"{program} show last --step {RETRIED}{more}"),
        ("", f'{program} sql "{QUERY}"{more}'),
    )
    for name, text in lines:  # to be copied, so not in a table, which would break them
        console.print(Text.assemble((f"{name:<9}", "dim"), text), soft_wrap=True)


def _program() -> str:
    """How this program can be called again: by its name, or, where that is not on the PATH, by its path."""
    called = Path(sys.argv[0])
    if shutil.which("orchkit") or called.name != "orchkit":
        return "orchkit"
    return shlex.quote(os.path.relpath(called))
