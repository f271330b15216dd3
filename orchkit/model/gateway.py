"""The port through which a kit finds its gateway: the gateway plugs in, the kit only asks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from pathlib import Path

_gateways: dict[str, str] = {}


class Gateway(Protocol):
    """A gateway in the background of a kit, as `orchkit.gateway.server.GatewayServer` is one."""

    def start(
        self,
        config: Mapping[str, Any] | str | Path | Any | None = None,
        *,
        host: str | None = None,
        port: int | None = 0,
    ) -> Self:
        """Serve in the background from now on; returns itself when requests are taken."""
        ...

    def stop(self) -> None:
        """Take no more requests, and leave nothing behind; idempotent."""
        ...

    @property
    def running(self) -> bool:
        """Whether it takes requests."""
        ...

    @property
    def url(self) -> str | None:
        """Where it is; None when it does not run."""
        ...

    @property
    def port(self) -> int | None:
        """Its port; None when it does not run."""
        ...

    @property
    def routes(self) -> Mapping[str, str]:
        """The service of each route, by path."""
        ...


def use_gateway(module: str) -> None:
    """Name the module whose ``GatewayServer(kit)`` is the gateway of a kit; imported when it is asked for."""
    _gateways["module"] = module


def gateway_of(kit: object) -> Gateway:
    """The gateway of a kit. Raises `MissingExtraError` where what it needs is not installed."""
    if not _gateways:
        raise LookupError("no gateway is plugged in: import orchkit")
    made: Gateway = import_module(_gateways["module"]).GatewayServer(kit)
    return made
