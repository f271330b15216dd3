"""The methods of a registry: registering, looking up, listing and searching them."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from typing_extensions import Unpack

from orchkit.errors import RegistrationError, UnknownNameError
from orchkit.registry.catalogue import Catalogue
from orchkit.registry.definition import Executor, MethodDefinition, is_target, load_target
from orchkit.registry.origin import origin_of
from orchkit.registry.promises import Promises
from orchkit.registry.revision import Revision
from orchkit.registry.search import SearchText, rank
from orchkit.registry.signature import MISSING, ParameterSpec

__all__ = ["MISSING", "Executor", "MethodDefinition", "MethodRegistry", "ParameterSpec"]


class MethodRegistry(Catalogue[MethodDefinition]):
    """Methods by name; names that are not here are looked up in the ``parent``."""

    noun = "method"

    def __init__(
        self,
        parent: MethodRegistry | None = None,
        *,
        revision: Revision | None = None,
        registered: Callable[[MethodDefinition], None] | None = None,
    ) -> None:
        super().__init__(parent, revision)
        self._registered = registered
        self._aliases: dict[str, MethodDefinition] = {}
        """Methods by operation name and by target."""
        self._functions: dict[Any, MethodDefinition] = {}

    # --- registering -------------------------------------------------------------------------

    def register(self, definition: MethodDefinition) -> MethodDefinition:
        """Add a definition; one from the same function in the same module or notebook is replaced.

        Raises RegistrationError, naming both places, when the name is taken from elsewhere.
        """
        known = self._known_from_here(definition)
        if known is not None:
            self.unregister(known.name)
        self._own[definition.name] = definition
        self._index(definition)
        self._revision.bump()
        if self._registered is not None:
            self._registered(definition)
        return definition

    def register_method(
        self,
        function_or_target: Callable[..., Any] | str,
        *,
        name: str | None = None,
        domain: str | None = None,
        description: str | None = None,
        version: str | None = None,
        executor: Executor | None = None,
        **promises: Unpack[Promises],
    ) -> MethodDefinition:
        """Register a callable, or a lazy ``package.module:function`` that is imported at first use.

        The name defaults to that of the function. ``version`` is part of the method's code: another one says
        that what it does has changed, although its source has not. ``pure=True`` lets verifying a run execute
        it again, ``cache="inputs"`` reuses a recorded output for the same code and input, ``idempotent=True``
        lets it be called twice at once (`Promises`).

        Raises RegistrationError when it has no name, when the name is taken, when the function cannot be
        called with named parameters, or for an option that there is not.
        """
        return self.register(
            MethodDefinition(
                name if name is not None else name_of(function_or_target),
                None if isinstance(function_or_target, str) else function_or_target,
                target=function_or_target if isinstance(function_or_target, str) else None,
                domain=domain,
                description=description,
                version=version,
                executor=executor,
                **promises,
            )
        )

    def unregister(self, name: str) -> None:
        """Remove a method from this registry (not from its parent); UnknownNameError if it is not here."""
        if name not in self._own:
            raise UnknownNameError("method", name, self._own)
        del self._own[name]
        self._aliases.clear()
        self._functions.clear()
        for definition in self._own.values():
            self._index(definition)
        self._revision.bump()

    def _index(self, definition: MethodDefinition) -> None:
        for alias in (definition.operation, definition.target):
            self._aliases.setdefault(alias, definition)
        if definition.loaded:
            self._functions.setdefault(_key(definition.function), definition)

    # --- looking up --------------------------------------------------------------------------

    def get_method(self, name: str) -> MethodDefinition:
        """The method of this name, operation name or ``package.module:function``.

        A target that is not known yet is imported and registered. Raises UnknownNameError with suggestions,
        or RegistrationError when a target cannot be imported.
        """
        found = self.find(name)
        if found is not None:
            return found
        if is_target(name):
            return self._load(name)
        raise UnknownNameError("method", name, self.known_names())

    def find(self, name: str) -> MethodDefinition | None:
        """The method of this name, operation name or known target, or None; imports nothing."""
        return self._by_name(name) or self._by_alias(name)

    def find_function(self, function: Callable[..., Any]) -> MethodDefinition | None:
        """The method that this very function is registered as, or None."""
        found = self._functions.get(_key(function))
        if found is None:  # perhaps a lazy one that has been loaded since
            place = origin_of(function)
            lazy = self._aliases.get(f"{place.module}:{place.qualname}")
            found = lazy if lazy is not None and lazy.loaded and lazy.function is function else None
        if found is None and self.parent is not None:
            return self.parent.find_function(function)
        return found

    def _by_alias(self, alias: str) -> MethodDefinition | None:
        found = self._aliases.get(alias)
        if found is None and self.parent is not None:
            return self.parent._by_alias(alias)
        return found

    def known_names(self) -> set[str]:
        """All names and operation names, for suggestions."""
        visible = self._visible()
        return visible.keys() | {definition.operation for definition in visible.values()}

    def _load(self, target: str) -> MethodDefinition:
        function = load_target(target, target)
        # Importing the module may have run its decorators: then the method is there, options and all.
        known = self.find_function(function)
        return known or self.register(MethodDefinition(target, function, target=target))

    # --- listing -----------------------------------------------------------------------------

    def list_methods(self, domain: str | None = None) -> list[MethodDefinition]:
        """All methods, or those of a domain, by name; the parent's included unless hidden."""
        visible = self._visible()
        return [visible[name] for name in sorted(visible) if domain is None or visible[name].domain == domain]

    def search(self, text: str) -> list[MethodDefinition]:
        """The methods that match every word, best first: name, domain, parameter names, description."""
        return rank(text, self._visible().values(), search_text)


def search_text(definition: MethodDefinition) -> SearchText:
    """What of a method can be searched; a lazy one is not imported for it."""
    parameters = tuple(p.name for p in definition.parameters) if definition.loaded else ()
    groups = (definition.domain,) if definition.domain else ()
    return SearchText(definition.name, groups, parameters, definition.description)


def name_of(function_or_target: Callable[..., Any] | str) -> str:
    """The name that a function registers under by default; RegistrationError when it has none."""
    if isinstance(function_or_target, str):
        return function_or_target.rpartition(":")[2]
    if not callable(function_or_target):
        raise RegistrationError(repr(function_or_target), "it is not callable")
    name = getattr(function_or_target, "__name__", None)
    if isinstance(name, str) and name != "<lambda>":
        return name
    what = "a lambda" if name else f"a {type(function_or_target).__name__}"
    raise RegistrationError(
        name or repr(function_or_target), f"{what} has no name of its own: give it one with name="
    )


def _key(function: Callable[..., Any]) -> Any:
    """Functions by identity, bound methods (made anew at every access) by equality."""
    return function if isinstance(function, MethodType) else id(function)
