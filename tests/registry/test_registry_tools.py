"""Tools: faces of methods, with parameters of their own or those of the method."""

from __future__ import annotations

from typing import Any

import pytest

from orchkit.errors import RegistrationError, UnknownNameError
from orchkit.registry import MISSING, MethodRegistry, ParameterSpec, ToolRegistry


def create(title: str, tier: str = "basic") -> dict[str, str]:
    """Create a casefile."""
    return {"title": title, "tier": tier}


def registered() -> ToolRegistry:
    """Tools over one method, `create`."""
    methods = MethodRegistry()
    methods.register_method(create)
    return ToolRegistry(methods=methods)


def test_a_tool_takes_parameters_and_description_from_its_method() -> None:
    """Without parameters of its own a tool shows those of its method."""
    tool = registered().register_tool("Create", "create", category="cases", domain="casefile", tags=["new"])
    assert [str(p) for p in tool.parameters] == ["title: str", "tier: str = 'basic'"]
    assert tool.own_parameters is None
    assert tool.description == "Create a casefile."
    assert (tool.category, tool.domain, tool.tags) == ("cases", "casefile", ("new",))
    assert "test_registry_tools.py:" in tool.origin
    assert "Create of method create" in repr(tool)


def test_a_tool_may_come_before_its_method() -> None:
    """A tool of a method that is not there yet has no parameters until it is."""
    methods = MethodRegistry()
    tool = ToolRegistry(methods=methods).register_tool("Create", "create")
    assert (tool.parameters, tool.description) == ((), "")
    methods.register_method(create)
    assert [p.name for p in tool.parameters] == ["title", "tier"]
    assert ToolRegistry().register_tool("Create", "create").parameters == ()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"a": int}, ParameterSpec("a", int)),
        ({"a": (int, 3)}, ParameterSpec("a", int, required=False, default=3)),
        ({"a": (int, None)}, ParameterSpec("a", int, required=False, default=None)),
        ({"a": list[int]}, ParameterSpec("a", list[int])),
        ({"a": ParameterSpec("a", str)}, ParameterSpec("a", str)),
        ([ParameterSpec("a", str, description="d")], ParameterSpec("a", str, description="d")),
    ],
)
def test_own_parameters_are_written_in_several_ways(written: Any, expected: ParameterSpec) -> None:
    """Specifications, name -> type, and name -> (type, default) are all understood."""
    tool = registered().register_tool("T", "create", parameters=written)
    assert tool.parameters == (expected,)
    assert (tool.parameters[0].default is MISSING) == expected.required


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a": "int"}, "give the type itself"),
        ([ParameterSpec("a"), ParameterSpec("a")], "'a' is there twice"),
        ({"a": (int, 1, 2)}, "name -> type"),
        ([int], "ParameterSpec"),
        ({3: int}, "name -> type"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters: Any, message: str) -> None:
    """A type given as text, a name given twice, or something else altogether is refused."""
    with pytest.raises(RegistrationError, match=message):
        registered().register_tool("T", "create", parameters=parameters)


def test_a_tool_needs_a_method_name() -> None:
    """An empty method name is refused."""
    with pytest.raises(RegistrationError, match="a name is"):
        registered().register_tool("T", "")


def test_the_same_place_replaces_a_tool_and_another_is_an_error() -> None:
    """Registering again from the same module replaces; from another module both places are named."""
    tools = registered()
    tools.register_tool("T", "create", category="old")
    tools.register_tool("T", "create", category="new")
    assert tools.get_tool("T").category == "new"
    scope = {"__name__": "elsewhere", "tools": tools}
    code = compile("tools.register_tool('T', 'create')", "elsewhere.py", "exec")
    with pytest.raises(RegistrationError, match=r"test_registry_tools\.py.*elsewhere \(elsewhere\.py:1\)"):
        exec(code, scope)
    tools.unregister("T")
    exec(code, scope)
    assert "elsewhere" in tools.get_tool("T").origin
    with pytest.raises(UnknownNameError):
        tools.unregister("U")


def test_an_unknown_tool_suggests_names_of_the_parent_too() -> None:
    """Names fall through to the parent, and so do suggestions."""
    parent = registered()
    tool = parent.register_tool("Create Casefile", "create")
    child = ToolRegistry(parent)
    assert child.get_tool("Create Casefile") is tool
    assert "Create Casefile" in child
    assert "nothing" not in child
    with pytest.raises(UnknownNameError) as caught:
        child.get_tool("Create Casfile")
    assert caught.value.suggestions == ("Create Casefile",)


def test_list_tools_filters_by_category_and_domain() -> None:
    """Both filters apply together; the result is sorted by name; an own tool hides the parent's."""
    parent = registered()
    parent.register_tool("b", "create", category="x", domain="d")
    parent.register_tool("a", "create", category="x", domain="e")
    tools = ToolRegistry(parent)
    tools.register_tool("c", "create", category="y", domain="d")
    own = tools.register_tool("a", "create", category="x", domain="e")
    assert [t.name for t in tools.list_tools()] == ["a", "b", "c"]
    assert [t.name for t in tools.list_tools(category="x")] == ["a", "b"]
    assert [t.name for t in tools.list_tools(domain="d")] == ["b", "c"]
    assert tools.list_tools(category="x", domain="e") == [own]
    assert (list(tools), len(tools)) == (["a", "b", "c"], 3)


def test_search_looks_at_category_tags_and_own_parameters() -> None:
    """Each part of a tool can be searched."""
    tools = registered()
    tools.register_tool("one", "create", category="billing")
    tools.register_tool("two", "create", tags=("billing",))
    tools.register_tool("three", "create", parameters={"title": str}, description="none")
    assert [t.name for t in tools.search("billing")] == ["one", "two"]
    assert [t.name for t in tools.search("title")] == ["one", "three", "two"]
    assert [t.name for t in tools.search("casefile")] == ["one", "two"]
