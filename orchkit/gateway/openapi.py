"""The proxied routes in the app's OpenAPI: they are no operations of FastAPI, and are described here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi

from orchkit.gateway import auth
from orchkit.gateway.keys import KEYED
from orchkit.gateway.problems import MEDIA_TYPE, PROBLEM, TITLES
from orchkit.gateway.proxy import IDEMPOTENT, Proxy

if TYPE_CHECKING:
    from fastapi import FastAPI

_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "With it the request is recorded and answered once, and may be tried again. It is passed "
    "on, so that the service can tell a second try from a second request.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_CORRELATION: Final[dict[str, Any]] = {
    "name": "X-Correlation-ID",
    "in": "header",
    "required": False,
    "description": "What the request is called on the record; made up when it is missing or not fit.",
    "schema": {"type": "string"},
}


def describe(app: FastAPI, proxies: Iterable[Proxy]) -> None:
    """Put the routes into the document that the app serves."""
    routes = tuple(proxies)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            found.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
            for proxy in routes:
                found["paths"] |= _paths(proxy)
            auth.describe(app, found)
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _paths(proxy: Proxy) -> dict[str, Any]:
    below = {
        "name": "path",
        "in": "path",
        "required": True,
        "description": "Passed on byte for byte.",
        "schema": {"type": "string"},
    }
    methods = [method for method in proxy.route.methods if method != "OPTIONS"]
    base = proxy.path.rstrip("/")
    found = {base + "/{path}": {method.lower(): _operation(proxy, method, [below]) for method in methods}}
    if base:
        found[base] = {method.lower(): _operation(proxy, method, []) for method in methods}
    return found


def _operation(proxy: Proxy, method: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    service = proxy.service.name
    keyed = method in KEYED
    again = "and may be tried again" if method in IDEMPOTENT else "tried again only when it never arrived"
    found: dict[str, Any] = {
        "tags": ["services"],
        "summary": f"{method} of {service}",
        "description": f"Passed on to the service {service}, {again}.",
        "parameters": [*parameters, _CORRELATION, *([_KEY] if keyed else [])],
        "responses": {
            "default": {"description": f"The answer of {service}."},
            **{str(status): _problem(status) for status in ((400, 409, 422, 503) if keyed else (400, 503))},
        },
    }
    if keyed:
        found["requestBody"] = {"required": False, "content": {"application/json": {"schema": {}}}}
    return found


def _problem(status: int) -> dict[str, Any]:
    title = next(title for known, title in TITLES.values() if known == status)
    return {
        "description": f"{title}, for example; or an answer of the service.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}, "*/*": {}},
    }
