"""Naming types for people, and looking inside their wrappers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, NewType, Optional, TypeVar, Union

import pytest
from typing_extensions import TypeAliasType

from orchkit.registry.typeforms import members, peel, type_name

Number = NewType("Number", int)
T = TypeVar("T")
Words = TypeAliasType("Words", list[str])
Endless = TypeAliasType("Endless", "Endless")  # type: ignore[misc]


class Order:
    """A class of a module."""


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int, "int"),
        (Order, "Order"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (list[Order], "list[Order]"),
        (dict[str, list[int]], "dict[str, list[int]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Optional[Order], "Order | None"),  # noqa: UP045
        (Union[int, str], "int | str"),  # noqa: UP007
        (int | None, "int | None"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[Order, "doc"], "Order"),
        (Callable[[int], str], "Callable[[int], str]"),
        (Callable[..., str], "Callable[..., str]"),
        (Number, "Number"),
        (T, "T"),
        (Words, "Words"),
        ("Later", "Later"),
    ],
    ids=str,
)
def test_types_are_named_as_people_write_them(annotation: Any, name: str) -> None:
    """Short names without modules; wrappers that say nothing to the reader are left out."""
    assert type_name(annotation) == name


@pytest.mark.parametrize(
    ("annotation", "inside"),
    [
        (Annotated[Number, "doc"], int),
        (Final[int], int),
        (Words, list[str]),
        (None, type(None)),
        (list[Number], list[Number]),
        (Endless, "Endless"),
    ],
    ids=str,
)
def test_wrappers_are_peeled_off(annotation: Any, inside: Any) -> None:
    """What is inside wrappers, new types and aliases, at the outermost level only."""
    assert peel(annotation) == inside


def test_an_alias_of_itself_is_any() -> None:
    """A circle of aliases ends."""

    class TypeAliasType:
        @property
        def __value__(self) -> Any:
            return self

    assert peel(TypeAliasType()) is Any


def test_nested_unions_are_flat() -> None:
    """Unions inside aliases and Annotated count as one union."""
    inner = Annotated[int | str, "doc"]
    assert members(Union[inner, None]) == (int, str, type(None))  # noqa: UP007
    assert members(int) == (int,)
