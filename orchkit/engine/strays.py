"""Runs that were cut off and do not go on: given up, or below a run that went on without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from orchkit.engine.recorder import RunRecorder
from orchkit.engine.resumption import Resumption
from orchkit.engine.steprun import finish
from orchkit.model import event as ev
from orchkit.model.result import StepResult, StepStatus
from orchkit.model.state import RunState
from orchkit.store.process import this_process
from orchkit.store.store import Store

_REASON = "it was cut off, and the run above it went on without it"


def end_strays(store: Store, before: Resumption, gone_on: Collection[str]) -> None:
    """Put the end of such runs on the record; ``gone_on``: the sub-workflow steps that began again."""
    for state in _strays(before, gone_on):
        with store.together():
            payload = {"reason": _REASON, **this_process().facts}
            RunRecorder(store, state.run_id, "async").event(ev.RUN_RESUMED, payload)
            end_left(store, state, _REASON)


def _strays(before: Resumption, gone_on: Collection[str] = ()) -> Iterator[RunState]:
    yield from before.strays
    for step_id, child in before.children.items():
        if step_id not in gone_on:
            yield from _strays(child)
            if child.state.open:
                yield child.state


def end_left(store: Store, state: RunState, reason: str) -> None:
    """Put the end of a run that was left behind on the record: as cancelled, with all that was open in it."""
    recorder = RunRecorder(store, state.run_id, "async")
    with store.together():
        for step in state.steps.values():
            if step.status in ("pending", "running"):
                status: StepStatus = "skipped" if step.status == "pending" else "cancelled"
                attempts = max((attempt.number for attempt in step.attempts), default=0)
                result = StepResult(
                    step.step_id, status, reason=reason, attempts=attempts, started_us=step.scheduled_us
                )
                finish(recorder, result, step.name, step.node_type)
        now_us = store.clock.now_us()
        recorder.run_finished("cancelled", reason, max(0, now_us - (state.started_us or now_us)))
