"""A method: a Python callable with what is known about it, loaded at first use when it is lazy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Literal

from typing_extensions import Unpack

from orchkit.errors import RegistrationError
from orchkit.registry.check import ParameterCheck, Services
from orchkit.registry.code import Code, code_of
from orchkit.registry.origin import Origin, origin_of, origin_of_target
from orchkit.registry.promises import CacheMode, Promises, check_promises
from orchkit.registry.schema import parameters_schema
from orchkit.registry.signature import (
    ParameterSpec,
    Signature,
    check_signature,
    enclosing_names,
    is_async,
    read_signature,
    underlying,
)

Executor = Literal["inline", "threads"]
_EXECUTORS = (None, "inline", "threads")


class MethodDefinition:
    """One registered method.

    A lazy definition knows only its ``target`` ("package.module:function"). Reading its function, parameters,
    result type, code or ``is_async`` imports the module; RegistrationError names the target when that fails.

    ``pure``, ``cache`` and ``idempotent`` are `Promises`.
    """

    __slots__ = (
        "_checks",
        "_code",
        "_description",
        "_function",
        "_is_async",
        "_local_names",
        "_raw_signature",
        "_signature",
        "cache",
        "domain",
        "executor",
        "idempotent",
        "name",
        "place",
        "pure",
        "services",
        "target",
        "version",
    )

    def __init__(
        self,
        name: str,
        function: Callable[..., Any] | None = None,
        *,
        target: str | None = None,
        domain: str | None = None,
        description: str | None = None,
        version: str | None = None,
        executor: Executor | None = None,
        **promises: Unpack[Promises],
    ) -> None:
        check_name(name)
        if executor not in _EXECUTORS:
            raise RegistrationError(name, f"executor {executor!r} is neither 'inline' nor 'threads'")
        if not isinstance(version, str | None):
            raise RegistrationError(name, f"version={version!r} is not a text")
        self.name, self.domain, self.version = name, domain, version
        self.executor: Executor | None = executor
        promised = check_promises(name, promises)
        self.pure: bool = promised["pure"]
        self.cache: CacheMode | None = promised["cache"]
        self.idempotent: bool = promised["idempotent"]
        self.services: Services = ()
        """Parameters that are injected; filled in by the registry that looked last."""
        self._description = description
        self._checks: dict[frozenset[str], ParameterCheck] = {}
        self._signature: Signature | None = None
        self._code: Code | None = None
        self._function: Callable[..., Any] | None = None
        if function is not None:
            self._adopt(function)
            self.place: Origin = origin_of(function)
            self.target: str = target or f"{self.place.module}:{self.place.qualname}"
        elif target is not None and is_target(target):
            self.place, self.target = origin_of_target(target), target
        else:
            raise RegistrationError(name, f"{target!r} is neither a function nor 'package.module:function'")

    def _adopt(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise RegistrationError(self.name, f"{function!r} is not callable")
        self._raw_signature = check_signature(self.name, function)
        self._local_names = enclosing_names(function, self._raw_signature)
        self._is_async = is_async(function)
        self._function = function
        return function

    def __repr__(self) -> str:
        inside = ", ".join(map(str, self.parameters)) if self.loaded else "not imported yet"
        return f"<method {self.name}({inside}) from {self.origin}>"

    @property
    def loaded(self) -> bool:
        """Whether the function is there already (always, unless the definition is lazy)."""
        return self._function is not None

    @property
    def function(self) -> Callable[..., Any]:
        """The callable; imported at first use when lazy."""
        if self._function is not None:
            return self._function
        return self._adopt(load_target(self.name, self.target))

    @property
    def code(self) -> Code:
        """What its code is; read at first use and kept, a function registered anew being a new definition."""
        if self._code is None:
            self._code = code_of(self.function, version=self.version, place=self.origin)
        return self._code

    @property
    def signature(self) -> Signature:
        """Parameters and result; kept once every annotation can be resolved."""
        if self._signature is not None:
            return self._signature
        function = self.function
        signature = read_signature(function, self._raw_signature, self._local_names)
        if signature.complete:  # otherwise a type may be defined by a later cell: look again next time
            self._signature = signature
        return signature

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """All named parameters in order, services included."""
        return self.signature.parameters

    @property
    def result_type(self) -> Any:
        """The annotated result (of the awaited call); ``Any`` when there is none."""
        return self.signature.result_type

    @property
    def accepts_extra(self) -> bool:
        """Whether ``**kwargs`` takes parameters that are not listed."""
        return self.signature.accepts_extra

    @property
    def is_async(self) -> bool:
        """Whether calling the function gives a coroutine."""
        if self._function is None:
            self._adopt(load_target(self.name, self.target))
        return self._is_async

    @property
    def operation(self) -> str:
        """The name that policies match: the domain, a dot and the name."""
        if not self.domain or self.name.startswith(f"{self.domain}."):
            return self.name
        return f"{self.domain}.{self.name}"

    @property
    def description(self) -> str:
        """As given, else the first paragraph of the docstring; empty for a lazy method not loaded yet."""
        if self._description is not None or self._function is None:
            return self._description or ""
        documented = self._function if isinstance(self._function, type) else underlying(self._function)
        return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        return self.place.text

    def params_schema(self) -> dict[str, Any]:
        """JSON schema of the parameters, services left out."""
        injected = {name for name, _ in self.services}
        given = [parameter for parameter in self.parameters if parameter.name not in injected]
        return parameters_schema(self.name, given, extra=self.accepts_extra)

    def check(self, services: Services) -> ParameterCheck:
        """The compiled check of its parameters, given which of them are services; compiled once."""
        injected = frozenset(name for name, _ in services)
        found = self._checks.get(injected)
        if found is None:
            signature = self.signature
            found = ParameterCheck(
                f"method {self.name!r}",
                signature.parameters,
                extra=signature.accepts_extra,
                services=services,
            )
            if signature.complete:
                self._checks[injected] = found
        return found


def check_name(name: object) -> None:
    """Refuse what cannot be the name of a method or tool."""
    if not isinstance(name, str) or not name.strip() or name != name.strip():
        raise RegistrationError(str(name), "a name is a string that is not empty and has no spaces around it")


def is_target(text: str) -> bool:
    """Whether a text has the form ``package.module:function``."""
    module, colon, path = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *path.split(".")))


def load_target(name: str, target: str) -> Callable[..., Any]:
    """Import ``package.module:function``; RegistrationError naming the target when that fails."""
    module_name, _, path = target.partition(":")
    try:
        found: Any = import_module(module_name)
    except Exception as error:  # importing runs the module: anything may come
        cause = f"importing its target {target!r} failed: {type(error).__name__}: {error}"
        raise RegistrationError(name, cause) from error
    for part in path.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise RegistrationError(name, f"its target {target!r} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise RegistrationError(name, f"its target {target!r} is not callable but {type(found).__name__}")
    function: Callable[..., Any] = found
    return function
