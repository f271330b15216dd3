"""Following a path such as ``orders[0].price`` through annotated types."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field

from orchkit.registry import NO_FIELD, UNKNOWN, field_type
from orchkit.registry.typeforms import members

T = TypeVar("T")


class Item(BaseModel):
    price: Annotated[float, Field(gt=0)]
    tags: list[str] = []

    @property
    def doubled(self) -> float:
        return self.price * 2

    @computed_field  # type: ignore[prop-decorator]
    @property
    def net(self) -> int:
        return int(self.price)


class Order(BaseModel):
    items: list[Item]
    first: Item | None = None
    notes: dict[str, str] = {}
    either: Item | Point | None = None
    anything: Any = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Page(BaseModel, Generic[T]):
    rows: list[T]


class Names(RootModel[list[str]]):
    pass


@dataclass
class Point:
    x: int
    y: Point | None = None
    late: str = field(init=False, default="")

    @property
    def length(self) -> float:
        return float(self.x)

    @property
    def untyped(self):  # type: ignore[no-untyped-def]
        return self.x

    def method(self) -> int:
        return 1


@dataclass
class Dynamic:
    x: int

    def __getattr__(self, name: str) -> Any: ...


@dataclass
class Unresolvable:
    x: Missing  # type: ignore[name-defined] # noqa: F821


class Row(TypedDict):
    id: int
    name: NotRequired[str]


class Pair(NamedTuple):
    a: int
    b: list[str]


class Plain:
    known: int


class Colour(Enum):
    RED = "red"


Key = NewType("Key", str)


@pytest.mark.parametrize(
    ("type_", "path", "expected"),
    [
        # nothing to follow
        (int, (), int),
        (Any, (), UNKNOWN),
        (T, (), UNKNOWN),
        # models
        (Order, ("items",), list[Item]),
        (Order, ("items", 0), Item),
        (Order, ("items", 0, "price"), float),
        (Order, ("items", -1, "tags", 3), str),
        (Order, ("first", "price"), float),
        (Order, ("notes", "any"), str),
        (Order, ("anything", "x", 0), UNKNOWN),
        (Order, ("itmes",), NO_FIELD),
        (Order, (0,), NO_FIELD),
        (Order, ("items", "price"), NO_FIELD),
        (Order, ("items", 0, "prize"), NO_FIELD),
        (Order, ("items", 0, "price", "cents"), NO_FIELD),
        (Order, ("items", 0, "price", 0), NO_FIELD),
        (Item, ("net",), int),
        (Item, ("doubled",), float),
        (Item, ("model_dump",), UNKNOWN),
        (Open, ("x",), int),
        (Open, ("y",), UNKNOWN),
        (Page[int], ("rows", 0), int),
        (Page, ("rows", 0), UNKNOWN),
        (Names, ("root", 0), str),
        # unions
        (Order, ("either", "x"), int),
        (Order, ("either", "price"), float),
        (Order, ("either", "z"), NO_FIELD),
        (Union[Item, dict], ("price",), UNKNOWN),  # noqa: UP007
        (Optional[Item], ("price",), float),  # noqa: UP045
        (list[Item] | tuple[Point, ...], (0,), Item | Point),
        (None, ("x",), NO_FIELD),
        (type(None), ("x",), NO_FIELD),
        # dataclasses
        (Point, ("x",), int),
        (Point, ("y", "y", "x"), int),
        (Point, ("late",), str),
        (Point, ("length",), float),
        (Point, ("untyped",), UNKNOWN),
        (Point, ("method",), UNKNOWN),
        (Point, ("z",), NO_FIELD),
        (Point, (0,), NO_FIELD),
        (Dynamic, ("anything",), UNKNOWN),
        (Unresolvable, ("x",), UNKNOWN),
        # typed dicts and named tuples
        (Row, ("id",), int),
        (Row, ("name",), str),
        (Row, ("nmae",), NO_FIELD),
        (Row, (0,), NO_FIELD),
        (Pair, ("a",), int),
        (Pair, (1,), list[str]),
        (Pair, (-1, 0), str),
        (Pair, (2,), NO_FIELD),
        (Pair, ("c",), NO_FIELD),
        (Pair, ("count",), UNKNOWN),
        # mappings
        (dict[str, int], ("x",), int),
        (dict[int, str], (5,), str),
        (dict[str, int], (0,), UNKNOWN),
        (dict[Key, int], ("x",), int),
        (dict[Any, int], ("x",), int),
        (Mapping[str, Item], ("x", "price"), float),
        (dict, ("x",), UNKNOWN),
        (dict[str, Any], ("x", "y", 0), UNKNOWN),
        # lists, tuples and sets
        (list[int], (5,), int),
        (list, (0,), UNKNOWN),
        (list[int], ("x",), NO_FIELD),
        (list, ("x",), NO_FIELD),
        (list[int], ("append",), UNKNOWN),
        (Sequence[Item], (0, "price"), float),
        (deque[int], (0,), int),
        (tuple[int, str], (1,), str),
        (tuple[int, str], (-2,), int),
        (tuple[int, str], (2,), NO_FIELD),
        (tuple[int, ...], (99,), int),
        (tuple, (0,), UNKNOWN),
        (tuple[()], (0,), NO_FIELD),
        (tuple[int, str], ("x",), NO_FIELD),
        (set[int], (0,), NO_FIELD),
        (AbstractSet[int], ("x",), NO_FIELD),
        # scalars and others
        (int, ("x",), NO_FIELD),
        (int, ("real",), UNKNOWN),
        (int, (0,), NO_FIELD),
        (bool, ("x",), NO_FIELD),
        (str, (0,), UNKNOWN),
        (datetime, ("year",), UNKNOWN),
        (Colour, ("value",), UNKNOWN),
        (Literal["a", 1], ("nothing",), UNKNOWN),
        (Literal[1, 2], ("nothing",), NO_FIELD),
        (Plain, ("known",), int),
        (Plain, ("set_in_init",), UNKNOWN),
        (Iterable[int], (0,), UNKNOWN),
        (Callable[..., int], ("x",), UNKNOWN),
        (type[int], ("x",), UNKNOWN),
        ("NotResolved", ("x",), UNKNOWN),
        (Annotated[Point, "doc"], ("x",), int),
    ],
    ids=str,
)
def test_a_path_leads_to_a_type(type_: Any, path: tuple[str | int, ...], expected: Any) -> None:
    """The type at the end, UNKNOWN where annotations do not tell, NO_FIELD where there certainly is none."""
    found = field_type(type_, path)
    assert found == expected
    assert (found is UNKNOWN, found is NO_FIELD) == (expected is UNKNOWN, expected is NO_FIELD)


# --- properties ------------------------------------------------------------------------------------

_Case = tuple[Any, Any, tuple[str | int, ...], Any]
"""A type, a value of it, a path into the value, the type of what is there."""

_leaf: st.SearchStrategy[_Case] = st.sampled_from(
    [
        (int, 1, (), int),
        (str, "a", (), str),
        (Point, Point(1), ("x",), int),
        (Item, Item(price=1.0), ("price",), float),
        (Item, Item(price=1.0), ("net",), int),
        (Pair, Pair(1, ["b"]), (1, 0), str),
        (Row, {"id": 1}, ("id",), int),
    ]
)
_case: st.SearchStrategy[_Case] = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        inner.map(lambda c: (list[c[0]], [c[1]], (0, *c[2]), c[3])),
        inner.map(lambda c: (dict[str, c[0]], {"k": c[1]}, ("k", *c[2]), c[3])),
        inner.map(lambda c: (tuple[int, c[0]], (0, c[1]), (1, *c[2]), c[3])),
        inner.map(lambda c: (Optional[c[0]], c[1], c[2], c[3])),  # noqa: UP045
        inner.map(lambda c: (Annotated[c[0], "doc"], c[1], c[2], c[3])),
    ),
    max_leaves=6,
)


def _follow(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        value = getattr(value, part) if isinstance(part, str) and hasattr(value, part) else value[part]
    return value


@given(_case)
def test_the_type_is_that_of_the_value_at_the_end(case: _Case) -> None:
    """Whatever the nesting, the type found is the type of the value that the path leads to."""
    type_, value, path, expected = case
    found = field_type(type_, path)
    assert set(members(Optional[found])) == set(members(Optional[expected]))  # noqa: UP045
    assert isinstance(_follow(value, path), expected)


@given(
    st.sampled_from(
        [Order, Point, Row, Pair, Page[int], dict[str, list[Order]], list[Any], Any, Plain, "x", 5]
    ),
    st.lists(st.integers(-2, 2) | st.sampled_from(["x", "items", "first", "either", "rows", "__class__"])),
)
def test_any_path_gives_an_answer(type_: Any, path: list[str | int]) -> None:
    """No path raises; once there is no field, nothing further brings one back."""
    found = field_type(type_, path)
    if found is NO_FIELD:
        assert field_type(type_, [*path, "more"]) is NO_FIELD
