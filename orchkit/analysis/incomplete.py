"""The runs that were cut off and can be gone on with: how far they had come, and what is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from orchkit.analysis.frames import Columns, typed_column
from orchkit.analysis.liveness import CUT_OFF, given_up, standing
from orchkit.store import codec
from orchkit.store.openruns import OpenRun, OpenRuns

if TYPE_CHECKING:
    import pandas as pd

INCOMPLETE: Columns = {
    "run_id": "text",
    "kind": "text",
    "name": "text",
    "started_at": "time",
    "last_event_at": "time",
    "steps_done": "int",
    "steps": "int",
    "in_doubt": "json",
    "pid": "int",
    "host": "maybe",
}
_UNENDED = """
SELECT run_id, kind, name, status, started_at, pid, host, born, imported FROM runs
WHERE status IN ('running', 'paused') AND parent_run_id IS NULL ORDER BY started_at, run_id
"""
# With the runs of sub-workflows below each, and the steps that lead to them.
_BELOW = """
WITH RECURSIVE below(top, run_id, path) AS (
    SELECT run_id, run_id, '' FROM (SELECT unnest($1::VARCHAR[]) AS run_id)
    UNION
    SELECT b.top, s.run_id, b.path || s.parent_step_id || ' › '
    FROM below b JOIN run_start s ON s.parent_run_id = b.run_id
)
"""
_LAST_EVENTS = f"""{_BELOW}
SELECT b.top, max(e.ts) FROM below b JOIN events e ON e.run_id = b.run_id
WHERE e.kind <> 'run.imported' GROUP BY b.top
"""  # noqa: S608 - only texts of ours
# A step is in doubt from the begin of an attempt until its own end is on record, unless the attempt failed.
_DOUBTS = f"""{_BELOW}, last AS (
    SELECT b.top, b.path, a.* FROM below b JOIN attempts a ON a.run_id = b.run_id
    QUALIFY row_number() OVER (PARTITION BY a.run_id, a.step_id ORDER BY a.attempt DESC) = 1
)
SELECT a.top, a.path || a.step_id
FROM last a LEFT JOIN steps s ON s.run_id = a.run_id AND s.step_id = a.step_id
WHERE coalesce(s.status, 'running') = 'running' AND a.status IN ('running', 'in_doubt', 'success')
  AND NOT EXISTS (SELECT 1 FROM step_end f
                  WHERE f.run_id = a.run_id AND f.step_id = a.step_id AND at_us(f.ts) >= a.finished_at)
ORDER BY a.started_at, a.step_id
"""  # noqa: S608 - only texts of ours
_COUNTS = """
SELECT run_id, count(*) FILTER (status <> 'running'), count(*) FROM steps
WHERE list_contains($1::VARCHAR[], run_id) AND parent IS NULL AND node_type <> 'compensation' GROUP BY run_id
"""
_DEFINED = """
SELECT run_id, json_array_length(payload, '$.definition.steps'), payload ->> '$.definition."$blob"'
FROM event WHERE kind IN ('run.started', 'run.resumed') AND list_contains($1::VARCHAR[], run_id)
  AND json_type(payload, '$.definition') = 'OBJECT'
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq DESC) = 1
"""


class Record(Protocol):
    """The read side of a store."""

    @property
    def open_runs(self) -> OpenRuns:
        """Its runs that have not ended."""
        ...

    def query(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        ...

    def blob(self, digest: str) -> str:
        """The JSON text of a large value."""
        ...


def incomplete(store: Record) -> pd.DataFrame:
    """The runs that were cut off, the oldest first, one row each; without those of sub-workflows.

    =============  ========  ==================================================================
    column         dtype     meaning
    =============  ========  ==================================================================
    run_id         str       what `orchkit.Kit.resume` takes
    kind           str       ``workflow``, ``operation`` or ``orchestrator``
    name           str       of the workflow, operation or orchestrator
    started_at     datetime  when it began
    last_event_at  datetime  the last that is on record of it, or of its sub-workflows
    steps_done     Int64     how many of its steps are over
    steps          Int64     how many it has
    in_doubt       object    list of the steps that had begun: nobody knows whether they took effect
    pid            Int64     in which process it ran
    host           object    on which machine
    =============  ========  ==================================================================

    A step of a sub-workflow is named after the steps around it: ``import › load``.
    """
    import pandas as pd

    rows = _cut_off(store)
    run_ids = [row["run_id"] for row in rows]
    if rows:
        _add_progress(store, rows, run_ids)
    data = {
        name: pd.Series([row[name] for row in rows], dtype="object")
        if kind == "json"
        else typed_column(pd.Series([row[name] for row in rows], dtype="object"), kind)
        for name, kind in INCOMPLETE.items()
    }
    return pd.DataFrame(data, index=pd.RangeIndex(len(rows)))


def _cut_off(store: Record) -> list[dict[str, Any]]:
    columns = ("run_id", "kind", "name", "status", "started_at", "pid", "host", "born", "imported")
    known = given_up(store.open_runs)
    rows = [dict(zip(columns, row, strict=True)) for row in store.query(_UNENDED)]
    return [row for row in rows if standing(row, known) == CUT_OFF]


def _add_progress(store: Record, rows: Sequence[dict[str, Any]], run_ids: list[str]) -> None:
    last_events = dict(store.query(_LAST_EVENTS, [run_ids]))
    counts = {run_id: (done, all_) for run_id, done, all_ in store.query(_COUNTS, [run_ids])}
    defined = {
        run_id: _steps_of(store, count, digest) for run_id, count, digest in store.query(_DEFINED, [run_ids])
    }
    doubts: dict[str, list[str]] = {run_id: [] for run_id in run_ids}
    for run_id, step in store.query(_DOUBTS, [run_ids]):
        doubts[run_id].append(step)
    for row in rows:
        run_id = row["run_id"]
        done, seen = counts.get(run_id, (0, 0))
        row |= {
            "last_event_at": last_events.get(run_id),
            "steps_done": done,
            "steps": defined.get(run_id, seen),
            "in_doubt": doubts[run_id],
        }


def _steps_of(store: Record, count: int | None, digest: str | None) -> int:
    """How many steps a definition has, which is kept apart when it is large."""
    return len(codec.loads(store.blob(digest))["steps"]) if digest else count or 0


def remark(cut_off: Sequence[OpenRun]) -> str | None:
    """One line about these runs: that they were cut off, and what to do; None when there are none."""
    if not cut_off:
        return None
    if len(cut_off) > 1:
        those = f"{len(cut_off):,} runs were cut off when their process ended"
        return (
            f"{those}: kit.incomplete() shows them, kit.resume(run_id) goes on, kit.give_up(run_id) ends one"
        )
    run = cut_off[0]
    way_on = f', kit.resume("{run.run_id}") goes on' if run.kind == "workflow" else ""
    ends = f', kit.give_up("{run.run_id}") ends it'
    return f"1 run was cut off when its process ended: kit.incomplete() shows it{way_on}{ends}"
