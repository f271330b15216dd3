"""How long a run will still take, judged by earlier runs of the same definition; no guess without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchkit.analysis.facts import OVER, Facts, span_ms

MOST_RUNS = 20
"""So many of the newest earlier runs are looked at."""

_SQL = """
WITH earlier AS (
    SELECT run_id FROM runs
    WHERE definition_hash = ? AND run_id <> ? AND status = 'success' AND source_run_id IS NULL
    ORDER BY started_at DESC LIMIT ?
), reused AS (
    SELECT DISTINCT run_id, step_id FROM events WHERE kind = 'step.reused'
)
SELECT s.step_id, median(s.duration_ms), count(DISTINCT s.run_id), (SELECT count(*) FROM earlier)
FROM steps s JOIN earlier e ON e.run_id = s.run_id
WHERE s.status = 'success' AND s.parent IS NULL AND s.duration_ms IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM reused r WHERE r.run_id = s.run_id AND r.step_id = s.step_id)
GROUP BY s.step_id
"""


class Asked(Protocol):
    """A store that answers queries."""

    def query(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        ...


@dataclass(frozen=True, slots=True)
class Experience:
    """What earlier runs of a definition took."""

    runs: int
    """How many successful ones were looked at."""
    typical_ms: Mapping[str, float]
    """The median duration of each step that succeeded in one of them, in milliseconds."""


NONE = Experience(0, {})


def experience(store: Asked, definition_hash: str | None, but: str) -> Experience:
    """What the newest successful runs of a definition took, without the run ``but`` and without forks."""
    if definition_hash is None:
        return NONE
    rows = store.query(_SQL, [definition_hash, but, MOST_RUNS])
    return Experience(rows[0][3], {row[0]: float(row[1]) for row in rows}) if rows else NONE


def remaining_ms(facts: Facts, known: Experience, now_us: int) -> float | None:
    """Milliseconds that the run will take from now on if its steps take what they usually do.

    None where that cannot be said: a step that is still to come has never been seen, or the run is not going
    on by itself. 0 when everything that goes on is overdue.
    """
    if facts.state.status != "running" or not known.runs or not facts.definitions:
        return None
    ends: dict[str, float] = {}
    for step_id in _in_order(facts):
        left = _left_ms(facts, step_id, known, now_us)
        if left is None:
            return None
        ready = max((ends.get(link.source, 0.0) for link in facts.links_into.get(step_id, ())), default=0.0)
        ends[step_id] = ready + left
    return max(ends.values(), default=0.0)


def _left_ms(facts: Facts, step_id: str, known: Experience, now_us: int) -> float | None:
    step = facts.state.steps.get(step_id)
    if step is not None and step.status in OVER:
        return 0.0
    typical = known.typical_ms.get(step_id)
    if typical is None:
        return None
    since = span_ms(step.scheduled_us, now_us) if step is not None and step.status == "running" else None
    return max(0.0, typical - (since or 0.0))


def _in_order(facts: Facts) -> list[str]:
    """The steps, each after those that lead to it; what is on a cycle is left out."""
    waiting = {step_id: len(facts.links_into.get(step_id, ())) for step_id in facts.definitions}
    after: dict[str, list[str]] = {}
    for into in facts.links_into.values():
        for link in into:
            after.setdefault(link.source, []).append(link.target)
    order = [step_id for step_id, count in waiting.items() if not count]
    for step_id in order:  # grows while it is gone through
        for target in after.get(step_id, ()):
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    return order
