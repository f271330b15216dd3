"""Validating the parameters of calls, and the parameters of tools against their methods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from orchkit.errors import ParameterError, Problem, UnknownNameError
from orchkit.registry import MethodDefinition, ParameterSpec, Registry, ToolDefinition


class Item(BaseModel):
    price: float
    count: int = 1


class Order(BaseModel):
    items: list[Item]


class Tier(Enum):
    BASIC = "basic"
    VIP = "vip"


@dataclass
class Point:
    x: int
    y: int


class Frame:
    """A class that pydantic knows nothing about."""


def work(
    a: int,
    *,
    b: str = "x",
    order: Order | None = None,
    tier: Tier = Tier.BASIC,
    point: Point | None = None,
    frame: Frame | None = None,
    tags: Sequence[str] = (),
    share: Annotated[float, Field(ge=0, le=1)] = 0.5,
) -> str:
    """Work on it."""
    return b * a


def open_ended(a: int, **options: Any) -> None:
    """Takes anything."""


def nothing() -> None:
    """Takes nothing."""


class Clock:
    """Stands for a service."""


def timed(a: int, clock: Clock, other: Clock | None = None) -> None:
    """Needs a service."""


def timed_open(clock: Clock, **options: Any) -> None:
    """Needs a service and takes anything."""


def registry(*functions: Any) -> Registry:
    """A registry of these functions, by default of all above."""
    found = Registry()
    for function in functions or (work, open_ended, nothing, timed, timed_open):
        found.methods.register_method(function)
    return found


def problems(name: str, params: Any, found: Registry | None = None) -> dict[str, str]:
    """What is wrong with the parameters, by parameter."""
    with pytest.raises(ParameterError) as caught:
        (found or registry()).validator.validate_execution_parameters(name, params)
    return {
        problem.where: str(problem).removeprefix(f"{problem.where}: ") for problem in caught.value.problems
    }


# --- parameters of a call ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": "5"}, {"a": 5}),
        ({"a": 1, "tier": "vip"}, {"a": 1, "tier": Tier.VIP}),
        ({"a": 1, "point": {"x": 1, "y": "2"}}, {"a": 1, "point": Point(1, 2)}),
        ({"a": 1, "order": {"items": [{"price": 2}]}}, {"a": 1, "order": Order(items=[Item(price=2)])}),
        ({"a": 1, "tags": ["x"]}, {"a": 1, "tags": ["x"]}),
        (MappingProxyType({"a": 1, "b": "y"}), {"a": 1, "b": "y"}),
    ],
)
def test_parameters_are_coerced(params: Mapping[str, Any], expected: dict[str, Any]) -> None:
    """Pydantic's lax mode makes the annotated types; defaults are left to the function."""
    given_before = dict(params)
    assert registry().validator.validate_execution_parameters("work", params) == expected
    assert dict(params) == given_before


def test_models_and_foreign_objects_are_passed_as_they_are() -> None:
    """An instance of the right class is not copied."""
    order, frame = Order(items=[]), Frame()
    valid = registry().validator.validate_execution_parameters(
        "work", {"a": 1, "order": order, "frame": frame}
    )
    assert valid["order"] is order
    assert valid["frame"] is frame


def test_all_problems_are_reported_with_name_expected_type_and_value() -> None:
    """One error names every parameter that is wrong, what it should be, and what it was."""
    found = problems(
        "work",
        {
            "b": 5,
            "order": {"items": [{"price": "much"}, {}]},
            "tier": "gold",
            "frame": 1,
            "share": 1.5,
            "tgas": [],
            "zzz": 1,
        },
    )
    assert found["a"] == "missing, expected int"
    assert found["b"] == "expected str, got 5 (int) (Input should be a valid string)"
    assert found["order"].startswith("expected Order | None, got {'items': [{'price': 'much'}, {}]} (dict) (")
    assert "items[0].price: Input should be a valid number" in found["order"]
    assert "items[1].price: Field required" in found["order"]
    assert "'vip'" in found["tier"]
    assert found["frame"].startswith("expected Frame | None, got 1 (int)")
    assert "less than or equal to 1" in found["share"]
    assert found["tgas"] == "unknown parameter (did you mean 'tags'?)"
    assert found["zzz"].startswith("unknown parameter (known: a, b, order")
    assert len(found) == 8


def test_the_error_names_its_subject() -> None:
    """The message begins with the method or tool that was called."""
    with pytest.raises(ParameterError, match=r"^method 'work': a: missing"):
        registry().validator.validate_execution_parameters("work", {})


def test_large_and_broken_values_are_shortened_in_messages() -> None:
    """A message stays short whatever the value, even if its repr raises."""

    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert len(problems("work", {"a": "x" * 10_000})["a"]) < 250
    assert len(problems("work", {"a": [list(range(1000))] * 1000})["a"]) < 250
    assert "Broken" in problems("work", {"a": Broken()})["a"]


@pytest.mark.parametrize("params", [[1], None, "a", 5])
def test_parameters_that_are_no_mapping(params: Any) -> None:
    """Anything but a mapping is reported as such."""
    assert "expected a mapping of names to values" in problems("work", params)["parameters"]


def test_a_name_that_is_no_string() -> None:
    """A key that is no string is reported."""
    assert problems("work", {"a": 1, 5: 2})["5 (int)"] == "a parameter name must be a string"
    assert "a parameter name must be a string" in problems("open_ended", {"a": 1, 5: 2})["5 (int)"]


def test_a_method_without_parameters_takes_none() -> None:
    """An empty mapping is fine, anything else is unknown."""
    assert registry().validator.validate_execution_parameters("nothing", {}) == {}
    assert problems("nothing", {"a": 1})["a"] == "unknown parameter (it takes none)"


def test_extra_parameters_pass_where_kwargs_takes_them() -> None:
    """``**kwargs`` lets unknown names through, unchanged; the named ones are still checked."""
    found = registry()
    assert found.validator.validate_execution_parameters("open_ended", {"a": "1", "c": "2"}) == {
        "a": 1,
        "c": "2",
    }
    assert list(problems("open_ended", {"c": 1})) == ["a"]


def test_an_unknown_name_is_no_parameter_error() -> None:
    """A method that does not exist is an UnknownNameError with suggestions."""
    with pytest.raises(UnknownNameError, match="did you mean 'work'"):
        registry().validator.validate_execution_parameters("wrok", {})


def test_an_alias_does_not_change_the_name_of_a_parameter() -> None:
    """An alias inside Annotated has no effect; functions are called with the names of their parameters."""

    def aliased(a: Annotated[int, Field(alias="A")]) -> None: ...

    assert registry(aliased).validator.validate_execution_parameters("aliased", {"a": 1}) == {"a": 1}
    assert set(problems("aliased", {"A": 1}, registry(aliased))) == {"a", "A"}


def test_streams_are_not_wrapped() -> None:
    """An ``Iterable`` stays the list that was given: it can be recorded and read a second time."""

    def total(
        values: Iterable[int], more: Iterator[int] | None = None, third: Annotated[Iterable[str], "t"] = ()
    ) -> int:
        return sum(values)

    found = registry(total)
    values, more = [1, 2], iter([3])
    valid = found.validator.validate_execution_parameters(
        "total", {"values": values, "more": more, "third": "ab"}
    )
    assert valid["values"] is values
    assert valid["more"] is more
    assert "got 5 (int)" in problems("total", {"values": 5}, found)["values"]
    assert set(problems("total", {"values": [], "more": [], "third": 1}, found)) == {"more", "third"}


def test_a_validator_of_the_users_that_fails_in_its_own_way_is_reported() -> None:
    """An exception that pydantic does not translate becomes a ParameterError, the cause attached."""

    class Odd(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError("odd")

    def take(odd: Odd) -> None: ...

    with pytest.raises(ParameterError, match="KeyError") as caught:
        registry(take).validator.validate_execution_parameters("take", {"odd": {"x": 1}})
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_type_that_pydantic_cannot_build_is_not_checked() -> None:
    """One impossible annotation does not stop the other parameters from being checked."""

    class Unfinished(BaseModel):
        x: NeverDefined  # type: ignore[name-defined] # noqa: F821

    def take(u: Unfinished, a: int) -> None: ...

    found = registry(take)
    assert found.validator.validate_execution_parameters("take", {"u": "anything", "a": "1"}) == {
        "u": "anything",
        "a": 1,
    }
    assert list(problems("take", {"u": 1, "a": "x"}, found)) == ["a"]


# --- services --------------------------------------------------------------------------------------


def test_services_are_neither_required_nor_accepted() -> None:
    """Once its type is a service, a parameter is injected and may not be passed."""
    found = registry()
    assert set(problems("timed", {"a": 1}, found)) == {"clock"}
    found.services.register(Clock, Clock)
    assert found.validator.validate_execution_parameters("timed", {"a": 1}) == {"a": 1}
    assert problems("timed", {"a": 1, "clock": 1}, found) == {
        "clock": "is the service Clock (it is injected: leave it out)"
    }
    assert problems("timed_open", {"b": 1, "clock": Clock()}, found) == {
        "clock": "is the service Clock (it is injected: leave it out)"
    }
    assert found.validator.validate_execution_parameters("timed_open", {"b": 1}) == {"b": 1}


# --- tools of their own --------------------------------------------------------------------------


def with_tool(parameters: Any) -> Registry:
    """A registry with a tool of `work` that has parameters of its own."""
    found = registry()
    found.tools.register_tool("tool", "work", parameters=parameters)
    return found


def test_a_tool_adds_its_defaults_and_narrows_types() -> None:
    """A call is checked by the tool, completed with its defaults, and checked by the method."""
    found = with_tool({"a": (int, 3), "tier": (Literal["vip"], "vip"), "tags": (list[str], ["t"])})
    valid = found.validator.validate_execution_parameters("tool", {})
    assert valid == {"a": 3, "tier": Tier.VIP, "tags": ["t"]}
    valid["tags"].append("changed")
    assert found.validator.validate_execution_parameters("tool", {})["tags"] == ["t"]
    with pytest.raises(ParameterError, match=r"^tool 'tool': tier: expected Literal"):
        found.validator.validate_execution_parameters("tool", {"tier": "basic"})
    assert problems("tool", {"b": "x"}, found)["b"].startswith("unknown parameter")


def test_a_value_that_only_the_method_refuses_is_still_refused() -> None:
    """What a wide tool lets through meets the method's own check."""
    found = with_tool({"a": Any, "share": float})
    assert "share" in problems("tool", {"a": 1, "share": 2.0}, found)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"a": int}, []),
        ({"a": int, "b": str, "tags": list[str]}, []),
        ({"a": bool}, []),
        ({"a": (int, 1)}, []),
        ({"a": Any, "order": dict[str, Any]}, []),
        ({}, ["a: method 'work' requires it (int), the tool lacks it"]),
        ({"a": int, "c": int}, ["c: method 'work' has no such parameter (it has: a, b, order"]),
        ({"a": str}, ["a: str does not fit int of method 'work'"]),
        ({"a": int, "order": str}, ["order: str does not fit Order | None of method 'work'"]),
        ({"a": (int, "x")}, ["a: its default is not valid: expected int, got 'x' (str)"]),
        ({"a": int, "share": (float, 2.0)}, ["share: its default does not fit method 'work'"]),
        ([ParameterSpec("a", int, required=False)], ["a: optional without a default, but required"]),
        (
            {"a": (str, 1), "c": int, "b": (str, 5), "share": list[int]},
            [
                "a: its default",
                "b: its default",
                "a: str does not fit",
                "c: method",
                "b: its",
                "share: list[int]",
            ],
        ),
    ],
)
def test_a_tool_is_compared_with_its_method(parameters: Any, expected: list[str]) -> None:
    """Names, types, required ones and defaults are compared, and everything that is wrong is listed."""
    tool = ToolDefinition("tool", "work", parameters=parameters)
    found = registry().validator.validate_tool_to_method_mapping(tool, MethodDefinition("work", work))
    starts = [str(problem) for problem in found]
    unmatched = [text for text in expected if not any(start.startswith(text) for start in starts)]
    assert not unmatched, starts
    assert bool(found) == bool(expected)
    assert all(isinstance(problem, Problem) for problem in found)


def test_a_default_that_cannot_be_judged() -> None:
    """A default of a type that pydantic cannot build passes; one on which a validator fails is reported."""

    class Unfinished(BaseModel):
        x: NeverDefined  # type: ignore[name-defined] # noqa: F821

    class Odd(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError("odd")

    tool = ToolDefinition("tool", "open_ended", parameters={"a": (int, 1), "u": (Unfinished, 1)})
    method = MethodDefinition("o", open_ended)
    assert registry().validator.validate_tool_to_method_mapping(tool, method) == []
    tool = ToolDefinition("tool", "open_ended", parameters={"a": int, "o": (Odd, {"x": 1})})
    (problem,) = registry().validator.validate_tool_to_method_mapping(tool, method)
    assert "cannot be checked against Odd: KeyError('odd')" in problem.cause


def test_a_method_with_kwargs_takes_any_tool_parameter() -> None:
    """``**kwargs`` of the method accepts what it does not list."""
    tool = ToolDefinition("tool", "open_ended", parameters={"a": int, "z": str})
    assert registry().validator.validate_tool_to_method_mapping(tool, MethodDefinition("o", open_ended)) == []


def test_a_tool_with_kwargs_may_lack_required_parameters() -> None:
    """A face with ``**kwargs`` hands on what it does not list."""

    def face(**kwargs: Any) -> None: ...

    found = registry()
    tool = found.tools.register_tool("tool", "work", face=face)
    assert found.validator.validate_tool_to_method_mapping(tool, MethodDefinition("work", work)) == []
    assert found.validator.validate_execution_parameters("tool", {"a": "2"}) == {"a": 2}


def test_services_are_no_part_of_the_comparison() -> None:
    """A tool need not, and should not, list what is injected."""
    found = registry()
    found.services.register(Clock, Clock)
    method = found.methods.get_method("timed")
    tool = ToolDefinition("tool", "timed", parameters={"a": int})
    assert found.validator.validate_tool_to_method_mapping(tool, method) == []


# --- properties ------------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_REGISTRY = registry()


@given(st.dictionaries(st.sampled_from(["a", "b", "order", "tier", "point", "tags", "share", "z"]), _json))
def test_whatever_is_given_is_valid_or_a_parameter_error(params: dict[str, Any]) -> None:
    """Any input makes a dict of the given names, or an error that names given or missing ones."""
    try:
        valid = _REGISTRY.validator.validate_execution_parameters("work", params)
    except ParameterError as error:
        named = [problem.where for problem in error.problems]
    else:
        assert valid.keys() == params.keys()
        named = []
    assert set(named) <= params.keys() | {"a"}
    assert len(set(named)) == len(named)


@given(st.integers(), st.datetimes(), st.lists(st.text()))
def test_validating_twice_changes_nothing(number: int, moment: datetime, tags: list[str]) -> None:
    """What came out of a check goes through it unchanged: a retry sees the same parameters."""

    def stamped(a: int, when: datetime, tags: list[str]) -> None: ...

    found = registry(stamped)
    written = {"a": number, "when": moment.isoformat(), "tags": tags}
    once = found.validator.validate_execution_parameters("stamped", json.loads(json.dumps(written)))
    assert once == {"a": number, "when": moment, "tags": tags}
    assert found.validator.validate_execution_parameters("stamped", once) == once


class _Goes(Protocol):
    def go(self) -> str: ...


def _through_protocol(x: int, vehicle: _Goes) -> str:
    return vehicle.go() * x


def test_a_plain_protocol_is_not_checked_and_the_others_are() -> None:
    """A protocol that isinstance cannot check takes any value; its neighbours are still validated."""

    class Car:
        def go(self) -> str:
            return "brm"

    registry = Registry()
    target = registry.resolve(_through_protocol)
    car = Car()
    assert registry.validate(target, {"x": "2", "vehicle": car}) == {"x": 2, "vehicle": car}
    with pytest.raises(ParameterError, match="x"):
        registry.validate(target, {"x": "two", "vehicle": car})
