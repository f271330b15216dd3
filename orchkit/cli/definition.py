"""A workflow definition read from a file: all its faults at once, each with the line it is in."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orchkit as ok
from orchkit.cli.failure import UsageError
from orchkit.cli.lines import Lines, Place
from orchkit.errors import DefinitionError, Problem

if TYPE_CHECKING:
    import yaml
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails


class FaultyFileError(DefinitionError):
    """A file is not a workflow definition; ``problems`` names each fault with its line."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject, self.problems = subject, tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(map(str, self.problems)))


def read_definition(path: Path) -> ok.Workflow:
    """Read a ``.yaml``, ``.yml`` or ``.json`` file.

    Raises `UsageError` when it cannot be read, `FaultyFileError` with all its faults.
    """
    import yaml
    from pydantic import ValidationError

    try:
        return ok.Workflow.from_file(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {path}: it is not UTF-8 text (at byte {error.start})") from error
    except yaml.YAMLError as error:
        raise FaultyFileError(path.name, [_syntax_problem(path, error)]) from error
    except ValidationError as error:
        lines = Lines(path.read_text(encoding="utf-8"))
        details = sorted(error.errors(include_url=False), key=lambda detail: lines.line(detail["loc"]))
        raise FaultyFileError(path.name, [_problem(lines, detail) for detail in details]) from error


def _syntax_problem(path: Path, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else path.name
    return Problem(where, f"this is not YAML: {getattr(error, 'problem', None) or error}")


def _problem(lines: Lines, detail: ErrorDetails) -> Problem:
    """One fault that pydantic found, in words of the file."""
    place = detail["loc"]
    step = lines.step_around(place)
    where = f"line {lines.line(place)}" + (f", step {step.name}" if step else "")
    field = _spelled(place[step.depth :] if step else place)
    match detail["type"]:
        case "json_invalid":
            return Problem(where, f"this is not JSON: {detail['ctx']['error']}")
        case "extra_forbidden":
            return Problem(where, f"there is no field {field!r}", _hint(place))
        case "missing":
            return Problem(where, f"{field} is missing")
        case "model_type":
            found = "nothing" if detail["input"] is None else f"a {type(detail['input']).__name__}"
            return Problem(where, f"{field or 'a definition'} is a mapping of fields, not {found}")
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    return Problem(where, f"{field} is {_short(detail['input'])}: {message[:1].lower()}{message[1:]}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _spelled(place: Place) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def _hint(place: Place) -> str:
    """The field that was probably meant, or all that there are."""
    around = [part for part in place[:-1] if isinstance(part, str)]
    model = _model_in(around[-1] if around else "")
    near = get_close_matches(str(place[-1]), _fields(model), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(model.model_fields)}"


def _model_in(container: str) -> type[BaseModel]:
    """The record whose fields stand in a container of this name."""
    models: dict[str, type[BaseModel]] = {
        "steps": ok.StepDefinition,
        "retry": ok.RetryPolicy,
        "retry_policy": ok.RetryPolicy,
        "budget": ok.BudgetPolicy,
        "timeout": ok.TimeoutPolicy,
        "breaker": ok.BreakerPolicy,
        "fallback": ok.FallbackOption,
        "chain": ok.FallbackOption,
        "bulkhead": ok.BulkheadPolicy,
        "rate_limit": ok.RateLimitPolicy,
        "hedge": ok.HedgePolicy,
        "faults": ok.FaultPolicy,
        "compensate": ok.Compensation,
    }
    return models.get(container, ok.Workflow)


def _fields(model: type[BaseModel]) -> Sequence[str]:
    """All names that a field may be written with."""
    short = [getattr(info.validation_alias, "choices", ()) for info in model.model_fields.values()]
    return [*model.model_fields, *(str(name) for names in short for name in names)]
