"""Following a run that this process began until it ends, and telling what came of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

import orchkit as ok
from orchkit.analysis.explain import explain_run
from orchkit.analysis.facts import Facts, span_ms
from orchkit.cli.failure import FAILED
from orchkit.cli.feed import Feed
from orchkit.cli.interrupts import Interrupts
from orchkit.cli.progress import Display, display_of
from orchkit.cli.runcard import print_story
from orchkit.cli.screen import stderr
from orchkit.cli.tables import print_steps
from orchkit.errors import StoreError
from orchkit.model.state import RunState
from orchkit.store import codec

if TYPE_CHECKING:
    from rich.console import Console

TICK_S = 0.1


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


def follow(
    kit: ok.Kit, start: Callable[[], ok.RunHandle], workflow: ok.Workflow, feed: Feed, *, held_back: bool
) -> Ended:
    """Start a run and show it until it ends; a signal cancels it, a second one gives up waiting."""
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


def tell(console: Console, ended: Ended, store: Path) -> None:
    """For people: the steps, the story, where the record is."""
    print_steps(console, Facts(ended.state))
    console.print()
    print_story(console, explain_run(ended.state))
    console.print(Text(f"Recorded as {ended.result.run_id} in {store}."), soft_wrap=True)


def document(ended: Ended, store: Path) -> dict[str, Any]:
    """For machines."""
    result = ended.result
    return {
        "run_id": result.run_id,
        "name": result.name,
        "status": result.status,
        "error": result.error,
        "started_at": result.started_at,
        "finished_at": result.completed_at,
        "duration_ms": result.duration_ms,
        "replayed": result.replayed,
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
