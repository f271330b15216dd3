"""Results as the record tells them: what a run gave, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchkit.engine.resumption import recorded_step
from orchkit.errors import CodecError, ExecutionError
from orchkit.model.result import OutputDict, StepResult, WorkflowResult
from orchkit.model.state import RunState, StepState
from orchkit.store import codec


def recorded_result(state: RunState) -> WorkflowResult:
    """The result of a run that has ended, marked as replayed; its exceptions are texts only.

    Raises `ExecutionError` when an output cannot be read as what it was.
    """
    order = [step["step_id"] for step in (state.definition or {}).get("steps", ())]
    steps = [state.steps[step_id] for step_id in order]
    return WorkflowResult(
        state.run_id,
        state.workflow_id or "",
        state.name,
        state.status,
        {step.step_id: recorded_step(step, _output(state, step)) for step in steps},
        state.started_us or 0,
        state.finished_us,
        state.error,
        replayed=True,
    )


def _output(state: RunState, step: StepState) -> Any:
    try:
        return codec.unpack(step.output, step.output_types)
    except CodecError as error:
        raise ExecutionError(
            f"the output of step {step.step_id!r} of {state.run_id} cannot be read any more: {error.cause}"
        ) from error


_HEAD = ("run_id", "workflow_id", "name", "started_us", "finished_us")
_FACTS = ("status", "error", "reason", "attempts", "started_us", "finished_us")


Code = Mapping[str, Mapping[str, Any]]
"""By tool name ``{hash, …}``."""


def result_text(result: WorkflowResult, code: Code) -> str | None:
    """A result as JSON, for `read_result`; None when it is large, and best read from the record of the run.

    So it is when an output cannot be stored (any more: a later step may have put something into it).
    ``code``: what it was made with.
    """
    steps, size = [], 0
    try:
        for step in result.steps.values():
            steps.append(codec.dumps(_step(step)))
            size += len(steps[-1])
            if size > codec.BLOB_BYTES:
                return None
    except CodecError:
        return None
    head: dict[str, Any] = {name: getattr(result, name) for name in _HEAD}
    head["code"] = {name: facts.get("hash") for name, facts in code.items()}
    return f'{codec.dumps(head)[:-1]},"steps":[{",".join(steps)}]}}'


def _step(step: StepResult) -> dict[str, Any]:
    found: dict[str, Any] = {"step_id": step.step_id}
    found |= {name: value for name in _FACTS if (value := getattr(step, name)) is not None}
    if step.success:
        packed = codec.pack(step.output, "output")
        found["output"] = packed.value
        if packed.notes:
            found["types"] = packed.notes
    return found


def edited(before: Mapping[str, Any], now: Code) -> tuple[str, ...]:
    """The tools whose code is another one now; ``before``: by tool name the hash."""
    return tuple(
        name for name, digest in before.items() if digest and name in now and now[name].get("hash") != digest
    )


def read_result(text: str, code: Code) -> WorkflowResult:
    """The successful result that `result_text` wrote, marked as replayed; ``code``: as it is now."""
    found = codec.loads(text)
    return WorkflowResult(
        found["run_id"],
        found["workflow_id"],
        found["name"],
        "success",
        {step["step_id"]: _read_step(step) for step in found["steps"]},
        found["started_us"],
        found["finished_us"],
        replayed=True,
        edited=edited(found.get("code", {}), code),
    )


def _read_step(step: Mapping[str, Any]) -> StepResult:
    output = step.get("output")
    types = step.get("types")
    if types:
        output = codec.unpack(output, types)
    return StepResult(
        step["step_id"],
        step["status"],
        OutputDict(output) if type(output) is dict else output,
        step.get("error"),
        step.get("reason"),
        step.get("attempts", 0),
        step.get("started_us"),
        step.get("finished_us"),
    )
