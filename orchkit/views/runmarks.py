"""What sets a run apart from a plain one, in a word each: a fork, resumed, replayed, an orchestrator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchkit.analysis import sharing
from orchkit.analysis.known import Known
from orchkit.analysis.words import plural
from orchkit.model.state import RunState


def marks_of(state: RunState, known: Known) -> list[str]:
    """The marks of a run; none for a workflow that was run from begin to end, here and now."""
    cached = sum((step.source or {}).get("how") == "cache" for step in state.steps.values())
    marks = _marks(state.kind, state.forked_from is not None, state.resumed, known.replays)
    return [
        *marks,
        *([f"{cached:,} cached"] if cached else []),
        *(["imported"] if state.imported is not None else []),
    ]


def mark_rows(store: sharing.Asked, rows: Iterable[dict[str, Any]]) -> None:
    """Give each of these rows of the view ``runs`` its marks, under the key ``marks``."""
    rows = list(rows)
    run_ids = [row["run_id"] for row in rows]
    resumed, replayed = sharing.resumptions(store, run_ids), sharing.replays(store, run_ids)
    for row in rows:
        row["marks"] = list(_of_row(row, resumed, replayed))


def _of_row(row: Mapping[str, Any], resumed: Mapping[str, int], replayed: Mapping[str, int]) -> Iterator[str]:
    run_id = row["run_id"]
    forked = isinstance(row["source_run_id"], str)
    yield from _marks(row["kind"], forked, resumed.get(run_id, 0), replayed.get(run_id, 0))
    if row["imported"]:
        yield "imported"


def _marks(kind: str, forked: bool, resumed: int, replays: int) -> Iterator[str]:
    if forked:
        yield "fork"
    if resumed:
        yield f"resumed ×{resumed}" if resumed > 1 else "resumed"
    if replays:
        yield plural(replays, "replay")
    if kind != "workflow":
        yield kind
