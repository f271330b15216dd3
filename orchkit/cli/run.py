"""``orchkit run``: read a definition, run it, show what it does and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

import orchkit as ok
from orchkit.analysis.explain import explain_run
from orchkit.analysis.facts import Facts, span_ms
from orchkit.cli.definition import read_definition
from orchkit.cli.failure import FAILED
from orchkit.cli.feed import Feed
from orchkit.cli.interrupts import Interrupts
from orchkit.cli.modules import import_modules
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import recording
from orchkit.cli.progress import Display, display_of
from orchkit.cli.runcard import print_story
from orchkit.cli.screen import nothing_else_on_stdout, print_json, stderr, stdout
from orchkit.cli.settings import parse_settings
from orchkit.cli.tables import print_steps
from orchkit.errors import StoreError
from orchkit.model.state import RunState
from orchkit.store import codec

if TYPE_CHECKING:
    from rich.console import Console

TICK_S = 0.1


class Durability(StrEnum):
    """What a finished step survives."""

    SYNC = "sync"
    ASYNC = "async"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that is over."""

    result: ok.WorkflowResult
    state: RunState
    """What it did, as it was recorded."""
    signal_code: int
    """The exit code that a signal asks for; 0 when there was none."""

    @property
    def exit_code(self) -> int:
        """0 success, 1 not, 130 interrupted."""
        return self.signal_code or (0 if self.result.success else FAILED)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A workflow definition, .yaml or .json.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value for ${context.KEY}; a.b nests; JSON (10, true, [1,2]) or else text. Repeatable.",
        ),
    ] = None,
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

    Modules that its `imports` name are looked for in the current folder first. Ctrl-C cancels the run.
    """
    context = parse_settings(settings or ())
    with nothing_else_on_stdout(as_json):
        workflow = read_definition(file)
        import_modules(workflow)
        with recording(store) as kit:
            ended = _follow(
                kit,
                lambda: kit.start(workflow, user, context, durability=durability.value),
                workflow,
                # What is held back until the end cannot be shown before it.
                held_back=durability is Durability.EXIT,
            )
            if not as_json:
                _tell(stdout(), ended, store)
    if as_json:
        print_json(_document(ended, store))
    raise typer.Exit(ended.exit_code)


def _follow(
    kit: ok.Kit, start: Callable[[], ok.RunHandle], workflow: ok.Workflow, *, held_back: bool
) -> Ended:
    """Start a run and show it until it ends; a signal cancels it, a second one gives up waiting."""
    feed = Feed()
    remark = "with durability exit, nothing is shown before the end" if held_back else ""
    unsubscribe = kit.store.subscribe(feed.listen)
    try:
        with Interrupts() as interrupts:
            handle = start()
            with display_of(stderr(), feed, workflow.name, len(workflow.steps), remark=remark) as display:
                while not handle.done:
                    with suppress(TimeoutError):
                        handle.result(TICK_S)
                    _obey(interrupts, handle, display)
                    if not held_back:
                        # What a step decides before it waits is written with what comes next; it is to be
                        # seen now. If it cannot be written, the run itself will say so.
                        with suppress(StoreError):
                            kit.store.commit()
                    display.show(feed.drain(handle.run_id), kit.store.clock.now_us())
                result = handle.result()
                display.show(feed.drain(handle.run_id), kit.store.clock.now_us())
    finally:
        unsubscribe()
    return Ended(result, feed.state, interrupts.exit_code)


def _obey(interrupts: Interrupts, handle: ok.RunHandle, display: Display) -> None:
    if interrupts.count and not interrupts.obeyed:
        interrupts.obeyed = True
        handle.cancel(interrupts.reason)
        display.say("cancelling the run (once more: leave at once) …")
    if interrupts.count > 1:
        display.say(f"left {handle.run_id} before its end was on the record")
        raise typer.Exit(interrupts.exit_code)


# --- what came of it -------------------------------------------------------------------------


def _tell(console: Console, ended: Ended, store: Path) -> None:
    print_steps(console, Facts(ended.state))
    console.print()
    print_story(console, explain_run(ended.state))
    console.print(Text(f"Recorded as {ended.result.run_id} in {store}."), soft_wrap=True)


def _document(ended: Ended, store: Path) -> dict[str, Any]:
    result = ended.result
    return {
        "run_id": result.run_id,
        "name": result.name,
        "status": result.status,
        "error": result.error,
        "started_at": result.started_at,
        "finished_at": result.completed_at,
        "duration_ms": result.duration_ms,
        "user_id": ended.state.user_id,
        "store": str(store.absolute()),
        "steps": [_step_document(ended, step_id) for step_id in ended.state.steps],
    }


def _step_document(ended: Ended, step_id: str) -> dict[str, Any]:
    step, result = ended.state.steps[step_id], ended.result.steps.get(step_id)
    output = (
        step.output if result is None or not result.success else codec.pack(result.output, "output").value
    )
    return {
        "step_id": step_id,
        "name": step.name,
        "node_type": step.node_type,
        "parent": step.parent,
        "status": step.status,
        "attempts": len(step.attempts),
        "duration_ms": span_ms(step.scheduled_us, step.finished_us),
        "output": output,
        "error": step.error,
        "reason": step.reason,
    }
