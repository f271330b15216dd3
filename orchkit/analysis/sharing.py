"""What became of the results of runs: which other runs show them, how often they were given again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Asked(Protocol):
    """The read side of a store."""

    def query(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        ...


_REPLAYS = """
SELECT run_id, count(*) FROM claim_event WHERE kind = 'replayed' AND list_contains($1::VARCHAR[], run_id)
GROUP BY run_id
"""
_RESUMPTIONS = """
SELECT run_id, count(*) FROM run_resume WHERE list_contains($1::VARCHAR[], run_id) GROUP BY run_id
"""
_SHARED_BY = """
SELECT run_id, count(DISTINCT step_id) FROM lineage WHERE source_run_id = $1 AND run_id <> $1
GROUP BY run_id ORDER BY min(reused_at), run_id
"""


def replays(store: Asked, run_ids: Sequence[str]) -> dict[str, int]:
    """How often the recorded results of these runs were the answer to a request; those that were, by id."""
    return _counts(store, _REPLAYS, list(run_ids))


def resumptions(store: Asked, run_ids: Sequence[str]) -> dict[str, int]:
    """How often these runs were taken up again; those that were, by id."""
    return _counts(store, _RESUMPTIONS, list(run_ids))


def shared_by(store: Asked, run_id: str) -> dict[str, int]:
    """The other runs that show results of this one, the first first, and of how many steps."""
    return _counts(store, _SHARED_BY, run_id)


def _counts(store: Asked, query: str, param: Any) -> dict[str, int]:
    return {str(run_id): int(count) for run_id, count in store.query(query, [param])}
