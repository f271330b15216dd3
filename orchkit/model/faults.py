"""What is wrong with a definition, in words: which step, which field, what was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchkit.errors import Problem
from orchkit.model.base import UNKNOWN_FIELD
from orchkit.model.lines import Lines, Place

if TYPE_CHECKING:
    import yaml
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_LONGEST = 40


def problems_of(error: ValidationError, text: str | None = None, data: Any = None) -> list[Problem]:
    """All faults that pydantic found in a definition, given as a text (then with their lines) or as data."""
    details = error.errors(include_url=False)
    lines = Lines(text) if text is not None else Lines.of(data)
    details.sort(key=lambda detail: lines.line(detail["loc"]))
    return [_problem(lines, detail, numbered=text is not None) for detail in details]


def not_yaml(error: yaml.YAMLError) -> Problem:
    """Why a text is not YAML, and where."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
    return Problem(where, f"this is not YAML: {getattr(error, 'problem', None) or error}")


def faults_of(error: ValidationError) -> list[str]:
    """``retry.delay is -1: it should be greater than or equal to 0`` for each fault of a record."""
    return [
        str(_cause(detail, _spelled(detail["loc"]) or "it")) for detail in error.errors(include_url=False)
    ]


def _problem(lines: Lines, detail: ErrorDetails, *, numbered: bool) -> Problem:
    """One fault, in words of whoever wrote the definition."""
    place = detail["loc"]
    step = lines.step_around(place)
    parts = [f"line {lines.line(place)}"] if numbered else []
    parts += [f"step {step.name}"] if step else []
    cause = _cause(detail, _spelled(place[step.depth :] if step else place))
    return Problem(", ".join(parts) or "the definition", cause.text, cause.hint)


class _Cause:
    def __init__(self, text: str, hint: str | None = None) -> None:
        self.text, self.hint = text, hint

    def __str__(self) -> str:
        return self.text + (f" ({self.hint})" if self.hint else "")


def _cause(detail: ErrorDetails, field: str) -> _Cause:
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "json_invalid":
            return _Cause(f"this is not JSON: {context['error']}")
        case kind if kind == UNKNOWN_FIELD and "names" in context:
            return _Cause(f"{context['names']} are names of one field", context.get("hint"))
        case kind if kind == UNKNOWN_FIELD:
            return _Cause(f"there is no field {field!r}", context.get("hint"))
        case "missing":
            return _Cause(f"{field} is missing")
        case "model_type" | "model_attributes_type":
            found = "nothing" if value is None else f"a {type(value).__name__}"
            return _Cause(f"{field or 'a definition'} is a mapping of fields, not {found}", _file_hint(value))
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    return _Cause(f"{field} is {_short(value)}: {message[:1].lower()}{message[1:]}")


def _file_hint(value: Any) -> str | None:
    """For the name of a file where its text is read."""
    named = isinstance(value, str) and value.strip().endswith((".yaml", ".yml", ".json"))
    return f"read a file with from_file({value.strip()!r})" if named else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _spelled(place: Place) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")
