"""In what two runs differ, in the order of causes: which of the differences came first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import Any, Literal, get_args

from orchkit.analysis.aligned import (
    DecisionPair,
    EvidencePair,
    Side,
    StepPair,
    decision_pairs,
    evidence_pairs,
    step_pairs,
)
from orchkit.analysis.known import Path
from orchkit.analysis.previews import readable
from orchkit.errors import Difference
from orchkit.model.differences import MISSING, differences
from orchkit.model.event import Event
from orchkit.model.state import DecisionState, RunState, StepState

Cause = Literal[
    "context", "definition", "code", "presence", "parameters", "evidence", "decision", "output", "status",
    "attempts",
]  # fmt: skip
CAUSES: tuple[Cause, ...] = get_args(Cause)
"""In the order in which one leads to the next. ``attempts`` is never a divergence: it only cost more."""

TAKEN_OUT = type("TakenOut", (), {"__repr__": lambda self: "taken out", "__slots__": ()})()
"""Stands for values that differ and must not be seen: see `orchkit.analysis.showndiff`."""

MOST = 200
"""So many places of one value are listed in which it differs."""

_OF_THE_WHOLE = ("execution_mode", "error_handling", "timeout", "name")
_OF_EVIDENCE = ("data", "source", "confidence_score", "metadata")
_NOT_COMPARED = frozenset({"step_id", "description", "metadata"})


@dataclass(frozen=True, slots=True)
class Change:
    """One place in which the runs differ."""

    path: Path
    """Of the step; empty for what is of the run as a whole."""
    cause: Cause
    place: str
    """Where in the value; the point of a decision, the name of a tool, what evidence (its type first)."""
    a: Any
    b: Any
    """`orchkit.model.differences.MISSING` for what one of them has not."""
    decision: DecisionPair | None = None

    @property
    def step(self) -> str | None:
        """The step's id, after those of the sub-workflows around it."""
        return "/".join(self.path) or None


@dataclass(frozen=True, slots=True)
class Divergence:
    """The changes of one cause at one step."""

    path: Path
    cause: Cause
    changes: tuple[Change, ...]

    @property
    def step(self) -> str | None:
        """The step's id, after those of the sub-workflows around it; None: it is of the run as a whole."""
        return self.changes[0].step


class Diff:
    """What differs between the runs ``a`` and ``b``; each part is worked out once."""

    def __init__(self, a: Side, b: Side) -> None:
        self.a, self.b = a, b

    @cached_property
    def steps(self) -> Sequence[StepPair]:
        """The steps of both, in order."""
        return step_pairs(self.a, self.b)

    @cached_property
    def step(self) -> Mapping[Path, StepPair]:
        """The same by path."""
        return {pair.path: pair for pair in self.steps}

    @cached_property
    def decisions(self) -> Sequence[DecisionPair]:
        """The decisions of both, in order."""
        return decision_pairs(self.a, self.b)

    @cached_property
    def evidence(self) -> Sequence[EvidencePair]:
        """The evidence of both, in order."""
        return evidence_pairs(self.a, self.b)

    @cached_property
    def changes(self) -> Sequence[Change]:
        """Every place in which they differ: what was given first, then step by step, each by its causes."""
        along = (change for visit in _visits(self.steps) for change in visit.changes(self))
        return [*_given(self), *along, *_ended(self.a.state, self.b.state)]

    @cached_property
    def changed(self) -> Mapping[Path, list[Change]]:
        """The same by step."""
        found: dict[Path, list[Change]] = {}
        for one in self.changes:
            found.setdefault(one.path, []).append(one)
        return found

    @cached_property
    def divergences(self) -> Sequence[Divergence]:
        """The same by step and cause, without what only cost more."""
        groups = groupby(self.changes, lambda change: (change.path, change.cause))
        found = [Divergence(path, cause, tuple(several)) for (path, cause), several in groups]
        return [one for one in found if one.cause != "attempts"]

    @property
    def first(self) -> Divergence | None:
        """The one that came first."""
        return next(iter(self.divergences), None)

    @property
    def parting(self) -> Divergence | None:
        """The first one that is a decision: where they took different ways."""
        return next((one for one in self.divergences if one.cause == "decision"), None)

    @cached_property
    def differing(self) -> Mapping[Path, list[Cause]]:
        """The steps that differ, each with the causes in order."""
        found: dict[Path, list[Cause]] = {}
        for one in self.divergences:
            causes = found.setdefault(one.path, [])
            if one.path and one.cause not in causes:
                causes.append(one.cause)
        return {path: causes for path, causes in found.items() if path}

    @cached_property
    def decided(self) -> Mapping[Path, list[DecisionPair]]:
        """The decisions by step."""
        found: dict[Path, list[DecisionPair]] = {}
        for pair in self.decisions:
            found.setdefault(pair.path, []).append(pair)
        return found

    @cached_property
    def supported(self) -> Mapping[Path, list[EvidencePair]]:
        """The evidence by step."""
        found: dict[Path, list[EvidencePair]] = {}
        for pair in self.evidence:
            found.setdefault(pair.path, []).append(pair)
        return found

    def is_hidden(self, pair: DecisionPair) -> bool:
        """Whether a decision was based on something else that must not be seen."""
        return False

    def state_of(self, side: Side, path: Path) -> RunState:
        """The run, of this side, in which a step stands."""
        return side.states[path[:-1]]

    def code_of(self, pair: StepPair) -> tuple[str, str] | None:
        """The hashes of the code that a step called, where both are known."""
        if pair.a is None or pair.b is None:
            return None
        a = self.state_of(self.a, pair.path).code.get(pair.a.name, {}).get("hash")
        b = self.state_of(self.b, pair.path).code.get(pair.b.name, {}).get("hash")
        return (str(a), str(b)) if a and b else None


# --- what the runs were given --------------------------------------------------------------


def _given(diff: Diff) -> Iterator[Change]:
    a, b = diff.a.state, diff.b.state
    before, after = _Value(a.context or {}, a.context_types), _Value(b.context or {}, b.context_types)
    yield from _of_value((), "context", before, after)
    yield from _definition((), _whole(a), _whole(b))
    for side_a, side_b, path in _runs_below(diff):
        yield from _definition((*path,), _whole(side_a), _whole(side_b))


def _runs_below(diff: Diff) -> Iterator[tuple[RunState, RunState, Path]]:
    left, right = diff.a.states, diff.b.states
    yield from ((left[path], right[path], path) for path in left if path and path in right)


def _whole(state: RunState) -> Mapping[str, Any]:
    definition = state.definition or {"name": state.name}
    return {name: definition.get(name) for name in _OF_THE_WHOLE}


def _definition(path: Path, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    yield from _listed(path, "definition", differences(dict(a), dict(b), whole="definition"))


def _ended(a: RunState, b: RunState) -> Iterator[Change]:
    if a.status != b.status:
        yield Change((), "status", "", a.status, b.status)


# --- step by step --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Visit:
    """The begin or the end of a step: what is inside of it lies between."""

    pair: StepPair
    begin: bool
    end: bool

    def changes(self, diff: Diff) -> Iterator[Change]:
        """What differs there."""
        a, b = self.pair.a, self.pair.b
        if a is None or b is None:
            if self.begin and _counts_alone(diff, self.pair):
                yield Change(self.pair.path, "presence", "", _status(a), _status(b))
            return
        if self.begin:
            yield from _at_begin(diff, self.pair, a, b)
        if self.end:
            yield from _at_end(self.pair.path, a, b)


def _visits(pairs: Sequence[StepPair]) -> Iterator[_Visit]:
    """Each step, those with others inside twice: its end after the last of them."""
    last: dict[Path, int] = {}
    for place, pair in enumerate(pairs):
        for outer in _around(pair):
            last[outer] = place
    ends: dict[int, list[StepPair]] = {}
    for pair in reversed(pairs):
        if pair.path in last:
            ends.setdefault(last[pair.path], []).append(pair)
    for place, pair in enumerate(pairs):
        yield _Visit(pair, begin=True, end=pair.path not in last)
        yield from (_Visit(outer, begin=False, end=True) for outer in ends.get(place, ()))


def _around(pair: StepPair) -> Iterator[Path]:
    """The paths of the steps that one is inside of."""
    yield from (pair.path[:depth] for depth in range(1, len(pair.path)))
    parents = {step.parent for step in (pair.a, pair.b) if step is not None and step.parent is not None}
    yield from ((*pair.path[:-1], parent) for parent in parents)


def _counts_alone(diff: Diff, pair: StepPair) -> bool:
    """Whether it says more than that what it is inside of is missing, or did not run, in the other run."""
    outer = [diff.step[path] for path in _around(pair) if path in diff.step]
    return all(
        one.a is not None and one.b is not None and one.a.scheduled_us and one.b.scheduled_us for one in outer
    )


def _status(step: StepState | None) -> Any:
    return MISSING if step is None else step.status


def _at_begin(diff: Diff, pair: StepPair, a: StepState, b: StepState) -> Iterator[Change]:
    inside = pair.path in diff.a.states and pair.path in diff.b.states  # then its steps are compared, too
    defined = (_defined(side, pair.path, inside) for side in (diff.a, diff.b))
    yield from _definition(pair.path, *defined)
    ran = all(
        step.scheduled_us is not None and pair.path not in side.given
        for side, step in ((diff.a, a), (diff.b, b))
    )
    hashes = diff.code_of(pair)
    if ran and a.parent is None and hashes is not None and hashes[0] != hashes[1]:
        yield Change(pair.path, "code", b.name, *hashes)
    if ran:
        before, after = _Value(a.input, a.input_types), _Value(b.input, b.input_types)
        yield from _of_value(pair.path, "parameters", before, after)
    for evidence in diff.supported.get(pair.path, ()):
        if not evidence.effort:
            yield from of_evidence(evidence)
    for decision in diff.decided.get(pair.path, ()):
        if not decision.effort and chosen(decision.a) != chosen(decision.b):
            both = (chosen(decision.a), chosen(decision.b))
            yield Change(pair.path, "decision", decision.point, *both, decision)


def _defined(side: Side, path: Path, inside: bool) -> Mapping[str, Any]:
    """What the definition says of a step, as far as it says what to do."""
    left_out = _NOT_COMPARED | {"workflow"} if inside else _NOT_COMPARED
    found = {"parameters": {}, **side.definitions.get(path, {})}
    return {name: value for name, value in found.items() if name not in left_out}


def chosen(decision: DecisionState | None) -> Any:
    """What was chosen; nothing where it was not made."""
    return MISSING if decision is None else decision.decision


def _at_end(path: Path, a: StepState, b: StepState) -> Iterator[Change]:
    if a.status != b.status:
        yield Change(path, "status", "", a.status, b.status)
    elif a.status == "success":
        yield from _of_value(
            path, "output", _Value(a.output, a.output_types), _Value(b.output, b.output_types)
        )
    elif (a.error, a.error_type) != (b.error, b.error_type):
        yield Change(path, "status", "error", a.error, b.error)
    if _made(a) and _made(b) and len(a.attempts) != len(b.attempts):
        yield Change(path, "attempts", "", len(a.attempts), len(b.attempts))


def _made(step: StepState) -> bool:
    """Whether attempts were made at it, here."""
    return step.source is None and bool(step.attempts)


def of_evidence(pair: EvidencePair) -> Iterator[Change]:
    """The places in which two pieces of evidence differ; for one alone, that the other run has none."""
    if pair.a is None or pair.b is None:
        a, b = (MISSING if one is None else evidence_data(one) for one in (pair.a, pair.b))
        yield Change(pair.path, "evidence", pair.name, a, b)
        return
    for name in _OF_EVIDENCE:
        before, after = (
            _Value(one.payload.get(name), one.payload.get("types") if name == "data" else None)
            for one in (pair.a, pair.b)
        )
        yield from _of_value(pair.path, "evidence", before, after, f"{pair.name}.{name}")


def evidence_data(event: Event) -> Any:
    """What stands in a piece of evidence, with previews in the places of tables, arrays and bytes."""
    return _Value(event.payload.get("data"), event.payload.get("types")).shown


# --- values --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    """A plain value and the notes on the types in it."""

    value: Any
    notes: list[Any] | None

    @property
    def shown(self) -> Any:
        """With previews in the places of tables, arrays and bytes."""
        return readable(self.value, self.notes)


def _of_value(path: Path, cause: Cause, a: _Value, b: _Value, place: str = "") -> Iterator[Change]:
    """The places in which two values differ; those of tables and arrays as far as they are shown.

    They begin with ``place``; without one the value as a whole is called like the cause.
    """
    whole = place or cause
    try:
        if a.value == b.value:
            if (a.notes or []) != (b.notes or []):
                yield Change(path, cause, f"{place} types".strip(), _types(a), _types(b))
            return
        found = list(_listed(path, cause, differences(a.shown, b.shown, place, whole=whole)))
        yield from found or _listed(path, cause, differences(a.value, b.value, place, whole=whole))
    except RecursionError:  # nested too deep to say where
        yield Change(path, cause, whole, a.value, b.value)


def _types(value: _Value) -> list[str]:
    return [str(note[1]) for note in value.notes or ()]


def _listed(path: Path, cause: Cause, found: Iterable[Difference]) -> Iterator[Change]:
    yield from (Change(path, cause, one.path, one.recorded, one.given) for one in islice(found, MOST))
