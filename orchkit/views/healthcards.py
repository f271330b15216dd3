"""How services that are watched show themselves: a lamp, a curve and the facts for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from orchkit.analysis.words import duration, plural, shorten
from orchkit.model.health import ServiceHealth, overall
from orchkit.views.cards import Cell, Html, card, code, html, moment, muted, note, preview, status_chip, table
from orchkit.views.sparkline import sparkline

LOOKS: Final = {
    "healthy": "success",
    "degraded": "partial",
    "unhealthy": "failed",
    "unknown": "pending",
    "maintenance": "paused",
}
"""As which status of a run a service looks."""
_CIRCUITS: Final = {
    "closed": "●\u00a0closed",
    "open": "■\u00a0open",
    "half_open": "◐\u00a0half\u00a0open",
    "forced_open": "■\u00a0forced\u00a0open",
    "disabled": "○\u00a0disabled",
}
_NAME_WIDTH: Final = 215
"""Pixels, at least: a local URL on one line."""
_COLUMNS: Final = ("", "service", "last checks", "uptime", "took", "last check", "circuit", "remarks")


def lamp(status: str) -> Html:
    """A status of a service: colour, sign and word."""
    return status_chip(LOOKS.get(status), status)


def of_monitor(monitor: Any) -> dict[str, str]:
    """All services of a monitor."""
    return {"text/html": overview(list(monitor.status().values()), monitor)}


def overview(services: list[ServiceHealth], monitor: Any) -> Html:
    """The card of a monitor with these services."""
    if not services:
        hint = muted('Nothing is watched: kit.health.watch({"name": "http://host/health"}) begins it.')
        return card("Services", [], hint)
    intervals = sorted({one.interval for one in services if one.interval is not None})
    facts: list[tuple[str, Cell]] = [
        ("", plural(len(services), "service")),
        ("every", " / ".join(duration(1000 * interval) for interval in intervals[:3])),
        ("", None if monitor.running else "not looked at by itself: stopped"),
    ]
    trouble = monitor.trouble
    body = [table(map(_row, services), _COLUMNS, right=("uptime", "took"))]
    if trouble is not None:
        body.insert(0, note(trouble))
    body.append(_legend())
    return card("Services", facts, *body, head=lamp(overall(one.status for one in services)))


def of_service(service: Any) -> dict[str, str]:
    """One service."""
    facts: list[tuple[str, Cell]] = [
        ("", code(service.url)),
        ("uptime", _uptime(service)),
        ("took", _took(service)),
        ("last check", moment(service.last_check)),
        ("circuit", _CIRCUITS.get(service.circuit_state, service.circuit_state)),
        ("failures in a row", service.consecutive_failures or None),
    ]
    body = [sparkline(service.looks)]
    if service.error is not None:
        body.append(note(service.error, LOOKS[service.status]))
    if service.note is not None:
        body.append(muted(service.note))
    if service.details:
        body.append(Html(f"<div>{preview(dict(service.details), 400)}</div>"))
    return {"text/html": card(service.name, facts, *body, head=lamp(service.status))}


def _row(service: ServiceHealth) -> list[Cell]:
    return [
        lamp(service.status),
        _named(service),
        sparkline(service.looks),
        _uptime(service),
        _took(service),
        _when(service),
        _CIRCUITS.get(service.circuit_state, service.circuit_state),
        _remarks(service),
    ]


def _named(service: ServiceHealth) -> Html:
    short = html(shorten(service.name, 60))
    name = f'<span style="font-weight:600;overflow-wrap:anywhere">{short}</span>'
    url = "" if service.url is None else f"<br>{code(service.url, 80)}"
    return Html(f'<div style="min-width:{_NAME_WIDTH}px">{name}{url}</div>')


def _uptime(service: ServiceHealth) -> str:
    """With how many checks it is of, as long as they are few."""
    if service.uptime_percentage is None:
        return "unknown"
    of = "" if service.checks >= 100 else f" of {service.checks}"
    return f"{service.uptime_percentage:.4g} %{of}"


def _took(service: ServiceHealth) -> str:
    return "" if service.response_time_ms is None else duration(service.response_time_ms)


def _when(service: ServiceHealth) -> Html:
    day, _, time = moment(service.last_check).partition(" ")
    return Html(f'<span style="display:inline-block;white-space:nowrap">{html(day)}<br>{html(time)}</span>')


def _remarks(service: ServiceHealth) -> str:
    row = service.consecutive_failures
    return " · ".join(
        filter(None, (service.error, f"{row} failures in a row" if row > 1 else None, service.note))
    )


def _legend() -> Html:
    words: Iterable[str] = (
        "full bar: healthy",
        "hollow bar: degraded",
        "broken bar: unhealthy",
        "dot: not performed",
        "height: response time (logarithmic)",
    )
    return muted(" · ".join(words))
