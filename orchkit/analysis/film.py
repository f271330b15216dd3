"""A run as a film: what each of its events changed, so that a front end can go to any of them.

The frames are the events; the delta of a frame says what the fold of the events up to it has that the fold
before it had not. Whoever applies the deltas of the first k frames, one after the other, has what
`orchkit.model.state.fold` makes of the first k events, as far as it is shown (`picture`). ::

    frame = {"seq", "ts_us", "kind", "text"}             always there; text is the event in words
            | {"step", "attempt"}                        where the event is of one
            | {"mark": "decision" | "failure"}           what one looks for when one looks for something
            | {"d": delta}                               where it changed something
    delta = {"run": {field: value}}                      facts of the run
            | {"steps": {step_id: {field: value}}}       facts of steps
            | {"attempts": {step_id: {place: {…}}}}      of the attempts of a step, by their place from 0
            | {"decision": {…}} | {"evidence": {…}}      one more of them

Inputs, outputs and other data are numbers: places in the film's table of values (`orchkit.analysis.shown`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from orchkit.analysis.captions import caption, mark
from orchkit.analysis.facts import evidence_ids
from orchkit.analysis.links import links, workflow_of
from orchkit.analysis.shown import Values
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.state import AttemptState, DecisionState, RunState, StepState, fold

VERSION = 1

Film = dict[str, Any]
Frame = dict[str, Any]
Facts = dict[str, Any]

_RUN = (
    "run_id", "kind", "name", "status", "error", "started_us", "finished_us", "resumed", "durability",
    "user_id", "session_id", "casefile_id", "request_id", "parent_run_id", "parent_step_id", "pid", "host",
)  # fmt: skip
_STEP = (
    "name", "node_type", "parent", "status", "scheduled_us", "finished_us", "error", "error_type", "reason",
    "forgiven", "child_run_id", "progress", "progress_message",
)  # fmt: skip
_ATTEMPT = ("number", "status", "started_us", "finished_us", "error", "error_type", "abandoned")
_DECISION = ("point", "decision", "rationale", "origin", "duration_ms")
_DECISION_DATA = ("alternatives", "input_data", "output_data")
_EVIDENCE = ("evidence_id", "type", "source", "confidence_score", "hash")
_EVIDENCE_DATA = ("data", "metadata")
_OF_ALL_STEPS = frozenset({ev.RUN_STARTED, ev.RUN_RESUMED})
_OF_ATTEMPTS = frozenset({ev.ATTEMPT_STARTED, ev.ATTEMPT_FINISHED, ev.RUN_RESUMED})


class Camera:
    """Takes the events of one run in order and makes a frame of each; also of a run that goes on."""

    def __init__(self, values: Values | None = None) -> None:
        self.values = Values() if values is None else values
        self.state = RunState()
        """The fold of what was taken so far."""
        self._run: Facts = {}
        self._steps: dict[str, Facts] = {}
        self._attempts: dict[str, list[Facts]] = {}
        self._numbers: dict[tuple[str, str], tuple[Any, int | None]] = {}

    def take(self, event: Event) -> Frame:
        """The frame of the next event."""
        fold((event,), self.state)
        frame: Frame = {"seq": event.seq, "ts_us": event.ts, "kind": event.kind}
        if event.step_id is not None:
            frame["step"] = event.step_id
        if event.attempt is not None:
            frame["attempt"] = event.attempt
        frame["text"] = caption(event, self.state)
        found = mark(event)
        if found is not None:
            frame["mark"] = found
        delta = {what: change for what, change in self._delta(event).items() if change}
        if delta:
            frame["d"] = delta
        return frame

    def _delta(self, event: Event) -> Facts:
        steps = self._touched(event)
        delta: Facts = {"steps": {step.step_id: change for step in steps for change in self._of_step(step)}}
        if event.kind.startswith("run."):
            delta["run"] = self._of_run()
        if event.kind in _OF_ATTEMPTS:
            found = [(step.step_id, self._of_attempts(step, event)) for step in steps]
            delta["attempts"] = {step_id: change for step_id, change in found if change}
        if event.kind == ev.DECISION:
            delta["decision"] = decision_facts(self.state.decisions[-1], self.values)
        elif event.kind == ev.EVIDENCE:
            delta["evidence"] = evidence_facts(event, self.values)
        return delta

    def _touched(self, event: Event) -> list[StepState]:
        """The steps that an event can have changed."""
        if event.kind in _OF_ALL_STEPS:
            return list(self.state.steps.values())
        step = self.state.steps.get(event.step_id or "")
        return [] if step is None else [step]

    def _of_run(self) -> Facts:
        now = run_facts(self.state, self.values)
        before, self._run = self._run, now
        return _changes(before, now)

    def _of_step(self, step: StepState) -> Iterator[Facts]:
        """What changed about a step, if anything did; a step that was not known before is a change."""
        now = step_facts(step, self._number)
        before = self._steps.get(step.step_id)
        change = _changes(NEW_STEP if before is None else before, now)
        self._steps[step.step_id] = now
        if change or before is None:
            yield change

    def _number(self, step: StepState, what: str, value: Any) -> int | None:
        """The number of a value, looked for only where it is another object than before."""
        last, number = self._numbers.get((step.step_id, what), (None, None))
        if last is not value:
            number = self.values.add(value)
            self._numbers[step.step_id, what] = (value, number)
        return number

    def _of_attempts(self, step: StepState, event: Event) -> Facts:
        known = self._attempts.setdefault(step.step_id, [])
        found: Facts = {}
        for place in _places(step.attempts, event):
            now = attempt_facts(step.attempts[place])
            change = _changes(known[place] if place < len(known) else NEW_ATTEMPT, now)
            known[place : place + 1] = [now]
            if change:
                found[str(place)] = change
        return found


def film_of(events: Iterable[Event], values: Values | None = None) -> Film:
    """The film of the events of one run, in order of ``seq``; what was taken from them stays as it is."""
    camera = Camera(values)
    frames = [camera.take(event) for event in events]
    return {
        "version": VERSION,
        "run": run_facts(camera.state, camera.values),
        "steps": defined_steps(camera.state),
        "frames": frames,
        "values": camera.values.entries,
    }


def defined_steps(state: RunState) -> list[Facts]:
    """What the definition of a run says about its steps, in its order; nothing where there is none."""
    flow = workflow_of(state.definition)
    if flow is None:
        return []
    after: dict[str, list[list[str]]] = {}
    for link in links(flow):
        after.setdefault(link.target, []).append([link.source, link.kind])
    return [
        {
            "id": step.step_id,
            "after": after.get(step.step_id, []),
            **({"when": step.when} if step.when else {}),
            **({"description": step.description} if step.description else {}),
        }
        for step in flow.steps
    ]


def _places(attempts: list[AttemptState], event: Event) -> Iterable[int]:
    """Which attempts an event can have changed."""
    if event.kind == ev.RUN_RESUMED:
        return range(len(attempts))
    if event.kind == ev.ATTEMPT_STARTED:
        return (len(attempts) - 1,)
    last = range(len(attempts) - 1, -1, -1)
    return [place for place in last if attempts[place].number == event.attempt][:1]


def _changes(before: Facts, now: Facts) -> Facts:
    return {name: value for name, value in now.items() if name not in before or before[name] != value}


# --- what is shown -------------------------------------------------------------------------


def run_facts(state: RunState, values: Values) -> Facts:
    """What is shown of a run."""
    facts = {name: getattr(state, name) for name in _RUN}
    facts["context"] = values.add(state.context)
    facts["forked_from"] = dict(state.forked_from) if state.forked_from is not None else None
    facts["imported"] = state.imported is not None
    return facts


def step_facts(step: StepState, number: Callable[[StepState, str, Any], int | None]) -> Facts:
    """What is shown of a step; ``number`` gives the place of its input and its output."""
    facts = {name: getattr(step, name) for name in _STEP}
    facts["source"] = dict(step.source) if step.source is not None else None
    facts["input"] = number(step, "input", step.input)
    facts["output"] = number(step, "output", step.output)
    return facts


NEW_STEP = step_facts(StepState(""), lambda *_: None)
"""Where a step begins: its first delta says only what is different."""


def attempt_facts(attempt: AttemptState) -> Facts:
    """What is shown of an attempt."""
    return {name: getattr(attempt, name) for name in _ATTEMPT}


NEW_ATTEMPT = attempt_facts(AttemptState(0))
"""Where an attempt begins."""


def decision_facts(decision: DecisionState, values: Values) -> Facts:
    """What is shown of a decision."""
    return _chosen(decision.payload, _DECISION, _DECISION_DATA, values) | _named(evidence_ids(decision))


def evidence_facts(event: Event, values: Values) -> Facts:
    """What is shown of a piece of evidence."""
    return _chosen(event.payload, _EVIDENCE, _EVIDENCE_DATA, values)


def _chosen(payload: Mapping[str, Any], plain: Iterable[str], data: Iterable[str], values: Values) -> Facts:
    facts = {name: payload[name] for name in plain if payload.get(name) is not None}
    return facts | {name: values.add(payload[name]) for name in data if payload.get(name) is not None}


def _named(evidence: list[str]) -> Facts:
    return {"evidence": evidence} if evidence else {}


# --- going to a frame ----------------------------------------------------------------------


def picture(state: RunState, values: Values | None = None) -> Facts:
    """What is shown of a state: the run, its steps and attempts, its decisions and evidence."""
    table = Values() if values is None else values
    return {
        "run": run_facts(state, table) if state.run_id else {},
        "steps": {
            one: step_facts(step, lambda _, __, it: table.add(it)) for one, step in state.steps.items()
        },
        "attempts": {
            one: list(map(attempt_facts, step.attempts)) for one, step in state.steps.items() if step.attempts
        },
        "decisions": [decision_facts(decision, table) for decision in state.decisions],
        "evidence": [evidence_facts(event, table) for event in state.evidence],
    }


def applied(frames: Iterable[Frame]) -> Facts:
    """What the deltas of these frames, the first ones of a film, add up to: the same as `picture`."""
    shown: Facts = {"run": {}, "steps": {}, "attempts": {}, "decisions": [], "evidence": []}
    for frame in frames:
        delta = frame.get("d", {})
        shown["run"] |= delta.get("run", {})
        for step_id, change in delta.get("steps", {}).items():
            shown["steps"][step_id] = shown["steps"].get(step_id, NEW_STEP) | change
        for step_id, changes in delta.get("attempts", {}).items():
            attempts = shown["attempts"].setdefault(step_id, [])
            for place, change in changes.items():
                before = attempts[int(place)] if int(place) < len(attempts) else NEW_ATTEMPT
                attempts[int(place) : int(place) + 1] = [before | change]
        shown["decisions"] += [delta["decision"]] if "decision" in delta else []
        shown["evidence"] += [delta["evidence"]] if "evidence" in delta else []
    return shown
