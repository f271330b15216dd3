"""The outputs of a recorded run, for steps that are played."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchkit.errors import ParameterError, Problem
from orchkit.model.state import RunState, fold
from orchkit.store import codec


def outputs_of(run: Any) -> dict[str, Any]:
    """By step id (of an item with its index, in a sub-workflow after the id of its step) what steps gave.

    Raises `ParameterError` for what is no run.
    """
    if run is None:
        return {}
    if not hasattr(run, "store") or not hasattr(run, "id"):
        problem = Problem("like", f"expected a run, not a {type(run).__name__}", "give kit.runs[...]")
        raise ParameterError("simulate", [problem])
    states = {run_id: fold(events) for run_id, events in run.store.events_below(run.id).items()}
    return _outputs(states[run.id], states, "")


def _outputs(state: RunState, states: Mapping[str, RunState], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in state.steps.values():
        if step.node_type == "workflow":
            below = states.get(step.child_run_id or "")
            found |= _outputs(below, states, f"{path}{step.step_id}/") if below is not None else {}
        elif step.status == "success" and step.node_type != "map":  # of a map its items gave something
            found[f"{path}{step.step_id}"] = codec.unpack(step.output, step.output_types)
    return found
