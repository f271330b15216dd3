"""Which tools a submitted definition may name, and which of its settings are not the client's to make."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin

from orchkit.errors import ParameterError, Problem
from orchkit.gateway.workflows.settings import WorkflowSettings
from orchkit.model.base import Record
from orchkit.model.near import near
from orchkit.model.policy import READERS
from orchkit.model.reference import FunctionName, function_name
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.registry.registry import Registry
from orchkit.registry.tools import ToolDefinition

_FIELD_OF: Final = {"retry": "retry_policy"}
_IMPORT: Final = "import the module that registers it first, as `orchkit serve --import MODULE` does"
_FUNCTION: Final = get_args(FunctionName)[1]
"""What marks a field that takes a function."""


@dataclass(frozen=True, slots=True)
class Named:
    """A tool that a definition names."""

    where: str
    tool: str


class Offer:
    """What an operator lets clients use. Nothing is imported by asking."""

    def __init__(self, registry: Registry, settings: WorkflowSettings) -> None:
        self._registry, self._settings = registry, settings
        self._exact = {name for name in settings.tools if not name.endswith("*")}
        self._prefixes = tuple(name.removesuffix("*") for name in settings.tools if name.endswith(".*"))
        self._all = "*" in settings.tools

    def has(self, tool: str) -> bool:
        """Whether a definition may name it: it is listed, and registered under this very name."""
        if ":" in tool:
            return False  # that would import it, whoever has written it
        listed = self._all or tool in self._exact or tool.startswith(self._prefixes or ("\x00",))
        return listed and self._registered(tool)

    def _registered(self, name: str) -> bool:
        return (self._registry.tools.find(name) or self._registry.methods.find(name)) is not None

    def names(self) -> list[str]:
        """All that is offered, sorted."""
        methods = {method.name for method in self._registry.methods.list_methods()}
        methods |= {method.operation for method in self._registry.methods.list_methods()}
        return sorted(name for name in {*self._registry.tools, *methods} if self.has(name))

    def check(self) -> None:
        """Warn of patterns under which nothing is registered; raise `ParameterError` for names that are not.

        What is registered later is offered by the patterns; a name that is nowhere is most likely misspelt,
        or its module was not imported.
        """
        problems = [self._nowhere(name) for name in sorted(self._exact) if not self.has(name)]
        if problems:
            raise ParameterError("gateway", problems)
        there = [*self._registry.tools, *(one.name for one in self._registry.methods.list_methods())]
        for prefix in self._prefixes:
            if not any(name.startswith(prefix) for name in there):
                text = f"workflows.tools: nothing is registered under '{prefix}*' yet; {_IMPORT}"
                warnings.warn(text, stacklevel=2)

    def _nowhere(self, name: str) -> Problem:
        if ":" in name:
            cause = f"{name!r} is no name of a tool: what is offered is registered, under a name without ':'"
            return Problem("workflows.tools", cause)
        close = near(name, sorted(self._registry.tools))
        hint = f"did you mean {close[0]!r}? Else {_IMPORT}" if close else _IMPORT
        return Problem("workflows.tools", f"{name!r} is registered nowhere", hint)

    def tool(self, name: str) -> ToolDefinition | None:
        """The tool of this name; None for a method without one."""
        return self._registry.tools.find(name)

    def refused(self, workflow: Workflow) -> list[Problem]:
        """The tools that it names and may not, wherever they stand, and whatever would import something."""
        offered: list[str] | None = None
        found = list(_imports(workflow))
        for named in tools_named(workflow):
            if self.has(named.tool):
                continue
            offered = self.names() if offered is None else offered
            close = near(named.tool, offered)
            hint = f"did you mean {close[0]!r}?" if close else None
            found.append(Problem(named.where, f"tool {named.tool!r} is not offered here", hint))
        return found


def every_step(workflow: Workflow, above: str = "") -> Iterator[tuple[str, StepDefinition]]:
    """All steps, those of sub-workflows included, each with where it stands."""
    for step in workflow.steps:
        where = f"{above}step {step.step_id!r}"
        yield where, step
        if step.workflow is not None:
            yield from every_step(step.workflow, f"{where} > ")


def tools_named(workflow: Workflow) -> Iterator[Named]:
    """The tools of all steps, maps, compensations and fallbacks, in sub-workflows as well."""
    for where, step in every_step(workflow):
        if step.tool_name:
            yield Named(where, step.tool_name)
        if step.compensate is not None:
            yield Named(f"{where} > compensation", step.compensate.tool_name)
        for option in step.fallback.chain if step.fallback is not None else ():
            if option.tool is not None:
                yield Named(f"{where} > fallback", option.tool)


def _imports(workflow: Workflow, above: str = "") -> Iterator[Problem]:
    """What would have modules imported: functions by name, and ``imports``."""
    if workflow.imports:
        cause = f"imports {', '.join(map(repr, workflow.imports[:5]))}: a definition cannot import here"
        yield Problem(f"{above}workflow {workflow.name!r}", cause, "the tools that are offered are there")
    for step in workflow.steps:
        where = f"{above}step {step.step_id!r}"
        for field in READERS:
            part = getattr(step, _FIELD_OF.get(field, field))
            for place, function in functions_in(part) if part is not None else ():
                cause = f"function {function_name(function)!r} is not offered here"
                yield Problem(f"{where} > {field}.{place}", cause, "name a tool")
        if step.workflow is not None:
            yield from _imports(step.workflow, f"{where} > ")


def functions_in(record: Record) -> Iterator[tuple[str, Callable[..., Any] | str]]:
    """The functions that were given in a policy, by name or not, each with its place."""
    for name, info in type(record).model_fields.items():
        value = getattr(record, name)
        if takes_function(info.annotation, info.metadata) and (isinstance(value, str) or callable(value)):
            if name in record.model_fields_set:
                yield name, value
        elif isinstance(value, Record):
            yield from ((f"{name}.{place}", found) for place, found in functions_in(value))
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Record):
                    yield from ((f"{name}[{index}].{place}", found) for place, found in functions_in(item))


def takes_function(annotation: Any, metadata: Any = ()) -> bool:
    """Whether a field of this type can be a function or the name of one."""
    if _FUNCTION in metadata:
        return True
    if get_origin(annotation) is Annotated and _FUNCTION in get_args(annotation)[1:]:
        return True
    return any(takes_function(inner) for inner in get_args(annotation))


def settings_refused(workflow: Workflow, settings: WorkflowSettings) -> Iterator[Problem]:
    """Parts of policies that are the operator's, and numbers beyond the limits."""
    allowed = set(settings.step_policies)
    for where, step in every_step(workflow):
        given = [part for part in READERS if getattr(step, _FIELD_OF.get(part, part)) is not None]
        given += ["budget"] if step.retry_policy is not None and step.retry_policy.budget is not None else []
        given += ["executor"] if step.executor is not None else []
        for part in given:
            if part not in allowed:
                yield Problem(where, f"{part} is not for a submitted definition to set", "leave it out")
        attempts = step.reliability.retry.max_attempts if step.reliability.retry is not None else 1
        if attempts > settings.max_attempts:
            cause = f"retry.max_attempts is {attempts:,}, at most {settings.max_attempts:,} are allowed"
            yield Problem(where, cause)
        hedges = step.hedge.max_hedges if step.hedge is not None else 0
        if hedges > settings.max_attempts:
            yield Problem(where, f"hedge.max_hedges is {hedges:,}, at most {settings.max_attempts:,}")
    limit = settings.max_seconds
    if limit is not None and workflow.timeout is not None and workflow.timeout > limit:
        cause = f"its timeout is {workflow.timeout:g} s, a submitted run may take at most {limit:g} s"
        yield Problem(f"workflow {workflow.name!r}", cause)
