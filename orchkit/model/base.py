"""The base of all definition records: frozen, strict about unknown fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from orchkit.model.near import near

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

UNKNOWN_FIELD = "extra_forbidden"
"""The type of the error for a field that a record does not know; its ``ctx`` has a ``hint``, and ``names``
where it is another name of a field that was given as well."""


class Record(BaseModel):
    """A frozen pydantic model that refuses fields it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )
    also_read: ClassVar[tuple[str, ...]] = ()
    """Names that may be written although they are no fields."""

    @model_validator(mode="wrap")
    @classmethod
    def _hinting(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """An unknown field comes with the name that was probably meant."""
        try:
            return handler(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            if not any(_is_plain(detail) for detail in details):
                raise
            lines = [
                _line(detail, cls._doubled(detail), cls._hint(str(detail["loc"][-1]))) for detail in details
            ]
            raise ValidationError.from_exception_data(error.title, lines) from None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What was given, or is not as it is anyway: all fields of all policies would fill pages."""
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            field = None if name is None else fields.get(name)
            if (
                field is None
                or name in self.model_fields_set
                or value != field.get_default(call_default_factory=True, validated_data={})
            ):
                yield name, value

    @classmethod
    def _hint(cls, name: str) -> str:
        aliases = (getattr(info.validation_alias, "choices", ()) for info in cls.model_fields.values())
        names = [*cls.model_fields, *cls.also_read, *(str(name) for choices in aliases for name in choices)]
        found = near(name, names)
        return f"did you mean {found[0]!r}?" if found else f"there are {', '.join(cls.model_fields)}"

    @classmethod
    def _doubled(cls, detail: ErrorDetails) -> tuple[str, ...] | None:
        """All names of the field that this is one of: one that is not known was given beside another one."""
        name = detail["loc"][-1]
        for field, info in cls.model_fields.items():
            choices = tuple(str(one) for one in getattr(info.validation_alias, "choices", ()))
            if name in (field, *choices) and choices:
                return choices if field in choices else (field, *choices)
        return None

    def __copy__(self) -> Self:
        """A copy without what was worked out of the fields and kept: `model_copy` may change them."""
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


def _is_plain(detail: ErrorDetails) -> bool:
    """Whether it is about an unknown field and has no hint: that of a record inside has one already."""
    return detail["type"] == UNKNOWN_FIELD and "ctx" not in detail


def _line(detail: ErrorDetails, doubled: tuple[str, ...] | None, hint: str) -> InitErrorDetails:
    """The same error, in words of ours where it is about an unknown field, or one with several names."""
    message, context = detail["msg"], detail.get("ctx")
    if _is_plain(detail) and doubled is not None:
        message = "{names} are names of one field, {hint}"
        names = f"{', '.join(map(repr, doubled[:-1]))} and {doubled[-1]!r}"
        context = {"names": names, "hint": "give one of them"}
    elif _is_plain(detail):
        message, context = "no such field {name}, {hint}", {"name": repr(detail["loc"][-1]), "hint": hint}
    # What is no template stays as it is: only names of the context are filled in, and that is done.
    kind = PydanticCustomError(detail["type"], message, context)
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"])
