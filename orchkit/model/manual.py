"""What `help` shows of a record: its fields with their defaults and meanings, and a short signature."""

from __future__ import annotations

from inspect import Parameter, Signature, cleandoc
from textwrap import fill
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

RecordT = TypeVar("RecordT", bound="BaseModel")
_WIDTH = 100


def documented(record: type[RecordT]) -> type[RecordT]:
    """Add a table of its fields to the docstring of a record, and take the types out of its signature."""
    said = cleandoc(record.__doc__ or "")
    lines = [line for name, info in record.model_fields.items() for line in _field(name, info)]
    record.__doc__ = "\n".join([said, "", "Fields:", *lines] if lines else [said])
    parameters = [
        Parameter(
            name, Parameter.KEYWORD_ONLY, default=Parameter.empty if info.is_required() else _Default(info)
        )
        for name, info in record.model_fields.items()
    ]
    record.__signature__ = Signature(parameters)
    return record


class _Default:
    """A default as people write it."""

    def __init__(self, info: FieldInfo) -> None:
        made = info.default_factory is not None
        value = info.get_default(call_default_factory=True, validated_data={}) if made else info.default
        # What is made anew each time, such as an id, is no default to know; a record is, by its maker.
        named = made and type(value).__module__.startswith(f"{__name__.partition('.')[0]}.")
        new = f"{getattr(info.default_factory, '__name__', '')}()" if named else "<new>"
        self._text = new if made and value else repr(value)

    def __repr__(self) -> str:
        return self._text


def _field(name: str, info: FieldInfo) -> list[str]:
    default = "" if info.is_required() else f" = {_Default(info)!r}"
    meaning = " ".join((info.description or "").split())
    below = fill(meaning, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return [f"    {name}{default}", *([below] if below else [])]
