"""Chains: a sequence in which each tool gets the output of the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from orchkit.engine.builder import WorkflowBuilder
from orchkit.engine.names import unique_name
from orchkit.engine.options import RunArguments
from orchkit.engine.runner import WorkflowEngine
from orchkit.errors import DefinitionError
from orchkit.model.result import WorkflowResult
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry

Link = str | Callable[..., Any] | tuple[str | Callable[..., Any], Mapping[str, Any]]
"""A tool, or a tool and its parameters, in which ``${previous}`` is the output before it."""


class ChainExecutor:
    """Executes chains as sequential workflows, so that they are recorded like any other."""

    def __init__(self, engine: WorkflowEngine | None = None) -> None:
        self.engine = engine or WorkflowEngine()

    def build_chain(self, links: Sequence[Link], *, name: str = "chain") -> Workflow:
        """The workflow of a chain.

        A tool without parameters gets the previous output as its first required parameter (or its
        first one, if none is required); the first tool of a chain gets nothing.

        Raises `DefinitionError` for an empty chain or a tool that takes no parameter,
        `WorkflowValidationError` for anything else that does not fit.
        """
        if not links:
            raise DefinitionError("a chain needs at least one tool")
        builder = WorkflowBuilder(name, registry=self.engine.registry)
        previous: str | None = None
        ids: set[str] = set()
        for link in links:
            tool, params = link if isinstance(link, tuple) else (link, None)
            target = self.engine.registry.resolve(tool)
            step_id = unique_name(target.name, ids)
            if params is None:
                params = {} if previous is None else {_input_name(self.engine.registry, tool): "${previous}"}
            builder.add_step(target.name, _with_previous(params, previous), step_id=step_id)
            previous = step_id
        return builder.with_execution_mode("sequential").build()

    async def execute_chain(
        self,
        links: Sequence[Link],
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        name: str = "chain",
        **arguments: Unpack[RunArguments],
    ) -> WorkflowResult:
        """Build and execute a chain; arguments as for `WorkflowEngine.execute`."""
        return await self.engine.execute(self.build_chain(links, name=name), user_id, context, **arguments)


def _input_name(registry: Registry, tool: str | Callable[..., Any]) -> str:
    target = registry.resolve(tool)
    services = {name for name, _ in registry.services_of(target.method)}
    parameters = [parameter for parameter in target.parameters if parameter.name not in services]
    if not parameters:
        raise DefinitionError(f"{target.name!r} takes no parameter, so it cannot get the previous output")
    return next((parameter.name for parameter in parameters if parameter.required), parameters[0].name)


def _with_previous(value: Any, previous: str | None) -> Any:
    """``${previous…}`` as a reference to the step before."""
    if isinstance(value, str):
        if "${previous" in value and previous is None:
            raise DefinitionError("the first tool of a chain has no ${previous}")
        return value.replace("${previous", f'${{steps["{previous}"]')
    if isinstance(value, Mapping):
        return {key: _with_previous(item, previous) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_previous(item, previous) for item in value]
    return value
