"""The decorators: what they register, where, and that they leave the function alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from orchkit.errors import ParameterError, RegistrationError
from orchkit.registry import Registry, default_registry, method, register_method, register_tool


@pytest.fixture
def registry() -> Registry:
    """An empty registry of its own."""
    return Registry()


def test_the_bare_decorator_registers_in_the_default_registry() -> None:
    """``@method`` needs no parentheses and returns the very function."""

    def work_in_default(a: int) -> int:
        """Works."""
        return a + 1

    decorated = method(work_in_default)
    try:
        assert decorated is work_in_default
        assert decorated(1) == 2
        assert default_registry.resolve("work_in_default").method.function is decorated
        assert Registry(default_registry).resolve("work_in_default").method.description == "Works."
    finally:
        default_registry.methods.unregister("work_in_default")


def test_options_of_the_decorators_reach_the_method(registry: Registry) -> None:
    """``@method(...)`` and ``@register_method(...)`` take the same options."""
    options: dict[str, Any] = {
        "domain": "d",
        "description": "text",
        "version": "1",
        "executor": "inline",
        "registry": registry,
    }

    @method(name="one", **options)
    def first() -> None: ...

    @register_method("two", **options)
    def second() -> None: ...

    for name in ("one", "two"):
        found = registry.methods.get_method(name)
        given = {key: getattr(found, key) for key in options if key != "registry"}
        assert given == {key: value for key, value in options.items() if key != "registry"}


def test_a_tool_without_method_name_registers_its_function_as_the_method(registry: Registry) -> None:
    """One decorator makes a tool and the method behind it, under one name."""

    @register_tool("Greet", category="talk", domain="people", tags=["hi"], registry=registry)
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello {name}"

    target = registry.resolve("Greet")
    assert target.tool is not None
    assert target.tool.own_parameters is None
    assert (target.tool.category, target.tool.domain, target.tool.tags) == ("talk", "people", ("hi",))
    assert target.method.operation == "people.Greet"
    assert target.tool.description == "Greet somebody."
    assert greet("you") == "Hello you"
    assert registry.resolve(greet) == target


def test_a_tool_on_top_of_a_method_uses_that_method(registry: Registry) -> None:
    """Stacked decorators do not register the function twice, so the method keeps its options."""

    @register_tool("Greet", registry=registry)
    @method(version="2", registry=registry)
    def greet(name: str) -> str:
        return name

    assert registry.resolve("Greet").method is registry.methods.get_method("greet")
    assert registry.resolve("Greet").method.version == "2"
    assert list(registry.methods) == ["greet"]


def test_with_a_method_name_the_function_is_the_face(registry: Registry) -> None:
    """The face gives parameters, defaults and description; the method does the work."""

    @register_method("create", registry=registry)
    def create(title: str, tier: str) -> str:
        return f"{tier} {title}"

    @register_tool("Create VIP", method_name="create", registry=registry)
    def create_vip(title: str, tier: str = "vip") -> None:
        """Create a casefile for important people."""

    target = registry.resolve("Create VIP")
    assert [str(p) for p in target.parameters] == ["title: str", "tier: str = 'vip'"]
    assert target.tool is not None
    assert target.tool.description == "Create a casefile for important people."
    params = registry.validate(target, {"title": "x"})
    assert target.method.function(**params) == "vip x"
    assert "create_vip" not in registry.methods


@pytest.mark.parametrize("method_first", [True, False])
def test_a_face_that_does_not_fit_is_an_error_as_soon_as_both_exist(
    registry: Registry, method_first: bool
) -> None:
    """Whichever comes second raises, with every problem."""

    def create(title: str, tier: str) -> None: ...

    def face(titel: str, tier: list[int]) -> None: ...

    decorators = [
        (register_method("create", registry=registry), create),
        (register_tool("Create", "create", registry=registry), face),
    ]
    (first, one), (second, other) = decorators if method_first else reversed(decorators)
    first(one)
    with pytest.raises(ParameterError) as caught:
        second(other)
    assert {problem.where for problem in caught.value.problems} == {"title", "titel", "tier"}


def test_explicit_parameters_and_a_face_contradict_each_other(registry: Registry) -> None:
    """The tool's parameters come from one place."""
    with pytest.raises(RegistrationError, match="leave out parameters="):

        @register_tool("T", "create", parameters={"a": int}, registry=registry)
        def face(a: int) -> None: ...


def test_running_a_cell_again_replaces_tool_and_method(registry: Registry) -> None:
    """The decorators can be executed again and again from the same place."""
    source = (
        "@register_tool('T', registry=registry)\ndef work({}): ...\n"
        "@register_tool('F', 'T', registry=registry)\ndef face({}): ...\n"
    )
    for parameter in ("a: int", "a: int = 1", "a: int"):
        scope = {"__name__": "__main__", "register_tool": register_tool, "registry": registry}
        exec(source.format(parameter, parameter), scope)
        assert str(registry.resolve("F").parameters[0]) == parameter
    assert (len(registry.tools), len(registry.methods)) == (2, 1)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: register_method(print), "write @method or @register_method"),  # type: ignore[arg-type]
        (lambda: register_tool(print), "write @register_tool"),  # type: ignore[arg-type]
        (lambda: method("name"), "write @method"),  # type: ignore[type-var]
    ],
)
def test_a_decorator_without_its_parentheses_says_what_to_write(use: Any, message: str) -> None:
    """The usual slips are errors that show the right form."""
    with pytest.raises(RegistrationError, match=message):
        use()


def test_importing_the_registry_is_cheap() -> None:
    """Neither pandas nor other heavy packages are imported with the registry."""
    code = (
        "import sys, orchkit.registry\n"
        "heavy = {'pandas', 'numpy', 'duckdb', 'IPython', 'ipywidgets', 'graphviz'} & sys.modules.keys()\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
