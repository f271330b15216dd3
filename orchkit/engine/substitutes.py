"""How the tool of a fallback is called: with its own parameters, or those of the call that failed."""

from __future__ import annotations

from typing import Any

from orchkit.executors.body import Bodies
from orchkit.model.fallback import FallbackOption
from orchkit.registry.registry import Registry
from orchkit.reliability.call import Call
from orchkit.reliability.fallback import CallTool, Substitute


def tools_of(registry: Registry, bodies: Bodies) -> CallTool:
    """Looks tools up in a registry; raises `UnknownNameError` for one that is not there."""

    def look_up(option: FallbackOption) -> Substitute:
        target = registry.resolve(option.tool or "")
        method = target.method
        body, _ = bodies.runner(method.function, is_async=method.is_async, executor=method.executor)
        services = registry.inject(method)

        async def call_tool(call: Call, error: Exception) -> Any:
            given = call.arguments or {} if option.params is None else option.params
            params = registry.validate(target, given)
            return await body({**params, **services})

        return call_tool

    return look_up
