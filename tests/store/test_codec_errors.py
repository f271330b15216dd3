"""What cannot be stored: a `CodecError` that names the place, never another error and never a loss."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from orchkit.errors import CodecError
from orchkit.store import codec


class Strange:
    pass


class Pair(NamedTuple):
    left: Any
    right: Any


class Box(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    content: Any


@dataclasses.dataclass
class Crate:
    content: Any


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Strange(), "output"),
        ([1, [Strange()]], "output[1][0]"),
        ({"rows": [{"a": 1}, {"b": Strange()}]}, "output.rows[1].b"),
        ((1, Strange()), "output[1]"),
        ({1: Strange()}, "output[0][1]"),
        ({Strange(): 1}, "output[0][0]"),
        (Box(content=[Strange()]), "output.content[0]"),
        (Crate(content={"a": Strange()}), "output.content.a"),
        (Pair(1, Strange()), "output[1]"),
        ({Strange()}, "output[0]"),
        ([deque([1])], "output[0]"),
        ([lambda: 0], "output[0]"),
        ([Strange], "output[0]"),
        ([open], "output[0]"),
        ([iter([])], "output[0]"),
        ([object()], "output[0]"),
    ],
)
def test_an_unstorable_value_is_named_with_its_place(value: Any, path: str) -> None:
    """The error says where in the value the culprit sits, what it is, and what to do instead."""
    with pytest.raises(CodecError) as caught:
        codec.pack(value, "output")
    assert caught.value.path == path
    assert caught.value.cause.startswith("no way to store a ")
    assert "pydantic model" in caught.value.cause


def _circle_in(make: Callable[[list[Any]], Any]) -> Any:
    inner: list[Any] = []
    inner.append(make(inner))
    return {"a": inner}


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (_circle_in(lambda inner: inner), r"output\.a\[0\] .* it is output\.a itself"),
        (_circle_in(lambda inner: {"b": inner}), r"output\.a\[0\]\.b .* it is output\.a itself"),
        (_circle_in(lambda inner: (inner,)), r"output\.a\[0\]\[0\] .* it is output\.a itself"),
        (_circle_in(Crate), r"output\.a\[0\]\.content .* it is output\.a itself"),
        (_circle_in(lambda inner: Box(content=inner)), "itself"),
        (_circle_in(lambda inner: {1: inner}), "nested"),
    ],
    ids=["list", "dict", "tuple", "dataclass", "model", "pairs"],
)
def test_a_circle_is_an_error_and_no_recursion(value: Any, match: str) -> None:
    """A value that contains itself is an error that says where it closes."""
    with pytest.raises(CodecError, match=match):
        codec.pack(value, "output")


def _nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": lambda v: [v],
    "dict": lambda v: {"a": v},
    "tuple": lambda v: (v,),
    "pairs": lambda v: {1: v},
    "dataclass": Crate,
    "model": lambda v: Box(content=v),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("depth", [200, 900, 100_000])
def test_too_deep_is_an_error(wrap: Callable[[Any], Any], depth: int) -> None:
    """Nesting that could be written but not read again, or not even walked, is a clear error."""
    with pytest.raises(CodecError, match="nested"):
        codec.pack(_nested(depth, wrap), "output")


@given(depth=st.integers(0, 300), wrap=st.sampled_from(["list", "dict", "tuple", "pairs"]))
def test_what_can_be_stored_can_be_read(through: Callable[[Any], Any], depth: int, wrap: str) -> None:
    """Whatever the depth: either it is refused, or it comes back."""
    value = {"payload": {"output": _nested(depth, WRAPS[wrap])}}
    innermost = 2 + (depth - 1) * (2 if wrap == "pairs" else 1)
    if innermost > codec.MAX_DEPTH:
        with pytest.raises(CodecError, match="nested"):
            codec.pack(value)
    else:
        assert through(value) == value


def test_a_depth_that_people_need(through: Callable[[Any], Any]) -> None:
    """A hundred levels of lists and dicts are stored."""
    assert through(_nested(50, lambda v: [{"a": v}])) == _nested(50, lambda v: [{"a": v}])


def test_an_unknown_note() -> None:
    """A record of a newer orchkit, with a type this one does not know, is an error that names the place."""
    with pytest.raises(CodecError, match=r"value\.a .*unknown type note 'quaternion'"):
        codec.unpack({"a": 1}, [[["a"], "quaternion"]])


@pytest.mark.parametrize(
    "note",
    [["path", "os"], ["path", "warnings"], ["model", "subprocess:Popen"], ["dataclass", "builtins:exec"],
     ["enum", "builtins:print"], ["namedtuple", "os:system"]],
    ids=" ".join,
)  # fmt: skip
def test_a_record_names_no_code_to_call(note: list[str]) -> None:
    """Records come from elsewhere, too: a note makes values of the kinds that are stored, no others."""
    try:
        found = codec.unpack({"a": ["x"]}, [[["a"], *note]])
    except CodecError:
        return
    assert found["a"] in (["x"], ("x",))


def test_json_that_is_not_packed() -> None:
    """Something that is not JSON-able in a record is a CodecError as well."""
    with pytest.raises(CodecError, match="Strange"):
        codec.dumps({"a": Strange()})
