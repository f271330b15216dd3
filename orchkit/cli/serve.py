"""``orchkit serve``: the gateway, until it is stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from orchkit.cli.failure import note
from orchkit.cli.modules import import_named
from orchkit.cli.options import DEFAULT_STORE, DebugOption, ImportOption, StoreOption
from orchkit.cli.place import recording


def _end(*_: object) -> None:
    raise typer.Exit


def serve(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG.yaml]", help="Services, routes, limits.", show_default=False),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Instead of that of the configuration; beyond this machine a token is needed."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Instead of the configured one; 0: any that is free."),
    ] = None,
    modules: ImportOption = None,
    store: StoreOption = DEFAULT_STORE,
    debug: DebugOption = False,
) -> None:
    """Serve a gateway to services, their health, and workflows over HTTP.

    Every request that is passed on is recorded in the store. Ctrl-C ends it; requests under way get a
    moment to end.
    """
    from orchkit.gateway.server import GatewayServer, chosen

    settings = chosen(config, host, port)
    import_named(modules or [])
    with recording(settings.store or store) as kit:
        server = GatewayServer(kit)
        # The server raises the signal that stopped it once more: the store is to be closed first.
        signal.signal(signal.SIGTERM, _end)
        server.serve(settings, tell=lambda at: note(f"serving at {at}, recording in {kit.store.path}"))
