"""An event as one sentence: what stands under a film."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from orchkit.analysis import choices
from orchkit.analysis.facts import COMPENSATION, span_ms
from orchkit.analysis.origins import whose
from orchkit.analysis.words import clean, duration, error_text, listing, shorten
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.state import RunState, StepState

Mark = Literal["decision", "failure"]

_LONGEST = 300
_LONGEST_NAME = 80
_ENDED = {"success": "succeeded", "failed": "failed", "skipped": "was skipped", "cancelled": "was cancelled"}
_RUN_ENDED = {
    "success": "succeeded",
    "failed": "failed",
    "cancelled": "was cancelled",
    "partial": "ended partial",
}
_TRIED = {"success": "succeeded", "failed": "failed", "timeout": "timed out", "cancelled": "was cancelled"}
_BAD_ENDS = ("failed", "timeout", "partial")


def caption(event: Event, state: RunState) -> str:
    """The event in words; ``state`` is that of its run, the event included. One line, never raises."""
    tell = _CAPTIONS.get(event.kind)
    text = tell(event, state) if tell is not None else _other(event)
    return shorten(text, _LONGEST)


def mark(event: Event) -> Mark | None:
    """What a person may look for: a decision, or that something went wrong."""
    if event.kind == ev.DECISION:
        return "decision"
    payload = event.payload
    if event.kind in (ev.ATTEMPT_FINISHED, ev.STEP_FINISHED, ev.RUN_FINISHED):
        return "failure" if payload.get("status") in _BAD_ENDS else None
    opened = event.kind == ev.BREAKER_TRANSITION and payload.get("to_state") == "open"
    return "failure" if opened or event.kind == ev.HOOK_FAILED else None


# --- the run -------------------------------------------------------------------------------


def _run_started(event: Event, state: RunState) -> str:
    origin = (state.forked_from or {}).get("run_id")
    return f"{_run(state)} begins" + (f", forked from {origin}" if origin else "")


def _run_finished(event: Event, state: RunState) -> str:
    ended = _RUN_ENDED.get(state.status, f"ended {state.status}")
    took = span_ms(state.started_us, event.ts)
    after = f" after {duration(took)}" if took is not None else ""
    return f"{_run(state)} {ended}{after}" + _because(state.error if state.status != "success" else None)


def _run_paused(event: Event, state: RunState) -> str:
    return f"{_run(state)} is paused"


def _run_resumed(event: Event, state: RunState) -> str:
    payload = event.payload
    if "pid" not in payload:
        return f"{_run(state)} goes on"
    again = _texts(payload.get("again"))
    what = f": {listing(again)} {'runs' if len(again) == 1 else 'run'} again" if again else ""
    return f"{_run(state)} is taken up again, in process {payload['pid']}{what}"


def _run_cancelled(event: Event, state: RunState) -> str:
    return f"{_run(state)} is being cancelled" + _because(event.payload.get("reason"))


def _run_imported(event: Event, state: RunState) -> str:
    return f"{_run(state)} was imported from {_name(event.payload.get('file') or 'another store')}"


def _run(state: RunState) -> str:
    return _name(state.name or state.run_id or "the run")


# --- steps and attempts --------------------------------------------------------------------


def _step_scheduled(event: Event, state: RunState) -> str:
    step = _step(event, state)
    if step.step_id.startswith(COMPENSATION):
        return f"{_name(step.step_id.removeprefix(COMPENSATION))} is being undone by {_name(step.name)}"
    kind = {"map": ", a map", "workflow": ", a workflow"}.get(step.node_type, "")
    of = f", an item of {_name(step.parent)}" if step.parent is not None else ""
    return f"{_name(step.step_id)} begins{kind}{of}"


def _step_reused(event: Event, state: RunState) -> str:
    how = {"cache": " (cache)", "fork": " (fork)"}.get(str(event.payload.get("how")), "")
    return f"{_name(event.step_id)} takes the recorded result of {whose(event.payload)}{how}"


def _step_finished(event: Event, state: RunState) -> str:
    step = _step(event, state)
    ended = _ENDED.get(step.status, f"ended {step.status}")
    took = span_ms(step.scheduled_us, event.ts) if step.source is None and step.status != "skipped" else None
    after = f" after {duration(took)}" if took is not None else ""
    why = step.error if step.status == "failed" else step.reason
    return f"{_step_name(step.step_id)} {ended}{after}" + _because(why)


def _attempt_started(event: Event, state: RunState) -> str:
    attempts = _step(event, state).attempts
    waited = span_ms(attempts[-2].finished_us, event.ts) if len(attempts) > 1 else None
    after = f", after a wait of {duration(waited)}" if waited else ""
    return f"{_step_name(event.step_id)}: attempt {event.attempt or 1} begins{after}"


def _attempt_finished(event: Event, state: RunState) -> str:
    payload = event.payload
    ended = _TRIED.get(payload["status"], f"ended {payload['status']}")
    tried = reversed(_step(event, state).attempts)
    attempt = next((one for one in tried if one.number == event.attempt), None)
    took = span_ms(attempt.started_us, attempt.finished_us) if attempt is not None else None
    after = f" after {duration(took)}" if took is not None else ""
    more = ", its thread goes on" if payload.get("abandoned") else ""
    text = f"{_step_name(event.step_id)}: attempt {event.attempt or 1} {ended}{after}{more}"
    return text + _because(payload.get("error"))


def _progress(event: Event, state: RunState) -> str:
    fraction, message = event.payload.get("fraction"), event.payload.get("message")
    said = [f"{fraction:.0%}"] if isinstance(fraction, int | float) else []
    said += [str(message)] if message else []
    return f"{_step_name(event.step_id or _run(state))}: {', '.join(said) or 'is getting on'}"


# --- what was decided, and the rest --------------------------------------------------------


def _decision(event: Event, state: RunState) -> str:
    payload = event.payload
    about = _about(event)
    return f"{about}{_name(payload['point'])} → {_name(payload['decision'])}" + _because(
        payload.get("rationale")
    )


def _evidence(event: Event, state: RunState) -> str:
    about = _about(event)
    return f"{about}evidence, {choices.piece(event.payload)}"


def _breaker(event: Event, state: RunState) -> str:
    payload = event.payload
    states = " → ".join(
        str(payload.get(name) or "?").replace("_", " ") for name in ("from_state", "to_state")
    )
    return f"breaker {_name(payload.get('name'))}: {states}" + _because(payload.get("reason"))


def _hook_failed(event: Event, state: RunState) -> str:
    payload = event.payload
    return f"hook {_name(payload.get('hook'))} failed {payload.get('stage') or ''}" + _because(
        payload.get("error")
    )


def _session(event: Event, state: RunState) -> str:
    about = _about(event)
    return f"{about}noted in session {_name(event.payload.get('session_id'))}"


def _other(event: Event) -> str:
    words = event.kind.replace(".", " ").replace("_", " ")
    operation = event.payload.get("operation") or event.payload.get("name")
    about = _about(event)
    return f"{about}{words}" + (f" of {_name(operation)}" if isinstance(operation, str) else "")


def _step(event: Event, state: RunState) -> StepState:
    return state.steps[event.step_id or ""]


def _about(event: Event) -> str:
    return f"{_step_name(event.step_id)}: " if event.step_id is not None else ""


def _step_name(step_id: object) -> str:
    """A compensation by what it undoes."""
    undone = str(step_id or "").removeprefix(COMPENSATION)
    return _name(step_id) if undone == step_id else f"undo {_name(undone)}"


def _name(text: object) -> str:
    return shorten(text or "?", _LONGEST_NAME)


def _because(why: object) -> str:
    return f": {error_text(why)}" if why else ""


def _texts(value: object) -> list[str]:
    return [clean(one) for one in value] if isinstance(value, list | tuple) else []


_CAPTIONS: Mapping[str, Callable[[Event, RunState], str]] = {
    ev.RUN_STARTED: _run_started,
    ev.RUN_FINISHED: _run_finished,
    ev.RUN_PAUSED: _run_paused,
    ev.RUN_RESUMED: _run_resumed,
    ev.RUN_CANCELLED: _run_cancelled,
    ev.RUN_IMPORTED: _run_imported,
    ev.STEP_SCHEDULED: _step_scheduled,
    ev.STEP_FINISHED: _step_finished,
    ev.STEP_REUSED: _step_reused,
    ev.ATTEMPT_STARTED: _attempt_started,
    ev.ATTEMPT_FINISHED: _attempt_finished,
    ev.PROGRESS: _progress,
    ev.DECISION: _decision,
    ev.EVIDENCE: _evidence,
    ev.BREAKER_TRANSITION: _breaker,
    ev.HOOK_FAILED: _hook_failed,
    ev.SESSION_EXECUTION: _session,
}
