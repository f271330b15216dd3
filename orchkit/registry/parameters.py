"""Validating parameters: those of a tool against its method, and those of a call against both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Protocol

from orchkit.errors import Problem
from orchkit.registry.check import ParameterCheck, Services, value_problem
from orchkit.registry.definition import MethodDefinition
from orchkit.registry.fields import NO_FIELD, UNKNOWN, field_type
from orchkit.registry.fitting import compatible
from orchkit.registry.signature import MISSING, ParameterSpec
from orchkit.registry.target import Target
from orchkit.registry.tools import ToolDefinition
from orchkit.registry.typeforms import type_name

__all__ = ["NO_FIELD", "UNKNOWN", "ParameterValidator", "compatible", "field_type"]

Check = Callable[[Mapping[str, Any]], dict[str, Any]]


class Lookup(Protocol):
    """What the validator needs of a registry."""

    @property
    def revision(self) -> int:
        """Another number whenever anything has been registered."""
        ...

    def resolve(self, name_or_callable: str | Callable[..., Any]) -> Target:
        """The target of a name."""
        ...

    def services_of(self, method: MethodDefinition) -> Services:
        """The parameters of a method that are injected."""
        ...


class ParameterValidator:
    """Checks tools against methods once, and parameters at every call (compiled: about a microsecond)."""

    def __init__(self, registry: Lookup) -> None:
        self._registry = registry
        self._seen = registry.revision
        self._checks: dict[MethodDefinition | ToolDefinition, Check] = {}

    # --- calls ---------------------------------------------------------------------------------

    def validate_execution_parameters(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The validated and coerced parameters for a tool or method; services are not among them.

        Raises ParameterError with every problem: parameter, expected type and value given. Raises
        UnknownNameError when there is no such tool or method.
        """
        return self.validate(self._registry.resolve(name), params)

    def validate(self, target: Target, params: Mapping[str, Any]) -> dict[str, Any]:
        """As `validate_execution_parameters`, for a target that is resolved already."""
        revision = self._registry.revision
        if self._seen != revision:
            self._checks = {}  # a new dict: another thread may be filling the old one
            self._seen = revision
        check = self._checks.get(target.tool or target.method)
        return check(params) if check is not None else self._compile(target)(params)

    def _compile(self, target: Target) -> Check:
        checks = self._checks
        services = self._registry.services_of(target.method)
        check: Check = target.method.check(services)
        if target.tool is not None and target.tool.own_parameters is not None:
            check = _through_tool(target.tool.check(services), target.tool.own_parameters, check)
        checks[target.tool or target.method] = check
        return check

    # --- definitions -----------------------------------------------------------------------------

    def validate_tool_to_method_mapping(
        self, tool: ToolDefinition, method: MethodDefinition
    ) -> list[Problem]:
        """Everything in which a tool's parameters do not fit its method; empty when they do."""
        injected = dict(self._registry.services_of(method))
        own = tool.own_parameters
        if own is None:
            return []
        offered = {p.name: p for p in own if p.name not in injected}
        taken = {p.name: p for p in method.parameters if p.name not in injected}
        problems = [problem for spec in offered.values() if (problem := _default_problem(spec))]
        for name, spec in offered.items():
            if name in taken:
                problems += _pair_problems(spec, taken[name], method.name)
            elif not method.accepts_extra:
                known = ", ".join(taken) or "none"
                problems.append(
                    Problem(name, f"method {method.name!r} has no such parameter", f"it has: {known}")
                )
        for name, spec in taken.items():
            if name not in offered and spec.required and not tool.accepts_extra:
                cause = (
                    f"method {method.name!r} requires it ({type_name(spec.annotation)}), the tool lacks it"
                )
                problems.append(Problem(name, cause))
        return problems


def _pair_problems(offered: ParameterSpec, taken: ParameterSpec, method: str) -> list[Problem]:
    problems = []
    if not compatible(offered.annotation, taken.annotation):
        cause = (
            f"{type_name(offered.annotation)} does not fit {type_name(taken.annotation)} of method {method!r}"
        )
        problems.append(Problem(offered.name, cause))
    elif offered.default is not MISSING and (problem := value_problem(taken, offered.default)):
        problems.append(Problem(offered.name, f"its default does not fit method {method!r}: {problem.cause}"))
    if taken.required and not offered.required and offered.default is MISSING:
        cause = f"optional without a default, but required by method {method!r}"
        problems.append(Problem(offered.name, cause, "give it a default, or make it required"))
    return problems


def _default_problem(spec: ParameterSpec) -> Problem | None:
    problem = None if spec.default is MISSING else value_problem(spec, spec.default)
    return (
        None
        if problem is None
        else Problem(spec.name, f"its default is not valid: {problem.cause}", problem.hint)
    )


def _through_tool(tool: ParameterCheck, parameters: tuple[ParameterSpec, ...], method: Check) -> Check:
    """The tool's check, then its defaults, then the method's check."""
    defaults = [(p.name, p.default) for p in parameters if p.default is not MISSING]

    def check(params: Mapping[str, Any]) -> dict[str, Any]:
        valid = tool(params)
        for name, default in defaults:
            if name not in valid:
                valid[name] = deepcopy(default)  # a list default must not be shared between calls
        return method(valid)

    return check
