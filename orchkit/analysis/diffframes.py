"""The comparison of two runs as plain DataFrames: dtypes as in `orchkit.analysis.frames`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchkit.analysis.aligned import DecisionPair, EvidencePair, StepPair
from orchkit.analysis.diff import TAKEN_OUT, Cause, Diff, evidence_data, of_evidence
from orchkit.analysis.difftext import because
from orchkit.analysis.facts import span_ms
from orchkit.analysis.frames import Columns, typed_column
from orchkit.model.differences import MISSING
from orchkit.model.state import DecisionState, StepState

if TYPE_CHECKING:
    import pandas as pd

STEPS: Columns = {
    "step_id": "text", "differs": "bool", "cause": "maybe", "in_a": "bool", "in_b": "bool",
    "status_a": "maybe", "status_b": "maybe", "definition": "int", "code": "int", "parameters": "int",
    "evidence": "int", "decisions": "int", "output": "int", "attempts_a": "int", "attempts_b": "int",
    "duration_ms_a": "float", "duration_ms_b": "float", "duration_delta_ms": "float",
    "duration_ratio": "float",
}  # fmt: skip
CHANGES: Columns = {"step_id": "maybe", "cause": "text", "place": "text", "a": "json", "b": "json"}
DECISIONS: Columns = {
    "step_id": "maybe", "decision_point": "text", "occurrence": "int", "differs": "bool", "effort": "bool",
    "decision_a": "maybe", "decision_b": "maybe", "rationale_a": "maybe", "rationale_b": "maybe",
    "because": "maybe", "origin": "text",
}  # fmt: skip
EVIDENCE: Columns = {
    "step_id": "maybe", "evidence_type": "text", "occurrence": "int", "differs": "bool", "effort": "bool",
    "source_a": "maybe", "source_b": "maybe", "confidence_score_a": "float", "confidence_score_b": "float",
    "data_a": "json", "data_b": "json",
}  # fmt: skip
_COUNTED: Mapping[str, Cause] = {
    "definition": "definition", "code": "code", "parameters": "parameters", "evidence": "evidence",
    "decisions": "decision", "output": "output",
}  # fmt: skip


def steps(diff: Diff) -> pd.DataFrame:
    """The steps of both runs, one row each: see `orchkit.Comparison.steps`."""
    counts = Counter((one.path, one.cause) for one in diff.changes)
    return _frame((_step(diff, pair, counts) for pair in diff.steps), STEPS)


def changes(diff: Diff) -> pd.DataFrame:
    """Every place in which the runs differ, one row each: see `orchkit.Comparison.differences`."""
    rows = ((one.step, one.cause, one.place, _given(one.a), _given(one.b)) for one in diff.changes)
    return _frame(rows, CHANGES)


def decisions(diff: Diff) -> pd.DataFrame:
    """The decisions of both runs, one row each: see `orchkit.Comparison.decisions`."""
    return _frame((_decision(diff, pair) for pair in diff.decisions), DECISIONS)


def evidence(diff: Diff) -> pd.DataFrame:
    """The evidence of both runs, one row each: see `orchkit.Comparison.evidence`."""
    return _frame((_piece(pair) for pair in diff.evidence), EVIDENCE)


def _step(diff: Diff, pair: StepPair, counts: Mapping[tuple[Any, Cause], int]) -> tuple[Any, ...]:
    causes = diff.differing.get(pair.path, [])
    took = [_took(pair.a), _took(pair.b)]
    return (
        pair.name,
        bool(causes),
        causes[0] if causes else None,
        pair.a is not None,
        pair.b is not None,
        *(step.status if step is not None else None for step in (pair.a, pair.b)),
        *(counts[pair.path, cause] for cause in _COUNTED.values()),
        *(len(step.attempts) if step is not None else None for step in (pair.a, pair.b)),
        *took,
        took[1] - took[0] if took[0] is not None and took[1] is not None else None,
        took[1] / took[0] if took[0] and took[1] is not None else None,
    )


def _took(step: StepState | None) -> float | None:
    """Milliseconds; None where it was not run."""
    return None if step is None or step.source is not None else span_ms(step.scheduled_us, step.finished_us)


def _decision(diff: Diff, pair: DecisionPair) -> tuple[Any, ...]:
    differs = (pair.a and pair.a.decision) != (pair.b and pair.b.decision)
    return (
        "/".join(pair.path) or None,
        pair.point,
        pair.occurrence,
        differs and not pair.effort,
        pair.effort,
        *(one.decision if one is not None else None for one in (pair.a, pair.b)),
        *(one.rationale if one is not None else None for one in (pair.a, pair.b)),
        because(diff, pair) if differs and not pair.effort else None,
        _origin(pair.either),
    )


def _piece(pair: EvidencePair) -> tuple[Any, ...]:
    pieces = (pair.a, pair.b)
    return (
        "/".join(pair.path) or None,
        pair.type,
        pair.occurrence,
        not pair.effort and any(of_evidence(pair)),
        pair.effort,
        *(one.payload.get("source") if one is not None else None for one in pieces),
        *(one.payload.get("confidence_score") if one is not None else None for one in pieces),
        *(evidence_data(one) if one is not None else None for one in pieces),
    )


def _origin(decision: DecisionState) -> str:
    return "engine" if decision.by_engine else "user"


def _given(value: Any) -> Any:
    return None if value is MISSING else repr(value) if value is TAKEN_OUT else value


def _frame(rows: Iterable[tuple[Any, ...]], columns: Columns) -> pd.DataFrame:
    """A frame with exactly these columns, each in its dtype."""
    import pandas as pd

    table = list(zip(*rows, strict=True)) or [()] * len(columns)
    data = {}
    for values, (name, kind) in zip(table, columns.items(), strict=True):
        column = pd.Series(list(values), dtype="object")
        data[name] = column if kind == "json" else typed_column(column, kind)
    return pd.DataFrame(data)
