"""The registry: tools, methods and services behind one look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, MethodType
from typing import TYPE_CHECKING, Any

from orchkit.errors import ParameterError, RegistrationError, UnknownNameError
from orchkit.model.display import Displayable
from orchkit.registry.check import Services
from orchkit.registry.definition import MethodDefinition, is_target
from orchkit.registry.methods import MethodRegistry, name_of
from orchkit.registry.methods import search_text as method_text
from orchkit.registry.origin import cell_number
from orchkit.registry.parameters import ParameterValidator
from orchkit.registry.revision import Revision
from orchkit.registry.search import SearchText, rank
from orchkit.registry.services import ServiceContainer
from orchkit.registry.signature import underlying
from orchkit.registry.target import Target
from orchkit.registry.tools import ToolDefinition, ToolRegistry
from orchkit.registry.tools import search_text as tool_text
from orchkit.registry.typeforms import type_name

__all__ = ["Registry", "Target"]

if TYPE_CHECKING:
    import pandas as pd

_NOTHING: Mapping[str, object] = MappingProxyType({})
_SHOWN = 20
"""Entries of each kind in the plain-text form."""


class Registry(Displayable):
    """Tools, methods and services; what is not here is looked up in the ``parent``."""

    def __init__(self, parent: Registry | None = None) -> None:
        self.parent = parent
        self._counter: Revision = Revision() if parent is None else parent._counter
        counter = self._counter
        up = (None, None, None) if parent is None else (parent.methods, parent.tools, parent.services)
        self.methods: MethodRegistry = MethodRegistry(
            up[0], revision=counter, registered=self._check_tools_of
        )
        self.tools: ToolRegistry = ToolRegistry(
            up[1], methods=self.methods, revision=counter, check=self._check_tool
        )
        self.services: ServiceContainer = ServiceContainer(up[2], revision=counter)
        self._seen = counter.value
        self._targets: dict[str, Target] = {}
        self._services: dict[MethodDefinition, Services] = {}
        self._implicit: dict[str, int] = {}
        """Functions registered by `resolve`: name, to the notebook cell in which that happened."""
        self.validator = ParameterValidator(self)

    @property
    def revision(self) -> int:
        """Another number whenever anything is registered, here or in a parent: so that caches know."""
        return self._counter.value

    # --- the hot path ------------------------------------------------------------------------

    def resolve(self, name_or_callable: str | Callable[..., Any]) -> Target:
        """What a name means: a tool, a method, an operation name, or a lazy ``package.module:function``.

        A plain function is registered under its own name unless it is registered already. Raises
        UnknownNameError with suggestions, RegistrationError when a target cannot be imported or a function
        cannot be registered, ParameterError when a tool does not fit its method.
        """
        if not isinstance(name_or_callable, str):
            return self._resolve_callable(name_or_callable)
        self._refresh()
        return self._targets.get(name_or_callable) or self._resolve_name(name_or_callable)

    def validate(self, target: Target, params: Mapping[str, Any]) -> dict[str, Any]:
        """The validated and coerced parameters, without services; ParameterError with all problems."""
        return self.validator.validate(target, params)

    def inject(self, method: MethodDefinition) -> Mapping[str, object]:
        """The services that a method's parameters ask for, by parameter name."""
        services = self.services_of(method)
        if not services:
            return _NOTHING
        return {name: self.services.get(type_) for name, type_ in services}

    def services_of(self, method: MethodDefinition) -> Services:
        """Which parameters of a method are services, as far as they are registered by now."""
        self._refresh()
        cached = self._services
        found = cached.get(method)
        if found is None:
            typed = [(p.name, self.services.service_type(p.annotation)) for p in method.parameters]
            found = tuple((name, type_) for name, type_ in typed if type_ is not None)
            cached[method] = method.services = found
        return found

    def _refresh(self) -> None:
        revision = self._counter.value
        if self._seen != revision:
            self._targets, self._services = {}, {}  # new dicts: another thread may be filling the old ones
            self._seen = revision

    # --- looking up --------------------------------------------------------------------------

    def _resolve_name(self, name: str) -> Target:
        targets, tool = self._targets, self.tools.find(name)
        method = self._method_for(name, tool)
        # A lazy one is imported here, where the error names it, not in the middle of a run.
        _ = method.function
        if tool is not None:
            self._check_mapping(tool, method)
        target = Target(method.name if tool is None else tool.name, tool, method)
        targets[name] = target
        return target

    def _method_for(self, name: str, tool: ToolDefinition | None) -> MethodDefinition:
        wanted = name if tool is None else tool.method_name
        found = self.methods.find(wanted)
        if found is not None:
            return found
        if is_target(wanted):
            return self.methods.get_method(wanted)
        if tool is not None:
            raise UnknownNameError(f"method of tool {name!r}:", wanted, self.methods.known_names())
        raise UnknownNameError("tool or method", name, {*self.tools, *self.methods.known_names()})

    def _resolve_callable(self, function: Callable[..., Any]) -> Target:
        face = self.tools.find_face(function)
        if face is not None:
            return self.resolve(face.name)
        method = self.methods.find_function(function) or self._register_callable(function)
        target = self.resolve(method.name)
        if target.method is not method:
            other = target.method if target.tool is None else target.tool
            cause = f"here the name means {other.origin}, not {method.origin}: give the function another name"
            raise RegistrationError(method.name, cause)
        return target

    def _register_callable(self, function: Callable[..., Any]) -> MethodDefinition:
        name, cell = name_of(function), cell_number()
        known = self.methods.find(name)
        # Workflows refer to functions by name: two closures of one name would silently become one. In a
        # notebook the same thing in a later cell run is a re-run, and replaces.
        same_run = self._implicit.get(name, cell) == cell
        if same_run and known is not None and known.loaded and _siblings(known.function, function):
            cause = "another function made by the same code has the name: use register_method(..., name=...)"
            raise RegistrationError(name, cause)
        self._implicit[name] = cell
        return self.methods.register_method(function)

    # --- tools and methods that do not fit ---------------------------------------------------------

    def _check_tool(self, tool: ToolDefinition) -> None:
        method = self.methods.find(tool.method_name)
        if method is not None and method.loaded:
            self._check_mapping(tool, method)

    def _check_tools_of(self, method: MethodDefinition) -> None:
        for tool in self.tools.list_tools():
            if self.methods.find(tool.method_name) is method:
                self._check_tool(tool)

    def _check_mapping(self, tool: ToolDefinition, method: MethodDefinition) -> None:
        problems = self.validator.validate_tool_to_method_mapping(tool, method)
        if problems:
            raise ParameterError(f"tool {tool.name!r} does not fit method {method.name!r}", problems)

    # --- showing -----------------------------------------------------------------------------

    def search(self, text: str) -> list[ToolDefinition | MethodDefinition]:
        """Tools and methods that match every word, best first; no method that a tool of its name hides."""
        tools = self.tools.list_tools()
        methods = [method for method in self.methods.list_methods() if method.name not in self.tools]
        found: list[ToolDefinition | MethodDefinition] = [*tools, *methods]
        return rank(text, found, _search_text)

    def frame(self) -> pd.DataFrame:
        """One row per tool and method: kind, name, category, domain, parameters, result, origin (all text).

        Parameters and result of a lazy method are missing until it has been used.
        """
        import pandas as pd

        tools = [self._tool_row(tool) for tool in self.tools.list_tools()]
        methods = [
            ("method", m.name, None, m.domain, _parameters(m), _result(m), m.origin)
            for m in self.methods.list_methods()
        ]
        columns = ["kind", "name", "category", "domain", "parameters", "result", "origin"]
        return pd.DataFrame(tools + methods, columns=columns, dtype="str")

    def _tool_row(self, tool: ToolDefinition) -> tuple[str | None, ...]:
        method = self.methods.find(tool.method_name)
        own = tool.own_parameters
        parameters = _parameters(method) if own is None else ", ".join(map(str, own))
        return ("tool", tool.name, tool.category, tool.domain, parameters, _result(method), tool.origin)

    def __repr__(self) -> str:
        sizes = {"tool": len(self.tools), "method": len(self.methods), "service": len(self.services)}
        counts = (f"{size} {kind}{'s' if size != 1 else ''}" for kind, size in sizes.items())
        lines = [f"Registry with {', '.join(counts)}"]
        tools = [
            f"  tool {row[1]}({_or_lazy(row[4])})" for row in map(self._tool_row, self.tools.list_tools())
        ]
        methods = [
            f"  method {m.operation}({_or_lazy(_parameters(m))}) -> {_result(m) or '?'}"
            for m in self.methods.list_methods()
        ]
        for entries in (tools, methods):
            lines += entries[:_SHOWN]
            if len(entries) > _SHOWN:
                lines.append(f"  … and {len(entries) - _SHOWN} more")
        return "\n".join(lines)


def _search_text(item: ToolDefinition | MethodDefinition) -> SearchText:
    return tool_text(item) if isinstance(item, ToolDefinition) else method_text(item)


def _parameters(method: MethodDefinition | None) -> str | None:
    return ", ".join(map(str, method.parameters)) if method is not None and method.loaded else None


def _result(method: MethodDefinition | None) -> str | None:
    return type_name(method.result_type) if method is not None and method.loaded else None


def _or_lazy(parameters: str | None) -> str:
    return "…" if parameters is None else parameters


def _siblings(known: Callable[..., Any], function: Callable[..., Any]) -> bool:
    """Whether two callables are one piece of code with different closures, defaults or owners."""
    one, other = underlying(known), underlying(function)
    code = getattr(one, "__code__", None)
    if code is None or code is not getattr(other, "__code__", None):
        return False
    states = list(zip(_state(known, one), _state(function, other), strict=False))
    return not all(a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and a == b) for a, b in states)


_PLAIN = (int, float, str, bytes, tuple, type(None))


def _state(function: Callable[..., Any], inner: Any) -> list[Any]:
    owner = function.__self__ if isinstance(function, MethodType) else None
    cells = [_contents(cell) for cell in inner.__closure__ or ()]
    keywords = inner.__kwdefaults__ or {}
    return [owner, *cells, *(inner.__defaults__ or ()), *keywords.values()]


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None
