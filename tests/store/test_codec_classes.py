"""Instances of classes through the codec: models, dataclasses, enums, named tuples."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
)
from pydantic.dataclasses import dataclass as validated_dataclass

from orchkit.store import codec


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Point(NamedTuple):
    x: int
    y: Any = None


class Address(BaseModel):
    street: str
    zip_code: int = Field(0, alias="zipCode")


class Vip(Address):
    rank: int = 1


class Customer(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    name: str
    born: dt.date | None = None
    seen: dt.datetime | None = None
    home: Address | None = None
    balance: Decimal = Decimal(0)
    photo: bytes = b""
    site: AnyUrl | None = None
    anything: Any = None
    score: float = 0.0
    tags: frozenset[str] = frozenset()


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)
    when: dt.datetime
    path: Path


class Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")
    price: float
    connection: str = Field("none", exclude=True)

    @computed_field
    def gross(self) -> float:
        return self.price * 2


class Names(RootModel[list[str]]):
    pass


@dataclasses.dataclass
class Order:
    number: int
    when: dt.datetime
    lines: list[Point] = dataclasses.field(default_factory=list)
    total: Decimal = dataclasses.field(init=False, default=Decimal(0))
    currency: ClassVar[str] = "EUR"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    color: Color
    inner: Order | None = None


@dataclasses.dataclass
class Taxed:
    net: float
    rate: dataclasses.InitVar[float]
    gross: float = 0.0

    def __post_init__(self, rate: float) -> None:
        self.gross = self.net * (1 + rate)


@validated_dataclass
class Link:
    url: AnyUrl
    note: Any = None


class Login(BaseModel):
    password: SecretStr


ORDER = Order(7, dt.datetime(2026, 1, 2, 3, tzinfo=ZoneInfo("Europe/Berlin")), [Point(1, (2, 3))])
HOME = Address(street="Elm", zipCode=12)
INSTANCES = [
    Color.RED,
    Color.PAIR,
    Level.LOW,
    Access.READ | Access.WRITE,
    Point(1, {"a": b"x"}),
    HOME,
    Vip(street="Oak", rank=3),
    Customer(name="Ann"),
    Customer(name="Ann", born=dt.date(2000, 1, 1), home=HOME, site="https://example.com/", tags={"b", "a"}),
    Customer(name="Ann", photo=b"\xff\x00", score=math.inf, balance="1.10"),
    Customer(name="Ann", home=Vip(street="Oak"), anything=(1, Level.LOW, {2: Point(1)}), nickname=Color.RED),
    Customer(name="Ann", seen=dt.datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"))),
    Strict(when=dt.datetime(2026, 1, 2, tzinfo=dt.UTC), path=Path("a/b")),
    Shown(price=1.5),
    Names(["a", "b"]),
    ORDER,
    Frozen(color=Color.PAIR, inner=ORDER),
    Link("https://example.com/", note=(1, 2)),
]


@pytest.mark.parametrize("value", INSTANCES)
def test_an_instance_comes_back(
    through: Callable[[Any], Any], identical: Callable[[Any, Any], bool], value: Any
) -> None:
    """Models, dataclasses, enums and named tuples come back equal, of their class, also inside containers."""
    assert identical(through(value), value)
    assert identical(through({"a": [value, (value,)]}), {"a": [value, (value,)]})


def test_members_keep_their_types(through: Callable[[Any], Any]) -> None:
    """What a model holds comes back exactly: subclasses, tuples, enums, named zones, arrays."""
    value = Customer(
        name="Ann",
        home=Vip(street="Oak"),
        seen=dt.datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        anything={"level": Level.LOW, "points": (Point(1),), "array": np.arange(3)},
    )
    found = through(value)
    assert type(found.home) is Vip
    assert found.seen.tzinfo == ZoneInfo("Europe/Berlin")
    assert type(found.anything["level"]) is Level
    assert type(found.anything["points"][0]) is Point
    np.testing.assert_array_equal(found.anything["array"], np.arange(3))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (HOME, {"street": "Elm", "zip_code": 12}),
        (
            Customer(name="Ann", home=HOME, site="https://example.com/", extra=(1,)),
            {"site": "https://example.com/"},
        ),
        (Names(["a"]), ["a"]),
        (Shown(price=1.5, connection="open"), {"price": 1.5}),
        (Point(1, 2), [1, 2]),
        (Level.LOW, 1),
        (Frozen(color=Color.RED), {"color": "red", "inner": None}),
        (Link("https://example.com/"), {"url": "https://example.com/", "note": None}),
    ],
)
def test_a_reader_of_sql_finds_plain_objects(value: Any, shown: Any) -> None:
    """A model or dataclass is stored as the plain object of its fields, without the excluded ones."""
    packed = codec.pack(value).value
    if isinstance(value, Customer):
        packed = {key: packed[key] for key in shown}
    assert packed == shown


def test_fields_that_are_not_parameters(through: Callable[[Any], Any]) -> None:
    """Dataclass fields come back as they were, also those that the constructor does not take."""
    order = dataclasses.replace(ORDER)
    order.total = Decimal(5)
    assert through(order).total == Decimal(5)
    taxed = Taxed(10.0, 0.5)
    taxed.gross = 99.0
    assert through(taxed) == taxed


def test_a_secret_field_stays_masked(through: Callable[[Any], Any]) -> None:
    """A model's secret is stored as asterisks and never in clear."""
    packed = codec.pack(Login(password="hunter2"))
    assert "hunter2" not in codec.dumps(packed)
    assert through(Login(password="hunter2")).password.get_secret_value() == "**********"
