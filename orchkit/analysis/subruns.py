"""The runs of sub-workflows of a run: which they are, and where they stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from orchkit.analysis.known import Path
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.state import RunState


class Recorded(Protocol):
    """A store that can be asked for the events of runs."""

    def events(self, run_id: str) -> list[Event]:
        """The events of a run in order."""
        ...

    def events_below(self, run_id: str) -> dict[str, list[Event]]:
        """The events of a run and of the runs of sub-workflows below it, by run id."""
        ...


def recorded(store: Recorded, run_id: str) -> dict[str, Sequence[Event]]:
    """The events of a run and of all runs that its steps show, by run id, its own first; empty without any.

    A step with a result of another run shows the sub-workflow of that one: it is among them.
    """
    found: dict[str, Sequence[Event]] = dict(store.events_below(run_id))
    todo = list(found)
    while todo:
        for child in _shown_by(found[todo.pop()]):
            if child not in found:
                found[child] = store.events(child)  # nothing where that run was swept
                todo.append(child)
    return {one: events for one, events in found.items() if events}


def _shown_by(events: Sequence[Event]) -> Iterator[str]:
    for event in events:
        child = event.payload.get("child_run_id") if event.kind == ev.STEP_SCHEDULED else None
        if child is not None:
            yield child


def states_below(state: RunState, states: Mapping[str, RunState]) -> dict[Path, RunState]:
    """Of these states by run id, those that stand below ``state``, by the path of their step."""
    found: dict[Path, RunState] = {}
    todo: list[tuple[Path, RunState]] = [((), state)]
    seen = {state.run_id}
    while todo:
        path, parent = todo.pop()
        for step in parent.steps.values():
            child = states.get(step.child_run_id or "")
            if child is not None and child.run_id not in seen:
                seen.add(child.run_id)
                found[(*path, step.step_id)] = child
                todo.append(((*path, step.step_id), child))
    return found
