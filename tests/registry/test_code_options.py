"""What the author of a method promises when registering it: pure, cache, idempotent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchkit.errors import RegistrationError
from orchkit.registry import MethodDefinition, Registry, method, register_method, register_tool


def work(x: int) -> int:
    """It works."""
    return x


def by_definition(registry: Registry, **options: Any) -> MethodDefinition:
    """Registered as a definition that was made by hand."""
    return registry.methods.register(MethodDefinition("work", work, **options))


def by_registry(registry: Registry, **options: Any) -> MethodDefinition:
    """Registered in the registry."""
    return registry.methods.register_method(work, **options)


def by_target(registry: Registry, **options: Any) -> MethodDefinition:
    """Registered lazily; importing the module is not needed to know the promises."""
    return registry.methods.register_method("not_there:work", **options)


def by_method(registry: Registry, **options: Any) -> MethodDefinition:
    """Registered with ``@method``."""
    method(registry=registry, **options)(work)
    return registry.methods.get_method("work")


def by_register_method(registry: Registry, **options: Any) -> MethodDefinition:
    """Registered with ``@register_method``."""
    register_method("work", registry=registry, **options)(work)
    return registry.methods.get_method("work")


def by_tool(registry: Registry, **options: Any) -> MethodDefinition:
    """Registered as a tool that does its own work."""
    register_tool("work", registry=registry, **options)(work)
    return registry.methods.get_method("work")


WAYS = [by_definition, by_registry, by_target, by_method, by_register_method, by_tool]
Way = Callable[..., MethodDefinition]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_promised_unless_said(way: Way) -> None:
    """All three are off."""
    found = way(Registry())
    assert (found.pure, found.cache, found.idempotent) == (False, None, False)


@pytest.mark.parametrize("way", WAYS)
def test_promises_are_carried_by_the_definition(way: Way) -> None:
    """However the method is registered."""
    found = way(Registry(), pure=True, cache="inputs", idempotent=True, version="3", executor="inline")
    assert (found.pure, found.cache, found.idempotent) == (True, "inputs", True)
    assert (found.version, found.executor) == ("3", "inline")
    alone = way(Registry(), cache="inputs")
    assert (alone.pure, alone.cache, alone.idempotent) == (False, "inputs", False)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"pure": 1}, "pure=1 is neither True nor False"),
        ({"pure": None}, "pure=None is neither True nor False"),
        ({"idempotent": "yes"}, "idempotent='yes' is neither True nor False"),
        ({"cache": True}, "cache=True is neither 'inputs' nor None"),
        ({"cache": "input"}, "cache='input' is neither 'inputs' nor None"),
        ({"cache": ["inputs"]}, r"cache=\['inputs'\] is neither 'inputs' nor None"),
        ({"version": 3}, "version=3 is not a text"),
        ({"idempotant": True}, r"there is no option 'idempotant'; did you mean 'idempotent'\?"),
        ({"zzz": True}, "there is no option 'zzz'$"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_other_promises_are_refused(way: Way, options: dict[str, Any], cause: str) -> None:
    """The error names the method, the option and what may be given; nothing is registered."""
    registry = Registry()
    with pytest.raises(RegistrationError, match=cause) as caught:
        way(registry, **options)
    assert caught.value.name == "work"
    assert (len(registry.methods), len(registry.tools)) == (0, 0)


def test_promises_of_a_method_that_is_registered_elsewhere_are_refused() -> None:
    """A tool that only names its method, or stands on one, cannot promise for it."""
    registry = Registry()
    with pytest.raises(RegistrationError, match="give pure=, version= where the method 'labour'"):
        register_tool("Work", "labour", registry=registry, pure=True, version="2")(work)
    method(registry=registry)(work)
    with pytest.raises(RegistrationError, match="give cache= where the method 'work' is registered"):
        register_tool("Work", registry=registry, cache="inputs")(work)
    assert len(registry.tools) == 0
