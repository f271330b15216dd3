"""The record as what-if reads it: cases with their attempts, their waits, and who else was at work then."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from orchkit.analysis.frames import Columns
from orchkit.analysis.retries.grouping import grouping
from orchkit.analysis.retries.source import TIMES, Selection, Source, ask, store_of
from orchkit.errors import UnknownNameError
from orchkit.model.policy import READERS, ReliabilityPolicy
from orchkit.model.retry import RetryPolicy
from orchkit.store import codec

if TYPE_CHECKING:
    import pandas as pd

CaseKey = tuple[str, str]
"""The ids of the run and of the step."""


@dataclass(slots=True)
class Attempt:
    """A call that was made; times in microseconds."""

    number: int
    began: int
    took: float
    """How long it was watched: until it ended or was cut off."""
    status: str
    error: str | None
    injected: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """What a retry policy decided after a try that failed; times in seconds."""

    delay: float | None
    """None: it gave up."""
    rule: str
    error: str | None
    retry_after: float | None
    """What the service had asked for."""
    reopens: bool
    """Whether it waited for a circuit breaker."""


@dataclass(slots=True, eq=False)
class Case:
    """A logical call with all that was tried: a step of a run, an item of a map, a single operation."""

    run_id: str
    step_id: str
    tool: str
    root: str
    """The run at the top, in which its step was run."""
    began: int = 0
    ended: float = 0.0
    """When nothing more was tried; infinite while it goes on."""
    ran_out: bool = False
    """Whether its time was over while it waited for another try."""
    cut: float = math.inf
    """When its run cut it off, or, of one that goes on, until when it is on record."""
    deadline: float = math.inf
    """When its run, or one above it, is stopped because it took too long."""
    standing: str | None = None
    """How its step stands, if that is on record."""
    attempts: dict[int, Attempt] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    rejections: list[int] = field(default_factory=list)
    """When a breaker, a bulkhead or a rate limit kept it from making a call."""
    policy: ReliabilityPolicy | None = None
    """What was around it, if that is on record."""
    queued: bool = False
    """Whether its calls may have had to wait for their turn."""

    @property
    def key(self) -> CaseKey:
        """What it is known by."""
        return self.run_id, self.step_id

    @property
    def retry(self) -> RetryPolicy | None:
        """The retry policy that was around it, if that is on record."""
        return None if self.policy is None else self.policy.retry

    @property
    def last(self) -> Attempt | None:
        """The attempt that ended last."""
        return max(self.attempts.values(), key=lambda one: one.began + one.took, default=None)

    @property
    def status(self) -> str:
        """``success``, ``failed``, ``cancelled`` (with its run) or ``open``."""
        if any(one.status == "success" for one in self.attempts.values()):
            return "success"
        if self.standing in ("cancelled", "running"):
            return "cancelled" if self.standing == "cancelled" else "open"
        last = self.last
        if last is None or (self.rejections and self.rejections[-1] >= last.began + last.took):
            return "failed"
        return {"cancelled": "cancelled", "running": "open", "in_doubt": "open"}.get(last.status, "failed")


@dataclass(frozen=True, slots=True)
class Stay:
    """When a step was at work."""

    began: int
    ended: float
    key: CaseKey


@dataclass(frozen=True, slots=True)
class Record:
    """The cases in order of their beginning, and their surroundings by the run at the top."""

    cases: Sequence[Case]
    stays: Mapping[str, Sequence[Stay]]
    """All steps that called something."""
    steadfast: frozenset[str]
    """Runs that go on when a step fails; all others cancel what runs."""
    unfinished: frozenset[str]
    """Runs with steps that never began."""
    base: int
    """The moment from which times are counted, in microseconds since the Unix epoch."""


def read(
    source: Source,
    selection: Selection,
    *,
    decisions: pd.DataFrame | None = None,
    steps: Sequence[str] | None = None,
    tools: Sequence[str] | None = None,
) -> Record:
    """The record of a kit, a store, a run or a DataFrame; ``steps`` and ``tools`` choose among its cases.

    An item of a map is chosen by the id of the map, too. Raises as `ask` does, and `UnknownNameError` for a
    step or tool of which there is no case, although there are others.
    """
    cases = {case.key: case for case in _cases(source, selection)}
    _add_decisions(cases, _asked_decisions(source, selection, decisions))
    steps = _known("step", steps, {name for case in cases.values() for name in _step_names(case)})
    tools = _known("tool", tools, {case.tool for case in cases.values()})
    stays, steadfast, unfinished = _surroundings(source, selection, cases)
    for case in cases.values():
        if case.cut == math.inf and case.status in ("cancelled", "open"):
            case.cut = _last_seen(case)
    chosen = [
        case
        for case in cases.values()
        if (steps is None or not _step_names(case).isdisjoint(steps))
        and (tools is None or case.tool in tools)
        and (case.attempts or case.rejections or case.queued)
    ]
    chosen.sort(key=lambda case: (case.began, case.run_id, case.step_id))
    base = min((case.began for case in cases.values()), default=0)
    for case in cases.values():
        _count_from(case, base)
    near = {
        root: [Stay(one.began - base, one.ended - base, one.key) for one in found]
        for root, found in stays.items()
    }
    return Record(chosen, near, steadfast, unfinished, base)


def _step_names(case: Case) -> set[str]:
    return {case.step_id, case.step_id.partition("[")[0]}


def _known(what: str, asked: Sequence[str] | str | None, known: AbstractSet[str]) -> Sequence[str] | None:
    """The names that are asked for, one or several; raises for one that the record does not know."""
    names = [asked] if isinstance(asked, str) else asked
    for name in names or ():
        if known and name not in known:
            raise UnknownNameError(what, name, sorted(known))
    return names


def _count_from(case: Case, base: int) -> None:
    """Large numbers of microseconds would be rounded."""
    case.began, case.ended, case.cut = case.began - base, case.ended - base, case.cut - base
    case.deadline -= base
    case.rejections = [at - base for at in case.rejections]
    for attempt in case.attempts.values():
        attempt.began -= base


# --- attempts ------------------------------------------------------------------------------

_ATTEMPTS: Columns = {
    "run_id": "text",
    "step_id": "text",
    "tool": "maybe",
    "attempt": "int",
    "status": "text",
    "began": "int",
    "took_ms": "float",
    "error_type": "maybe",
    "injected": "bool",
}


def _cases(source: Source, selection: Selection) -> Iterator[Case]:
    group = grouping("tool", ("tool",))
    # every name in the text is a constant of this package
    query = f"""{group.ctes}
    SELECT x.run_id, x.step_id, {group.keys}x.attempt, x.status, epoch_us(x.started_at) AS began,
           coalesce(x.duration_ms, (epoch_us(x.finished_at) - epoch_us(x.started_at)) / 1000.0) AS took_ms,
           x.error_type, x.injected
    FROM a x{group.joins} WHERE x.started_at IS NOT NULL ORDER BY began, x.attempt"""  # noqa: S608
    rows = ask(source, query, _ATTEMPTS, selection, needs=TIMES)
    found: dict[CaseKey, Case] = {}
    for run_id, step_id, tool, number, status, began, took_ms, error, injected in _tuples(rows):
        case = found.get((run_id, step_id))
        if case is None:
            case = found[run_id, step_id] = Case(run_id, step_id, _text(tool) or step_id, run_id, began)
        took = 0.0 if math.isnan(took_ms) else round(took_ms * 1000)
        attempt = Attempt(number, began, took, status, _text(error), bool(injected))
        case.attempts[number] = attempt
        case.ended = max(case.ended, math.inf if status == "running" else began + took)
    yield from found.values()


def _last_seen(case: Case) -> float:
    """Until when it is on record."""
    ends = [one.began + one.took for one in case.attempts.values()]
    return float(max([case.began, *ends, *case.rejections]))


def _tuples(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[name].tolist() for name in frame.columns), strict=True)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


# --- decisions -----------------------------------------------------------------------------

_DECISIONS: Columns = {
    "run_id": "text",
    "step_id": "text",
    "point": "text",
    "decision": "text",
    "at": "int",
    "input_data": "maybe",
}
_POINTS: Final = ("retry", "breaker", "bulkhead", "rate_limit", "policy.selected")


def _asked_decisions(source: Source, selection: Selection, decisions: pd.DataFrame | None) -> pd.DataFrame:
    points = ", ".join(f"'{point}'" for point in _POINTS)
    query = f""" SELECT run_id, step_id, decision_point AS point, decision, epoch_us(created_at) AS at,
        CAST(input_data AS VARCHAR) AS input_data
    FROM d WHERE decision_point IN ({points}) ORDER BY seq, created_at"""  # noqa: S608 - constants
    query = f", nothing AS (SELECT 1){query}"
    return ask(source, query, _DECISIONS, selection, needs=TIMES, tables={"decision_traces": decisions})


def _add_decisions(cases: dict[CaseKey, Case], decisions: pd.DataFrame) -> None:
    policies: list[tuple[str, str, dict[str, Any]]] = []
    for run_id, step_id, point, decision, at, text in _tuples(decisions):
        inputs: dict[str, Any] = codec.loads(text) if isinstance(text, str) else {}
        if point == "policy.selected":
            policies.append((run_id, step_id, inputs))
            continue
        case = cases.get((run_id, step_id))
        if point == "retry" and case is not None:
            case.waits.append(_wait(decision, inputs))
        elif decision == "rejected":
            if case is None:
                # A case of which no call was ever made.
                case = cases[run_id, step_id] = Case(run_id, step_id, step_id, run_id, at, at)
            case.rejections.append(at)
            case.began, case.ended = min(case.began, at), max(case.ended, at)
    _add_policies(cases, policies)


def _wait(decision: str, inputs: Mapping[str, Any]) -> Wait:
    return Wait(
        inputs.get("delay_s") if decision == "retry" else None,
        str(inputs.get("rule", "")),
        inputs.get("error_type"),
        inputs.get("retry_after_s"),
        "reopens_in_s" in inputs,
    )


def _add_policies(cases: dict[CaseKey, Case], policies: list[tuple[str, str, dict[str, Any]]]) -> None:
    """The choice is on record once per run and operation, and once per step that has something of its own."""
    by_step: dict[CaseKey, dict[str, Any]] = {}
    by_operation: dict[CaseKey, dict[str, Any]] = {}
    for run_id, step_id, inputs in policies:
        base = (run_id, step_id.partition("[")[0])
        if inputs.get("overrides"):
            by_step[base] = inputs
        else:
            by_operation[run_id, str(inputs.get("operation", "")).rpartition(".")[2]] = inputs
    for case in cases.values():
        known = by_step.get((case.run_id, case.step_id.partition("[")[0]))
        known = known or by_operation.get((case.run_id, case.tool.rpartition(".")[2]))
        if known is not None:
            case.policy = _policy(codec.dumps({name: known.get(name) for name in READERS}))
            case.queued = "bulkhead" in known or "rate_limit" in known


@lru_cache(maxsize=1_000)
def _policy(text: str) -> ReliabilityPolicy:
    """What is left out is of another version: as if it were not on record."""
    parts: dict[str, Any] = {}
    for name, fields in codec.loads(text).items():
        with suppress(ValidationError):
            parts[name] = READERS[name](fields)
    return ReliabilityPolicy.model_construct(**parts)


# --- surroundings --------------------------------------------------------------------------

_STEPS: Columns = {
    "run_id": "text",
    "step_id": "text",
    "name": "text",
    "node_type": "text",
    "status": "text",
    "began": "int",
    "ended": "float",
}
_RUNS: Columns = {"run_id": "text", "parent_run_id": "maybe", "steadfast": "bool", "deadline": "float"}
_AT_ONCE: Final = 5
"""Microseconds; what is cancelled sooner has not had the time to call."""
_STEPS_QUERY = """, nothing AS (SELECT 1)
    SELECT run_id, step_id, name, node_type, status, epoch_us(scheduled_at) AS began,
           CAST(epoch_us(finished_at) AS DOUBLE) AS ended
    FROM steps WHERE run_id IN (SELECT run_id FROM a UNION ALL SELECT run_id FROM d)"""
_RUNS_QUERY = """, nothing AS (SELECT 1)
    SELECT r.run_id, r.parent_run_id,
           coalesce(e.payload ->> '$.definition.error_handling', '') = 'continue_on_failure' AS steadfast,
           epoch_us(r.started_at) + 1e6 * CAST(e.payload ->> '$.definition.timeout' AS DOUBLE) AS deadline
    FROM runs r LEFT JOIN events e ON e.run_id = r.run_id AND e.kind = 'run.started'"""


def _surroundings(
    source: Source, selection: Selection, cases: dict[CaseKey, Case]
) -> tuple[dict[str, list[Stay]], frozenset[str], frozenset[str]]:
    import pandas as pd

    stays: defaultdict[str, list[Stay]] = defaultdict(list)
    if isinstance(source, pd.DataFrame):  # what is not in it is not there
        for case in cases.values():
            stays[case.root].append(Stay(case.began, case.ended, case.key))
        return stays, frozenset(), frozenset()
    store_of(source)
    runs = ask(source, _RUNS_QUERY, _RUNS, selection)
    parents = {run_id: _text(parent) for run_id, parent, _, _ in _tuples(runs)}
    weak = {_root(run_id, parents) for run_id, _, steadfast, _ in _tuples(runs) if not steadfast}
    deadlines = {run_id: _ended(deadline) for run_id, _, _, deadline in _tuples(runs)}
    steps = ask(source, _STEPS_QUERY, _STEPS, selection)
    unfinished = set()
    for run_id, step_id, name, node_type, status, began, ended in _tuples(steps):
        root = _root(run_id, parents)
        found = cases.get((run_id, step_id))
        if status == "skipped":
            unfinished.add(root)
        elif node_type not in ("map", "workflow"):
            stays[root].append(Stay(_int(began), _ended(ended), (run_id, step_id)))
            if found is None and status == "cancelled" and _ended(ended) > _int(began) + _AT_ONCE:
                # It stood in a queue until its run was over.
                found = cases[run_id, step_id] = Case(run_id, step_id, name, root, _int(began), queued=True)
            if found is not None:
                _place(found, name, status, (_int(began), _ended(ended)))
    for case in cases.values():
        *_, case.root = above = list(_upwards(case.run_id, parents))
        _limit(case, min(deadlines.get(run_id, math.inf) for run_id in above))
        if case.step_id == "":  # a single operation is a run without steps
            stays[case.root].append(Stay(case.began, case.ended, case.key))
    steadfast = {case.root for case in cases.values()} - weak
    return stays, frozenset(steadfast), frozenset(unfinished)


def _limit(case: Case, deadline: float) -> None:
    """Its runs are stopped then, but for what is undone afterwards."""
    if case.began < deadline:
        case.deadline = max(deadline, case.ended)


def _place(case: Case, name: str, status: str, stay: tuple[int, float]) -> None:
    """What its step says of a case."""
    case.standing = status
    if not case.attempts:
        case.tool = name
    if case.queued:
        case.began = min(case.began, stay[0])
    if status == "cancelled":
        case.ended = case.cut = stay[1]
    elif case.waits and case.waits[-1].delay is not None and case.status == "failed":
        case.ended, case.ran_out = max(case.ended, stay[1]), True


def _upwards(run_id: str, parents: Mapping[str, str | None]) -> Iterator[str]:
    """A run and those above it."""
    yield run_id
    while (parent := parents.get(run_id)) is not None:
        run_id = parent
        yield run_id


def _root(run_id: str, parents: Mapping[str, str | None]) -> str:
    return list(_upwards(run_id, parents))[-1]


def _int(value: Any) -> int:
    return int(value) if value == value and value is not None else 0  # noqa: PLR0124 - not a number


def _ended(value: Any) -> float:
    return float(value) if value == value and value is not None else math.inf  # noqa: PLR0124
