"""From parameter specifications to a compiled pydantic validator and to JSON schema."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from pydantic import ConfigDict, InstanceOf, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, PydanticSerializationError, SchemaError, to_jsonable_python
from typing_extensions import TypedDict

from orchkit.registry.signature import MISSING, ParameterSpec
from orchkit.registry.typeforms import base_class, is_union

_make_typed_dict: Any = TypedDict
"""Called with computed names, which type checkers do not allow under the real name."""

_UNUSABLE = (PydanticUserError, SchemaError, TypeError, NameError, SyntaxError)
"""What pydantic raises for annotations that it cannot check, plain protocols among them."""
_STREAMS = {Iterable, Iterator, Generator, AsyncIterable, AsyncIterator, AsyncGenerator}


class _JsonSchema(GenerateJsonSchema):
    """JSON schema that says nothing, instead of failing, about types that JSON does not have."""

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:
        kind = schema.get("cls", None)
        return {"x-python-type": f"{kind.__module__}.{kind.__qualname__}"} if isinstance(kind, type) else {}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """A default that JSON does not have is simply left out."""


def parameters_adapter(
    name: str, parameters: Sequence[ParameterSpec], *, extra: bool = False
) -> TypeAdapter[dict[str, Any]]:
    """A validator of parameter dicts: lax mode, any class allowed, unknown names refused unless ``extra``.

    A type that pydantic cannot handle (an unfinished class, an object that is no type) is not checked.
    """
    try:
        return _adapter(name, parameters, extra=extra)
    except _UNUSABLE:
        checked = [
            p if _can_validate(p.annotation) else ParameterSpec(p.name, Any, p.required) for p in parameters
        ]
        return _adapter(name, checked, extra=extra)


def exists_only_in_python(annotation: Any) -> bool:
    """Whether no value written as data can become this type: a class that pydantic cannot read.

    Parameters of such types are what services are made for.
    """
    if not isinstance(annotation, type):
        return False
    try:
        TypeAdapter(annotation)
    except _UNUSABLE:
        return True
    return False


def _adapter(name: str, parameters: Sequence[ParameterSpec], *, extra: bool) -> TypeAdapter[dict[str, Any]]:
    fields = {p.name: (Required if p.required else NotRequired)[_checked(p.annotation)] for p in parameters}
    shape = _make_typed_dict(name, fields)
    # An alias inside Annotated must not change under which name a parameter is given.
    shape.__pydantic_config__ = ConfigDict(
        extra="allow" if extra else "forbid",
        arbitrary_types_allowed=True,
        validate_by_name=True,
        validate_by_alias=False,
    )
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(shape)
    if not adapter.pydantic_complete:
        adapter.rebuild(raise_errors=True)
    return adapter


def _can_validate(annotation: Any) -> bool:
    try:
        _adapter("value", [ParameterSpec("value", annotation)], extra=False)
    except _UNUSABLE:
        return False
    return True


def _checked(annotation: Any) -> Any:
    """The type to validate against: streams by class only.

    Pydantic wraps an ``Iterable`` in a one-shot iterator: it could neither be recorded nor read again by a
    second attempt.
    """
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        checked = _checked(inner)
        return annotation if checked is inner else Annotated[(checked, *extras)]
    if is_union(annotation):
        args = get_args(annotation)
        checked_args = tuple(map(_checked, args))
        return annotation if checked_args == args else Union[checked_args]  # noqa: UP007 - a computed tuple
    base = base_class(annotation)
    return InstanceOf[Any if base is None else base] if base in _STREAMS else annotation  # type: ignore[misc]


def parameters_schema(
    name: str, parameters: Sequence[ParameterSpec], *, extra: bool = False
) -> dict[str, Any]:
    """The JSON schema of a parameter dict, with defaults and descriptions."""
    schema = parameters_adapter(name, parameters, extra=extra).json_schema(schema_generator=_JsonSchema)
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    for parameter in parameters:
        entry = properties[parameter.name]
        if parameter.description:
            entry["description"] = parameter.description
        if parameter.default is not MISSING:
            entry.update(_default(parameter.default))
    return schema


def _default(value: Any) -> Mapping[str, Any]:
    try:
        return {"default": to_jsonable_python(value)}
    except (PydanticSerializationError, ValueError):
        return {}
