"""One look-up over tools, methods, operation names, targets and functions; injection and display."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from orchkit.errors import ParameterError, RegistrationError, UnknownNameError
from orchkit.registry import Registry


def create(title: str) -> dict[str, str]:
    """Create a casefile."""
    return {"title": title}


def close(title: str) -> None:
    """Close a casefile."""


class Clock:
    """Stands for a service."""


class Client:
    def __init__(self, url: str) -> None:
        self.url = url

    def fetch(self, path: str) -> str:
        return self.url + path


def timed(a: int, clock: Clock, *, backup: Clock | None = None) -> int:
    """Needs a service."""
    return a


def make(number: int) -> Callable[[], int]:
    """Make functions that share their name and code."""

    def made() -> int:
        return number

    return made


@pytest.fixture
def registry() -> Registry:
    """Two methods, one of them with a tool."""
    found = Registry()
    found.methods.register_method(create, domain="casefile")
    found.methods.register_method(close)
    found.tools.register_tool("Create", "create", category="cases")
    return found


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A pretended IPython; ``cell.execution_count`` is the number of the running cell."""
    shell = SimpleNamespace(
        execution_count=1, compile=SimpleNamespace(format_code_name=lambda name: ("Cell", "In[1]"))
    )
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return shell


# --- resolve ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "tool", "method"),
    [
        ("Create", "Create", "Create", "create"),
        ("create", "create", None, "create"),
        ("casefile.create", "create", None, "create"),
        ("close", "close", None, "close"),
        ("json:dumps", "json:dumps", None, "json:dumps"),
        (f"{__name__}:create", "create", None, "create"),
    ],
)
def test_names_are_looked_up_in_tools_then_methods_then_operations_then_targets(
    registry: Registry, name: str, target: str, tool: str | None, method: str
) -> None:
    """Each kind of name finds its method, and finds it again."""
    found = registry.resolve(name)
    assert (found.name, found.tool and found.tool.name, found.method.name) == (target, tool, method)
    assert registry.resolve(name) == found


def test_a_tool_hides_a_method_of_the_same_name(registry: Registry) -> None:
    """Tools come first; the method of the tool may be another one."""
    registry.tools.register_tool("close", "create")
    assert registry.resolve("close").method.name == "create"
    assert registry.resolve("close").parameters == registry.resolve("create").parameters


def test_an_unknown_name_suggests_tools_methods_and_operations(registry: Registry) -> None:
    """The suggestions come from all kinds of names."""
    with pytest.raises(UnknownNameError, match="unknown tool or method") as caught:
        registry.resolve("casefile.creat")
    assert "casefile.create" in caught.value.suggestions
    with pytest.raises(UnknownNameError) as caught:
        registry.resolve("Creat")
    assert "Create" in caught.value.suggestions


def test_a_tool_without_its_method_says_so(registry: Registry) -> None:
    """The error names the tool and the method that it lacks."""
    registry.tools.register_tool("Delete", "craete")
    with pytest.raises(UnknownNameError, match="method of tool 'Delete': 'craete'; did you mean 'create'"):
        registry.resolve("Delete")


def test_the_cache_follows_every_registration(registry: Registry) -> None:
    """A new tool, a replaced method or a removed one is seen at the next look-up, in children too."""
    child = Registry(registry)
    before = child.resolve("create")
    revision = child.revision
    registry.methods.register_method(create, domain="new")
    after = child.resolve("create")
    assert before.method is not after.method
    assert after.method.domain == "new"
    assert child.revision != revision
    registry.tools.register_tool("create", "close")
    assert child.resolve("create").method.name == "close"
    registry.tools.unregister("create")
    registry.methods.unregister("create")
    with pytest.raises(UnknownNameError):
        child.resolve("create")


def test_a_child_uses_its_own_method_for_a_tool_of_its_parent(registry: Registry) -> None:
    """A kit can replace the method behind a global tool."""
    scope: dict[str, Any] = {}
    exec("def create(title: str): return 'mine'", scope)
    child = Registry(registry)
    child.methods.register_method(scope["create"])
    assert child.resolve("Create").method.function is scope["create"]
    assert registry.resolve("Create").method.function is create


def test_a_lazy_tool_is_imported_when_it_is_resolved(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool may name a target; registering, listing, searching and showing it import nothing."""
    (tmp_path / "lazy_tool.py").write_text("def work(a: int) -> str: ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    registry.tools.register_tool("Lazy", "lazy_tool:work")
    registry.methods.register_method("lazy_tool:work", name="lazier")
    registry.search("work lazy")
    assert "Lazy(…)" in repr(registry)
    assert registry.frame().set_index("name").loc["lazier", "parameters"] is not None
    assert "lazy_tool" not in sys.modules
    target = registry.resolve("Lazy")
    assert [str(p) for p in target.parameters] == ["a: int"]
    assert target.result_type is str
    assert registry.validate(target, {"a": "1"}) == {"a": 1}
    registry.tools.register_tool("Broken", "lazy_tool:wrok")
    with pytest.raises(RegistrationError, match="'lazy_tool:wrok' has no 'wrok'"):
        registry.resolve("Broken")
    sys.modules.pop("lazy_tool")


# --- functions -------------------------------------------------------------------------------------


def test_a_function_is_registered_at_its_first_use(registry: Registry) -> None:
    """A plain function becomes a method under its own name, once, in the registry that was asked."""
    child = Registry(registry)

    def helper(a: int) -> int:
        return a

    target = child.resolve(helper)
    assert (target.name, target.tool, target.method.function) == ("helper", None, helper)
    assert child.resolve(helper) is target is child.resolve("helper")
    assert "helper" not in registry.methods


def test_a_registered_function_is_found_as_what_it_is(registry: Registry) -> None:
    """A function that is registered already, under any name, is that method."""
    assert registry.resolve(create).method is registry.methods.get_method("create")
    client = Client("u")
    registry.methods.register_method(client.fetch, name="get")
    assert registry.resolve(client.fetch).name == "get"


def test_the_face_of_a_tool_stands_for_the_tool(registry: Registry) -> None:
    """The function that a tool was decorated on resolves to the tool, not to a method."""

    def face(title: str) -> None: ...

    registry.tools.register_tool("Faced", "create", face=face)
    target = registry.resolve(face)
    assert (target.name, target.method.name) == ("Faced", "create")


@pytest.mark.parametrize("function", [lambda x: x, functools.partial(create, title="x"), 5, None])
def test_what_has_no_name_is_refused(registry: Registry, function: Any) -> None:
    """A lambda or partial asks for a name; what cannot be called is no function."""
    with pytest.raises(RegistrationError, match=r"name=|not callable"):
        registry.resolve(function)


def test_a_function_whose_name_means_something_else_here_is_refused(registry: Registry) -> None:
    """A workflow names its tools: a function whose name finds another method would run the wrong one."""
    registry.tools.register_tool("helper", "create")

    def helper() -> None: ...

    with pytest.raises(RegistrationError, match="here the name means"):
        registry.resolve(helper)
    child = Registry(registry)
    scope: dict[str, Any] = {}
    exec("def close(title: str): ...", scope)
    child.methods.register_method(scope["close"])
    with pytest.raises(RegistrationError, match="here the name means"):
        child.resolve(close)


@pytest.mark.parametrize(
    "pair",
    [
        lambda: (make(1), make(2)),
        lambda: (Client("a").fetch, Client("b").fetch),
        lambda: (make([]), make([])),  # type: ignore[arg-type]
    ],
)
def test_two_functions_made_by_the_same_code_need_names(registry: Registry, pair: Any) -> None:
    """Closures and bound methods that share a name but not their data are not taken for one another."""
    first, second = pair()
    registry.resolve(first)
    with pytest.raises(RegistrationError, match="made by the same code"):
        registry.resolve(second)
    assert registry.resolve(first).method.function == first


def test_the_same_closure_made_again_replaces(registry: Registry) -> None:
    """A closure over equal plain values is the same thing made anew."""
    registry.resolve(make(1))
    again = make(1)
    assert registry.resolve(again).method.function is again


def test_running_a_cell_again_replaces_what_it_made(registry: Registry, cell: SimpleNamespace) -> None:
    """In a later cell run the same code with other data is a re-run; within one run it is still refused."""
    registry.resolve(Client("a").fetch)
    with pytest.raises(RegistrationError, match="made by the same code"):
        registry.resolve(Client("b").fetch)
    cell.execution_count = 2
    client = Client("c")
    assert registry.resolve(client.fetch).method.function == client.fetch


def test_an_edited_function_replaces_the_old_one(registry: Registry) -> None:
    """Defining a function again, with other code, and using it replaces the method."""
    for body in ("1", "2"):
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def work(): return {body}", scope)
        assert registry.resolve(scope["work"]).method.function() == int(body)


def test_the_origin_of_a_notebook_function_is_its_cell(registry: Registry, cell: SimpleNamespace) -> None:
    """In a notebook the made-up file name of a cell is replaced by the cell's number."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("\n\ndef work(): ...", "/tmp/ipykernel_1/1.py", "exec"), scope)
    assert registry.methods.register_method(scope["work"]).origin == "notebook Cell In[1], line 3"


# --- tools that do not fit ---------------------------------------------------------------------------


def test_a_tool_that_does_not_fit_is_refused_and_the_old_one_stays(registry: Registry) -> None:
    """When the method is there, registering a tool compares them; all problems are in the error."""
    good = registry.tools.register_tool("T", "create", parameters={"title": str})
    with pytest.raises(ParameterError, match="tool 'T' does not fit method 'create'") as caught:
        registry.tools.register_tool("T", "create", parameters={"titel": int})
    assert {problem.where for problem in caught.value.problems} == {"title", "titel"}
    assert registry.tools.get_tool("T") is good


def test_a_method_that_does_not_fit_its_tool_is_reported_and_kept() -> None:
    """The later one is reported; the method stays, so that the tool can be corrected next."""
    registry = Registry()
    registry.tools.register_tool("T", "create", parameters={"name": str})
    with pytest.raises(ParameterError, match="tool 'T' does not fit"):
        registry.methods.register_method(create)
    with pytest.raises(ParameterError, match="tool 'T' does not fit"):
        registry.resolve("T")
    registry.tools.register_tool("T", "create", parameters={"title": str})
    assert registry.resolve("T").method.function is create


# --- services --------------------------------------------------------------------------------------


def test_services_are_injected_by_type_even_when_registered_later(registry: Registry) -> None:
    """A parameter becomes a service as soon as its type is one, and stops when it is none any more."""
    method = registry.methods.register_method(timed)
    assert registry.inject(method) == {}
    assert registry.inject(method) is registry.inject(registry.resolve("close").method)
    clock = Clock()
    registry.services.register(Clock, lambda: clock)
    assert registry.inject(method) == {"clock": clock, "backup": clock}
    assert method.services == (("clock", Clock), ("backup", Clock))
    assert list(method.params_schema()["properties"]) == ["a"]
    registry.services.close()
    assert registry.inject(method) == {}


def test_each_kit_injects_its_own_services() -> None:
    """Two registries over the same method do not mix up their services."""
    parent = Registry()
    method = parent.methods.register_method(timed)
    first, second, third = Registry(parent), Registry(parent), Registry(parent)
    clocks = Clock(), Clock()
    first.services.register(Clock, clocks[0])
    second.services.register(Clock, clocks[1])
    assert first.inject(method)["clock"] is clocks[0]
    assert second.inject(method)["clock"] is clocks[1]
    assert third.inject(method) == {}
    assert first.validate(first.resolve("timed"), {"a": 1}) == {"a": 1}
    with pytest.raises(ParameterError, match="clock: missing"):
        third.validate(third.resolve("timed"), {"a": 1})


# --- showing ---------------------------------------------------------------------------------------


def test_the_frame_has_a_row_per_tool_and_method(registry: Registry) -> None:
    """Tools first, each sorted by name, text in every column; the parent's rows are there too."""
    child = Registry(registry)
    frame = child.frame()
    assert frame.columns.tolist() == ["kind", "name", "category", "domain", "parameters", "result", "origin"]
    assert frame[["kind", "name"]].to_numpy().tolist() == [
        ["tool", "Create"],
        ["method", "close"],
        ["method", "create"],
    ]
    row = frame.iloc[0]
    assert (row.category, row.parameters, row.result) == ("cases", "title: str", "dict[str, str]")
    assert all(isinstance(dtype, pd.StringDtype) for dtype in frame.dtypes)


def test_an_empty_registry_has_an_empty_frame() -> None:
    """Without entries the columns are the same."""
    frame = Registry().frame()
    assert len(frame) == 0
    assert "origin" in frame.columns


def test_search_covers_tools_and_methods(registry: Registry) -> None:
    """A method that a tool of its own name hides is left out."""
    assert [found.name for found in registry.search("create")] == ["Create", "create"]
    registry.tools.register_tool("close", "close")
    assert [found.name for found in registry.search("close")] == ["close"]
    assert len(registry.search("title")) == 3


def test_the_plain_text_lists_what_there_is(registry: Registry) -> None:
    """Signatures of tools and methods; a long registry is cut."""
    text = repr(registry)
    assert text.splitlines() == [
        "Registry with 1 tool, 2 methods, 0 services",
        "  tool Create(title: str)",
        "  method close(title: str) -> None",
        "  method casefile.create(title: str) -> dict[str, str]",
    ]
    assert registry._repr_mimebundle_()["text/plain"].startswith(text)
    for number in range(30):
        registry.methods.register_method(create, name=f"method_{number}")
    assert "… and 12 more" in repr(registry)
