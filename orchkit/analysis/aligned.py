"""Two runs side by side: which step, decision and piece of evidence of the one is which of the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from orchkit.analysis.known import Known, Path
from orchkit.model.event import Event
from orchkit.model.state import DecisionState, RunState, StepState

K = TypeVar("K", bound=Hashable)

_ONCE_PER_OPERATION = "policy.selected"
_EFFORT = frozenset(
    (
        "retry",
        "hedge",
        "idempotency",
        "fork",
        "resume",
        "cache",
        "breaker",
        "bulkhead",
        "rate_limit",
        "budget",
    )
)
"""Points at which the engine chooses how a result is come by, not which."""
_FOLLOWS = {"policy.selected", "skip", "map.expanded", "condition"}
"""Points that a step reaches, or not, by what was decided before: alone they are no choice of their own."""


@dataclass(frozen=True)
class Side:
    """One of the two runs, with those of its sub-workflows."""

    state: RunState
    known: Known

    @cached_property
    def states(self) -> Mapping[Path, RunState]:
        """Its own state under the empty path, those of the runs below under the paths of their steps."""
        return {(): self.state, **self.known.below}

    @cached_property
    def definitions(self) -> Mapping[Path, Mapping[str, Any]]:
        """What the definitions say of each step."""
        return {
            (*path, step["step_id"]): step
            for path, state in self.states.items()
            for step in (state.definition or {}).get("steps", ())
        }

    @cached_property
    def steps(self) -> Mapping[Path, StepState]:
        """All steps in the order in which they were begun, those of a sub-workflow after its step."""
        found: dict[Path, StepState] = {}
        todo: list[Path] = [()]
        while todo:
            above = todo.pop()
            if above:
                found[above] = self.states[above[:-1]].steps[above[-1]]
            state = self.states.get(above)
            if state is not None:
                todo += reversed([(*above, step.step_id) for step in _begun(state)])
        return found

    @cached_property
    def given(self) -> frozenset[Path]:
        """The steps that did not run, because their output was given to a fork."""
        return frozenset(
            (*above, one.step_id)
            for above, state in self.states.items()
            for one in state.decisions
            if one.step_id and one.by_engine and (one.point, one.decision) == ("fork", "given")
        )


@dataclass(frozen=True, slots=True)
class StepPair:
    """A step of one run and the step with the same id of the other one; one of them may be missing."""

    path: Path
    a: StepState | None
    b: StepState | None

    @property
    def name(self) -> str:
        """Its id, after those of the sub-workflows around it: ``letter/write``."""
        return "/".join(self.path)


@dataclass(frozen=True, slots=True)
class DecisionPair:
    """A decision and the one with the same step, point and occurrence of the other run."""

    path: Path
    """Of its step; that of the run where it is of none."""
    point: str
    occurrence: int
    a: DecisionState | None
    b: DecisionState | None
    effort: bool
    """Whether it is about how a result was come by (a retry, a hit in the cache), not which."""

    @property
    def either(self) -> DecisionState:
        """The one that is there."""
        found = self.b or self.a
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class EvidencePair:
    """A piece of evidence and the one with the same step, type and occurrence of the other run."""

    path: Path
    """Of its step; that of the run where it is of none."""
    type: str
    occurrence: int
    a: Event | None
    b: Event | None
    effort: bool
    """Whether it is of a try that failed, so that nothing came of it."""

    @property
    def name(self) -> str:
        """Its type, with a number behind it where there are several: ``invoice (2)``."""
        return self.type if self.occurrence == 1 else f"{self.type} ({self.occurrence})"


def step_pairs(a: Side, b: Side) -> list[StepPair]:
    """The steps of both in the order of the first; what only the second has after what it follows there."""
    left, right = a.steps, b.steps
    return [StepPair(path, left.get(path), right.get(path)) for path in merged(left, right)]


def decision_pairs(a: Side, b: Side) -> list[DecisionPair]:
    """The decisions of both, in the same kind of order."""
    left, right = _decisions(a), _decisions(b)
    found = []
    for key in merged(left, right):
        one, other = left.get(key), right.get(key)
        path, point, final, occurrence = key
        either = one or other
        assert either is not None
        follows = point in _FOLLOWS and (one is None or other is None)
        effort = not final or (either.by_engine and (point in _EFFORT or follows))
        found.append(DecisionPair(path, point, occurrence, one, other, effort))
    return found


def evidence_pairs(a: Side, b: Side) -> list[EvidencePair]:
    """The evidence of both, in the same kind of order."""
    left, right = _evidence(a), _evidence(b)
    return [
        EvidencePair(path, kind, occurrence, left.get(key), right.get(key), not final)
        for key in merged(left, right)
        for path, kind, final, occurrence in [key]
    ]


def merged(a: Iterable[K], b: Iterable[K]) -> Iterator[K]:
    """The keys of both, each once: those of ``a`` in order, the others after what they follow in ``b``."""
    first = list(dict.fromkeys(a))
    among = set(first)
    follow: dict[K | None, list[K]] = {}
    last: K | None = None
    for key in dict.fromkeys(b):
        if key in among:
            last = key
        else:
            follow.setdefault(last, []).append(key)
    yield from follow.get(None, ())
    for key in first:
        yield key
        yield from follow.get(key, ())


def _begun(state: RunState) -> list[StepState]:
    """The steps in the order in which they were begun or passed over; then those that never were."""
    later = (state.last_us or 0) + 1

    def begin(step: StepState) -> int:
        # what ran again was begun when it was for the first time
        first = [step.attempts[0].started_us] if step.attempts else []
        times = [time for time in (step.scheduled_us, step.finished_us) if time is not None]
        return min([*first, *times], default=later)

    return sorted(state.steps.values(), key=begin)


_Key = tuple[Path, str, bool, int]


def _decisions(side: Side) -> Mapping[_Key, DecisionState]:
    """The decisions by their step, their point, whether the try they belong to was the last, and a number."""
    return _numbered(side, lambda state: state.decisions, lambda one: one.point, _home)


def _evidence(side: Side) -> Mapping[_Key, Event]:
    """The evidence by its step, its type, whether the try it belongs to was the last, and a number."""
    return _numbered(
        side,
        lambda state: state.evidence,
        lambda one: str(one.payload.get("type")),
        lambda _, step: step.step_id,
    )


class _OfStep(Protocol):
    """What belongs to a try of a step."""

    @property
    def step_id(self) -> str | None: ...

    @property
    def attempt(self) -> int | None: ...


T = TypeVar("T", bound=_OfStep)


def _numbered(
    side: Side,
    of: Callable[[RunState], Iterable[T]],
    name: Callable[[T], str],
    home: Callable[[T, StepState], str],
) -> dict[_Key, T]:
    found: dict[_Key, T] = {}
    for above, state in side.states.items():
        counts: Counter[tuple[Path, str, bool]] = Counter()
        for one in of(state):
            step = state.steps.get(one.step_id or "")
            path = above if step is None else (*above, home(one, step))
            key = (path, name(one), _is_final(one.attempt, step))
            counts[key] += 1
            found[*key, counts[key]] = one
    return found


def _home(one: DecisionState, step: StepState) -> str:
    """Which item of a map comes first, and gets the choice that holds for all of them, is chance."""
    return step.top if one.by_engine and one.point == _ONCE_PER_OPERATION else step.step_id


def _is_final(attempt: int | None, step: StepState | None) -> bool:
    if step is None or attempt is None or not step.attempts:
        return True
    return attempt >= max(one.number for one in step.attempts)
