"""Registering methods, finding them again, and refusing what cannot be one."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchkit.errors import RegistrationError, UnknownNameError
from orchkit.registry import MethodRegistry, Registry, registration


def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    The second paragraph is not part of the description.
    """
    return a + b


async def fetch(url: str) -> bytes:
    """Fetch it."""
    return url.encode()


class Shop:
    """A shop with methods to register."""

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def price(self, cents: int) -> int:
        return cents * self.factor

    @classmethod
    def opened(cls, year: int) -> int:
        return year

    @staticmethod
    def tax(cents: int) -> int:
        return cents // 5

    async def __call__(self, item: str) -> str:
        return item


class Quiet:
    """A callable that is falsy, as an empty collection is."""

    def __len__(self) -> int:
        return 0

    def __call__(self, x: int) -> int:
        return x


def cell(source: str) -> dict[str, Any]:
    """Run source as a notebook cell does: in a module called ``__main__``."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell>", "exec"), scope)
    return scope


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """``write_module("name", source)`` makes a module importable for the length of the test."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_a_function_registers_under_its_name_with_what_it_says_of_itself() -> None:
    """Name, target, description, parameters, result and origin come from the function."""
    method = MethodRegistry().register_method(add, domain="math", version="2")
    assert (method.name, method.operation, method.version) == ("add", "math.add", "2")
    assert method.target == f"{__name__}:add"
    assert method.description == "Add two numbers."
    assert [str(parameter) for parameter in method.parameters] == ["a: int", "b: int = 1"]
    assert method.result_type is int
    assert method.function is add
    assert __name__ in method.origin
    assert "test_registry_methods.py:" in method.origin
    assert "add(a: int, b: int = 1)" in repr(method)


@pytest.mark.parametrize(
    ("name", "domain", "operation"),
    [
        ("create", "casefile", "casefile.create"),
        ("casefile.create", "casefile", "casefile.create"),
        ("casefiles_list", "casefile", "casefile.casefiles_list"),
        ("create", None, "create"),
    ],
)
def test_the_operation_name_has_the_domain_once(name: str, domain: str | None, operation: str) -> None:
    """The operation is domain, dot, name, unless the name starts with the domain and a dot already."""
    registry = MethodRegistry()
    method = registry.register_method(add, name=name, domain=domain)
    assert method.operation == operation
    assert registry.get_method(operation) is method
    assert operation in registry


@pytest.mark.parametrize(
    ("function", "name", "is_async", "parameters", "result"),
    [
        (add, "add", False, ["a: int", "b: int = 1"], 3),
        (functools.partial(add, 1), "plus", False, ["b: int = 1"], None),
        (functools.partial(add, b=5), "plus", False, ["a: int", "b: int = 5"], None),
        (Shop().price, "price", False, ["cents: int"], None),
        (Shop.opened, "opened", False, ["year: int"], None),
        (Shop.tax, "tax", False, ["cents: int"], None),
        (Shop(), "shop", True, ["item: str"], None),
        (functools.partial(Shop(), "tea"), "tea", True, [], None),
        (functools.partial(fetch, "u"), "fetch_u", True, [], None),
        (fetch, "fetch", True, ["url: str"], None),
        (Shop, "Shop", False, ["factor: int = 2"], None),
        (functools.lru_cache(add), "cached", False, ["a: int", "b: int = 1"], None),
        (Quiet(), "quiet", False, ["x: int"], None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_everything_callable_can_be_a_method(
    function: Callable[..., Any], name: str, is_async: bool, parameters: list[str], result: Any
) -> None:
    """Partials, bound methods, classes and callable instances register; async is seen through all of them."""
    method = MethodRegistry().register_method(function, name=name)
    assert method.is_async is is_async
    assert [str(parameter) for parameter in method.parameters] == parameters
    assert method.function is function


def positional_only(a: int, /, b: int) -> int:
    """Cannot be given ``a``."""
    return a + b


def star_args(*numbers: int) -> int:
    """Cannot be given ``numbers``."""
    return sum(numbers)


def generator(n: int) -> Iterator[int]:
    """Gives its result bit by bit."""
    yield n


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (positional_only, "'a' is positional-only"),
        (star_args, r"\*numbers cannot be given by name"),
        (len, "positional-only"),
        (Shop.price, r"needs 'self'.*Shop\(\)"),
        (generator, "generator"),
        (5, "not callable"),
        (dict, "signature cannot be read"),
    ],
)
def test_what_cannot_be_called_by_name_is_refused(function: Any, message: str) -> None:
    """A function that cannot take its parameters by name is refused at registration, with the reason."""
    registry = MethodRegistry()
    with pytest.raises(RegistrationError, match=message):
        registry.register_method(function, name="x")
    assert len(registry) == 0


@pytest.mark.parametrize("function", [lambda x: x, functools.partial(add, 1), Shop()])
def test_what_has_no_name_asks_for_one(function: Callable[..., Any]) -> None:
    """A lambda, a partial or an instance has no name to register under: the error says to give one."""
    with pytest.raises(RegistrationError, match="give it one with name="):
        MethodRegistry().register_method(function)


@pytest.mark.parametrize("name", ["", " ", " add", "add\n"])
def test_names_are_not_blank(name: str) -> None:
    """A blank or padded name is refused: nobody would find it again."""
    with pytest.raises(RegistrationError, match="a name is"):
        MethodRegistry().register_method(add, name=name)


def test_an_unknown_executor_is_refused() -> None:
    """The executor is inline, threads or left to the engine."""
    with pytest.raises(RegistrationError, match="executor 'process'"):
        MethodRegistry().register_method(add, executor="process")  # type: ignore[arg-type]


# --- the same name again ---------------------------------------------------------------------------


def test_running_a_cell_again_replaces_the_method() -> None:
    """The same function from the same notebook replaces the old one silently, with its new parameters."""
    registry = MethodRegistry()
    registry.register_method(cell("def work(a: int): ...")["work"], domain="old")
    registry.register_method(cell("def work(b: str): ...")["work"])
    assert [p.name for p in registry.get_method("work").parameters] == ["b"]
    assert len(registry) == 1
    assert "old.work" not in registry


def test_the_same_name_from_elsewhere_is_an_error_that_names_both_places() -> None:
    """Two functions of different modules cannot share a name, and the first stays."""
    registry = MethodRegistry()
    first = registry.register_method(add)
    with pytest.raises(RegistrationError) as caught:
        registry.register_method(cell("def add(x): ...")["add"])
    assert first.origin in str(caught.value)
    assert "__main__ (<cell>:1)" in str(caught.value)
    assert registry.get_method("add") is first


def test_two_functions_of_one_module_cannot_share_a_name() -> None:
    """The same module is not enough: the function must be the same too."""
    registry = MethodRegistry()
    registry.register_method(add, name="work")
    with pytest.raises(RegistrationError, match="the name is taken"):
        registry.register_method(fetch, name="work")


def test_an_unregistered_name_is_free_again() -> None:
    """After `unregister` the name can come from anywhere, and the other names still work."""
    registry = MethodRegistry()
    registry.register_method(add, name="work", domain="d")
    other = registry.register_method(add, name="more", domain="d")
    registry.unregister("work")
    assert "work" not in registry
    assert registry.find_function(add) is other
    registry.register_method(fetch, name="work")
    with pytest.raises(UnknownNameError):
        registry.unregister("nothing")


# --- look-up -----------------------------------------------------------------------------------


def test_an_unknown_name_suggests_what_is_like_it() -> None:
    """UnknownNameError suggests close names and operation names, of the parent too."""
    parent = MethodRegistry()
    parent.register_method(add, name="create_casefile")
    child = MethodRegistry(parent)
    child.register_method(fetch, name="store", domain="casefile")
    with pytest.raises(UnknownNameError) as caught:
        child.get_method("create_casefil")
    assert caught.value.suggestions == ("create_casefile",)
    with pytest.raises(UnknownNameError) as caught:
        child.get_method("casefile.stor")
    assert "casefile.store" in caught.value.suggestions


def test_a_registry_falls_through_to_its_parent_and_can_hide_its_methods() -> None:
    """Names not found are looked up in the parent; an own method of the same name hides the parent's."""
    parent = MethodRegistry()
    parents = parent.register_method(add)
    parent.register_method(fetch)
    child = MethodRegistry(parent)
    assert child.get_method("add") is parents
    assert child.find_function(add) is parents
    own = child.register_method(cell("def add(x): ...")["add"])
    assert child.get_method("add") is own
    assert parent.get_method("add") is parents
    assert list(child) == ["add", "fetch"]
    assert (len(child), len(parent)) == (2, 2)


def test_an_own_name_wins_over_an_operation_name() -> None:
    """A method that is called like another's operation is the one that is found."""
    registry = MethodRegistry()
    registry.register_method(add, name="b", domain="a")
    exact = registry.register_method(fetch, name="a.b")
    assert registry.get_method("a.b") is exact


def test_list_methods_filters_by_domain() -> None:
    """`list_methods` gives all methods by name, or those of a domain."""
    registry = MethodRegistry()
    registry.register_method(fetch, domain="net")
    registry.register_method(add, domain="math")
    assert [m.name for m in registry.list_methods()] == ["add", "fetch"]
    assert [m.name for m in registry.list_methods(domain="net")] == ["fetch"]
    assert registry.list_methods(domain="none") == []


# --- lazy methods --------------------------------------------------------------------------------


def test_a_lazy_method_is_imported_at_first_use(write_module: Callable[[str, str], None]) -> None:
    """Registering, listing and searching a target does not import it; its parameters do."""
    write_module("lazy_one", "def work(a: int) -> str:\n    'Does the work.'\n    return str(a)\n")
    registry = MethodRegistry()
    method = registry.register_method("lazy_one:work", domain="d")
    assert registry.list_methods(domain="d") == [method]
    assert registry.search("work") == [method]
    assert "not imported yet" in repr(method)
    assert "lazy_one" not in sys.modules
    assert [str(p) for p in method.parameters] == ["a: int"]
    assert method.function(3) == "3"
    assert method.description == "Does the work."
    assert registry.find_function(method.function) is method


def test_is_async_alone_loads_a_lazy_method(write_module: Callable[[str, str], None]) -> None:
    """Asking whether a lazy method is async imports it."""
    write_module("lazy_async", "async def work(a: int) -> str: ...")
    assert MethodRegistry().register_method("lazy_async:work").is_async


def test_a_target_is_registered_at_its_first_look_up(write_module: Callable[[str, str], None]) -> None:
    """`get_method` takes ``package.module:function`` and registers it once."""
    write_module("lazy_two", "class Box:\n    @staticmethod\n    def work(a: int) -> str: ...\n")
    registry = MethodRegistry()
    assert "lazy_two:Box.work" not in registry
    method = registry.get_method("lazy_two:Box.work")
    assert method is registry.get_method("lazy_two:Box.work")
    assert method.name == "lazy_two:Box.work"
    assert len(registry) == 1


def test_a_target_that_is_registered_already_is_found_with_its_options() -> None:
    """A target finds the method that its own module registered, in the parent too."""
    parent = MethodRegistry()
    method = parent.register_method(add, name="sum", version="2")
    child = MethodRegistry(parent)
    assert child.get_method(f"{__name__}:add") is method
    assert len(child) == 1


def test_a_target_whose_import_registers_it_is_not_registered_twice(
    write_module: Callable[[str, str], None],
) -> None:
    """When importing the module runs a decorator, its registration is the one that counts."""
    source = (
        "from orchkit.registry import register_method\nimport orchkit.registry.registration as r\n"
        "def wrap(function):\n    return lambda: None\n"
        "@register_method('better', version='2', registry=r.test_registry)\ndef work(a: int): ...\n"
    )
    registry = Registry()
    registration.test_registry = registry  # type: ignore[attr-defined]
    try:
        write_module("lazy_three", source)
        method = registry.methods.get_method("lazy_three:work")
    finally:
        del registration.test_registry  # type: ignore[attr-defined]
    assert (method.name, method.version) == ("better", "2")
    assert list(registry.methods) == ["better"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module_at_all:work", "'no_such_module_at_all:work' failed: ModuleNotFoundError"),
        ("lazy_bad:wrok", "has no 'wrok'; did you mean 'work'"),
        ("lazy_bad:VALUE", "not callable but int"),
        ("lazy_broken:work", "ZeroDivisionError"),
    ],
)
def test_a_target_that_cannot_be_imported_is_named(
    write_module: Callable[[str, str], None], target: str, message: str
) -> None:
    """The error names the target and the cause; nothing is left registered."""
    write_module("lazy_bad", "VALUE = 5\ndef work(): ...\n")
    write_module("lazy_broken", "1 / 0\n")
    registry = MethodRegistry()
    with pytest.raises(RegistrationError, match=message):
        registry.get_method(target)
    assert len(registry) == 0
    lazy = registry.register_method(target, name="later")
    with pytest.raises(RegistrationError, match=message):
        _ = lazy.function


@pytest.mark.parametrize("text", ["no colon", "a:b:c", "a b:c", ":f", "m:"])
def test_text_that_is_no_target_is_refused(text: str) -> None:
    """Only ``package.module:function`` can be registered as text."""
    with pytest.raises(RegistrationError, match=r"package\.module:function"):
        MethodRegistry().register_method(text, name="x")


# --- search --------------------------------------------------------------------------------------


def test_search_ranks_names_over_domains_over_parameters_over_descriptions() -> None:
    """Every word must be found; where it is found decides the order."""
    registry = MethodRegistry()
    registry.register_method(add, name="order")
    registry.register_method(add, name="create_order")
    registry.register_method(add, name="reorder")
    registry.register_method(add, name="pay", domain="order")
    registry.register_method(cell("def ship(order): ...")["ship"])
    registry.register_method(add, name="notify", description="Tells about an order")
    registry.register_method(add, name="other")
    found = [m.name for m in registry.search("Order")]
    assert found == ["order", "create_order", "reorder", "pay", "ship", "notify"]
    assert [m.name for m in registry.search("create order")] == ["create_order"]
    assert [m.name for m in registry.search("creat_ordr")] == []
    assert [m.name for m in registry.search("notifi")] == ["notify"]
    assert len(registry.search("")) == len(registry)
    assert registry.search("zzz") == []
