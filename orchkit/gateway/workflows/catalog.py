"""The tools that are offered, described for those who write definitions."""

from __future__ import annotations

from typing import Any

from orchkit.errors import OrchkitError
from orchkit.gateway.workflows.exposure import Offer
from orchkit.registry.registry import Registry
from orchkit.registry.schema import parameters_schema
from orchkit.registry.target import Target


class Catalog:
    """Read once, and again when something is registered."""

    def __init__(self, registry: Registry, offer: Offer) -> None:
        self._registry, self._offer = registry, offer
        self._read: tuple[int, list[dict[str, Any]]] | None = None

    def tools(self) -> list[dict[str, Any]]:
        """All that is offered, by name, each as `Tool`. Lazy ones are imported: call it in a thread."""
        if self._read is not None and self._read[0] == self._registry.revision:
            return self._read[1]
        found = [self._described(name) for name in self._offer.names()]
        self._read = (self._registry.revision, found)  # not before: reading a lazy one registers it
        return found

    def _described(self, name: str) -> dict[str, Any]:
        try:
            target = self._registry.resolve(name)
        except OrchkitError:
            facts: dict[str, Any] = {
                "name": name,
                "description": "cannot be used: it cannot be imported, or does not fit its method",
                "tags": [],
            }
            return facts | {"parameters": {}}
        tool = target.tool
        return {
            "name": name,
            "description": target.method.description if tool is None else tool.description,
            "category": None if tool is None else tool.category,
            "domain": target.method.domain if tool is None else tool.domain,
            "tags": [] if tool is None else list(tool.tags),
            "parameters": self._schema(name, target),
        }

    def _schema(self, name: str, target: Target) -> dict[str, Any]:
        injected = {service for service, _ in self._registry.services_of(target.method)}
        given = [parameter for parameter in target.parameters if parameter.name not in injected]
        own = target.tool is not None and target.tool.own_parameters is not None
        extra = target.tool.accepts_extra if own and target.tool else target.method.accepts_extra
        return parameters_schema(name, given, extra=extra)
