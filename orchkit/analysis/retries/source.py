"""Where the attempts lie that are asked about, and which of them count: a store, a run, or a DataFrame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict, runtime_checkable

from orchkit.analysis.frames import Columns, typed_column
from orchkit.analysis.retries.given import PLACES, Tables, answer_of, check
from orchkit.errors import ParameterError, Problem, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

Origin = Literal["live", "imported", "simulated"]
ORIGINS: tuple[Origin, ...] = ("live", "imported", "simulated")
"""Runs that happened here, runs that were brought here from elsewhere, runs that were made up."""


@runtime_checkable
class Queryable(Protocol):
    """A kit or a store: something that answers SQL over the history."""

    def sql(self, query: str, params: Any = None) -> pd.DataFrame:
        """Rows as a DataFrame."""
        ...


@runtime_checkable
class OneRun(Protocol):
    """A run that knows its store."""

    @property
    def id(self) -> str:
        """The run's id."""
        ...

    @property
    def store(self) -> Queryable:
        """Where it is read from."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """A result that knows the run it is of, such as a `WorkflowResult`."""

    @property
    def run(self) -> Any:
        """The run, a `OneRun`."""
        ...


@runtime_checkable
class InKit(Protocol):
    """What has its runs in a kit of its own, such as a `Simulation`."""

    @property
    def kit(self) -> Queryable:
        """The kit."""
        ...


Source: TypeAlias = "Queryable | OneRun | Recorded | InKit | pd.DataFrame"
"""What every question is asked of: see the package."""


class Selection(TypedDict, total=False):
    """Which attempts count. Of a DataFrame all runs count: filter it before."""

    runs: str | OneRun | Recorded | Iterable[str | OneRun | Recorded]
    """These runs alone, as ids, runs or results, one or several; by default all."""
    origins: Origin | Collection[Origin]
    """Runs of this origin or these origins alone; by default ``live`` and ``imported``, or all where all
    were simulated. Not asked of runs that are named."""
    include_injected: bool
    """Whether attempts count into which a failure or slowness was injected; by default they do. Where they
    do not, the first attempt of a step is the first of those that are left."""


ATTEMPTS = ("step_id", "attempt", "status")
"""Columns that a DataFrame of attempts must have."""
TIMES = (*ATTEMPTS, "started_at", "finished_at")
"""The same for questions about time."""


def ask(
    source: Source,
    query: str,
    columns: Columns,
    selection: Selection,
    *,
    params: Mapping[str, Any] | None = None,
    needs: Sequence[str] = ATTEMPTS,
    tables: Tables | None = None,
) -> pd.DataFrame:
    """The answer to a query that begins after common tables: the records that count.

    ``a``, the attempts, has the columns ``run_id``, ``step_id`` (an empty text for none),
    ``attempt``, ``status``, ``started_at``, ``finished_at``, ``duration_ms``, ``error_type`` and
    ``injected``; ``d``, the decisions, has the first three, ``decision_point``, ``decision``,
    ``input_data``, ``seq`` and ``created_at``; ``b``, the transitions of circuit breakers, has the columns
    of their view.

    Where the source is a DataFrame, ``needs`` are the columns that it must have, and ``tables`` the other
    DataFrames; the source itself takes the place that is left, that of the attempts.

    Raises `ParameterError` for a DataFrame without one of the columns, and for what is no source or no run;
    `UnknownNameError` for an unknown origin, or the id of a run that the store does not have.
    """
    import pandas as pd

    named = dict(params or {})
    if isinstance(source, pd.DataFrame):
        place = next(name for name in PLACES if name not in (tables or {}))
        check(source, place, needs)
        answer = answer_of({**(tables or {}), place: source}, f"WITH {_records(selection)}{query}", named)
    else:
        asked = _asked(source)
        condition, own = _condition(asked, selection)
        whole = f"WITH {_records(selection, condition)}{query}"
        answer = _store_of(asked).sql(whole, own | named or None)
    data = {name: typed_column(answer[name], kind) for name, kind in columns.items()}
    return pd.DataFrame(data, index=pd.RangeIndex(len(answer)))


def store_of(source: Queryable | OneRun | Recorded | InKit) -> Queryable:
    """What answers SQL. Raises `ParameterError` for what is no source."""
    return _store_of(_asked(source))


def _store_of(asked: Queryable | OneRun) -> Queryable:
    return asked.store if isinstance(asked, OneRun) else asked


def _asked(source: Any) -> Queryable | OneRun:
    """The store or the run that is meant: of a simulation its kit, of a result its run."""
    if isinstance(source, OneRun | Queryable):
        return source
    if isinstance(source, InKit) and isinstance(source.kit, Queryable):
        return source.kit
    if isinstance(source, Recorded) and isinstance(source.run, OneRun):
        return source.run
    hint = "ask a kit, a store, a run, a result of one, a simulation or a DataFrame"
    raise ParameterError("retry analytics", [Problem("source", f"is a {type(source).__name__}", hint)])


# --- which attempts ------------------------------------------------------------------------


def _records(selection: Selection, condition: str = "") -> str:
    """The common tables ``a``, ``d`` and ``b``."""
    clause = f" WHERE {condition}" if condition else ""
    of_attempts, kept = clause, ""
    if not selection.get("include_injected", True):
        of_attempts = f"{clause} AND NOT injected" if clause else " WHERE NOT injected"
        kept = _NOT_INJECTED
    # Left to itself, DuckDB would write each down, with all rows that any of its uses may want.
    return f"""
    a AS NOT MATERIALIZED ({_A}{of_attempts}),
    d AS NOT MATERIALIZED (SELECT * FROM ({_D}{clause}){kept}),
    b AS NOT MATERIALIZED ({_B}{clause})"""  # noqa: S608 - nothing in these texts comes from outside


_A = """
    SELECT run_id, coalesce(step_id, '') AS step_id, CAST(attempt AS BIGINT) AS attempt, status,
           started_at, finished_at, duration_ms, error_type, injected
    FROM attempts"""
_D = """
    SELECT coalesce(run_id, '') AS run_id, coalesce(step_id, '') AS step_id,
           CAST(attempt AS BIGINT) AS attempt, decision_point, decision, input_data, seq, created_at
    FROM decision_traces"""
_NOT_INJECTED = """ ANTI JOIN (
        SELECT run_id, coalesce(step_id, '') AS step_id, CAST(attempt AS BIGINT) AS attempt
        FROM attempts WHERE injected
    ) USING (run_id, step_id, attempt)"""
_B = """
    SELECT seq, breaker, from_state, to_state, reason, coalesce(run_id, '') AS run_id,
           coalesce(step_id, '') AS step_id, CAST(attempt AS BIGINT) AS attempt, changed_at
    FROM breaker_transitions"""
# Asked for by itself and not joined: nearly always there are no such runs, and nothing to compare then.
_NOT_LIVE = """
SELECT run_id, CASE WHEN bool_or(simulated) THEN 'simulated' ELSE 'imported' END AS origin
FROM (
    SELECT run_id, coalesce(payload ->> '$.simulated', 'false') <> 'false' AS simulated,
           coalesce(payload ->> '$.imported', 'false') <> 'false' AS imported
    FROM events WHERE kind = 'run.started'
    UNION ALL
    SELECT run_id, FALSE, TRUE FROM events WHERE kind = 'run.imported'
)
GROUP BY run_id HAVING bool_or(simulated) OR bool_or(imported)"""
_KNOWN = "SELECT DISTINCT run_id FROM events WHERE run_id IN (SELECT unnest($runs))"
_NEWEST = "SELECT run_id FROM runs ORDER BY started_at DESC LIMIT 100"
_HOW_MANY = "SELECT count(DISTINCT run_id) AS runs FROM runs"


def _condition(source: Queryable | OneRun, selection: Selection) -> tuple[str, dict[str, Any]]:
    """What selects the records of the runs that count, and the values of its parameters."""
    runs = [source.id] if isinstance(source, OneRun) else _named(source, selection.get("runs"))
    if runs is not None:
        return "run_id IN (SELECT unnest($runs))", {"runs": runs}
    origins = selection.get("origins", ("live", "imported"))
    wanted = {origins} if isinstance(origins, str) else set(origins)
    for origin in wanted.difference(ORIGINS):
        raise UnknownNameError("origin of runs", origin, ORIGINS)
    if wanted == set(ORIGINS):
        return "", {}
    store = _store_of(source)
    others = store.sql(_NOT_LIVE)
    listed = others.run_id[others.origin.isin(wanted) ^ ("live" in wanted)].tolist()
    if "origins" not in selection and listed and len(listed) == store.sql(_HOW_MANY)["runs"][0]:
        return "", {}
    if "live" not in wanted:
        return "run_id IN (SELECT unnest($runs))", {"runs": listed}
    # What belongs to no run has the empty text as its run, which is not in the list.
    return ("coalesce(run_id, '') NOT IN (SELECT unnest($runs))", {"runs": listed}) if listed else ("", {})


def _named(store: Queryable, runs: Any) -> list[str] | None:
    """The ids of the runs that are named; None: all runs are meant."""
    if runs is None:
        return None
    single = isinstance(runs, str | OneRun | Recorded) or not isinstance(runs, Iterable)
    ids = [_id_of(run) for run in ([runs] if single else runs)]
    known = set(store.sql(_KNOWN, {"runs": ids}).run_id) if ids else set()
    for run_id in ids:
        if run_id not in known:
            raise UnknownNameError("run", run_id, store.sql(_NEWEST).run_id)
    return ids


def _id_of(run: Any) -> str:
    if isinstance(run, str):
        return run
    one = run.run if isinstance(run, Recorded) and not isinstance(run, OneRun) else run
    if isinstance(one, OneRun):
        return one.id
    hint = "name a run by its id, or give the run or its result"
    raise ParameterError("retry analytics", [Problem("runs", f"there is a {type(run).__name__}", hint)])
