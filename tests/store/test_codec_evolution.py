"""Records of classes that have changed, or are gone."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from pydantic import AnyUrl, BaseModel, Field, field_validator

from orchkit.errors import CodecError
from orchkit.store import codec


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: Any = None


class Address(BaseModel):
    street: str
    zip_code: int = Field(0, alias="zipCode")


class Customer(BaseModel):
    name: str
    anything: Any = None


class Words(BaseModel):
    words: list[str]

    @field_validator("words", mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        return value.split()  # fails on what it returned itself


@dataclasses.dataclass
class Order:
    number: int
    customer: Customer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    color: Color
    inner: Order | None = None


HOME = Address(street="Elm", zipCode=12)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (HOME, {"street": "Elm", "zip_code": 12}),
        (Frozen(color=Color.RED), {"color": Color.RED, "inner": None}),
        (Point(1, 2), (1, 2)),
        (Color.RED, "red"),
        ({Color.RED, Point(1, 2)}, {"red", (1, 2)}),
        ({Frozen(color=Color.RED): 1}, [({"color": Color.RED, "inner": None}, 1)]),
    ],
    ids=["model", "hashable model", "named tuple", "enum", "set", "key"],
)
def test_a_class_that_is_gone_leaves_plain_data(value: Any, plain: Any) -> None:
    """A record whose class does not exist any more is read as plain data."""
    packed = codec.pack(value)
    names = {f"{__name__}:{kind.__qualname__}" for kind in (Address, Frozen, Point)}
    if not isinstance(value, dict | Frozen):
        names.add(f"{__name__}:Color")
    notes = [[*note[:2], *("gone:Gone" if a in names else a for a in note[2:])] for note in packed.notes]
    found = codec.unpack(packed.value, notes)
    assert list(map(tuple, found)) == plain if isinstance(value, dict) else found == plain


def test_a_local_class_leaves_plain_data(through: Callable[[Any], Any]) -> None:
    """A class defined inside a function cannot be found again: its instances come back as dicts."""

    @dataclasses.dataclass
    class Local:
        a: int

    assert through(Local(1)) == {"a": 1}


def test_reading_imports_nothing() -> None:
    """A record that names a module cannot make the reader import and run it."""
    assert codec.unpack({"a": 1}, [[[], "model", "antigravity:Anything"]]) == {"a": 1}
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("tag", "value", "name"),
    [
        ("model", {"zip_code": 1}, "Address"),
        ("dataclass", {"number": 1}, "Order"),
        ("namedtuple", [1, 2, 3], "Point"),
        ("datetime", "yesterday", None),
    ],
)
def test_a_record_that_does_not_fit_any_more(tag: str, value: Any, name: str | None) -> None:
    """A class that has changed so that the record does not fit is an error that names place and class."""
    note = [["rows", 0], tag, *([f"{__name__}:{name}"] if name else [])]
    with pytest.raises(CodecError, match=r"value\.rows\[0\].*does not fit") as caught:
        codec.unpack({"rows": [value]}, [note])
    assert (name or tag) in caught.value.cause


def test_a_class_that_got_more_fields(through: Callable[[Any], Any]) -> None:
    """New fields with defaults, and fields that no longer exist, are no problem."""
    notes = [[[], "dataclass", f"{__name__}:Frozen"], [["color"], "enum", f"{__name__}:Color"]]
    assert codec.unpack({"color": "red", "size": 3}, notes) == Frozen(color=Color.RED)
    assert codec.unpack({"street": "Elm"}, [[[], "model", f"{__name__}:Address"]]) == Address(street="Elm")
    assert codec.unpack("blue", [[[], "enum", f"{__name__}:Color"]]) == "blue"


def test_validators_that_refuse_their_own_output() -> None:
    """A model that cannot be made from its own fields is stored; reading it is a clear error."""
    packed = codec.pack(Words(words="a b"))
    assert packed.value == {"words": ["a", "b"]}
    with pytest.raises(CodecError, match="Words any more"):
        codec.unpack(*packed)


def test_what_pydantic_would_flatten_is_refused() -> None:
    """A member that would silently come back as something else is an error that names it."""
    with pytest.raises(CodecError, match=r"output\.anything\[0\].*AnyUrl"):
        codec.pack(Customer(name="Ann", anything=[AnyUrl("https://example.com/")]), "output")
