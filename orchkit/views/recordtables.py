"""The decisions and the evidence of a run, and the runs of a store, as tables to look through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from orchkit.analysis import choices, sharing
from orchkit.analysis.facts import Facts, evidence_ids
from orchkit.analysis.liveness import given_up, standing
from orchkit.analysis.words import duration, moment, value_text
from orchkit.model.event import Event
from orchkit.model.state import DecisionState
from orchkit.store.openruns import OpenRuns
from orchkit.views.browse import MOST_ROWS, Column, Entry, Table, folded
from orchkit.views.cards import Cell, Html, code, html, mark, status_chip
from orchkit.views.runmarks import mark_rows

if TYPE_CHECKING:
    import pandas as pd

_DECISIONS = (
    Column("#", right=True),
    Column("after", right=True),
    Column("step", choice=True),
    Column("attempt", right=True),
    Column("point", choice=True),
    Column("decision"),
    Column("made", choice=True),
    Column("why"),
    Column("instead of"),
    Column("based on"),
    Column("supported by"),
)
_EVIDENCE = (
    Column("#", right=True),
    Column("after", right=True),
    Column("step", choice=True),
    Column("type", choice=True),
    Column("source", choice=True),
    Column("confidence", right=True),
    Column("data"),
    Column("supports"),
    Column("more"),
)
_RUNS = (
    Column("run"),
    Column("name", choice=True),
    Column("status", choice=True),
    Column("marks"),
    Column("started"),
    Column("took", right=True),
    Column("error"),
    Column("user", choice=True),
    Column("session"),
    Column("case file"),
)
_BAR = 48
_STRIP = "height:6px;border-radius:3px"
_TRACK = (
    f"{_STRIP};display:inline-block;width:{_BAR}px;background-color:rgba(128,128,128,0.3);"
    "vertical-align:middle;margin-right:6px;text-align:left"
)


class Store(sharing.Asked, Protocol):
    """What has to be asked of a store about its runs."""

    @property
    def open_runs(self) -> OpenRuns:
        """Its runs that have not ended."""
        ...


Row = Sequence[Cell | Entry]


def decision_table(facts: Facts) -> Table:
    """The decisions of a run, the engine's and the steps' own."""
    state = facts.state
    rows = [_decision(facts, number, one) for number, one in enumerate(state.decisions[:MOST_ROWS], 1)]
    title = f"Decisions of {state.name or state.run_id}"
    return _table(title, _DECISIONS, rows, len(state.decisions), "run.decisions()")


def _decision(facts: Facts, number: int, one: DecisionState) -> Row:
    others = one.payload.get("alternatives")
    texts = [value_text(other) for other in others] if isinstance(others, list) else []
    return [
        Entry(str(number), sort=number),
        _since(facts, one.ts),
        one.step_id or "the run",
        _number(one.attempt if one.attempt is not None and one.attempt > 1 else None),
        one.point,
        Entry(Html(f"<b>{html(value_text(one.decision))}</b>"), text=value_text(one.decision)),
        _together(choices.maker(one)),
        one.rationale,
        ", ".join(text for text in texts if text != value_text(one.decision)),
        folded(one.payload.get("input_data")),
        "; ".join(choices.supports(facts, one)),
    ]


def _together(text: str) -> Entry:
    """A text that is not broken into lines."""
    return Entry(Html(f'<span style="white-space:nowrap">{html(text)}</span>'), text=text)


def evidence_table(facts: Facts) -> Table:
    """The evidence of a run, and which decisions each piece supports."""
    state = facts.state
    supports: dict[str, list[str]] = {}
    for one in state.decisions:
        for evidence_id in evidence_ids(one):
            supports.setdefault(evidence_id, []).append(f"{one.point} = {value_text(one.decision)}")
    rows = [
        _evidence(facts, number, one, supports) for number, one in enumerate(state.evidence[:MOST_ROWS], 1)
    ]
    title = f"Evidence of {state.name or state.run_id}"
    return _table(title, _EVIDENCE, rows, len(state.evidence), "run.evidence()")


def _evidence(facts: Facts, number: int, event: Event, supports: Mapping[str, list[str]]) -> Row:
    payload = event.payload
    return [
        Entry(str(number), sort=number),
        _since(facts, event.ts),
        event.step_id,
        payload.get("type"),
        payload.get("source"),
        _confidence(payload.get("confidence_score")),
        folded(payload.get("data")),
        "; ".join(supports.get(str(payload.get("evidence_id")), ())),
        folded(payload.get("metadata") or None),
    ]


def _confidence(score: Any) -> Cell | Entry:
    """A number and a bar as long."""
    if not isinstance(score, int | float):
        return None
    part = round(_BAR * min(max(float(score), 0.0), 1.0))
    inner = f'<span style="{_STRIP};display:block;width:{part}px;background-color:#0072B2"></span>'
    bar = f'<span style="{_TRACK}">{inner}</span>'
    return Entry(Html(f"{bar}{score:g}"), sort=float(score), text=f"{score:g}")


def runs_table(rows: Iterable[Mapping[str, Any]], total: int) -> Table:
    """Runs, the newest first; the rows are those of `run_rows`."""
    return _table("Runs", _RUNS, [_run(row) for row in rows], total, "kit.runs.frame()")


def run_rows(store: Store, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `orchkit.analysis.frames.runs`, the last first, with their ``standing`` and ``marks``."""
    names = [str(column) for column in frame.columns]
    rows = [dict(zip(names, row, strict=True)) for row in frame.to_numpy(object).tolist()]
    open_runs = given_up(store.open_runs)
    for row in rows:
        row["standing"] = standing(row, open_runs)
    mark_rows(store, rows)
    return rows[::-1]


def _run(row: Mapping[str, Any]) -> Row:
    started, took = row["started_at"].to_pydatetime(), row["duration_ms"]
    return [
        Entry(code(row["run_id"]), text=row["run_id"]),
        row["name"],
        Entry(status_chip(row["standing"]), value=row["standing"], text=row["standing"]),
        Entry(Html("".join(map(mark, row["marks"]))), text=", ".join(row["marks"])),
        Entry(moment(started), sort=started.timestamp()),
        Entry(duration(took), sort=float(took) if took == took else None),  # noqa: PLR0124 - NaN: it goes on
        _said(row["error"]),
        _said(row["user_id"]),
        _said(row["session_id"]),
        _said(row["casefile_id"]),
    ]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _since(facts: Facts, us: int) -> Entry:
    since = facts.since_start(us)
    return Entry(f"+{duration(since)}" if since is not None else "", sort=since)


def _number(value: int | None) -> Cell | Entry:
    return None if value is None else Entry(str(value), sort=value)


def _table(title: str, columns: Sequence[Column], rows: Sequence[Row], total: int, whole: str) -> Table:
    """Without the columns in which no row has anything."""
    kept = [place for place in range(len(columns)) if any(_says(row[place]) for row in rows)]
    shown = [[row[place] for place in kept] for row in rows]
    return Table(title, [columns[place] for place in kept], shown, total=total, whole=whole)


def _says(cell: Cell | Entry) -> bool:
    shown = cell.shown if isinstance(cell, Entry) else cell
    return shown is not None and shown != ""
