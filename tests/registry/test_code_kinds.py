"""The code of every kind of callable: what of it counts, and that it is the same everywhere."""

from __future__ import annotations

import functools
import importlib
import math
import operator
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pydantic import BaseModel, ConfigDict

from orchkit.errors import RegistrationError
from orchkit.registry import MethodDefinition, Registry, code_of


class Tier(Enum):
    """How important somebody is."""

    VIP = "vip"
    PLAIN = "plain"


@dataclass(frozen=True)
class Settings:
    """They cannot change."""

    rate: int = 2
    tiers: tuple[Tier, ...] = (Tier.VIP,)

    def price(self, cents: int) -> int:
        return cents * self.rate


class Limits(BaseModel):
    """Nor can these."""

    model_config = ConfigDict(frozen=True)
    most: int = 3


@dataclass
class Counter:
    """This can."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def price(self, cents: int) -> int:
        self.count += 1
        return cents * self.count

    def __call__(self, cents: int) -> int:
        return self.price(cents)


class Louder(Counter):
    """It inherits what is called."""


class Holder:
    """It holds a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def apply(self, x: int) -> Any:
        return self.function(x)

    __call__ = apply


class Shop:
    """A class with all kinds of methods."""

    rate = 2

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def price(self, cents: int) -> int:
        return self.__hidden(cents)

    def __hidden(self, cents: int) -> int:
        return cents * self.factor * super().__sizeof__()

    @classmethod
    def opened(cls, year: int) -> int:
        return year

    @staticmethod
    def tax(cents: int) -> int:
        return cents // 5

    @property
    def size(self) -> int:
        return 1

    @size.setter
    def size(self, size: int) -> None:
        self.factor = size

    @functools.cached_property
    def once(self) -> int:
        return 2


def traced(times: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        calls = 0

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            return [function(*args, **kwargs) for _ in range(times)][-1]

        return inner

    return wrap


def plain(x: int, y: int = 1) -> int:
    """It adds."""
    return x + y


async def waiting(x: int) -> int:
    """It waits."""
    return x


def reading(value: Any) -> Callable[..., Any]:
    """A function that reads a free variable."""

    def work(x: int) -> Any:
        return value

    return work


def counting(start: int) -> Callable[..., Any]:
    """A function that keeps count in a free variable."""
    count = start

    def work(x: int) -> int:
        def step() -> None:
            nonlocal count
            count += 1

        step()
        return count

    return work


ADD, TAKE = lambda x, y=2: x + y, lambda x, y=2: x - y
NESTED = lambda x: lambda y: x + y  # noqa: E731 - a lambda is what is looked at

KINDS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "function": (lambda: plain, "def plain("),
    "async function": (lambda: waiting, "async def waiting("),
    "closure": (lambda: reading(3), "def work("),
    "lambda": (lambda: ADD, "lambda x, y=2: x + y"),
    "second lambda of a line": (lambda: TAKE, "lambda x, y=2: x - y"),
    "lambda around a lambda": (lambda: NESTED, "lambda x: lambda y: x + y"),
    "lambda in a lambda": (lambda: NESTED(1), "lambda y: x + y"),
    "wrapped": (lambda: traced(2)(plain), "def plain("),
    "wrapped twice": (lambda: traced(2)(traced(3)(plain)), "def plain("),
    "cached": (lambda: functools.lru_cache(plain), "def plain("),
    "partial": (lambda: functools.partial(plain, y=3), "def plain("),
    "partial of a partial": (lambda: functools.partial(functools.partial(plain, y=3), x=1), "def plain("),
    "bound method": (lambda: Shop().price, "def price("),
    "class method": (lambda: Shop.opened, "@classmethod\ndef opened("),
    "static method": (lambda: Shop.tax, "@staticmethod\ndef tax("),
    "class": (lambda: Shop, "class Shop:"),
    "dataclass": (lambda: Settings, "@dataclass(frozen=True)\nclass Settings:"),
    "model": (lambda: Limits, "class Limits(BaseModel):"),
    "instance": (Counter, "@dataclass\nclass Counter:"),
    "instance of a subclass": (Louder, "class Louder(Counter):"),
    "builtin": (lambda: math.sqrt, None),
    "builtin class": (lambda: dict, None),
    "builtin instance": (lambda: operator.itemgetter(1), None),
    "made by exec": (lambda: executed("lambda x: x in {'a', 'b', 'c'}"), None),
}


def executed(text: str) -> Any:
    """What an expression gives, compiled without leaving its source."""
    return eval(text, {"__name__": "made_up"})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_callable_has_a_code(kind: str) -> None:
    """A hash, always the same, and the source where there is one; no two kinds have the same."""
    make, begins = KINDS[kind]
    code = code_of(make())
    assert code == code_of(make())
    assert len(code.hash) == 64
    assert code.version is None
    assert (code.source or "").startswith(begins or "")
    assert (code.source is None) is (begins is None)
    same = [other for other, (each, _) in KINDS.items() if code_of(each()).hash == code.hash]
    assert same == [kind]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functools.partial(plain, y=3), functools.partial(plain, y=4)),
        (functools.partial(plain, 3), functools.partial(plain, y=3)),
        (
            functools.partial(plain, y={"a": object(), "b": 1}),
            functools.partial(plain, y={"a": object(), "b": 2}),
        ),
        (functools.partial(plain, y=math.sin), functools.partial(plain, y=math.cos)),
        (functools.partial(plain, y=Settings(2)), functools.partial(plain, y=Settings(3))),
        (traced(2)(plain), traced(3)(plain)),
        (traced(2)(plain), plain),
        (functools.cache(plain), plain),
        (Settings(2).price, Settings(3).price),
        (Settings(2).price, Counter().price),
        (Louder(), Counter()),
        (Holder(math.sin), Holder(math.cos)),
        (Holder(plain).apply, Holder(waiting).apply),
        (mock.Mock(spec=plain), plain),
        (reading(Settings(2)), reading(Settings(3))),
        (reading(Limits(most=1)), reading(Limits(most=2))),
        (reading(Tier.VIP), reading(Tier.PLAIN)),
        (reading(Decimal("1.0")), reading(Decimal("1.00"))),
        (reading([1, 2]), reading((1, 2))),
        (reading(plain), reading(waiting)),
        (math.sin, math.cos),
        (executed("lambda x: x"), executed("lambda x: -x")),
        (executed("lambda x, y=1: x"), executed("lambda x, y=2: x")),
    ],
)
def test_what_belongs_to_a_callable_counts(one: Any, other: Any) -> None:
    """Frozen arguments, wrappers, owners that cannot change, free variables."""
    assert code_of(one).hash != code_of(other).hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functools.partial(plain, x=1, y=2), functools.partial(plain, y=2, x=1)),
        (functools.partial(plain, y=object()), functools.partial(plain, y=object())),
        (Counter(1).price, Counter(2).price),
        (Counter(1), Counter(2)),
        (Shop(1).price, Shop(2).price),
        (reading(Counter(1)), reading(Counter(2))),
        (reading(object()), reading(object())),
        (counting(1), counting(2)),
        (reading({"a": [1]}), reading({"a": [1]})),
    ],
)
def test_what_may_change_while_it_runs_does_not_count(one: Any, other: Any) -> None:
    """The state of objects, variables that the function assigns, the order of keywords."""
    assert code_of(one).hash == code_of(other).hash


def test_a_value_that_contains_itself_counts_by_its_type() -> None:
    """It ends, and is the same every time."""

    def circle(first: int) -> list[Any]:
        found: list[Any] = [first]
        found.append(found)
        return found

    codes = [code_of(functools.partial(plain, y=circle(first))).hash for first in (1, 1, 2)]
    assert codes[0] == codes[1] != codes[2]


def test_calling_a_function_does_not_change_its_code() -> None:
    """A wrapper that counts its calls keeps its hash."""
    wrapped = traced(2)(plain)
    before = code_of(wrapped)
    assert wrapped(1, 2) == 3
    assert code_of(wrapped) == before


def test_the_version_is_part_of_the_hash() -> None:
    """Pinning another version says that the code is another, although the source is the same."""
    hashes = {code_of(plain, version=version).hash for version in (None, "1", "2", "")}
    assert len(hashes) == 4
    assert code_of(plain, version="2").version == "2"


# --- definitions -------------------------------------------------------------------------------


@pytest.fixture
def lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MethodDefinition]:
    """A method that is imported at first use."""
    (tmp_path / "lazy_module.py").write_text("def work(x: int) -> int:\n    return x\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry().methods.register_method("lazy_module:work", version="1")
    sys.modules.pop("lazy_module", None)


def test_asking_a_lazy_method_for_its_code_imports_it(lazy: MethodDefinition) -> None:
    """As asking for its parameters does; its place is the target that was named."""
    assert not lazy.loaded
    code = lazy.code
    assert lazy.loaded
    assert code.source == "def work(x: int) -> int:\n    return x"
    assert code.place == "the target 'lazy_module:work'"
    assert code.hash == code_of(importlib.import_module("lazy_module").work, version="1").hash


def test_a_lazy_method_that_cannot_be_imported_says_so() -> None:
    """The error names the target."""
    with pytest.raises(RegistrationError, match="no_such_module_at_all:work"):
        _ = Registry().methods.register_method("no_such_module_at_all:work").code


def test_registering_anew_reads_the_code_anew() -> None:
    """A definition keeps its code; the definition that replaces it has its own."""
    registry = Registry()
    first = registry.methods.register_method(plain, name="work", version="1")
    assert first.code is first.code
    second = registry.methods.register_method(plain, name="work", version="2")
    assert second.code.hash != first.code.hash
