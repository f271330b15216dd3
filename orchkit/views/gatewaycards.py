"""How a gateway shows itself: where it is, and which path leads to which service."""

from __future__ import annotations

from typing import Any

from orchkit.views.cards import Cell, card, code, muted, status_chip, table

_STOPPED = "It does not run: start() takes requests, on this machine and at a port that is free."


def of_gateway(gateway: Any) -> dict[str, str]:
    """A gateway: its address, its routes with the breaker and the state of each service."""
    running = gateway.running
    head = status_chip("running" if running else "cancelled", "running" if running else "stopped")
    if not running:
        return {"text/html": card("Gateway", [], muted(_STOPPED), head=head)}
    facts: list[tuple[str, Cell]] = [("at", code(gateway.url))]
    standing = gateway.standing()
    rows: list[list[Cell]] = [
        [code(path), service, *standing.get(service, ("", "", ""))]
        for path, service in gateway.routes.items()
    ]
    body = (
        table(rows, ["path", "service", "url", "breaker", "health"]) if rows else muted("It has no routes.")
    )
    return {"text/html": card("Gateway", facts, body, head=head)}
