"""The runs of a store as a bundle sees them: their events as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from orchkit.clock import Clock
from orchkit.errors import Problem
from orchkit.interop.bundle import names
from orchkit.interop.bundle.contents import BadContentsError
from orchkit.interop.bundle.lines import Line, NoEventError, belongs_to_run, line_of
from orchkit.model import event as ev
from orchkit.store import codec

_COLUMNS = "e.ts, e.kind, e.run_id, e.step_id, e.attempt, e.payload"
# One statement, so that the events of a run that goes on are those of one moment.
_TREE = f"""
WITH RECURSIVE tree(run_id) AS (
    SELECT CAST($1 AS VARCHAR)
    UNION SELECT s.run_id FROM run_start s JOIN tree t ON s.parent_run_id = t.run_id
)
SELECT {_COLUMNS} FROM event e WHERE e.run_id IN (FROM tree) ORDER BY e.seq
"""  # noqa: S608 - only names of ours
_THESE = f"SELECT {_COLUMNS} FROM event e WHERE list_contains($1::VARCHAR[], e.run_id) ORDER BY e.seq"  # noqa: S608
_LARGE = "SELECT hash, data FROM blob WHERE list_contains($1::VARCHAR[], hash)"
_AT_ONCE = 16


class Source(Protocol):
    """The read side of a store."""

    clock: Clock

    def query(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        ...


class Recorded(NamedTuple):
    """A run in a store."""

    lines: list[Line]
    foreign: bool
    """Whether it came from another store and was not taken up here since."""


def tree_of(store: Source, run_id: str) -> tuple[list[Line], str | None]:
    """The events of a run and of those below it, and the bundle that it came in, if it did.

    Raises `BadContentsError`; no events for a run that the store does not have.
    """
    rows = store.query(_TREE, [run_id])
    brought = [row for row in rows if row[1] == ev.RUN_IMPORTED and row[2] == run_id]
    digest = codec.loads(brought[-1][5]).get("digest") if brought else None
    return [_read(row) for row in rows if belongs_to_run(row[1])], digest


def _read(row: tuple[Any, ...]) -> Line:
    try:
        return line_of(row)
    except NoEventError as error:
        raise BadContentsError([Problem(f"an event {row[1]!r} of {row[2]}", str(error))]) from None


def recorded(store: Source, run_ids: Sequence[str]) -> dict[str, Recorded]:
    """Those of these runs that the store has. Raises `BadContentsError`."""
    found: dict[str, Recorded] = {}
    for row in store.query(_THESE, [list(run_ids)]):
        kind, run_id = row[1], row[2]
        lines, foreign = found.get(run_id, ([], False))
        if belongs_to_run(kind):
            lines.append(line := _read(row))
            foreign = foreign and not (kind == ev.RUN_RESUMED and "pid" in line.payload)
        found[run_id] = Recorded(lines, foreign or kind == ev.RUN_IMPORTED)
    return found


def large_values(store: Source, digests: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The large values of these hashes, in their order. Raises `BadContentsError` for one that is gone."""
    for first in range(0, len(digests), _AT_ONCE):
        some = list(digests[first : first + _AT_ONCE])
        texts = dict(store.query(_LARGE, [some]))
        for digest in some:
            if digest not in texts:
                cause = "is named by the events, and the store does not have it"
                raise BadContentsError([Problem(names.blob_name(digest), cause)])
            yield digest, texts[digest]
