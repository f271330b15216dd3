"""The things that methods need and callers do not pass: databases, clients, settings, by their type."""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeVar, cast

from typing_extensions import get_protocol_members, is_protocol

from orchkit.errors import RegistrationError, UnknownNameError
from orchkit.registry.revision import Revision
from orchkit.registry.typeforms import members, type_name

T = TypeVar("T")


class _Entry:
    """A registered service: its instance, or the factory that will make it."""

    __slots__ = ("being_made", "factory", "instance", "made")

    def __init__(self, instance: Any, factory: Callable[[], Any] | None) -> None:
        self.instance, self.factory = instance, factory
        self.made = factory is None
        self.being_made = False


class ServiceContainer:
    """One service per type; types that are not here are looked up in the ``parent``. Thread-safe."""

    def __init__(self, parent: ServiceContainer | None = None, *, revision: Revision | None = None) -> None:
        self.parent = parent
        self._revision: Revision = revision or (parent._revision if parent is not None else Revision())
        self._entries: dict[type, _Entry] = {}
        self._to_close: list[Any] = []
        self._lock = threading.RLock()

    def register(self, type_: type[T], instance_or_factory: T | Callable[[], T]) -> None:
        """Offer an instance, or a factory without arguments that is called at first use, under a type.

        A service registered before under the same type is replaced. Raises RegistrationError for a type
        that is too general to be a service, and for something that can be neither instance nor factory.
        """
        _check_type(type_)
        given = instance_or_factory
        is_instance = _is_instance(given, type_)
        name = type_name(type_)
        if given is None or (not is_instance and not callable(given) and is_protocol(type_)):
            raise RegistrationError(name, f"{given!r} is neither an instance of it nor a factory")
        if not is_instance and inspect.iscoroutinefunction(given):
            raise RegistrationError(
                name, "its factory is async: make the service first and register the instance"
            )
        factory = None if is_instance or not callable(given) else given
        with self._lock:
            self._entries[type_] = _Entry(None if factory is not None else given, factory)
            if factory is None:
                self._to_close.append(given)
        self._revision.bump()

    def get(self, type_: type[T]) -> T:
        """The service of this type, else the one whose registered type is a subclass or fits the protocol.

        Raises UnknownNameError when there is none, RegistrationError when several fit or factories need
        each other in a circle.
        """
        found = self._find(type_)
        if found is None:
            raise UnknownNameError("service", type_name(type_), self.known_names())
        container, key = found
        entry = container._entries[key]
        return cast("T", entry.instance if entry.made else container._make(key, entry))

    def has(self, type_: type) -> bool:
        """Whether `get` finds a service of this type."""
        return self._find(type_) is not None

    def service_type(self, annotation: Any) -> type | None:
        """The type of the service that a parameter of this annotation is given, or None."""
        classes = [member for member in members(annotation) if member is not NoneType]
        if len(classes) == 1 and isinstance(classes[0], type) and self.has(classes[0]):
            return classes[0]
        return None

    def close(self) -> None:
        """Close and forget all services of this container (not of its parent), the newest first.

        All are closed even if one fails; then the failure is raised, several as an ExceptionGroup.
        """
        with self._lock:
            to_close = list({id(service): service for service in reversed(self._to_close)}.values())
            self._entries.clear()
            self._to_close.clear()
        self._revision.bump()
        failures = [failure for failure in map(_close, to_close) if failure is not None]
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("several services failed to close", failures)

    def known_names(self) -> set[str]:
        """The names of all registered types, for suggestions."""
        inherited = self.parent.known_names() if self.parent is not None else set()
        return inherited | {type_name(key) for key in self._entries}

    def __len__(self) -> int:
        return len(self._entries) + (len(self.parent) if self.parent is not None else 0)

    def __repr__(self) -> str:
        return f"<ServiceContainer with {', '.join(sorted(self.known_names())) or 'no services'}>"

    # --- inside ------------------------------------------------------------------------------

    def _find(self, type_: type) -> tuple[ServiceContainer, type] | None:
        return self._find_exact(type_) or self._find_fitting(type_)

    def _find_exact(self, type_: type) -> tuple[ServiceContainer, type] | None:
        if type_ in self._entries:
            return self, type_
        return self.parent._find_exact(type_) if self.parent is not None else None

    def _find_fitting(self, type_: type) -> tuple[ServiceContainer, type] | None:
        if _is_general(type_):
            return None
        fitting = [key for key in self._entries if _fits(key, type_)]
        if len(fitting) > 1:
            names = " and ".join(map(type_name, fitting))
            raise RegistrationError(
                type_name(type_), f"{names} both fit: register one of them as {type_name(type_)}"
            )
        if fitting:
            return self, fitting[0]
        return self.parent._find_fitting(type_) if self.parent is not None else None

    def _make(self, key: type, entry: _Entry) -> Any:
        with self._lock:
            if entry.made or entry.factory is None:  # another thread was faster
                return entry.instance
            if entry.being_made:
                raise RegistrationError(type_name(key), "its factory needs the service that it makes")
            entry.being_made = True
            try:
                entry.instance = entry.factory()
            except Exception as error:
                error.add_note(f"while making the service {type_name(key)}")
                raise
            finally:
                entry.being_made = False
            entry.made = True
            self._to_close.append(entry.instance)
            return entry.instance


def _check_type(type_: object) -> None:
    if not isinstance(type_, type):
        raise RegistrationError(repr(type_), "a service is registered under a class")
    if type_.__module__ == "builtins":
        raise RegistrationError(
            type_.__name__, "too general for a service: every parameter of this type would be injected"
        )


def _is_general(type_: type) -> bool:
    """Whether a type says too little to match anything but itself (Hashable, BaseModel, Protocol)."""
    package = type_.__module__.partition(".")[0]
    return package in sys.stdlib_module_names or package in ("pydantic", "typing_extensions")


def _fits(registered: type, wanted: type) -> bool:
    if is_protocol(wanted):
        names = get_protocol_members(wanted)
        annotated = {name for base in registered.__mro__ for name in getattr(base, "__annotations__", ())}
        return bool(names) and all(hasattr(registered, name) or name in annotated for name in names)
    return issubclass(registered, wanted)


def _is_instance(value: object, type_: type) -> bool:
    if is_protocol(type_):
        return not isinstance(value, type) and all(
            hasattr(value, name) for name in get_protocol_members(type_)
        )
    return isinstance(value, type_)


def _close(service: Any) -> Exception | None:
    close = getattr(service, "close", None)
    if not callable(close) or isinstance(service, type):
        return None
    if inspect.iscoroutinefunction(close):
        text = f"{type(service).__name__}.close is async and was not called: await it yourself"
        warnings.warn(text, ResourceWarning, stacklevel=3)
        return None
    try:
        close()
    except Exception as error:
        error.add_note(f"while closing the service {type(service).__name__}")
        return error
    return None
