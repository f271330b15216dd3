"""The gateway as an application: services, their health and workflows on one FastAPI app."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchkit.errors import MissingExtraError, ParameterError, Problem
from orchkit.kit import Kit
from orchkit.kit import open as open_kit

try:
    from fastapi import APIRouter, FastAPI
    from starlette.middleware.cors import CORSMiddleware
    from starlette.routing import BaseRoute, Route

    from orchkit.gateway import answers, auth, docspage, health, metrics, openapi, workflows
    from orchkit.gateway.config import CorsSettings, GatewayConfig
    from orchkit.gateway.gate import Gate
    from orchkit.gateway.proxy import Hub, Proxy
    from orchkit.gateway.service import Service
except ModuleNotFoundError as missing:
    raise MissingExtraError(missing.name or "fastapi", "gateway") from missing

VERSION = str(sys.modules[__name__.partition(".")[0]].__version__)
_DESCRIPTION = "Services behind one door: policies, breakers and a record of every request; and workflows."


class Info(BaseModel):
    """What is here."""

    name: str = "orchkit gateway"
    version: str = VERSION
    services: dict[str, str]
    routes: dict[str, str]
    health: list[str]


def create_app(
    config: GatewayConfig | Mapping[str, Any] | str | Path | None = None, kit: Kit | None = None
) -> FastAPI:
    """The gateway as an application, to be run by any ASGI server.

    Mounted in another app, it needs that one to run its lifespan: ``app.router.lifespan_context(app)``.

    Args:
        config: A `GatewayConfig`, a mapping in its form, or a YAML file; None: an example.
        kit: On whose record, breakers and tools it works. Without one it opens ``config.store`` itself, in
            memory where none is named, and closes it when the server stops.

    Raises:
        ParameterError: With everything that is wrong in the configuration, tools that are registered nowhere
            included.
    """
    chosen = GatewayConfig.of(config)
    if kit is not None:
        return _assembled(chosen, kit, owned=False)
    kit = open_kit(chosen.store, durability=chosen.durability)
    try:
        return _assembled(chosen, kit, owned=True)
    except BaseException:
        kit.close()
        raise


def _assembled(chosen: GatewayConfig, kit: Kit, *, owned: bool) -> FastAPI:
    """All parts as one app, which closes the kit when it is its own."""
    hub = Hub(kit, chosen)
    services = {name: Service(name, one) for name, one in chosen.services.items()}
    proxies = [
        Proxy(hub, path, route, services[route.service])
        for path, route in sorted(chosen.routes.items(), key=lambda pair: -len(pair[0]))
    ]
    watching = health.Watching(kit, chosen)
    flows = workflows.router(kit, chosen) if chosen.workflows.enabled else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching.begin()
        try:
            yield
        finally:
            watching.end()
            if flows is not None:
                flows.close()
            if measured is not None:
                measured.close()
            for service in services.values():
                await service.close()
            if owned:
                kit.close()

    app = FastAPI(
        title="orchkit gateway",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the usual one is loaded from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json" if chosen.docs else None,
        redirect_slashes=False,
    )
    app.state.kit, app.state.config, app.state.workflows = kit, chosen, flows
    answers.install(app)
    if chosen.docs:
        docspage.install(app)
    _info(app, chosen)
    routers: list[APIRouter] = [health.router(watching, kit, chosen), *([flows] if flows else [])]
    for router in routers:
        app.include_router(router)
    measured = _surround(app, chosen, kit)
    _proxied(app, routers, proxies)
    openapi.describe(app, proxies)
    return app


def _proxied(app: FastAPI, routers: list[APIRouter], proxies: list[Proxy]) -> None:
    """The routes to services, before the operations, because they are asked for most; ``/`` behind them.

    Raises `ParameterError` for one that would hide an operation.
    """
    own = [path for router in (app.router, *routers) for path in _paths(router.routes)]
    first = 0
    for proxy in proxies:
        base = proxy.path.rstrip("/")
        hidden = next((path for path in own if base and (path + "/").startswith(base + "/")), None)
        if hidden is not None:
            cause = f"the gateway itself answers at {hidden}"
            raise ParameterError("gateway", [Problem(f"routes.{proxy.path}", cause, "choose another path")])
        routes = [Route(base or "/", proxy), Route(base + "/{path:path}", proxy)]
        place = first if base else len(app.router.routes)
        app.router.routes[place:place] = routes
        first += len(routes) if base else 0


def _paths(routes: list[BaseRoute]) -> list[str]:
    return [path for route in routes if (path := getattr(route, "path", None)) is not None]


def _surround(app: FastAPI, config: GatewayConfig, kit: Kit) -> metrics.GatewayMetrics | None:
    """What stands before the operations, from inside out; the numbers, where they are wanted."""
    guarded = auth.install(app, config)
    if config.cors.origins:
        _cross_origin(app, config.cors)
    # An app cannot know where a server binds it: without tokens it answers only to this machine.
    only_local = not guarded and config.auth.required is None
    app.add_middleware(Gate, limits=config.limits, only_local=only_local)
    return metrics.install(app, kit, config)


def _cross_origin(app: FastAPI, cors: CorsSettings) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=cors.origins,
        allow_methods=cors.methods,
        allow_headers=cors.headers,
        allow_credentials=cors.credentials,
        expose_headers=cors.expose,
        max_age=cors.max_age,
    )


def _info(app: FastAPI, config: GatewayConfig) -> None:
    info = Info(
        services={name: service.url for name, service in config.services.items()},
        routes={path: route.service for path, route in config.routes.items()},
        health=["/health", "/health/status", *(f"/health/status/{name}" for name in config.services)],
    )

    @app.get("/", summary="What is here")
    async def root() -> Info:
        return info
