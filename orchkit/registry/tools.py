"""The tools of a registry: named, described faces of methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchkit.errors import RegistrationError, UnknownNameError
from orchkit.registry.catalogue import Catalogue
from orchkit.registry.check import ParameterCheck, Services
from orchkit.registry.definition import MethodDefinition, check_name
from orchkit.registry.methods import MethodRegistry
from orchkit.registry.origin import Origin, origin_of_caller
from orchkit.registry.revision import Revision
from orchkit.registry.search import SearchText, rank
from orchkit.registry.signature import MISSING, ParameterSpec

Parameters = Sequence[ParameterSpec] | Mapping[str, Any]
"""Specifications, or name -> type, or name -> (type, default)."""


class ToolDefinition:
    """A face of the method ``method_name``, with its own parameters or those of the method."""

    __slots__ = (
        "_checks",
        "_description",
        "_given",
        "_methods",
        "category",
        "domain",
        "face",
        "method_name",
        "name",
        "place",
        "tags",
    )

    def __init__(  # noqa: PLR0913 - one keyword per option is what people read and complete
        self,
        name: str,
        method_name: str,
        *,
        category: str | None = None,
        domain: str | None = None,
        description: str | None = None,
        parameters: Parameters | None = None,
        tags: Sequence[str] = (),
        face: Callable[..., Any] | None = None,
        methods: MethodRegistry | None = None,
    ) -> None:
        check_name(name)
        check_name(method_name)
        if parameters is not None and face is not None:
            raise RegistrationError(
                name, "its parameters come from the decorated function: leave out parameters="
            )
        self.name, self.method_name = name, method_name
        self.category, self.domain = category, domain
        self.tags: tuple[str, ...] = tuple(tags)
        self.face = None if face is None else MethodDefinition(name, face)
        """The function whose signature and docstring are those of the tool; it is never called."""
        self.place: Origin = origin_of_caller() if self.face is None else self.face.place
        self._description = description
        self._given = None if parameters is None else _specs(name, parameters)
        self._methods = methods
        self._checks: dict[frozenset[str], ParameterCheck] = {}

    def __repr__(self) -> str:
        return f"<tool {self.name} of method {self.method_name} from {self.origin}>"

    @property
    def own_parameters(self) -> tuple[ParameterSpec, ...] | None:
        """The parameters that the tool itself declares; None when it takes those of its method."""
        return self._given if self.face is None else self.face.parameters

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Its own parameters, else those of its method (none as long as that does not exist)."""
        own, method = self.own_parameters, self._method()
        if own is not None:
            return own
        return () if method is None else method.parameters

    @property
    def known_parameters(self) -> tuple[ParameterSpec, ...]:
        """As `parameters`, but none as long as its method is lazy: reading them imports nothing."""
        method = self._method()
        loaded = self.own_parameters is not None or (method is not None and method.loaded)
        return self.parameters if loaded else ()

    def _method(self) -> MethodDefinition | None:
        return None if self._methods is None else self._methods.find(self.method_name)

    @property
    def accepts_extra(self) -> bool:
        """Whether it takes parameters that it does not list."""
        return self.face is not None and self.face.accepts_extra

    @property
    def description(self) -> str:
        """As given, else the first paragraph of the decorated function's docstring, else the method's."""
        if self._description is not None:
            return self._description
        if self.face is not None and self.face.description:
            return self.face.description
        method = self._method()
        return "" if method is None else method.description

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        return self.place.text

    def check(self, services: Services) -> ParameterCheck:
        """The compiled check of its own parameters, given which are services; compiled once."""
        injected = frozenset(name for name, _ in services)
        found = self._checks.get(injected)
        if found is None:
            own = self.own_parameters or ()
            found = ParameterCheck(f"tool {self.name!r}", own, extra=self.accepts_extra, services=services)
            if self.face is None or self.face.signature.complete:
                self._checks[injected] = found
        return found


class ToolRegistry(Catalogue[ToolDefinition]):
    """Tools by name; names that are not here are looked up in the ``parent``."""

    noun = "tool"

    def __init__(
        self,
        parent: ToolRegistry | None = None,
        *,
        methods: MethodRegistry | None = None,
        revision: Revision | None = None,
        check: Callable[[ToolDefinition], None] | None = None,
    ) -> None:
        super().__init__(parent, revision)
        self._methods = methods
        self._check = check

    def register_tool(  # noqa: PLR0913 - one keyword per option is what people read and complete
        self,
        name: str,
        method_name: str,
        *,
        category: str | None = None,
        domain: str | None = None,
        description: str | None = None,
        parameters: Parameters | None = None,
        tags: Sequence[str] = (),
        face: Callable[..., Any] | None = None,
    ) -> ToolDefinition:
        """Register a tool for a method, which may come later or be a lazy ``package.module:function``.

        Raises RegistrationError when the name is taken from another module, and ParameterError when the
        method exists and the parameters do not fit it.
        """
        return self.register(
            ToolDefinition(
                name,
                method_name,
                category=category,
                domain=domain,
                description=description,
                parameters=parameters,
                tags=tags,
                face=face,
                methods=self._methods,
            )
        )

    def register(self, tool: ToolDefinition) -> ToolDefinition:
        """Add a definition; one from the same place is replaced. Raises as `register_tool`."""
        self._known_from_here(tool)
        if self._check is not None:
            self._check(tool)
        self._own[tool.name] = tool
        self._revision.bump()
        return tool

    def unregister(self, name: str) -> None:
        """Remove a tool from this registry (not from its parent); UnknownNameError if it is not here."""
        if name not in self._own:
            raise UnknownNameError("tool", name, self._own)
        del self._own[name]
        self._revision.bump()

    def get_tool(self, name: str) -> ToolDefinition:
        """The tool of this name; UnknownNameError with suggestions."""
        found = self.find(name)
        if found is None:
            raise UnknownNameError("tool", name, self)
        return found

    def find_face(self, function: Callable[..., Any]) -> ToolDefinition | None:
        """The tool whose decorated function this is, or None."""
        for tool in self._visible().values():
            if tool.face is not None and tool.face.function is function:
                return tool
        return None

    def list_tools(self, category: str | None = None, domain: str | None = None) -> list[ToolDefinition]:
        """All tools, or those of a category and domain, by name; the parent's included unless hidden."""
        return [
            tool
            for _, tool in sorted(self._visible().items())
            if (category is None or tool.category == category) and (domain is None or tool.domain == domain)
        ]

    def search(self, text: str) -> list[ToolDefinition]:
        """The tools that match every word, best first: name, category, domain, tags, parameters, text."""
        return rank(text, self._visible().values(), search_text)


def search_text(tool: ToolDefinition) -> SearchText:
    """What of a tool can be searched; a lazy method is not imported for it."""
    groups = tuple(group for group in (tool.category, tool.domain, *tool.tags) if group)
    parameters = tuple(p.name for p in tool.known_parameters)
    return SearchText(tool.name, groups, parameters, tool.description)


def _specs(tool: str, parameters: Parameters) -> tuple[ParameterSpec, ...]:
    """Parameter specifications from what people write; RegistrationError when it is something else."""
    if isinstance(parameters, Mapping):
        specs = [_spec(name, written) for name, written in parameters.items()]
    else:
        specs = list(parameters)
    names: set[str] = set()
    for spec in specs:
        if not isinstance(spec, ParameterSpec) or not isinstance(spec.name, str):
            what = "a ParameterSpec, name -> type, or name -> (type, default)"
            raise RegistrationError(tool, f"a parameter is {what}, not {spec!r}")
        if isinstance(spec.annotation, str):
            cause = f"the type of parameter {spec.name!r} is text: give the type itself"
            raise RegistrationError(tool, cause)
        if spec.name in names:
            raise RegistrationError(tool, f"parameter {spec.name!r} is there twice")
        names.add(spec.name)
    return tuple(specs)


def _spec(name: str, written: Any) -> Any:
    """A specification from a type or (type, default); anything else comes back as it is, to be refused."""
    if isinstance(written, ParameterSpec):
        return written
    if not isinstance(written, tuple):
        return ParameterSpec(name, written)
    if len(written) != 2:
        return written
    annotation, default = written
    return ParameterSpec(name, annotation, required=default is MISSING, default=default)
