"""The record of one step, in the hand: what went in, what came out, and what was decided on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchkit.analysis import choices
from orchkit.analysis.facts import Facts, span_ms
from orchkit.analysis.known import NOTHING, Known
from orchkit.analysis.liveness import CUT_OFF, IN_DOUBT
from orchkit.analysis.origins import whose
from orchkit.analysis.words import clean, duration, error_text, shorten
from orchkit.errors import UnknownNameError
from orchkit.model.brief import brief
from orchkit.model.result import StepStatus
from orchkit.model.state import AttemptState, DecisionState, RunState
from orchkit.store import codec
from orchkit.views.cards import short_json

_LONGEST = 100
_PLAIN = (dict, list, str, int, float, type(None))


@dataclass(frozen=True, slots=True, repr=False)
class StepRecord:
    """What the events of a run tell about one of its steps.

    Input and output are the Python values again: a DataFrame, a datetime, an object of a class that still
    exists. What cannot be brought back stays the plain JSON value of the record.
    """

    step_id: str
    name: str
    """The tool or method that was called."""
    status: StepStatus
    input: Any
    output: Any
    error: str | None
    """``Type: message`` of the last error."""
    reason: str | None
    """Why it was skipped or cancelled."""
    duration_ms: float | None
    """From scheduled to ended, waits included; None before the end."""
    attempts: tuple[AttemptState, ...]
    decisions: tuple[DecisionState, ...]
    """Those of the engine and those of the step, in order."""
    cut_off: bool
    """Whether it was running when the process of its run ended: see `orchkit.Run.cut_off`."""
    source: Mapping[str, Any] | None
    """Whose recorded result it shows, ``{how, run_id, step_id}``; None: its own."""
    evidence: tuple[Mapping[str, Any], ...]
    """Each with ``evidence_id``, ``type``, ``data``, ``source``, ``confidence_score`` and ``metadata``."""

    def __repr__(self) -> str:
        return "\n".join(clean(line) for line in self._lines())

    def _lines(self) -> Iterator[str]:
        called = f" ({self.name})" if self.name and self.name != self.step_id else ""
        took = f" after {duration(self.duration_ms)}" if self.duration_ms is not None else ""
        yield f"step {self.step_id}{called}: {self._standing(self.status)}{took}"
        rows = {
            "input": _value(self.input) if _says(self.input) else "",
            "output": _value(self.output) if self.status == "success" else "",
            "result of": whose(self.source) or "",
            "error": error_text(self.error or ""),
            "reason": error_text(self.reason or ""),
            "attempts": ", ".join(self._standing(attempt.status) for attempt in self.attempts),
            "decisions": ", ".join(f"{one.point} = {one.decision}" for one in self.decisions),
            "evidence": ", ".join(map(choices.piece, self.evidence)),
        }
        yield from (f"  {name:<9}  {shorten(text, _LONGEST)}" for name, text in rows.items() if text)

    def _standing(self, status: str) -> str:
        if status == "in_doubt":
            return IN_DOUBT
        return CUT_OFF if self.cut_off and status == "running" else status


def step_record(state: RunState, step_id: str, known: Known = NOTHING) -> StepRecord:
    """The record of a step of this run. Raises `UnknownNameError` when it has no such step."""
    step = state.steps.get(step_id)
    if step is None:
        raise UnknownNameError("step", step_id, state.steps)
    facts = Facts(state, known)
    return StepRecord(
        step_id=step.step_id,
        name=step.name,
        status=step.status,
        input=_python(step.input, step.input_types),
        output=_python(step.output, step.output_types),
        error=step.error,
        reason=step.reason,
        duration_ms=span_ms(step.scheduled_us, step.finished_us),
        attempts=tuple(step.attempts),
        cut_off=facts.standing(step.status) == CUT_OFF,
        decisions=tuple(facts.decisions.get(step_id, ())),
        source=step.source,
        evidence=tuple(event.payload for event in state.evidence if event.step_id == step_id),
    )


def _says(value: Any) -> bool:
    """Whether there is something to show; an array or a DataFrame has no truth value."""
    return value is not None and value != {} if isinstance(value, _PLAIN) else True


def _value(value: Any) -> str:
    """Plain data as JSON, everything else by its repr."""
    return short_json(value, _LONGEST) if isinstance(value, _PLAIN) else brief(value)


def _python(value: Any, notes: list[Any] | None) -> Any:
    try:
        return codec.unpack(value, notes)
    except Exception:  # does not fit its class any more, or a package is missing: the record is still there
        return value
