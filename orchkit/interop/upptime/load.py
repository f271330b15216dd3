"""Bringing a history of Upptime into a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from orchkit.errors import ParameterError, Problem, StoreError, UnknownNameError
from orchkit.interop.upptime.names import services_of
from orchkit.interop.upptime.rows import RECORDED, STATES, CheckRow, State, read
from orchkit.interop.upptime.summary import Summary, read_summary
from orchkit.model import event as ev
from orchkit.store import codec
from orchkit.store.arrivals import Arrivals
from orchkit.store.log import Row
from orchkit.store.store import Store

FORMAT = "upptime"
_TRIES = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ON_RECORD = """
SELECT details ->> '$.row', details ->> '$.site', service FROM health_checks
WHERE details ->> '$.imported' = ?"""


class HasStore(Protocol):
    """A kit, or whatever else has a store."""

    @property
    def store(self) -> Store:
        """The store."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Loaded:
    """What a load did."""

    file: str
    added: int
    """Checks that are on the record now and were not before."""
    known: int
    """Checks that were on the record already."""
    repeated: int
    """Lines that say just what another line says."""
    services: tuple[str, ...]
    renamed: Mapping[str, str]
    """Names in the file that are not those on the record: name to service."""
    since: datetime | None
    """The first check in the file."""
    until: datetime | None
    """The last one."""
    summary: Summary | None = None
    """What Upptime says itself, for `orchkit.analysis.uptime.agreement`; nothing of it is on the record."""

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        if self.added == 0:
            many = f"all {self.known:,} checks are on record already" if self.known else "it has no checks"
            return f"{self.file}: nothing added, {many}"
        parts = [f"{self.added:,} checks of {len(self.services):,} services added"]
        if self.since is not None and self.until is not None:
            parts[0] += f", {self.since:%Y-%m-%d} to {self.until:%Y-%m-%d}"
        parts += [f"{self.known:,} on record already"] if self.known else []
        parts += [f"{self.repeated:,} repeated lines left out"] if self.repeated else []
        parts += [f"{len(self.renamed):,} earlier names under their later ones"] if self.renamed else []
        return f"{self.file}: " + "; ".join(parts)


def load(
    csv: str | Path,
    kit: HasStore | Store,
    *,
    summary: str | Path | Sequence[Mapping[str, Any]] | None = None,
    states: Mapping[str, State] | None = None,
    renamed: Mapping[str, str] | None = None,
    holds: timedelta | None = None,
) -> Loaded:
    """Bring the commits of an Upptime repository into a store, as health checks at their own times.

    ===================  ================================================================================
    in the table         on the record (view ``health_checks``)
    ===================  ================================================================================
    ``committed_at``     ``checked_at``; one without a time zone is in UTC
    ``site``             ``service``; of a site that was renamed, its slug staying the same, the last name
    ``state``            ``status``: ``up`` is ``healthy``, ``degraded``, ``down`` is ``unhealthy``;
                         ``maintenance``; ``unknown`` is a check that was not performed
    ``http_code``        in ``details``, and of what is not healthy in ``error``: ``HTTP 503``, ``no answer``
    ``response_ms``      ``response_ms``
    ``commit``           in ``details``, with ``site`` and ``state`` as they are written
    ===================  ================================================================================

    The first three columns must be there; the order of columns and of lines is free, and case does not count
    in the names of columns and states. Each answer holds until the next record, since Upptime writes down
    changes: a site that was taken out of its configuration seems to be as it was for ever, so name those
    that are meant when you ask (``services=summary.names``), or say how long an answer may hold.

    All or nothing is written, in one transaction. What is on record already is not written again, so a
    repeated load adds nothing, and a later export of the same repository adds what is new.

    Args:
        csv: The table, UTF-8.
        kit: A kit, or a store.
        summary: Upptime's own ``history/summary.json``, to compare with afterwards; it is read and checked,
            and else not used.
        states: What other states mean: name to ``healthy``, ``degraded``, ``unhealthy``, ``maintenance`` or
            None (nobody looked). They are added to those above; an empty name is for empty cells.
        renamed: Sites that were renamed so that their slug changed, too: name to service.
        holds: How long an answer may hold when nothing follows: a few times the interval of the job for
            response times; None: until the next record.

    Raises:
        ParameterError: It is no such table, or some of it cannot be read; each problem names its line and
            column. Nothing is written then.
        UnknownNameError: ``renamed`` names a site that the table does not have.
        OSError: A file cannot be opened.
        StoreError: The store cannot be written.
    """
    path, store = Path(csv), kit if isinstance(kit, Store) else kit.store
    said = None if summary is None else read_summary(summary)
    rows = read(path, {**STATES, **_checked(states or {})})
    keyed = {row.key: row for row in rows}
    arrivals = Arrivals(store.log)
    for _ in range(_TRIES):
        seen = arrivals.versions([FORMAT])
        found = store.query(_ON_RECORD, [FORMAT])
        known = {key for key, _, _ in found}
        names = _names(rows, {site: service for _, site, service in found}, renamed or {})
        news = [row for key, row in keyed.items() if key not in known]
        if not news or arrivals.write(
            [_event(row, names[row.site], holds) for row in news], (), seen, _now(store)
        ):
            store.ingest_soon()
            return _report(path, rows, keyed, news, names, said)
    raise StoreError(f"{path.name} cannot be loaded: somebody else loads a history all the time")


def _now(store: Store) -> int:
    return store.clock.now_us()


def _checked(states: Mapping[str, State]) -> Mapping[str, State]:
    wrong = [
        Problem(
            f"states[{name!r}]", f"{state!r} is no status", "healthy, degraded, unhealthy, maintenance, None"
        )
        for name, state in states.items()
        if state not in RECORDED
    ]
    if wrong:
        raise ParameterError(FORMAT, wrong)
    return {name.strip().casefold(): state for name, state in states.items()}


def _names(
    rows: Iterable[CheckRow], recorded: Mapping[str, str], renamed: Mapping[str, str]
) -> dict[str, str]:
    sites = [row.site for row in rows]
    for name in renamed:
        if name not in sites:
            raise UnknownNameError("site", name, dict.fromkeys(sites))
    return {**services_of([site for site in sites if site not in renamed], recorded), **renamed}


def _event(row: CheckRow, service: str, holds: timedelta | None) -> Row:
    performed = row.status not in (None, "maintenance")
    details = {
        "imported": FORMAT,
        "row": row.key,
        "site": row.site,
        "state": row.state,
        "http_code": row.http_code,
        "commit": row.commit,
    }
    payload = {
        "service": service,
        "status": row.status,
        "performed": performed,
        "reason": None if performed else row.status or row.state or "no state",
        "response_ms": row.response_ms,
        "error": _error(row) if performed else None,
        "circuit_state": None,
        "consecutive_failures": None,
        "holds_us": None if holds is None else holds // timedelta(microseconds=1),
        "details": {name: value for name, value in details.items() if value is not None},
    }
    return row.at_us, ev.HEALTH_CHECK, None, None, None, codec.dumps(payload)


def _error(row: CheckRow) -> str | None:
    """What the table says about why it is not healthy."""
    if row.status == "healthy" or row.http_code is None:
        return None
    if row.http_code == 0:
        return "no answer"
    if row.http_code >= 400:
        return f"HTTP {row.http_code}"
    # Judged by its content, or by how long it took.
    return f"HTTP {row.http_code}, but {row.state}"


def _report(
    path: Path,
    rows: Sequence[CheckRow],
    keyed: Mapping[str, CheckRow],
    news: Sequence[CheckRow],
    names: Mapping[str, str],
    summary: Summary | None,
) -> Loaded:
    used = {row.site for row in rows}
    return Loaded(
        file=path.name,
        added=len(news),
        known=len(keyed) - len(news),
        repeated=len(rows) - len(keyed),
        services=tuple(sorted({names[site] for site in used})),
        renamed={site: names[site] for site in sorted(used) if names[site] != site},
        since=_moment(rows[0].at_us) if rows else None,
        until=_moment(rows[-1].at_us) if rows else None,
        summary=summary,
    )


def _moment(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)
