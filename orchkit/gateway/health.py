"""How the services are, over HTTP: looked at now, as they are watched, and one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from orchkit.errors import StoreError, UnknownNameError
from orchkit.gateway.answers import Refusal
from orchkit.gateway.config import GatewayConfig
from orchkit.kit import Kit
from orchkit.model.health import ServiceHealth, Status, overall


class ServiceGlance(BaseModel):
    """How a service is."""

    status: Status
    details: dict[str, Any] = Field(default_factory=dict)
    url: str | None


class Glance(BaseModel):
    """How all of them are, looked at now."""

    orchestrator: str = "healthy"
    services: dict[str, ServiceGlance]
    overall: Status


class ServiceStatus(ServiceGlance):
    """How a service has been, as it is watched."""

    name: str
    last_check: datetime | None
    response_time_ms: float | None
    error: str | None
    circuit_state: str
    consecutive_failures: int
    uptime_percentage: float | None
    """Of the last 100 checks; null before the first."""
    note: str | None = None


class Monitoring(BaseModel):
    """How they are watched."""

    check_interval: float
    running: bool


class Standing(BaseModel):
    """How all of them have been."""

    overall: Status
    timestamp: datetime
    services: dict[str, ServiceStatus]
    monitoring: Monitoring


class Watching:
    """The services of a gateway in the health monitor of its kit."""

    def __init__(self, kit: Kit, config: GatewayConfig) -> None:
        self._kit, self._config = kit, config
        self._ours: list[str] = []
        self._look: asyncio.Future[dict[str, ServiceHealth]] | None = None

    def begin(self) -> None:
        """Watch those that are not watched yet."""
        settings, health = self._config.health, self._kit.health
        wanted = {
            name: service.url + service.health
            for name, service in self._config.services.items()
            if settings.watch and service.health is not None and name not in health
        }
        if wanted:
            health.watch(wanted, interval=settings.interval, timeout=settings.timeout)
            self._ours = list(wanted)

    def end(self) -> None:
        """Watch no more those that were not watched before."""
        ours, self._ours = self._ours, []
        for name in ours:
            with suppress(UnknownNameError, StoreError):
                self._kit.health.unwatch(name)

    def known(self) -> dict[str, ServiceHealth]:
        """How they stand, without looking; those that nobody watches are unknown."""
        return {name: self.one(name) for name in self._config.services}

    def one(self, name: str) -> ServiceHealth:
        """How one of them stands."""
        with suppress(UnknownNameError):
            return self._kit.health[name]
        return ServiceHealth(name)

    async def look(self) -> dict[str, ServiceHealth]:
        """Look at all of them now, in parallel; who asks meanwhile gets the same."""
        if self._look is None:
            self._look = asyncio.ensure_future(self._check())
            self._look.add_done_callback(self._looked)
        return await asyncio.shield(self._look)

    async def _check(self) -> dict[str, ServiceHealth]:
        health = self._kit.health
        names = [name for name in self._config.services if name in health]
        if names:
            await health.check_now(names)
        return self.known()

    def _looked(self, look: asyncio.Future[Any]) -> None:
        self._look = None
        if not look.cancelled():
            look.exception()  # told to those who wait for it, if there are any


def router(watching: Watching, kit: Kit, config: GatewayConfig) -> APIRouter:
    """``/health``, ``/health/status`` and ``/health/status/{service}``."""
    routes = APIRouter(tags=["health"])
    urls: Mapping[str, str] = {name: service.url for name, service in config.services.items()}

    @routes.get("/health", summary="Look at all services now, in parallel")
    async def look() -> Glance:
        found = await watching.look()
        services = {
            name: ServiceGlance(status=health.status, details=_plain(health), url=urls[name])
            for name, health in found.items()
        }
        return Glance(services=services, overall=overall(health.status for health in found.values()))

    @routes.get("/health/status", summary="How all services stand, as they are watched")
    async def standing() -> Standing:
        found = watching.known()
        monitoring = Monitoring(check_interval=config.health.interval, running=kit.health.running)
        return Standing(
            overall=overall(health.status for health in found.values()),
            timestamp=datetime.fromtimestamp(kit.store.clock.now_us() / 1e6, UTC),
            services={name: _status(health, urls[name]) for name, health in found.items()},
            monitoring=monitoring,
        )

    @routes.get("/health/status/{service_name}", summary="How one service stands")
    async def one(service_name: str) -> ServiceStatus:
        if service_name not in config.services:
            there = ", ".join(config.services)
            raise Refusal("unknown-service", f"there is no service of this name; there are {there}")
        return _status(watching.one(service_name), urls[service_name])

    for path, operation in (("/health", look), ("/health/status", standing)):
        routes.add_api_route(path, operation, methods=["HEAD"], include_in_schema=False)
    return routes


def _plain(health: ServiceHealth) -> dict[str, Any]:
    return {**health.details, **({"error": health.error} if health.error else {})}


def _status(health: ServiceHealth, url: str) -> ServiceStatus:
    return ServiceStatus.model_validate({**health.to_dict(), "url": url})
