"""References: their grammar, what they resolve to, and what they say when there is nothing."""

from __future__ import annotations

import json
import re
from collections import OrderedDict, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchkit.engine.references import (
    MISSING,
    Reference,
    Scope,
    compile_template,
    escape,
    parse,
    references_in,
)
from orchkit.errors import ReferenceSyntaxError, UnresolvedReferenceError


class Order(BaseModel):
    total: int
    lines: list[dict[str, int]] = []

    @property
    def doubled(self) -> int:
        return 2 * self.total

    @property
    def broken(self) -> int:
        raise ValueError("no such luck")


@dataclass
class Point:
    x: int
    _secret: int = 7


class Pair(NamedTuple):
    left: Any
    right: Any


def _scope(**outputs: Any) -> Scope:
    return Scope(outputs, {"user": "ada", "deep": {"list": [1, 2]}}, {"id": "run_1"})


def _resolved(value: Any, where: Scope | None = None) -> Any:
    return compile_template(value).resolve(where or _scope())


def _only(text: str) -> Reference:
    (part,) = parse(text)
    assert isinstance(part, Reference)
    return part


# --- grammar -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "root", "step_id", "path"),
    [
        ("${steps.fetch}", "steps", "fetch", ()),
        ("${steps.fetch.rows[0].name}", "steps", "fetch", ("rows", 0, "name")),
        ("${steps.fetch-data.x-y}", "steps", "fetch-data", ("x-y",)),
        ('${steps["weird id:x"].field}', "steps", "weird id:x", ("field",)),
        ("${steps['it\\'s']['a.b'][-1]}", "steps", "it's", ("a.b", -1)),
        ('${steps["}"]}', "steps", "}", ()),
        ('${steps["caf\\u00e9"]}', "steps", "café", ()),
        ("${steps.größe.straße}", "steps", "größe", ("straße",)),
        ("${context}", "context", None, ()),
        ("${context.key}", "context", None, ("key",)),
        ("${ context.key }", "context", None, ("key",)),
        ("${run.id}", "run", None, ("id",)),
        ("${item}", "item", None, ()),
        ("${item.x}", "item", None, ("x",)),
        ("${index}", "index", None, ()),
    ],
)
def test_forms_of_a_reference(text: str, root: str, step_id: str | None, path: tuple[str | int, ...]) -> None:
    """Each form of the grammar gives its root, step id and path, and keeps its own text."""
    reference = _only(text)
    assert (reference.root, reference.step_id, reference.path) == (root, step_id, path)
    assert reference.default is MISSING
    assert reference.text == text


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0", 0),
        ("-1.5e3", -1500.0),
        ("true", True),
        ("null", None),
        ('"a } b"', "a } b"),
        ('{"a": [1, {"b": "}"}]}', {"a": [1, {"b": "}"}]}),
        ("[]", []),
    ],
)
def test_a_default_is_a_json_literal(literal: str, value: Any) -> None:
    """After ``??`` stands any JSON literal, with or without spaces around it."""
    for text in (f"${{steps.b.total ?? {literal}}}", f"${{steps.b.total??{literal} }}"):
        assert _only(text).default == value
        assert _only(text).has_default


@pytest.mark.parametrize(
    ("text", "position", "cause"),
    [
        ("a ${steps.b", 11, "unclosed"),
        ("${", 2, "unclosed"),
        ("${}", 2, "empty"),
        ("${  }", 4, "empty"),
        ("${.a}", 2, "unexpected '.'"),
        ("${steps}", 7, "step id is missing"),
        ("${steps[0]}", 10, "step id is missing"),
        ("${step.a}", 2, "did you mean 'steps'"),
        ("${contxt.a}", 2, "did you mean 'context'"),
        ("${create_casefile.id}", 2, "${steps.create_casefile}"),
        ("${steps.a b}", 10, "unexpected 'b'"),
        ("${steps.a.}", 9, "unexpected '.'"),
        ("${steps.a[x]}", 9, "unexpected '['"),
        ("${steps['a}", 8, "quote"),
        ('${steps["a}', 8, "quote"),
        ("${steps['a' x]}", 12, "unexpected 'x'"),
        ("${index.x}", 7, "number"),
        ("${steps.a ?? }", 13, "JSON"),
        ("${steps.a ?? None}", 13, "JSON"),
        ("${steps.a ?? NaN}", 13, "JSON"),
        ("${steps.a ?? 1 2}", 15, "unexpected '2'"),
        ("ok ${run.id} ${", 15, "unclosed"),
    ],
)
def test_malformed_references(text: str, position: int, cause: str) -> None:
    """A malformed reference is refused with the position of the fault and what is wrong with it."""
    with pytest.raises(ReferenceSyntaxError) as caught:
        parse(text)
    assert caught.value.position == position
    assert cause in caught.value.cause
    assert caught.value.text == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("costs $5 {net}", "costs $5 {net}"),
        ("$${steps.a}", "${steps.a}"),
        ("$$${run.id}", "$run_1"),
        ("$$$${run.id}", "$${run.id}"),
        ("{$${}", "{${}"),
        ("$$", "$$"),
        ("", ""),
    ],
)
def test_dollars(text: str, plain: str) -> None:
    """Before a brace a pair of dollars is one dollar; everywhere else a dollar is a dollar."""
    assert _resolved(text) == plain


LITERALS = st.text(st.sampled_from("${}[]. \\\"'ab0é\n"), max_size=12)
NAMES = st.text(max_size=8) | st.sampled_from(["a", "rows", "weird id:x", "x-1", "${", "}"])
PATHS = st.lists(NAMES | st.integers(-9, 9), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _written(root: str, path: list[str | int], default: Any) -> str:
    """A reference as a careful person writes it: quoted wherever a bare name could be misread."""
    text = root
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if re.fullmatch(r"\w+", part) else f"[{json.dumps(part)}]"
    return "${" + text + ("" if default is MISSING else f" ?? {json.dumps(default)}") + "}"


@st.composite
def _references(draw: st.DrawFn) -> tuple[str, tuple[str, list[str | int], Any]]:
    root = draw(st.sampled_from(["steps", "context", "run", "item"]))
    path = draw(PATHS)
    default = draw(st.just(MISSING) | JSON)
    ids = [draw(NAMES)] if root == "steps" else []
    return _written(root, ids + path, default), (root, ids + path, default)


@given(st.lists(st.tuples(LITERALS, _references()), max_size=3), LITERALS)
def test_round_trip(pieces: list[tuple[str, Any]], last: str) -> None:
    """Escaped plain text and written references come back from `parse` as they went in, in order."""
    text, expected = "", []
    for literal, (reference, meaning) in pieces:
        text += escape(literal + "{")[:-1] + reference  # the reference's brace follows the literal's dollars
        expected += [*([literal] if literal else []), (reference, *meaning)]
    text += escape(last)
    expected += [last] if last else []
    found = [
        part
        if isinstance(part, str)
        else (
            part.text,
            part.root,
            [*([part.step_id] if part.root == "steps" else []), *part.path],
            part.default,
        )
        for part in parse(text)
    ]
    assert found == expected


@given(st.text(st.sampled_from("${}a")))
def test_escaped_text_is_plain(text: str) -> None:
    """Whatever a text contains, escaped it resolves to itself and holds no reference."""
    template = compile_template(escape(text))
    assert template.is_static
    assert template.resolve(_scope()) == text


@given(st.text(st.sampled_from("${}steps.[]\"'?01 \\")))
def test_parse_refuses_only_in_its_own_way(text: str) -> None:
    """No text makes `parse` fail with anything but `ReferenceSyntaxError`."""
    with suppress(ReferenceSyntaxError):
        parse(text)


# --- resolving -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${steps.order}", Order(total=3, lines=[{"n": 1}])),
        ("${steps.order.total}", 3),
        ("${steps.order.doubled}", 6),
        ("${steps.order.lines[0].n}", 1),
        ("${steps.point.x}", 1),
        ("${steps.pair.right}", "r"),
        ("${steps.pair[0]}", "l"),
        ("${steps.rows[-1]}", 30),
        ("${steps.keyed.items}", "a key called items"),
        ("${steps.keyed._id}", "mappings have any key"),
        ("${steps.keyed[7]}", "a number that JSON made text"),
        ("${steps.ordered.a[1]}", 2),
        ("${steps.proxy.a}", 1),
        ("${steps.none}", None),
        ("${context.deep.list[1]}", 2),
        ("${run.id}", "run_1"),
        ("${run}", {"id": "run_1"}),
    ],
)
def test_a_whole_reference_keeps_its_type(text: str, value: Any) -> None:
    """A text that is one reference resolves to the value itself, along keys, attributes and indexes."""
    where = _scope(
        order=Order(total=3, lines=[{"n": 1}]),
        point=Point(1),
        pair=Pair("l", "r"),
        rows=[10, 20, 30],
        keyed={
            "items": "a key called items",
            "_id": "mappings have any key",
            "7": "a number that JSON made text",
        },
        ordered=OrderedDict(a=(1, 2)),
        proxy=MappingProxyType({"a": 1}),
        none=None,
    )
    assert _resolved(text, where) == value


def test_the_value_itself_is_given() -> None:
    """A whole-text reference gives the very object, not a copy."""
    rows = [object()]
    assert _resolved("${steps.a}", _scope(a=rows)) is rows


def test_nested_values() -> None:
    """References are found anywhere inside dicts, lists, tuples and named tuples; other leaves are kept."""
    leaf = object()
    value = {
        "to": ["${steps.a}", ("x", "${steps.a}")],
        "${steps.a}": {"deep": {"er": "n=${steps.a}, ${context.user}"}},
        "pair": Pair("${run.id}", 2),
        "leaf": leaf,
    }
    assert _resolved(value, _scope(a=5)) == {
        "to": [5, ("x", 5)],
        "${steps.a}": {"deep": {"er": "n=5, ada"}},
        "pair": Pair("run_1", 2),
        "leaf": leaf,
    }
    assert isinstance(_resolved(value, _scope(a=5))["pair"], Pair)


def test_where_references_stand() -> None:
    """`references_in` names the place of each reference as a path, and skips the keys of dicts."""
    value = {"to": ["x", {"a": "${run.id} ${item}"}], "${index}": 1, "q": ("${context.k}",)}
    found = [(where, reference.text) for where, reference in references_in(value)]
    assert found == [("to[1].a", "${run.id}"), ("to[1].a", "${item}"), ("q[0]", "${context.k}")]


def test_items_of_a_map() -> None:
    """Item and index resolve where they are set, a None item included, and say so where they are not."""
    inside = Scope({}, {}, {}, item={"x": None}, index=0)
    assert _resolved(["${item.x}", "${index}"], inside) == [None, 0]
    with pytest.raises(UnresolvedReferenceError, match="there is no item outside of a map"):
        _resolved("${item}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${steps.gone.total ?? 0}", 0),
        ('${steps.order.lines[4].n ?? "none"}', "none"),
        ("${steps.none ?? [1]}", [1]),
        ("${steps.none.deeper ?? null}", None),
        ("${steps.order.total ?? 0}", 3),
        ("${item ?? 1}", 1),
    ],
)
def test_a_default_stands_in_for_missing_and_null(text: str, value: Any) -> None:
    """With ``??`` a missing step, a missing field and a null give the default; anything else wins over it."""
    assert _resolved(text, _scope(order=Order(total=3), none=None)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${steps.gone.x}", "step 'gone' has no output; steps with one: order, rows"),
        (
            "${steps.order.totl}",
            "the output of step 'order' has no field 'totl'; it is of type Order with total",
        ),
        (
            "${steps.order.lines[2]}",
            "'lines' of the output of step 'order' has no index 2; .* list with 1 items",
        ),
        ("${steps.order.lines[0].m}", r"'lines\[0\]' of .* has no field 'm'; .* with the keys n"),
        ("${steps.order.total.x}", "'total' of .* of type int"),
        ("${steps.order.total[0]}", "no index 0"),
        ("${steps.order.model_dump}", "no field 'model_dump'"),
        ("${steps.order.__class__}", "no field '__class__'"),
        ("${steps.order.broken}", "reading 'broken' raised ValueError"),
        ("${steps.point._secret}", "no field '_secret'"),
        ("${steps.text[0]}", "no index 0"),
        ("${steps.space.module}", "no field 'module'"),
        ("${steps.late.x}", "no field 'x'; it is an empty defaultdict"),
        ("${steps.none.x}", "it is None"),
        ("${context.usr}", "context has no field 'usr'; it is of type dict with the keys user, deep"),
        ("${run.name}", "run has no field 'name'"),
        ("x ${steps.mute} y", "cannot be made text"),
    ],
)
def test_nothing_there_is_an_error_never_none(text: str, message: str) -> None:
    """What is missing, private, a method or fails is an error that names the reference and what is there."""

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("mute")

    late: defaultdict[str, int] = defaultdict(int)
    where = _scope(
        order=Order(total=3, lines=[{"n": 1}]),
        rows=[1],
        **(
            {}
            if "gone" in text
            else {
                "point": Point(1),
                "text": "abc",
                "space": SimpleNamespace(module=json),
                "late": late,
                "none": None,
                "mute": Mute(),
            }
        ),
    )
    with pytest.raises(UnresolvedReferenceError, match=message) as caught:
        _resolved(text, where)
    assert caught.value.reference in text
    assert not late


def test_the_values_themselves_are_not_shown() -> None:
    """The error tells keys and types, not contents, and only the first few of many keys."""
    where = _scope(a={f"key{n}": "secret" for n in range(30)})
    with pytest.raises(UnresolvedReferenceError) as caught:
        _resolved("${steps.a.x}", where)
    assert "secret" not in str(caught.value)
    assert "key9 and 20 more" in str(caught.value)


# --- static values -------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["text", 5, None, {"a": 1, "b": "x"}, [1, 2], (1, "x"), {}, object()])
def test_static_values_are_given_as_they_are(value: Any) -> None:
    """Without references there is nothing to do: the same object, every time."""
    template = compile_template(value)
    assert template.is_static
    assert template.static is value
    assert template.resolve(_scope()) is value


def test_an_escape_alone_is_static() -> None:
    """A value with escapes only is static and unescaped, the definition's own value unchanged."""
    value = {"a": ["$${x}"], "b": 1}
    template = compile_template(value)
    assert template.is_static
    assert template.static == template.resolve(_scope()) == {"a": ["${x}"], "b": 1}
    assert value == {"a": ["$${x}"], "b": 1}


@pytest.mark.parametrize(
    "value",
    [
        {"rows": [1]},
        {"rows": [{"n": [1]}], "m": 1},
        {"rows": [1], "x": "${run.id}"},
        {"rows": ({"n": 1},), "x": "${run.id}"},
        {"rows": "${steps.gone ?? [1]}"},
        [[1], {"n": 1}],
    ],
)
def test_no_use_changes_the_next_one(value: Any) -> None:
    """A tool that changes a nested list or dict that it was given changes neither definition nor next use."""

    def spoil(found: Any) -> None:
        if isinstance(found, dict | list | tuple):
            for inner in found.values() if isinstance(found, dict) else found:
                spoil(inner)
        if isinstance(found, list):
            found.append("spoilt")
        elif isinstance(found, dict):
            found["spoilt"] = True

    template, before = compile_template(value), json.dumps(value)
    first = template.resolve(_scope())
    expected = json.dumps(first)
    for inner in first.values() if isinstance(first, dict) else first:
        spoil(inner)
    assert json.dumps(template.resolve(_scope())) == expected
    assert json.dumps(value) == before


@given(JSON)
def test_values_without_references_come_back_equal(value: Any) -> None:
    """Any JSON value whose texts are escaped resolves to the value itself."""

    def escaped(found: Any) -> Any:
        if isinstance(found, str):
            return escape(found)
        if isinstance(found, list):
            return [escaped(inner) for inner in found]
        if isinstance(found, dict):
            return {key: escaped(inner) for key, inner in found.items()}
        return found

    assert _resolved(escaped(value)) == value


@given(JSON, st.data())
def test_every_place_of_a_value_can_be_referred_to(value: Any, data: st.DataObject) -> None:
    """A path to any place inside a JSON value resolves to what is there."""
    path: list[str | int] = []
    found = value
    while isinstance(found, dict | list) and found and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(list(found) if isinstance(found, dict) else range(len(found))))
        path.append(key)
        found = found[key]
    assert _resolved(_written("steps", ["a", *path], MISSING), _scope(a=value)) == found
