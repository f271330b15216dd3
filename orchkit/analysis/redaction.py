"""Events made fit to be seen by others: without what must not leave, and without what nobody can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchkit.analysis.previews import readable
from orchkit.errors import ParameterError, Problem
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.store.notes import path_text

Redact = Callable[[str, Any], Any]
"""``redact(path, value)`` gives what is shown instead: see `to_show`."""

_PEOPLE = ("user_id", "session_id", "casefile_id", "request_id")
# Which value the type notes of a payload are about, by kind of event.
_TYPED: Mapping[str, str] = {
    ev.RUN_STARTED: "context",
    ev.STEP_SCHEDULED: "input",
    ev.STEP_FINISHED: "output",
    ev.EVIDENCE: "data",
}
# What a person or a service wrote, by kind of event; all else in a payload is of the engine's own making.
_DATA: Mapping[str, tuple[str, ...]] = {
    ev.RUN_STARTED: ("context", *_PEOPLE),
    ev.STEP_SCHEDULED: ("input",),
    ev.STEP_FINISHED: ("output",),
    ev.DECISION: ("alternatives", "input_data", "output_data"),
    ev.EVIDENCE: ("data", "metadata", "source"),
}
_TEXTS: Mapping[str, tuple[str, ...]] = {
    ev.RUN_FINISHED: ("error",),
    ev.RUN_CANCELLED: ("reason",),
    ev.STEP_FINISHED: ("error", "reason"),
    ev.ATTEMPT_FINISHED: ("error",),
    ev.PROGRESS: ("message",),
    ev.DECISION: ("decision", "rationale"),
    ev.HOOK_FAILED: ("error",),
    ev.BREAKER_TRANSITION: ("reason",),
}
_STEP_DATA = ("parameters", "over", "metadata")
_STEP_TEXTS = ("when", "description")


def to_show(events: Iterable[Event], redact: Redact | None = None) -> list[Event]:
    """The events with everything that may be shown of them, and nothing else that users gave.

    Tables, arrays and bytes become previews (`orchkit.analysis.previews`). Then ``redact(path, value)`` is
    asked about every value, and about everything inside of what it gives back; what it returns is shown.
    Paths begin with what a value is of: ``run.context``, ``steps.ID.input``, ``steps.ID.output``,
    ``decisions.POINT.input_data``, ``evidence.TYPE.data``, ``definition.ID.parameters``; keys follow after a
    dot, places in brackets. Errors, reasons, rationales and the like are texts in which anything may stand,
    so it is asked about them, too: ``steps.ID.error``, ``decisions.POINT.rationale``. Names of steps, tools
    and fields are not asked about. An error that it raises is raised; `ParameterError` for what is no
    function.
    """
    _check(redact)
    return [_one(event, redact) for event in events]


def _check(redact: Any) -> None:
    if redact is not None and not callable(redact):
        hint = "a function redact(path, value) returns what is shown instead"
        raise ParameterError("redact", [Problem("redact", f"a {type(redact).__name__} is no function", hint)])


def _one(event: Event, redact: Redact | None) -> Event:
    payload = _with_preview(event.payload, _TYPED.get(event.kind))
    if redact is None:
        return event if payload is event.payload else replace(event, payload=payload)
    return replace(event, payload=_redacted(event, payload, redact))


def _with_preview(payload: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    notes = payload.get("types")
    if not notes or name is None:
        return payload
    return {**payload, name: readable(payload.get(name), notes)}


def _redacted(event: Event, payload: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    about, new = _about(event), dict(payload)
    new.pop("types", None)  # they may hold a value once more, and what is shown has no use for them
    for name in _DATA.get(event.kind, ()):
        if new.get(name) is not None:
            new[name] = _walked(f"{about}.{name}", new[name], redact)
    for name in _TEXTS.get(event.kind, ()):
        if new.get(name) is not None:
            new[name] = _text(f"{about}.{name}", new[name], redact)
    if new.get("definition"):
        new["definition"] = _definition(new["definition"], redact)
    return new


def _about(event: Event) -> str:
    if event.kind == ev.DECISION:
        return f"decisions.{event.payload.get('point')}"
    if event.kind == ev.EVIDENCE:
        return f"evidence.{event.payload.get('type')}"
    return "run" if event.step_id is None else f"steps.{event.step_id}"


def _walked(path: str, value: Any, redact: Redact) -> Any:
    """What is shown instead of a value, and instead of everything inside of that."""
    value = redact(path, value)
    if isinstance(value, Mapping):
        return {key: _walked(path_text(path, (str(key),)), item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(path_text(path, (place,)), item, redact) for place, item in enumerate(value)]
    return value


def _text(path: str, value: Any, redact: Redact) -> str | None:
    new = redact(path, value)
    return new if new is None or isinstance(new, str) else str(new)


def _definition(definition: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    """A definition whose steps have other parameters, lists, conditions and descriptions."""
    steps = [_step(step, redact) for step in definition.get("steps", ())]
    return {**definition, "steps": steps, **_about_texts("definition", definition, redact)}


def _step(step: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    about, new = f"definition.{step.get('step_id')}", dict(step)
    for name in _STEP_DATA:
        if new.get(name):
            new[name] = _walked(f"{about}.{name}", new[name], redact)
    new |= _about_texts(about, new, redact)
    if new.get("compensate"):
        undo = dict(new["compensate"])
        undo["parameters"] = _walked(f"{about}.compensate", undo.get("parameters") or {}, redact)
        new["compensate"] = undo
    if new.get("workflow"):
        new["workflow"] = _definition(new["workflow"], redact)
    return new


def _about_texts(about: str, new: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    return {name: _text(f"{about}.{name}", new[name], redact) for name in _STEP_TEXTS if new.get(name)}
