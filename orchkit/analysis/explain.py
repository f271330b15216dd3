"""A run, or one step of it, in plain words: what happened, in which order, and why."""

from __future__ import annotations

from orchkit.analysis import runstory, stepstory
from orchkit.analysis.facts import Facts
from orchkit.analysis.known import NOTHING, Known
from orchkit.analysis.words import clean, sentence
from orchkit.errors import UnknownNameError
from orchkit.model.state import RunState


def explain_step(state: RunState, step_id: str, known: Known = NOTHING) -> str:
    """One step in plain words: what it did, waited for and decided, and why it ended as it did.

    Raises `UnknownNameError` when the run has no such step.
    """
    if step_id not in state.steps:
        raise UnknownNameError("step", step_id, state.steps)
    return "\n".join(_line(line) for line in stepstory.lines(Facts(state, known), state.steps[step_id]))


def explain_run(state: RunState, known: Known = NOTHING) -> str:
    """The whole run in plain words: how it ended, what failed first, where it comes from; what to do."""
    return "\n".join(_line(line) for line in runstory.lines(Facts(state, known)))


def _line(line: str) -> str:
    """Entries of lists stay as they are; everything else is a sentence, with its own first letter."""
    line = clean(line)
    if line.startswith("  "):
        return line
    return line[:1] + sentence(line)[1:]
