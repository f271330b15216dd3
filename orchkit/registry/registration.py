"""The decorators that put functions into a registry, the global one unless another is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from typing_extensions import Unpack

from orchkit.errors import RegistrationError
from orchkit.registry.definition import Executor
from orchkit.registry.promises import Promises
from orchkit.registry.registry import Registry
from orchkit.registry.tools import Parameters

F = TypeVar("F", bound=Callable[..., Any])

default_registry = Registry()
"""Where the decorators register; every kit's registry falls through to it."""


class WorkOptions(Promises, total=False):
    """The options that say how the work of a method is done."""

    version: str | None
    executor: Executor | None


class MethodOptions(WorkOptions, total=False):
    """The options of `method`, the same as of `register_method`."""

    name: str | None
    domain: str | None
    description: str | None
    registry: Registry | None


@overload
def method(function: F, /) -> F: ...
@overload
def method(**options: Unpack[MethodOptions]) -> Callable[[F], F]: ...
def method(function: F | None = None, /, **options: Unpack[MethodOptions]) -> F | Callable[[F], F]:
    """Register the decorated function as a method: ``@method`` or ``@method(domain="orders", …)``.

    The options are those of `register_method`. The function is returned unchanged.
    """
    if function is not None and not callable(function):
        raise RegistrationError(str(function), f"write @method(name={function!r})")
    decorate = register_method(**options)
    return decorate if function is None else decorate(function)


def register_method(
    name: str | None = None,
    *,
    domain: str | None = None,
    description: str | None = None,
    version: str | None = None,
    executor: Executor | None = None,
    registry: Registry | None = None,
    **promises: Unpack[Promises],
) -> Callable[[F], F]:
    """A decorator that registers a function as a method and returns it unchanged.

    The name defaults to that of the function. Another ``version`` says that what the method does has changed
    although its source has not. The promises, all off unless given:

    - ``pure=True``: calling it again changes nothing and gives the same result; verifying a run may do so;
    - ``cache="inputs"``: same code and same input reuse the recorded output, across runs;
    - ``idempotent=True``: twice is as good as once; it may be hedged.

    Raises RegistrationError when the name is taken from elsewhere, when the function cannot be called with
    named parameters, or for an option that there is not; ParameterError when a tool that names this method
    does not fit it.
    """
    if callable(name):
        raise RegistrationError(getattr(name, "__name__", repr(name)), "write @method or @register_method()")

    def decorate(function: F) -> F:
        (registry or default_registry).methods.register_method(
            function,
            name=name,
            domain=domain,
            description=description,
            version=version,
            executor=executor,
            **promises,
        )
        return function

    return decorate


def register_tool(  # noqa: PLR0913 - one keyword per option is what people read and complete
    name: str,
    method_name: str | None = None,
    *,
    category: str | None = None,
    domain: str | None = None,
    description: str | None = None,
    parameters: Parameters | None = None,
    tags: Sequence[str] = (),
    registry: Registry | None = None,
    **work: Unpack[WorkOptions],
) -> Callable[[F], F]:
    """A decorator that registers a tool and returns the function unchanged.

    Without ``method_name`` the function does the work: it is registered as the method of the same name,
    unless it is a method already. With it the function is only the face: its signature and docstring are
    those of the tool, and are checked against the method as soon as both exist. (To register a tool without
    a function call ``registry.tools.register_tool``.)

    The options ``version``, ``executor``, ``pure``, ``cache`` and ``idempotent`` are those of
    `register_method`, for a function that becomes a method here.

    Raises RegistrationError when the name is taken from elsewhere, or for options of a method that is
    registered elsewhere; ParameterError naming every parameter that does not fit the method.
    """
    if callable(name):
        raise RegistrationError(
            getattr(name, "__name__", repr(name)), "write @register_tool('the name of the tool')"
        )
    target = registry or default_registry

    def decorate(function: F) -> F:
        known = target.methods.find_function(function) if method_name is None else None
        worker = method_name if known is None else known.name
        if worker is not None and work:
            options = ", ".join(f"{option}=" for option in work)
            raise RegistrationError(name, f"give {options} where the method {worker!r} is registered")
        if worker is None:
            target.methods.register_method(
                function, name=name, domain=domain, description=description, **work
            )
            worker = name
        target.tools.register_tool(
            name,
            worker,
            category=category,
            domain=domain,
            description=description,
            parameters=parameters,
            tags=tags,
            face=None if method_name is None else function,
        )
        return function

    return decorate
