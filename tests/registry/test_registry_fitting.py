"""Whether a value of one type can fit a parameter of another: a table, and pydantic itself as the judge."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from orchkit.registry import UNKNOWN, compatible

T = TypeVar("T")
UserId = NewType("UserId", int)


class Model(BaseModel):
    x: int


class SubModel(Model):
    y: int = 0


class Other(BaseModel):
    z: str


class FromAttributes(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    x: int


class FromAnything(BaseModel):
    x: int

    @model_validator(mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return {"x": int(value)}


class Page(BaseModel, Generic[T]):
    rows: list[T]


class Numbers(RootModel[list[int]]):
    pass


@dataclass
class Point:
    x: int


class Fields(TypedDict):
    x: int


class Pair(NamedTuple):
    a: int
    b: str


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    HI = "hi"


class Plain:
    pass


class SubPlain(Plain):
    pass


class Unrelated:
    pass


class Reads(Protocol):
    def read(self) -> str: ...


FITS: list[tuple[Any, Any]] = [
    (Any, int),
    (int, Any),
    (object, int),
    (int, object),
    (UNKNOWN, int),
    (T, int),
    (int, T),
    (int, int),
    (int, float),
    (float, int),
    (bool, int),
    (int, bool),
    (Decimal, float),
    (str, str),
    (bytes, str),
    (str, bytes),
    (str, datetime),
    (date, datetime),
    (datetime, date),
    (int, timedelta),
    (str, Decimal),
    (str, UUID),
    (str, Path),
    (Path, Path),
    (UserId, int),
    (int, UserId),
    (Annotated[int, Field(gt=0)], float),
    (int, Annotated[float, "doc"]),
    (Optional[int], int),  # noqa: UP045
    (int, int | None),
    (int | str, int),
    (str, Union[int, str]),  # noqa: UP007
    (str | None, str | None),
    (None, int | None),
    (None, None),
    (Literal["a"], str),
    (str, Literal["a", "b"]),
    (Literal["a", "b"], Literal["b", "c"]),
    (Literal[1], float),
    (str, Colour),
    (Colour, str),
    (Level, int),
    (int, Level),
    (Word, str),
    (Colour, Colour),
    (list[int], list[int]),
    (list[int], list[float]),
    (list[int], list),
    (list, list[int]),
    (list[Any], list[int]),
    (list[int], tuple[int, ...]),
    (list[int], set[int]),
    (set[int], list[int]),
    (tuple[int, str], tuple[int, str]),
    (tuple[int, str], list[int]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, int], tuple[float, ...]),
    (deque[int], list[int]),
    (list[int], Sequence[int]),
    (list[int], Iterable[int]),
    (str, Iterable[str]),
    (Generator[int, None, None], list[int]),
    (frozenset[int], AbstractSet[int]),
    (dict[str, int], dict[str, float]),
    (dict[str, int], Mapping[str, int]),
    (dict, dict[str, int]),
    (dict[str, Any], Model),
    (dict, Model),
    (Fields, Model),
    (Fields, dict[str, int]),
    (Fields, Fields),
    (dict[str, int], Fields),
    (dict[str, int], Point),
    (SubModel, Model),
    (Model, SubModel),
    (Model, FromAttributes),
    (int, FromAnything),
    (list[int], Numbers),
    (Model, list[tuple[str, Any]]),
    (Page[int], Page[int]),
    (Page[int], Page[float]),
    (Page, Page[int]),
    (Pair, tuple[int, str]),
    (Pair, list[Any]),
    (list[Any], Pair),
    (Plain, Plain),
    (SubPlain, Plain),
    (Plain, SubPlain),
    (Plain, Reads),
    (Reads, Plain),
    (str, SecretStr),
    (dict[str, int], JsonValue),
    (JsonValue, JsonValue),
    (JsonValue, int),
    (Plain, int),
    (Callable[[int], int], Callable[..., Any]),
    (type[int], type),
    ("NotResolved", int),
    (list["NotResolved"], list[int]),  # type: ignore[name-defined] # noqa: F821
]

DOES_NOT_FIT: list[tuple[Any, Any]] = [
    (str, int),
    (str, float),
    (str, bool),
    (str, int | None),
    (bytes, int),
    (int, str),
    (float, str),
    (datetime, str),
    (datetime, time),
    (timedelta, int),
    (str, list[int]),
    (str, list[str]),
    (str, Sequence[str]),
    (int, list[int]),
    (int, dict[str, int]),
    (int, UUID | list[int] | str),
    (None, int),
    (None, str),
    (int, None),
    (list[int], int),
    (list[int], str),
    (list[str], list[int]),
    (list[str], set[int]),
    (list[list[str]], list[list[int]]),
    (list[int], list[str] | None),
    (dict[str, int], list[int]),
    (list[int], dict[str, int]),
    (dict[str, str], dict[str, int]),
    (dict[int, int], dict[str, int]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, int], tuple[int, int, int]),
    (int | None, str | None),
    (int | float, str | list[int]),
    (Literal["a"], int),
    (Literal["a"], Literal["b"]),
    (int, Literal["a"]),
    (int, Colour),
    (Level, list[int]),
    (Colour, int),
    (Model, Other),
    (Model, dict[str, Any]),
    (Model, list[int]),
    (Model, str),
    (Model, int),
    (Model, Point),
    (int, Model),
    (str, Model),
    (list[dict[str, Any]], Model),
    (dict[int, Any], Model),
    (dict[str, Any], list[Model]),
    (list[str], Numbers),
    (Point, dict[str, int]),
    (Point, Model),
    (int, Point),
    (Fields, list[int]),
    (int, Fields),
    (int, Pair),
    (Plain, Unrelated),
    (Plain, str),
    (int, Plain),
    (dict[str, Any], Plain),
    (Model, Plain),
    (Annotated[str, "doc"], Annotated[int, "doc"]),
    (UserId, str),
]


@pytest.mark.parametrize(("source", "target"), FITS, ids=str)
def test_what_may_fit(source: Any, target: Any) -> None:
    """Types of which some value fits, and all about which nothing certain can be said."""
    assert compatible(source, target)


@pytest.mark.parametrize(("source", "target"), DOES_NOT_FIT, ids=str)
def test_what_cannot_fit(source: Any, target: Any) -> None:
    """Types that are certainly a mistake to connect."""
    assert not compatible(source, target)


# --- pydantic is the judge -------------------------------------------------------------------------

# Without plain enums: pydantic takes them for an int, whatever their values, and hands out text.
_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-5, 5),
    float: st.floats(-5, 5),
    bool: st.booleans(),
    str: st.sampled_from(["", "a", "red", "2020-01-01"]),
    bytes: st.sampled_from([b"a"]),
    Decimal: st.decimals(-5, 5, places=1),
    datetime: st.datetimes(datetime(2020, 1, 1), datetime(2021, 1, 1)),  # noqa: DTZ001
    date: st.dates(date(2020, 1, 1), date(2021, 1, 1)),
    timedelta: st.timedeltas(timedelta(0), timedelta(1)),
    type(None): st.none(),
    Level: st.sampled_from(Level),
    Word: st.sampled_from(Word),
    Literal["a"]: st.just("a"),
    Model: st.builds(Model, x=st.integers()),
    SubModel: st.builds(SubModel, x=st.integers()),
    Other: st.builds(Other, z=st.text()),
    Numbers: st.just(Numbers([1])),
    Point: st.builds(Point, st.integers()),
    Pair: st.just(Pair(1, "a")),
    Plain: st.builds(Plain),
    SubPlain: st.builds(SubPlain),
    Unrelated: st.builds(Unrelated),
    Page[int]: st.just(Page[int](rows=[1])),
    Page[float]: st.just(Page[float](rows=[1.5])),
    Page[str]: st.just(Page[str](rows=["a"])),
}
Typed = tuple[Any, st.SearchStrategy[Any]]


def _containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Containers that are never empty, since an empty one fits nearly everywhere."""
    return st.one_of(
        inner.map(lambda t: (list[t[0]], st.lists(t[1], min_size=1, max_size=2))),
        inner.map(lambda t: (tuple[t[0], ...], st.lists(t[1], min_size=1, max_size=2).map(tuple))),
        inner.map(lambda t: (Sequence[t[0]], st.lists(t[1], min_size=1, max_size=2))),
        inner.map(lambda t: (dict[str, t[0]], st.dictionaries(st.just("x"), t[1], min_size=1))),
        inner.map(lambda t: (Mapping[str, t[0]], st.dictionaries(st.just("x"), t[1], min_size=1))),
        st.tuples(inner, inner).map(lambda p: (tuple[p[0][0], p[1][0]], st.tuples(p[0][1], p[1][1]))),
    )


_TYPED: st.SearchStrategy[Typed] = st.recursive(
    st.sampled_from(list(_LEAVES.items())), _containers, max_leaves=4
)
_UNIONS = st.lists(_TYPED.map(lambda t: t[0]), min_size=1, max_size=3).map(lambda types: Union[tuple(types)])  # noqa: UP007


@given(_TYPED, _UNIONS, st.data())
def test_false_is_never_said_of_a_value_that_pydantic_takes(
    source: Typed, target: Any, data: st.DataObject
) -> None:
    """When a (non-empty) value passes pydantic's lax mode, its type is compatible."""
    value = data.draw(source[1])
    judge: TypeAdapter[Any] = TypeAdapter(list[target], config=ConfigDict(arbitrary_types_allowed=True))
    try:
        judge.validate_python([value])
    except ValidationError:
        return
    assert compatible(source[0], target), value


@given(_TYPED)
def test_every_type_fits_itself_and_its_union(typed: Typed) -> None:
    """Reflexive; wider targets and narrower sources change nothing."""
    type_ = typed[0]
    assert compatible(type_, type_)
    assert compatible(type_, Optional[type_])  # noqa: UP045
    assert compatible(Optional[type_], type_)  # noqa: UP045
    assert compatible(type_, Union[type_, int])  # noqa: UP007
    assert compatible(list[type_], list[type_])
    assert compatible(Annotated[type_, "x"], type_)


_ANY_ANNOTATION = st.sampled_from([t for pair in FITS + DOES_NOT_FIT for t in pair])


@given(_ANY_ANNOTATION, _ANY_ANNOTATION)
def test_it_never_raises(source: Any, target: Any) -> None:
    """Any two annotations can be compared."""
    assert compatible(source, target) in (True, False)
