"""DataFrames in the place of a store: what is asked of a store in SQL is asked of them just so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchkit.analysis.inmemory import in_memory
from orchkit.errors import ParameterError, Problem
from orchkit.store import codec
from orchkit.store.frames import to_frame

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

Tables = Mapping[str, "pd.DataFrame | None"]
"""DataFrames under the names of the views of a store."""

PLACES: Mapping[str, Mapping[str, str]] = {
    "attempts": {
        "run_id": "VARCHAR",
        "step_id": "VARCHAR",
        "attempt": "BIGINT",
        "status": "VARCHAR",
        "started_at": "TIMESTAMPTZ",
        "finished_at": "TIMESTAMPTZ",
        "duration_ms": "DOUBLE",
        "error_type": "VARCHAR",
        "injected": "BOOLEAN",
        "tool": "VARCHAR",
        "workflow": "VARCHAR",
    },
    "decision_traces": {
        "run_id": "VARCHAR",
        "step_id": "VARCHAR",
        "attempt": "BIGINT",
        "decision_point": "VARCHAR",
        "decision": "VARCHAR",
        "input_data": "JSON",
        "seq": "BIGINT",
        "created_at": "TIMESTAMPTZ",
    },
    "breaker_transitions": {
        "seq": "BIGINT",
        "breaker": "VARCHAR",
        "from_state": "VARCHAR",
        "to_state": "VARCHAR",
        "reason": "VARCHAR",
        "run_id": "VARCHAR",
        "step_id": "VARCHAR",
        "attempt": "BIGINT",
        "changed_at": "TIMESTAMPTZ",
    },
}
"""The views for which DataFrames are given, and what is read of them; what is not asked may be missing."""

# The views of a store, made of a DataFrame: what follows is the same SQL for both.
_VIEWS = """
CREATE VIEW attempts AS
SELECT coalesce(run_id, '') AS run_id, step_id, attempt, status, started_at, finished_at,
    coalesce(duration_ms, (epoch_us(finished_at) - epoch_us(started_at)) / 1000.0) AS duration_ms, error_type,
    coalesce(injected, FALSE) AS injected
FROM given_attempts;
CREATE VIEW step_start AS SELECT coalesce(run_id, '') AS run_id, step_id, tool AS name FROM given_attempts;
CREATE VIEW runs AS SELECT DISTINCT coalesce(run_id, '') AS run_id, workflow AS name FROM given_attempts;
CREATE VIEW decision_traces AS FROM given_decision_traces;
CREATE VIEW breaker_transitions AS FROM given_breaker_transitions;
"""


def check(frame: pd.DataFrame, place: str, needs: Sequence[str]) -> None:
    """Raise `ParameterError` for each of the columns that is missing."""
    missing = [name for name in needs if name not in frame.columns]
    if missing:
        hint = f"a DataFrame of {place} has {', '.join(needs)}"
        raise ParameterError(place, [Problem(f"column {name!r}", "is missing", hint) for name in missing])


def answer_of(tables: Tables, query: str, params: Mapping[str, Any]) -> pd.DataFrame:
    """The answer of a DuckDB in memory."""
    with in_memory() as connection:
        for name, types in PLACES.items():
            _create(connection, f"given_{name}", _with_json(tables.get(name)), types)
        connection.execute(_VIEWS)
        return to_frame(connection, query, dict(params) or None)


def _create(
    connection: duckdb.DuckDBPyConnection, name: str, frame: pd.DataFrame | None, types: Mapping[str, str]
) -> None:
    """A table of these columns; those that the frame does not have are empty."""
    there = [] if frame is None else [column for column in types if column in frame.columns]
    # `at` is a word of the language
    quoted = {column: f'"{column}"' if column in there else "NULL" for column in types}
    casts = ", ".join(f'CAST({quoted[column]} AS {kind}) AS "{column}"' for column, kind in types.items())
    origin = "(SELECT 1) WHERE FALSE"
    if frame is not None:
        origin = f"{name}_frame"
        connection.register(origin, frame[there])
    # every name in the text is a constant of this module
    connection.execute(f"CREATE TABLE {name} AS SELECT {casts} FROM {origin}")  # noqa: S608


def _with_json(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """The inputs of decisions as JSON texts, as the store has them; `Run.decisions` has them parsed."""
    if frame is None or "input_data" not in frame.columns:
        return frame
    texts = [one if isinstance(one, str) else codec.dumps(one) for one in frame["input_data"].tolist()]
    return frame.assign(input_data=texts)
