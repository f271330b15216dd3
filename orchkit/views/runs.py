"""All runs of a store: by id, by the begin of an id, by position, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

from orchkit.analysis import frames
from orchkit.analysis.liveness import given_up, standing
from orchkit.errors import UnknownNameError
from orchkit.model.display import Displayable
from orchkit.views.browse import MOST_ROWS, Table
from orchkit.views.recordtables import run_rows, runs_table
from orchkit.views.run import Record, Run

if TYPE_CHECKING:
    import pandas as pd

_TOP = "parent_run_id IS NULL"
# Of runs that have ended nobody asks which process it was.
_STANDINGS = """
WITH top AS (SELECT *, status IN ('running', 'paused') AS open FROM runs WHERE parent_run_id IS NULL)
SELECT status, run_id, pid, host, born, imported, 1 FROM top WHERE open
UNION ALL SELECT status, '', NULL, NULL, NULL, FALSE, count(*) FROM top WHERE NOT open GROUP BY status
"""
_MOST_MATCHES = 5


class Runs(Displayable):
    """The runs of a store, oldest first; those of sub-workflows can be had by id, but are not counted.

    ``runs["run_…"]`` takes a whole id or as much of its begin as tells it apart, ``runs[-1]`` is the newest.
    """

    def __init__(self, store: Record) -> None:
        self._store = store

    @property
    def store(self) -> Record:
        """The store that they are read from."""
        return self._store

    @overload
    def __getitem__(self, key: str | int) -> Run: ...
    @overload
    def __getitem__(self, key: slice) -> list[Run]: ...

    def __getitem__(self, key: str | int | slice) -> Run | list[Run]:
        """A run by id, begin of an id or position; several by a slice.

        Raises `UnknownNameError` for an id that none or several fit, IndexError for a position.
        """
        if isinstance(key, str):
            return Run(self._store, self._find(key))
        if isinstance(key, slice):
            return [Run(self._store, run_id) for run_id in self._ids()[key]]
        return Run(self._store, self._at(key))

    def _find(self, text: str) -> str:
        """Ids are looked for among all runs; the words before the number may be left out."""
        rows = self._store.query(
            "SELECT run_id FROM runs WHERE run_id = ? OR starts_with(run_id, ?) OR starts_with(run_id, ?) "
            "ORDER BY run_id <> ?, run_id LIMIT ?",
            [text, text, f"run_{text}", text, _MOST_MATCHES],
        )
        matches = [str(row[0]) for row in rows] if text else []
        if text in matches:
            return text
        if len(matches) > 1:
            several = f"{len(matches)}{' or more' if len(matches) == _MOST_MATCHES else ''} ids"
            raise UnknownNameError(f"run: {several} begin with", text, matches)
        if not matches:
            raise UnknownNameError("run", text, self._ids()[-1000:])
        return matches[0]

    def _at(self, position: int) -> str:
        order, offset = ("DESC", -position - 1) if position < 0 else ("ASC", position)
        rows = self._store.query(
            # nothing in this text comes from outside
            f"SELECT run_id FROM runs WHERE {_TOP} "  # noqa: S608
            f"ORDER BY started_at {order}, run_id {order} LIMIT 1 OFFSET {offset}"
        )
        if not rows:
            raise IndexError(f"there is no run {position}: the store has {len(self)}")
        return str(rows[0][0])

    def _ids(self) -> list[str]:
        rows = self._store.query(f"SELECT run_id FROM runs WHERE {_TOP} ORDER BY started_at, run_id")  # noqa: S608
        return [str(row[0]) for row in rows]

    def __len__(self) -> int:
        return int(self._store.query(f"SELECT count(*) FROM runs WHERE {_TOP}")[0][0])  # noqa: S608

    def __iter__(self) -> Iterator[Run]:
        return (Run(self._store, run_id) for run_id in self._ids())

    def __contains__(self, run: object) -> bool:
        run_id = run.id if isinstance(run, Run) else run
        return bool(self._store.query("SELECT 1 FROM runs WHERE run_id = ?", [str(run_id)]))

    def counts(self) -> dict[str, int]:
        """How many runs have which status, the most frequent first; without those of sub-workflows."""
        rows = self._store.query(
            f"SELECT status, count(*) AS n FROM runs WHERE {_TOP} GROUP BY status ORDER BY n DESC, status"  # noqa: S608
        )
        return {str(status): int(count) for status, count in rows}

    def standings(self) -> dict[str, int]:
        """The same, with those that were cut off told from those that go on; see `orchkit.Run.cut_off`."""
        open_runs = given_up(self._store.open_runs)
        rows = self._store.query(_STANDINGS)
        columns = ("status", "run_id", "pid", "host", "born", "imported")
        counts: Counter[str] = Counter()
        for *facts, count in rows:
            counts[standing(dict(zip(columns, facts, strict=True)), open_runs)] += int(count)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def frame(self, *, sub_runs: bool = False, limit: int | None = None, **filters: Any) -> pd.DataFrame:
        """The runs as a DataFrame, oldest first: see `orchkit.analysis.frames.runs`.

        Filters: ``status=``, ``name=``, ``casefile_id=``, ``session_id=`` and the other columns of texts,
        each a value or a list of values. ``limit`` keeps the newest.
        """
        return frames.runs(self._store, sub_runs=sub_runs, limit=limit, **filters)

    def table(self, *, limit: int = MOST_ROWS, sub_runs: bool = False, **filters: Any) -> Table:
        """The newest runs to look through: with search and choices in a notebook, plain everywhere else.

        ``limit`` and the filters are those of `frame`.
        """
        frame = self.frame(sub_runs=sub_runs, limit=limit, **filters)
        count = len(self.frame(sub_runs=sub_runs, **filters)) if len(frame) >= limit else len(frame)
        return runs_table(run_rows(self._store, frame), count)

    def __repr__(self) -> str:
        try:
            count = len(self)
        except Exception as error:  # a repr must never raise
            return f"<Runs: {error}>"
        return f"<Runs: {count:,}>"
