"""When what was going on in a run: attempts, the waits between them, and when nothing was."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from orchkit.analysis.aligned import Side
from orchkit.analysis.facts import Facts
from orchkit.analysis.known import Path
from orchkit.analysis.lives import lives
from orchkit.model.state import AttemptState, RunState, StepState

BarKind = Literal["attempt", "wait", "step"]
"""``step``: all that is inside of a map, of a sub-workflow or of a step without attempts."""
GapKind = Literal["idle", "cut off"]

_CONTAINERS = ("map", "workflow")


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time in the row of a step, in microseconds since the epoch."""

    kind: BarKind
    start_us: int
    end_us: int
    status: str = ""
    """Of an attempt: as on record; what runs when its run is cut off, is ``cut off``."""
    number: int | None = None
    """Which attempt; of a wait: the one after it."""
    open: bool = False
    """It has no end on record: it goes on, or nobody knows when it ended."""
    reason: str | None = None
    """Of a wait: why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A step and its bars in order of time."""

    path: Path
    label: str
    depth: int
    status: str
    name: str
    node_type: str
    bars: tuple[Bar, ...]
    count: int = 1
    """For several steps in one row: how many."""

    @property
    def step_id(self) -> str:
        """Its id, after those of the sub-workflows around it."""
        return "/".join(self.path)


@dataclass(frozen=True, slots=True)
class Gap:
    """Time in which no attempt was going on, or in which nobody worked on the run."""

    kind: GapKind
    start_us: int
    end_us: int


@dataclass(frozen=True)
class Timeline:
    """The rows of a run in the order in which its steps were begun."""

    name: str
    start_us: int
    end_us: int
    open: bool
    """Whether it goes on."""
    cut_off: bool
    rows: tuple[Row, ...]
    cuts: tuple[Gap, ...] = ()
    """Between a process that ended and the one that took the run up again."""

    @cached_property
    def gaps(self) -> Sequence[Gap]:
        """When no attempt was going on, in order."""
        busy = [(bar.start_us, bar.end_us) for row in self.rows for bar in row.bars if bar.kind == "attempt"]
        taken = sorted([*busy, *((cut.start_us, cut.end_us) for cut in self.cuts)])
        found = [Gap("idle", start, end) for start, end in _between(taken, self.start_us, self.end_us)]
        return sorted([*found, *self.cuts], key=lambda gap: gap.start_us)

    @property
    def idle_us(self) -> int:
        """For how long nothing was going on, cut off times included."""
        return sum(gap.end_us - gap.start_us for gap in self.gaps)


def timeline_of(side: Side, now_us: int) -> Timeline:
    """The timeline of a run and those of its sub-workflows; ``now_us`` ends what still goes on."""
    state = side.state
    facts = Facts(state, side.known)
    start = state.started_us or now_us
    end = _end(state, facts.cut_off, now_us)
    times = sorted(set(_times(side)))
    cuts = tuple(
        Gap("cut off", times[place - 1], life.at_us)
        for life in lives(facts)
        if (place := bisect_left(times, life.at_us)) > 0
    )
    rows = [_row(side, path, step, cuts, end, facts) for path, step in side.steps.items()]
    latest = max((bar.end_us for row in rows for bar in row.bars), default=start)
    return Timeline(
        state.name or state.run_id,
        start,
        max(start, end, latest),
        state.open and not facts.cut_off,
        facts.cut_off,
        tuple(row for row in rows if row.bars),
        cuts,
    )


def _end(state: RunState, cut_off: bool, now_us: int) -> int:
    if state.finished_us is not None:
        return state.finished_us
    return (state.last_us or now_us) if cut_off else now_us


def _times(side: Side) -> Iterator[int]:
    """When something happened."""
    for state in side.states.values():
        yield from (time for time in (state.started_us, state.finished_us) if time is not None)
        yield from (decision.ts for decision in state.decisions)
        for step in state.steps.values():
            yield from (time for time in (step.scheduled_us, step.finished_us) if time is not None)
            for attempt in step.attempts:
                yield from (time for time in (attempt.started_us, attempt.finished_us) if time is not None)


def _row(side: Side, path: Path, step: StepState, cuts: Sequence[Gap], end: int, facts: Facts) -> Row:
    own = Facts(side.states[path[:-1]], side.known)
    depth = len(path) - 1 + (step.parent is not None)
    standing = facts.standing(step.status)
    bars = tuple(_bars(step, own, cuts, end, facts))
    return Row(path, step.step_id, depth, standing, step.name, step.node_type, bars)


def _bars(step: StepState, own: Facts, cuts: Sequence[Gap], end: int, facts: Facts) -> Iterator[Bar]:
    if not step.attempts:
        if step.scheduled_us is not None and step.source is None:
            last = step.finished_us if step.finished_us is not None else end
            standing = facts.standing(step.status)
            yield Bar("step", step.scheduled_us, last, standing, open=step.finished_us is None)
        return
    before = step.scheduled_us
    if before is not None and before > step.attempts[0].started_us:
        before = None  # it was begun anew since
    for attempt in step.attempts:
        since = _since(step, before, attempt)
        if since is not None and attempt.started_us > since:
            yield Bar(
                "wait", since, attempt.started_us, number=attempt.number, reason=_reason(own, step, attempt)
            )
        last = _attempt_end(attempt, cuts, end)
        standing = facts.standing(attempt.status)
        yield Bar("attempt", attempt.started_us, last, standing, attempt.number, attempt.finished_us is None)
        before = last
    final = step.attempts[-1]
    if step.status == "running" and final.finished_us is not None and end > final.finished_us:
        yield Bar("wait", final.finished_us, end, number=final.number + 1, open=True)


def _since(step: StepState, before: int | None, attempt: AttemptState) -> int | None:
    """From when on an attempt was waited for: of a step that was begun anew, from then on."""
    anew = step.scheduled_us
    if anew is not None and before is not None and before < anew <= attempt.started_us:
        return anew
    return before


def _attempt_end(attempt: AttemptState, cuts: Iterable[Gap], end: int) -> int:
    """Of one in doubt the last that was heard of its process."""
    if attempt.finished_us is not None:
        return attempt.finished_us
    later = (cut for cut in cuts if cut.end_us > attempt.started_us)
    return next((max(attempt.started_us, cut.start_us) for cut in later), end)


def _reason(own: Facts, step: StepState, attempt: AttemptState) -> str | None:
    """What was decided after the attempt before this one."""
    if attempt.number == 1:
        return "until it could begin"
    for one in own.decisions.get(step.step_id, ()):
        if one.by_engine and one.point == "retry" and one.attempt == attempt.number - 1:
            return one.rationale
    return None


def _between(taken: Iterable[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What is left of a stretch of time."""
    at = start
    for begin, until in taken:
        if begin > at:
            yield at, begin
        at = max(at, until)
    if end > at:
        yield at, end


# --- many steps ----------------------------------------------------------------------------


def condensed(timeline: Timeline, most: int) -> Timeline:
    """The same with several steps in a row: items with their map, then all that call the same tool.

    Beyond ``most`` rows, even so, the rest of the rows is left out.
    """
    rows = _grouped(timeline.rows, lambda row: (*row.path[:-1], row.path[-1].partition("[")[0]), "items")
    if len(rows) > most:
        rows = _grouped(rows, lambda row: (*row.path[:-1], row.name), "tool")
    return Timeline(
        timeline.name,
        timeline.start_us,
        timeline.end_us,
        timeline.open,
        timeline.cut_off,
        tuple(rows[:most]),
        timeline.cuts,
    )


def _grouped(rows: Iterable[Row], key: object, how: Literal["items", "tool"]) -> list[Row]:
    assert callable(key)
    groups: dict[Path, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [several[0] if len(several) == 1 else _together(several, how) for several in groups.values()]


def _together(several: Sequence[Row], how: Literal["items", "tool"]) -> Row:
    """One row for several: their bars in it, in order of time."""
    first = several[0]
    inner = [row for row in several if row.node_type not in _CONTAINERS or row.count > 1] or several
    count = sum(row.count for row in inner)
    label = first.label.partition("[")[0] if how == "items" else first.name or first.label
    status = next((row.status for row in several if row.status not in ("success", "skipped")), first.status)
    bars = sorted((bar for row in several for bar in row.bars), key=lambda bar: bar.start_us)
    return Row(first.path, label, first.depth, status, first.name, first.node_type, tuple(bars), count)


def is_container(row: Row) -> bool:
    """Whether other rows are inside of it."""
    return row.node_type in _CONTAINERS or all(bar.kind == "step" for bar in row.bars)
