"""One step on the record: scheduled, performed, finished, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchkit.engine.recorder import RunRecorder, StepScope
from orchkit.errors import CodecError
from orchkit.model import event as ev
from orchkit.model.result import OutputDict, StepResult
from orchkit.reliability.classify import error_name, error_text
from orchkit.store import codec

Perform = Callable[[StepScope], Awaitable[Any]]
"""Does the work of a step and returns its output."""


async def run_step(
    recorder: RunRecorder,
    step_id: str,
    name: str,
    params: Any,
    perform: Perform,
    *,
    node_type: str = "task",
    more: Mapping[str, Any] | None = None,
) -> StepResult:
    """Record that the step begins, let ``perform`` do it, record how it ended.

    Failure and cancellation are in the result, so the caller must own the task it runs in (or raise
    the cancellation on). ``more`` goes into the step.scheduled event (``parent``, ``index``).
    """
    clock = recorder.store.clock
    scope = recorder.scope(step_id)
    result = StepResult(step_id, "running", started_us=clock.now_us())
    try:
        recorder.scheduled(step_id, name, node_type, params, **(more or {}))
        output = await perform(scope)
        packed = codec.pack(output, "output")
        result.attempts, result.status = scope.attempt or 0, "success"
        finish(recorder, result, name, node_type, packed)
        result.output = OutputDict(output) if type(output) is dict else output
    except Exception as error:
        result.attempts = scope.attempt or 0
        fail(result, error)
        finish(recorder, result, name, node_type)
    except BaseException as error:  # cancelled, or Ctrl-C
        result.attempts, result.status = scope.attempt or 0, "cancelled"
        result.reason = recorder.cancel_reason or str(error) or "its task was cancelled"
        finish(recorder, result, name, node_type)
        if not isinstance(error, asyncio.CancelledError):
            raise
    return result


def fail(result: StepResult, error: Exception) -> None:
    """Make this the outcome of the step."""
    result.status, result.error, result.exception = "failed", error_text(error), error
    if isinstance(error, CodecError):
        result.reason = "its value cannot be stored"


def finish(
    recorder: RunRecorder, result: StepResult, name: str, node_type: str, packed: codec.Packed | None = None
) -> None:
    """Write the step.finished event and note the time in the result."""
    result.finished_us = recorder.store.clock.now_us()
    payload: dict[str, Any] = {
        "status": result.status,
        "name": name,
        "node_type": node_type,
        "started_us": result.started_us or result.finished_us,
        "attempts": result.attempts,
    }
    if packed is not None:
        payload["output"] = packed.value
        if packed.notes:
            payload["types"] = packed.notes
    if result.error is not None:
        payload["error"] = result.error
        payload["error_type"] = error_name(result.exception) if result.exception else None
    if result.reason is not None:
        payload["reason"] = result.reason
    recorder.event(ev.STEP_FINISHED, payload, result.step_id)
