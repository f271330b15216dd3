"""Reading signatures: annotations in every form, wherever their types are defined."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
from pydantic import BaseModel, Field

from orchkit.errors import RegistrationError
from orchkit.registry import MISSING, MethodDefinition, MethodRegistry

if TYPE_CHECKING:
    from fractions import Fraction


class Order(BaseModel):
    item: str
    count: int = 1


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that a definition of the function has."""
    return {p.name: p.annotation for p in MethodDefinition("f", function).parameters}


def test_string_annotations_become_types() -> None:
    """Annotations that are strings are resolved against the module of the function."""

    def work(order: Order, price: Decimal | None = None, *, tags: list[str] = []) -> dict[str, Order]: ...  # noqa: B006

    method = MethodDefinition("work", work)
    assert parameters(work) == {"order": Order, "price": Decimal | None, "tags": list[str]}
    assert method.result_type == dict[str, Order]
    assert [p.required for p in method.parameters] == [True, False, False]
    assert [p.default for p in method.parameters] == [MISSING, None, []]


def test_types_of_the_enclosing_function_are_found() -> None:
    """A type defined in the function body in which the method is defined is found, nested deeper too."""

    @dataclass
    class Local:
        x: int

    def work(a: Local, b: list[Local]) -> Local: ...

    def outer() -> dict[str, Any]:
        class Inner(BaseModel): ...

        def nested(a: Local, b: Inner) -> None: ...

        assert parameters(nested) == {"a": Local, "b": Inner}
        return parameters(nested)

    assert parameters(work) == {"a": Local, "b": list[Local]}
    assert MethodDefinition("work", work).result_type is Local
    assert outer()["a"] is Local


def test_a_closure_finds_its_types_after_its_function_has_returned() -> None:
    """Free variables count as names for annotations."""

    def factory() -> Callable[..., Any]:
        class Made(BaseModel): ...

        def work(a: Made) -> Any:
            return Made

        return work

    work = factory()
    assert parameters(work)["a"] is work(None)


def test_what_cannot_be_resolved_is_any_and_the_rest_is_kept() -> None:
    """A name that only type checkers see is Any; the other parameters keep their types."""

    def work(a: Fraction, b: int, c: list[Fraction] | None = None) -> Fraction: ...

    assert parameters(work) == {"a": Any, "b": int, "c": Any}
    assert MethodDefinition("work", work).result_type is Any


def test_a_type_that_a_later_cell_defines_is_found_then() -> None:
    """As long as an annotation cannot be resolved it is tried again at the next look."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def work(a: 'Later') -> int: ...", scope)
    method = MethodRegistry().register_method(scope["work"])
    assert method.parameters[0].annotation is Any
    exec("class Later: ...", scope)
    assert method.parameters[0].annotation is scope["Later"]
    assert method.signature is method.signature


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("5", Any),
        ("[int]", Any),
        ("'list[int]'", list[int]),
        ("None", type(None)),
        ("Annotated[int, Field(gt=0)]", "Annotated"),
        ("int | str", int | str),
    ],
)
def test_odd_annotations(annotation: str, expected: Any) -> None:
    """Objects that are no types are Any; strings in strings are resolved; Annotated is kept."""
    scope: dict[str, Any] = {"Annotated": Annotated, "Field": Field}
    exec(f"def work(a: {annotation}): ...", scope)
    found = parameters(scope["work"])["a"]
    assert found == expected or (expected == "Annotated" and found.__metadata__)


def test_none_as_default_allows_none() -> None:
    """``x: int = None`` is read as ``int | None``, as it is meant."""

    def work(a: int = None, b: Any = None, c: int | None = None) -> None: ...  # type: ignore[assignment] # noqa: RUF013

    assert parameters(work) == {"a": Optional[int], "b": Any, "c": int | None}  # noqa: UP045


def test_descriptions_come_from_annotated() -> None:
    """``Annotated`` carries the description of a parameter, as a Field or as text."""

    def work(a: Annotated[int, Field(description="How many")], b: Annotated[str, "What"], c: int) -> None: ...

    assert [p.description for p in MethodDefinition("w", work).parameters] == ["How many", "What", ""]


def test_a_field_as_default_is_refused() -> None:
    """``x: int = Field(...)`` would hand the Field to the function: the error says what to write."""

    def work(a: int = Field(gt=0)) -> None: ...

    with pytest.raises(RegistrationError, match="write Annotated"):
        MethodDefinition("work", work)


async def coroutine(a: int) -> list[int]:
    """Async as usual."""
    return [a]


def awaitable(a: int) -> Awaitable[list[int]]:
    """Async by its annotation."""
    return coroutine(a)


def coroutine_type(a: int) -> Coroutine[Any, Any, list[int]]:
    """Async by its full annotation."""
    return coroutine(a)


@pytest.mark.parametrize("function", [coroutine, awaitable, coroutine_type])
def test_the_result_is_that_of_the_awaited_call(function: Callable[..., Any]) -> None:
    """``Awaitable[X]`` and ``Coroutine[…, X]`` count as X."""
    assert MethodDefinition("f", function).result_type == list[int]


def test_a_wrapper_shows_the_function_it_wraps() -> None:
    """A decorator with ``functools.wraps`` does not hide parameters, docstring or origin."""

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @decorator
    def work(order: Order) -> Order:
        """Works."""
        return order

    method = MethodDefinition("work", work)
    assert [p.annotation for p in method.parameters] == [Order]
    assert not method.accepts_extra
    assert method.description == "Works."
    assert method.target.endswith("work")


def test_a_model_class_is_a_method_that_makes_it() -> None:
    """A class registers with the parameters of its constructor and itself as the result."""
    method = MethodDefinition("order", Order)
    assert [str(p) for p in method.parameters] == ["item: str", "count: int = 1"]
    assert method.result_type is Order


class Frame:
    """Stands for a class that JSON schema does not know."""


def test_params_schema_is_json_schema() -> None:
    """Types, defaults, descriptions and required names are in the schema; foreign classes do not break it."""

    def work(
        order: Order,
        count: Annotated[int, Field(gt=0, description="How many")] = 1,
        frame: Frame | None = None,
        when: Decimal = Decimal("1.5"),
        odd: Any = object(),  # noqa: B008
    ) -> None: ...

    schema = MethodDefinition("work", work).params_schema()
    assert schema["required"] == ["order"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["count"] == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "default": 1,
        "description": "How many",
        "title": "Count",
    }
    assert schema["properties"]["when"]["default"] == "1.5"
    assert "default" not in schema["properties"]["odd"]
    assert "Order" in schema["$defs"]


def test_extra_parameters_are_open_in_the_schema() -> None:
    """``**kwargs`` leaves the schema open."""

    def work(a: int, **options: Any) -> None: ...

    method = MethodDefinition("work", work)
    assert [p.name for p in method.parameters] == ["a"]
    assert method.accepts_extra
    assert method.params_schema()["additionalProperties"] is True
