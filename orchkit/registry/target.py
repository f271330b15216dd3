"""What a name in a workflow or request means: a method, reached through a tool or directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchkit.registry.definition import MethodDefinition
from orchkit.registry.signature import ParameterSpec
from orchkit.registry.tools import ToolDefinition


@dataclass(frozen=True, slots=True)
class Target:
    """The outcome of `Registry.resolve`; its method is loaded."""

    name: str
    """The name of the tool, or of the method when there is no tool."""
    tool: ToolDefinition | None
    method: MethodDefinition

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """What the caller passes (and services): the tool's own parameters, else the method's."""
        own = None if self.tool is None else self.tool.own_parameters
        return self.method.parameters if own is None else own

    @property
    def result_type(self) -> Any:
        """The annotated result of the method."""
        return self.method.result_type
