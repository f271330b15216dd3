"""The record as plain pandas DataFrames: the same columns and dtypes, also when there are no rows.

Shared by all: times are ``datetime64[us, UTC]``, durations are milliseconds (``float64``), whole numbers
that may be missing ``Int64``, truth values ``bool``. Texts that are always there are pandas' ``str``; texts
that may be missing, and values that were JSON, are Python values (``object``), with None where there is
nothing: ``steps[steps.error.notna()]`` are the steps with an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from orchkit.errors import UnknownNameError
from orchkit.store import codec

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "maybe", "int", "float", "bool", "time", "json"]
"""``text`` is always there, ``maybe`` is a text or None."""
Columns = Mapping[str, Kind]


class Readable(Protocol):
    """The read side of a store."""

    def sql(self, query: str, params: Any = None) -> pd.DataFrame:
        """Rows as a DataFrame."""
        ...

    def blob(self, digest: str) -> str:
        """The JSON text of a large value."""
        ...


STEPS: Columns = {
    "step_id": "text",
    "name": "text",
    "node_type": "text",
    "parent": "maybe",
    "status": "text",
    "attempts": "int",
    "scheduled_at": "time",
    "finished_at": "time",
    "duration_ms": "float",
    "input": "json",
    "output": "json",
    "error": "maybe",
    "error_type": "maybe",
    "reason": "maybe",
    "source_run_id": "maybe",
}
ATTEMPTS: Columns = {
    "step_id": "text",
    "attempt": "int",
    "status": "text",
    "started_at": "time",
    "finished_at": "time",
    "duration_ms": "float",
    "error": "maybe",
    "error_type": "maybe",
    "abandoned": "bool",
    "injected": "bool",
}
DECISIONS: Columns = {
    "seq": "int",
    "step_id": "maybe",
    "attempt": "int",
    "sequence_number": "int",
    "decision_point": "text",
    "decision": "text",
    "rationale": "maybe",
    "alternatives": "json",
    "input_data": "json",
    "output_data": "json",
    "evidence": "json",
    "duration_ms": "float",
    "origin": "text",
    "created_at": "time",
}
EVIDENCE: Columns = {
    "seq": "int",
    "evidence_id": "text",
    "step_id": "maybe",
    "attempt": "int",
    "evidence_type": "text",
    "evidence_data": "json",
    "source": "maybe",
    "confidence_score": "float",
    "metadata": "json",
    "content_hash": "text",
    "created_at": "time",
}
EVENTS: Columns = {
    "seq": "int",
    "ts": "time",
    "kind": "text",
    "step_id": "maybe",
    "attempt": "int",
    "payload": "json",
}
LINEAGE: Columns = {
    "step_id": "text",
    "how": "text",
    "source_run_id": "text",
    "source_step_id": "text",
    "reused_at": "time",
}
SHARED: Columns = {
    "step_id": "text",
    "how": "text",
    "used_by": "text",
    "used_in": "text",
    "reused_at": "time",
}
RUNS: Columns = {
    "run_id": "text",
    "kind": "text",
    "name": "text",
    "status": "text",
    "started_at": "time",
    "finished_at": "time",
    "duration_ms": "float",
    "error": "maybe",
    "user_id": "maybe",
    "session_id": "maybe",
    "casefile_id": "maybe",
    "request_id": "maybe",
    "workflow_id": "maybe",
    "definition_hash": "maybe",
    "durability": "maybe",
    "parent_run_id": "maybe",
    "parent_step_id": "maybe",
    "source_run_id": "maybe",
    "pid": "int",
    "host": "maybe",
    "born": "maybe",
    "imported": "bool",
}
RUN_FILTERS = tuple(name for name, kind in RUNS.items() if kind in ("text", "maybe") and name != "error")
"""What `runs` can be filtered by."""
_STEPS = """(
SELECT s.*, l.source_run_id FROM steps s LEFT JOIN (
    SELECT run_id, step_id, arg_max(source_run_id, reused_at) AS source_run_id FROM lineage GROUP BY ALL
) l ON l.run_id = s.run_id AND l.step_id = s.step_id)"""


def steps(store: Readable, run_id: str) -> pd.DataFrame:
    """The steps of a run in the order in which they were scheduled, one row each.

    =============  ========  ===============================================================
    column         dtype     meaning
    =============  ========  ===============================================================
    step_id        str       id; items of a map are ``ID[0]``, compensations ``compensate:ID``
    name           str       tool or method that was called
    node_type      str       ``task``, ``map``, ``workflow``, ``compensation`` or a label
    parent         object    for an item of a map: the map's step id
    status         str       ``running``, ``success``, ``failed``, ``skipped``, ``cancelled``
    attempts       Int64     attempts made; missing while it runs
    scheduled_at   datetime  when it was ready to run
    finished_at    datetime  when it ended
    duration_ms    float64   from scheduled to ended, waits included
    input, output  object    plain JSON values, as SQL shows them: see below
    error          object    ``Type: message`` of the last error, else None
    error_type     object    its qualified type
    reason         object    why it was skipped or cancelled, else None
    source_run_id  object    the run whose recorded result this is; None: it is the step's own
    =============  ========  ===============================================================

    A datetime is its ISO text here, a DataFrame or an array its encoded bytes;
    ``run.step(step_id).output`` gives the Python value back. The status is what is on record: in a run that
    was cut off (`orchkit.Run.cut_off`) ``running`` means that the step was running then.
    """
    return _of_run(store, _STEPS, STEPS, run_id, "scheduled_at NULLS LAST, finished_at NULLS LAST, step_id")


def attempts(store: Readable, run_id: str) -> pd.DataFrame:
    """The attempts of a run's steps in the order in which they began, one row each.

    ===========  ========  ============================================================
    column       dtype     meaning
    ===========  ========  ============================================================
    step_id      str       whose attempt
    attempt      Int64     number from 1
    status       str       ``running``, ``success``, ``failed``, ``timeout``, ``cancelled``; or ``in_doubt``:
                           its process ended, so that nobody knows whether it took effect
    started_at   datetime  begin
    finished_at  datetime  end
    duration_ms  float64   time of this attempt alone
    error        object    ``Type: message``, else None
    error_type   object    its qualified type
    abandoned    bool      overran its timeout in a thread; its late result was discarded
    injected     bool      a failure or slowness was injected on purpose
    ===========  ========  ============================================================
    """
    return _of_run(store, "attempts", ATTEMPTS, run_id, "started_at, step_id, attempt")


def decisions(store: Readable, run_id: str) -> pd.DataFrame:
    """The decisions of a run, the engine's and the user's, in order, one row each.

    ===============  ========  ========================================================
    column           dtype     meaning
    ===============  ========  ========================================================
    seq              Int64     place in the order of all events of the store
    step_id          object    in which step; None for choices about the whole run
    attempt          Int64     on which attempt
    sequence_number  Int64     place among the decisions of this run, from 1
    decision_point   str       what had to be decided
    decision         str       what was chosen
    rationale        object    why, if it was said
    alternatives     object    what else could have been chosen
    input_data       object    what it was based on
    output_data      object    what came of it
    evidence         object    list of the ids of the evidence that supports it
    duration_ms      float64   how long deciding took, if known
    origin           str       ``engine``, or ``user`` for those made by the steps
    created_at       datetime  when
    ===============  ========  ========================================================
    """
    return _of_run(store, "decision_traces", DECISIONS, run_id, "seq")


def evidence(store: Readable, run_id: str) -> pd.DataFrame:
    """The evidence of a run in order, one row each.

    ================  ========  =======================================================
    column            dtype     meaning
    ================  ========  =======================================================
    seq               Int64     place in the order of all events of the store
    evidence_id       str       id
    step_id           object    in which step it was given, if in one
    attempt           Int64     on which attempt
    evidence_type     str       what it is
    evidence_data     object    the data
    source            object    where it comes from, if it was said
    confidence_score  float64   from 0 to 1
    metadata          object    more about it
    content_hash      str       SHA-256 of the data
    created_at        datetime  when
    ================  ========  =======================================================
    """
    return _of_run(store, "evidence_bundles", EVIDENCE, run_id, "seq")


def lineage(store: Readable, run_id: str) -> pd.DataFrame:
    """The steps of a run that show recorded results of other runs, one row each.

    ==============  ========  ==================================================================
    column          dtype     meaning
    ==============  ========  ==================================================================
    step_id         str       the step that was not run
    how             str       ``fork``: the run was forked from that one; ``cache``: the same code and input
    source_run_id   str       whose result it is
    source_step_id  str       and of which step
    reused_at       datetime  when
    ==============  ========  ==================================================================
    """
    return _of_run(store, "lineage", LINEAGE, run_id, "reused_at, step_id")


def shared(store: Readable, run_id: str) -> pd.DataFrame:
    """The other direction: who else shows results of this run, one row per result and run.

    =============  ========  ==================================================================
    column         dtype     meaning
    =============  ========  ==================================================================
    step_id        str       the step of this run whose result it is
    how            str       ``fork`` or ``cache``, as in `lineage`
    used_by        str       the other run
    used_in        str       its step
    reused_at      datetime  when
    =============  ========  ==================================================================
    """
    view = "(SELECT source_run_id AS run_id, source_step_id AS step_id, how, run_id AS used_by, "
    view += "step_id AS used_in, reused_at FROM lineage)"
    return _of_run(store, view, SHARED, run_id, "reused_at, used_by, step_id")


def events(store: Readable, run_id: str) -> pd.DataFrame:
    """The raw events of a run in order, one row each.

    =======  ========  ==================================================
    column   dtype     meaning
    =======  ========  ==================================================
    seq      Int64     place in the order of all events of the store
    ts       datetime  when
    kind     str       such as ``attempt.finished``
    step_id  object    of which step, if of one
    attempt  Int64     of which attempt, if of one
    payload  object    a dict; its fields depend on the kind
    =======  ========  ==================================================
    """
    return _of_run(store, "events", EVENTS, run_id, "seq")


def runs(store: Readable, *, sub_runs: bool = True, limit: int | None = None, **filters: Any) -> pd.DataFrame:
    """Runs, oldest first, one row each; ``limit`` keeps the newest.

    Filters are columns of type text: a value, or several in a list; ``status="failed"``,
    ``name=["import", "export"]``, ``casefile_id=``, ``session_id=`` ... Without ``sub_runs``, the runs of
    sub-workflows are left out.

    ==============================  ========  ================================================
    column                          dtype     meaning
    ==============================  ========  ================================================
    run_id                          str       id
    kind                            str       ``workflow``, ``operation`` or ``orchestrator``
    name                            str       of the workflow or operation
    status                          str       ``running``, ``success``, ``failed``, ``partial`` ...
    started_at, finished_at         datetime  begin and end
    duration_ms                     float64   from begin to end
    error                           object    the first error, else None
    user_id, session_id,            object    on whose behalf
    casefile_id, request_id
    workflow_id, definition_hash    object    what was run
    durability                      object    ``sync``, ``async`` or ``exit``
    parent_run_id, parent_step_id   object    for the run of a sub-workflow: the step it is
    source_run_id                   object    for a fork: the run that it was forked from
    pid                             Int64     in which process it ran, or runs since it was resumed
    host                            object    on which machine
    born                            object    tells that process from a later one of the same number
    imported                        bool      came from another store, and was not taken up here
    ==============================  ========  ================================================

    Raises:
        UnknownNameError: A filter is not a column of type text.
    """
    where, params = _conditions(filters)
    if not sub_runs:
        where.append("parent_run_id IS NULL")
    clause = f" WHERE {' AND '.join(where)}" if where else ""
    newest = f" ORDER BY started_at DESC, run_id DESC LIMIT {int(limit)}" if limit is not None else ""
    # every name in the text comes from RUNS; values are parameters
    query = f"SELECT * FROM (SELECT {', '.join(RUNS)} FROM runs{clause}{newest}) ORDER BY started_at, run_id"  # noqa: S608
    return _typed(store, store.sql(query, params), RUNS)


def _conditions(filters: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    params: list[Any] = []
    for name, value in filters.items():
        if name not in RUN_FILTERS:
            raise UnknownNameError("filter of runs", name, RUN_FILTERS)
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        if value is None:
            where.append(f"{name} IS NULL")
            continue
        where.append(f"list_contains(?::VARCHAR[], {name})")
        params.append([str(item) for item in values])
    return where, params


def _of_run(store: Readable, view: str, columns: Columns, run_id: str, order: str) -> pd.DataFrame:
    # every name in the text is a constant of this module; the run id is a parameter
    query = f"SELECT {', '.join(columns)} FROM {view} WHERE run_id = ? ORDER BY {order}"  # noqa: S608
    return _typed(store, store.sql(query, [run_id]), columns)


# --- dtypes --------------------------------------------------------------------------------


def _typed(store: Readable, frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The frame with exactly these columns, each in its dtype."""
    import pandas as pd

    data = {name: _column(store, frame[name], kind) for name, kind in columns.items()}
    return pd.DataFrame(data, index=pd.RangeIndex(len(frame)))


def _column(store: Readable, values: pd.Series[Any], kind: Kind) -> pd.Series[Any]:
    import pandas as pd

    if kind == "json":
        return pd.Series(_parsed(store, values.tolist()), dtype="object")
    return typed_column(values, kind)


def typed_column(values: pd.Series[Any], kind: Kind) -> pd.Series[Any]:
    """A column that holds no JSON in the dtype of its kind."""
    import pandas as pd

    if kind == "maybe":
        return pd.Series([one if isinstance(one, str) else None for one in values.tolist()], dtype="object")
    if kind == "time":
        return pd.to_datetime(values, utc=True).astype("datetime64[us, UTC]")
    if kind == "bool":
        return values.fillna(False).astype("bool")
    return values.astype({"text": "str", "int": "Int64", "float": "float64"}[kind])


def _parsed(store: Readable, texts: Sequence[Any]) -> list[Any]:
    return [_value(store, codec.loads(text)) if isinstance(text, str) else None for text in texts]


def _value(store: Readable, value: Any) -> Any:
    """The value itself where a large one is kept by its content hash, at the top or in a payload."""
    if not isinstance(value, dict):
        return value
    if "$blob" in value:
        return codec.loads(store.blob(value["$blob"]))
    for key, item in value.items():
        if isinstance(item, dict) and "$blob" in item:
            value[key] = codec.loads(store.blob(item["$blob"]))
    return value
