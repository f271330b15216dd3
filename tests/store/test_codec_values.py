"""Plain values through the codec: whatever goes in comes out, of the same type."""

from __future__ import annotations

import datetime as dt
import json
import math
import pathlib
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr

from orchkit.store import codec

BERLIN = ZoneInfo("Europe/Berlin")

texts = st.text(st.characters(), max_size=12)  # with NUL, control and astral characters, and lone surrogates
offsets = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
zones = st.sampled_from([None, dt.UTC, BERLIN, ZoneInfo("America/St_Johns")]) | offsets
moments = st.datetimes(min_value=dt.datetime(1900, 1, 2), timezones=zones, allow_imaginary=True)  # noqa: DTZ001
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(3_990, 4_010).map(lambda digits: -(10**digits))
    | st.floats()
    | texts
    | st.binary(max_size=20)
    | st.binary(max_size=5).map(bytearray)
    | moments
    | st.dates()
    | st.times(timezones=st.sampled_from([None, dt.UTC, BERLIN]))
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.complex_numbers()
    | st.builds(pathlib.Path, st.sampled_from(["a/b", ".", "/x"]))
    | st.sampled_from([pathlib.PureWindowsPath("c:/x"), pathlib.PurePosixPath("/y")])
)
keys = scalars.filter(lambda key: not isinstance(key, bytearray | Decimal))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(st.integers() | texts, max_size=4)
        | st.frozensets(st.tuples(st.integers(), texts), max_size=3)
    ),
    max_leaves=20,
)


@given(values)
@settings(max_examples=400)
def test_a_value_comes_back_as_it_was(
    through: Callable[[Any], Any], identical: Callable[[Any, Any], bool], value: Any
) -> None:
    """Any nesting of lists, tuples, dicts and sets of supported values comes back equal, types included."""
    assert identical(through(value), value)


@given(values)
def test_what_is_packed_is_json(value: Any) -> None:
    """The packed form and its notes are JSON that every parser reads."""
    packed = codec.pack(value)
    assert json.loads(codec.dumps(packed.value)) == packed.value
    assert json.loads(codec.dumps(packed.notes)) == packed.notes


@given(values)
def test_unpacking_changes_nothing_in_place(value: Any) -> None:
    """A record may be unpacked again and again: the packed value is not touched."""
    packed = codec.pack(value)
    before = codec.dumps(packed.value)
    codec.unpack(packed.value, packed.notes)
    codec.unpack(packed.value, packed.notes)
    assert codec.dumps(packed.value) == before


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**63 - 1, 1.5, -0.0, "", "ä€😀", "a\0b", [1, [2, {"a": None}]], {"a": {"b": []}}],
)
def test_plain_json_is_its_own_packed_form(value: Any) -> None:
    """What JSON knows is stored as it is and needs no notes."""
    assert codec.pack(value) == (value, [])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC), "2026-03-01T12:00:00+00:00"),
        (dt.date(2026, 3, 1), "2026-03-01"),
        (dt.timedelta(seconds=1.5), 1_500_000),
        (Decimal("1.10"), "1.10"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (pathlib.Path("a/b"), "a/b"),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (1 + 2j, [1.0, 2.0]),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (2**64, 2**64),
        ("caf\udce9.txt", "caf?.txt"),
        ({1: "a", None: "b"}, [[1, "a"], [None, "b"]]),
        (SecretStr("hunter2"), "**********"),
        (SecretBytes(b"hunter2"), "**********"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    ],
)
def test_a_reader_of_sql_finds_what_is_expected(value: Any, shown: Any) -> None:
    """Values that JSON does not know are stored in the form in which people write them; secrets are not."""
    assert codec.pack(value).value == shown


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_comes_twice(through: Callable[[Any], Any], fold: int) -> None:
    """A datetime keeps its named zone, and which of the two equal hours of an autumn night it is."""
    value = dt.datetime(2025, 10, 26, 2, 30, fold=fold, tzinfo=BERLIN)
    found = through(value)
    assert (found.tzinfo, found.fold, found.utcoffset()) == (BERLIN, fold, value.utcoffset())


def test_a_zone_that_is_unknown_here() -> None:
    """A datetime whose zone this machine does not know still says which moment it is."""
    found = codec.unpack("2026-03-01T12:00:00+01:00", [[[], "datetime", "Mars/Olympus"]])
    assert found == dt.datetime(2026, 3, 1, 11, tzinfo=dt.UTC)


def test_a_secret_stays_masked(through: Callable[[Any], Any]) -> None:
    """A secret is not stored; it comes back as a secret of asterisks."""
    found = through({"key": SecretStr("hunter2")})["key"]
    assert isinstance(found, SecretStr)
    assert found.get_secret_value() == "**********"


@pytest.mark.parametrize("digits", [4_000, 4_300, 20_000])
def test_numbers_that_python_does_not_read_back(through: Callable[[Any], Any], digits: int) -> None:
    """Integers longer than what Python parses (4,300 digits) come back all the same."""
    assert through([10**digits, -(10**digits)]) == [10**digits, -(10**digits)]


def test_texts_that_cannot_be_encoded_do_not_break_a_record() -> None:
    """A record that was not packed, with a lone surrogate in it, is written with a question mark."""
    assert codec.loads(codec.dumps({"error": ["caf\udce9"], "caf\udce9": 1})) == {
        "error": ["caf?"],
        "caf?": 1,
    }


def test_the_same_content_has_the_same_hash_in_every_process() -> None:
    """A set is stored in an order that does not depend on the process's hash seed."""
    assert codec.pack({"b", "a", "c"}).value == ["a", "b", "c"]
    assert codec.pack({("b", 1), ("a", 2)}).value == [["a", 2], ["b", 1]]
