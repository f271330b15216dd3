"""What is asked about uptime: the checks of a store or of a DataFrame, and which of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from orchkit.analysis.frames import Columns, typed_column
from orchkit.analysis.inmemory import in_memory
from orchkit.analysis.retries.source import InKit, Queryable
from orchkit.errors import ParameterError, Problem, UnknownNameError
from orchkit.store.frames import EPOCH, to_frame

if TYPE_CHECKING:
    import pandas as pd

Source: TypeAlias = "Queryable | InKit | pd.DataFrame"
"""What every question is asked of: see the package."""
Moment: TypeAlias = "datetime | str"
"""A time, or its ISO text; one without a time zone is in UTC."""

_SUBJECT = "uptime"
_NEEDED = ("service", "checked_at", "status")
_STATUSES = ("healthy", "degraded", "unhealthy", "maintenance", "unknown")
# Of a DataFrame, what is not there is worked out, or taken as unknown.
_COLUMNS: Mapping[str, tuple[str, str]] = {
    "seq": ("BIGINT", "row_number() OVER ()"),
    "service": ("VARCHAR", "NULL"),
    "checked_at": ("TIMESTAMPTZ", "NULL"),
    "status": ("VARCHAR", "NULL"),
    "performed": ("BOOLEAN", "NULL"),
    "error": ("VARCHAR", "NULL"),
    "holds_s": ("DOUBLE", "NULL"),
}


class Selection(TypedDict, total=False):
    """Which checks count, and how."""

    services: str | Iterable[str]
    """These services alone; by default all."""
    since: Moment
    """Begin of the window; by default, for each service, its first record."""
    until: Moment
    """End of the window, not in it any more: nothing that was recorded then or later is looked at. By
    default the end of the second of the last record of any service."""
    maintenance: pd.DataFrame
    """Times that are left out, besides those on record: ``service``, ``starts_at``, ``ends_at`` (missing: it
    goes on), as the view ``maintenance_windows`` has them. They may overlap."""
    degraded_is_up: bool
    """Whether a degraded service counts as up; by default it does."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A selection, read: texts and values for a query."""

    which: str
    """A condition on ``service``, or TRUE."""
    params: dict[str, Any] = field(default_factory=dict)


def ask(
    source: Source, query: str, columns: Columns, asked: Asked, params: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """The answer to a query over the views ``health_checks`` and ``maintenance_windows``.

    Raises `ParameterError` for what is no source, and for a DataFrame that lacks a column or holds something
    that is no check.
    """
    import pandas as pd

    named = {**asked.params, **(params or {})}
    found = _rows(source, query, named)
    data = {name: typed_column(found[name], kind) for name, kind in columns.items()}
    return pd.DataFrame(data, index=pd.RangeIndex(len(found)))


def extent(source: Source, asked: Asked) -> tuple[int, int]:
    """Times between which all windows lie, in microseconds since the epoch; the same twice without checks."""
    query = "SELECT min(epoch_us(checked_at)) AS since, max(epoch_us(checked_at)) AS until FROM health_checks"
    found = _rows(source, query, {}, strict=False).astype("Int64")
    if found.isna().to_numpy().any():
        return 0, 0
    since, until = asked.params["since_us"], asked.params["until_us"]
    first, last = int(found.since[0]), int(found.until[0]) + 1_000_000
    return first if since is None else since, last if until is None else until


def read(source: Source, selection: Mapping[str, Any]) -> Asked:
    """Check a selection.

    Raises `ParameterError` for times that are none or in the wrong order and for maintenance without its
    columns, `UnknownNameError` for a service of which there is no record and for an unknown option.
    """
    for name in selection:
        if name not in Selection.__annotations__:
            raise UnknownNameError("option", name, Selection.__annotations__)
    since, until = micros(selection.get("since"), "since"), micros(selection.get("until"), "until")
    if since is not None and until is not None and since >= until:
        raise ParameterError(_SUBJECT, [Problem("since", "is not before until", "give a window in time")])
    params: dict[str, Any] = {
        "since_us": since,
        "until_us": until,
        "degraded_down": not selection.get("degraded_is_up", True),
        **_windows(selection.get("maintenance")),
    }
    names = selection.get("services")
    if names is None:
        return Asked("TRUE", params)
    wanted = [names] if isinstance(names, str) else list(names)
    _check_services(source, wanted)
    return Asked("service IN (SELECT unnest($services))", {**params, "services": wanted})


def micros(moment: Any, where: str) -> int | None:
    """Microseconds since the epoch of a time or its ISO text. Raises `ParameterError` for anything else."""
    import pandas as pd

    if moment is None:
        return None
    try:
        time = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        if isinstance(time, datetime) and not pd.isna(time):
            aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
            return int((aware - EPOCH) // timedelta(microseconds=1))
    except ValueError:
        pass
    hint = "give a datetime, or a text such as 2026-06-01T12:00:00Z"
    raise ParameterError(_SUBJECT, [Problem(where, f"{moment!r} is no time", hint)])


# --- maintenance ---------------------------------------------------------------------------


def _windows(table: pd.DataFrame | None) -> dict[str, Any]:
    """Maintenance as lists, which a query over a store can take as well."""
    if table is None:
        return {"away": [], "away_from": [], "away_until": []}
    missing = [name for name in ("service", "starts_at") if name not in table.columns]
    if missing:
        hint = "a DataFrame of maintenance has service, starts_at and ends_at"
        raise ParameterError(
            "maintenance", [Problem(f"column {one!r}", "is missing", hint) for one in missing]
        )
    ends = table["ends_at"] if "ends_at" in table.columns else [None] * len(table)
    return {
        "away": table["service"].astype(str).tolist(),
        "away_from": [_time(one, "starts_at", row) for row, one in enumerate(table["starts_at"])],
        "away_until": [_time(one, "ends_at", row) for row, one in enumerate(ends)],
    }


def _time(moment: Any, column: str, row: int) -> int | None:
    import pandas as pd

    empty = moment is None or (not isinstance(moment, str) and pd.isna(moment))
    if empty and column == "starts_at":
        raise ParameterError("maintenance", [Problem(f"row {row}", "has no starts_at")])
    return None if empty else micros(moment, f"{column} in row {row}")


# --- where the checks are ------------------------------------------------------------------


def _store(source: Any) -> Any:
    if isinstance(source, Queryable):
        return source.sql
    if isinstance(source, InKit) and isinstance(source.kit, Queryable):
        return source.kit.sql
    hint = "ask a kit, a store or a DataFrame of checks"
    raise ParameterError(_SUBJECT, [Problem("source", f"is a {type(source).__name__}", hint)])


def known_services(source: Source) -> list[str]:
    """The names of all services of which there is a record. Raises `ParameterError` for what is no source."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        _check_columns(source)
        return sorted(source["service"].astype(str).unique().tolist())
    found: list[str] = _store(source)(
        "SELECT DISTINCT service FROM health_checks ORDER BY 1", None
    ).service.tolist()
    return found


def _check_services(source: Source, wanted: list[str]) -> None:
    known = known_services(source)
    for name in wanted:
        if name not in known:
            raise UnknownNameError("service", name, known)


def _rows(source: Source, query: str, params: Mapping[str, Any], *, strict: bool = True) -> pd.DataFrame:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return _of_frame(source, query, params, strict=strict)
    rows: pd.DataFrame = _store(source)(query, dict(params) or None)
    return rows


def _of_frame(frame: pd.DataFrame, query: str, params: Mapping[str, Any], *, strict: bool) -> pd.DataFrame:
    """The answer of a DuckDB in memory, where the same views are made of the DataFrame."""
    _check_columns(frame)
    if strict:
        _check_statuses(frame["status"].unique().tolist())
    there = [name for name in _COLUMNS if name in frame.columns]
    casts = ", ".join(
        f'CAST("{name}" AS {kind}) AS "{name}"' if name in there else f'CAST({other} AS {kind}) AS "{name}"'
        for name, (kind, other) in _COLUMNS.items()
    )
    with in_memory() as connection:
        connection.register("given_checks", _encoded(frame[there]))
        # every name in these texts is a constant of this module
        connection.execute(f"CREATE VIEW given AS SELECT {casts} FROM given_checks")  # noqa: S608
        connection.execute(_VIEWS)
        return to_frame(connection, query, dict(params) or None)


def _encoded(frame: pd.DataFrame) -> pd.DataFrame:
    """With texts as categories: DuckDB would read each text of a DataFrame anew whenever it is asked."""
    import pandas as pd

    texts = {}
    for name in _TEXTS.intersection(frame.columns):
        codes, values = pd.factorize(frame[name])
        kinds = [str(value) for value in values]
        if len(set(kinds)) == len(kinds):
            texts[name] = pd.Categorical.from_codes(codes, kinds)
    return frame.assign(**texts)


_TEXTS = frozenset(name for name, (kind, _) in _COLUMNS.items() if kind == "VARCHAR")
_VIEWS = """
CREATE VIEW health_checks AS
SELECT * REPLACE (coalesce(performed, status IS NOT NULL AND status <> 'unknown') AS performed) FROM given;
CREATE VIEW maintenance_windows AS
SELECT NULL::VARCHAR AS service, NULL::TIMESTAMPTZ AS starts_at, NULL::TIMESTAMPTZ AS ends_at WHERE FALSE;
"""


def _check_columns(frame: pd.DataFrame) -> None:
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        hint = f"a DataFrame of checks has {', '.join(_NEEDED)}, and perhaps performed, holds_s, error, seq"
        raise ParameterError(_SUBJECT, [Problem(f"column {one!r}", "is missing", hint) for one in missing])
    for name in ("service", "checked_at"):
        empty = frame[name].isna().to_numpy()
        if empty.any():
            raise ParameterError(_SUBJECT, [Problem(f"row {int(empty.argmax())}", f"has no {name}")])


def _check_statuses(found: Iterable[Any]) -> None:
    strange = sorted(one for one in found if isinstance(one, str) and one not in _STATUSES)
    if strange:
        hint = f"a status is one of {', '.join(_STATUSES)}, or missing"
        raise ParameterError(_SUBJECT, [Problem("column 'status'", f"has {one!r}", hint) for one in strange])
