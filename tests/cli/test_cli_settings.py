"""``--set key=value``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.cli.failure import UsageError
from orchkit.cli.settings import parse_settings, parse_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-2.5e3", -2500.0),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"b": [1]}', {"b": [1]}),
        ('"1"', "1"),
        ("", ""),
        ("text with = and spaces", "text with = and spaces"),
        ("True", "True"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[1, 2", "[1, 2"),
        ("2025-11-20", "2025-11-20"),
    ],
)
def test_a_value_is_json_where_it_can_be(text: str, value: Any) -> None:
    """What reads as JSON is that value; everything else, also what JSON does not know, is the text."""
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@given(VALUES)
def test_every_json_value_can_be_set(value: Any) -> None:
    """Whatever the context may hold can be given on the command line."""
    assert parse_settings([f"key={json.dumps(value)}"]) == {"key": value}


@pytest.mark.parametrize(
    ("settings", "context"),
    [
        ([], {}),
        (["a=1", "b=x=y"], {"a": 1, "b": "x=y"}),
        (["a.b.c=1", "a.b.d=2", "a.e=3"], {"a": {"b": {"c": 1, "d": 2}, "e": 3}}),
        (['a={"b": 1}', "a.c=2"], {"a": {"b": 1, "c": 2}}),
        (["a=1", "a=2"], {"a": 2}),
        (["a.b=1", "a=2"], {"a": 2}),
        ([" a . b =1"], {"a": {"b": 1}}),
    ],
)
def test_dots_nest_and_the_later_wins(settings: list[str], context: dict[str, Any]) -> None:
    """Dotted keys make mappings or add to them; of two settings of one key the later counts."""
    assert parse_settings(settings) == context


@pytest.mark.parametrize("setting", ["a", "=1", "a..b=1", ".a=1", "a.=1", " =1"])
def test_what_is_not_a_setting_is_refused(setting: str) -> None:
    """A setting without a key, or with an empty part in it, is named as it was typed."""
    with pytest.raises(UsageError, match="is not key=value") as refused:
        parse_settings([setting])
    assert repr(setting) in str(refused.value)


def test_nothing_can_be_set_inside_of_a_value() -> None:
    """A key below something that is no mapping is refused instead of replacing it."""
    with pytest.raises(UsageError, match=r"--set a\.b\.c: a\.b is 1, so"):
        parse_settings(["a.b=1", "a.b.c=2"])
