"""Checking the parameters of one call, and saying everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from reprlib import Repr
from typing import Any

from pydantic import ValidationError

from orchkit.errors import ParameterError, Problem
from orchkit.model.near import near
from orchkit.registry.schema import exists_only_in_python, parameters_adapter
from orchkit.registry.signature import ParameterSpec
from orchkit.registry.typeforms import type_name

Services = tuple[tuple[str, type], ...]
"""Names of parameters that are injected, each with the type of its service."""

_shorten = Repr()
_shorten.maxstring = _shorten.maxother = 60
_DETAILS = 3


class ParameterCheck:
    """The compiled check of one method or tool; call it with the parameters."""

    __slots__ = ("_extra", "_run", "_services", "_specs", "subject")

    def __init__(
        self,
        subject: str,
        parameters: Sequence[ParameterSpec],
        *,
        extra: bool = False,
        services: Services = (),
    ) -> None:
        self.subject = subject
        self._services = dict(services)
        self._specs = {p.name: p for p in parameters if p.name not in self._services}
        self._extra = extra
        adapter = parameters_adapter(subject, list(self._specs.values()), extra=extra)
        self._run = adapter.validator.validate_python

    def __call__(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A new dict of validated and coerced parameters; ParameterError with all problems."""
        try:
            valid: dict[str, Any] = self._run(params)
        except ValidationError as error:
            raise ParameterError(self.subject, self._problems(error, params)) from None
        except Exception as error:  # a validator of the user's own types failed in its own way
            raise ParameterError(
                self.subject, [Problem("parameters", f"validation raised {error!r}")]
            ) from error
        if self._extra and self._services and not valid.keys().isdisjoint(self._services):
            raise ParameterError(self.subject, [self._unknown(n) for n in self._services if n in valid])
        return valid

    def _problems(self, error: ValidationError, params: Any) -> list[Problem]:
        """One problem per parameter, in the order in which pydantic met them."""
        found: dict[Any, list[Any]] = {}
        for detail in error.errors(include_url=False, include_context=False):
            location = detail["loc"]
            found.setdefault(location[0] if location else None, []).append(detail)
        return [self._problem(name, details, params) for name, details in found.items()]

    def _problem(self, name: Any, details: list[Any], params: Any) -> Problem:
        if name is None:
            return Problem("parameters", f"expected a mapping of names to values, got {shown(params)}")
        spec = self._specs.get(name)
        if spec is None:
            return self._unknown(name)
        if details[0]["type"] == "missing" and len(details[0]["loc"]) == 1:
            expected = type_name(spec.annotation)
            service = exists_only_in_python(spec.annotation)
            hint = f"if it is a service: kit.services.register({expected}, ...)" if service else None
            return Problem(name, f"missing, expected {expected}", hint)
        return _mismatch(spec, params[name], details)

    def _unknown(self, name: Any) -> Problem:
        if not isinstance(name, str):
            return Problem(shown(name), "a parameter name must be a string")
        if name in self._services:
            return Problem(
                name, f"is the service {type_name(self._services[name])}", "it is injected: leave it out"
            )
        close = near(name, self._specs)
        known = f"known: {', '.join(self._specs)}" if self._specs else "it takes none"
        return Problem(name, "unknown parameter", f"did you mean {close[0]!r}?" if close else known)


def value_problem(spec: ParameterSpec, value: Any) -> Problem | None:
    """What is wrong with a value (such as a default) for a parameter, or None."""
    adapter = parameters_adapter("value", [ParameterSpec("value", spec.annotation)])
    try:
        adapter.validator.validate_python({"value": value})
    except ValidationError as error:
        return _mismatch(spec, value, error.errors(include_url=False, include_context=False))
    except Exception as error:  # a validator of the user's own types failed in its own way
        return Problem(
            spec.name, f"{shown(value)} cannot be checked against {type_name(spec.annotation)}: {error!r}"
        )
    return None


def shown(value: Any) -> str:
    """A value with its type, short enough for a message; never raises."""
    return f"{_shorten.repr(value)} ({type(value).__name__})"


def _mismatch(spec: ParameterSpec, value: Any, details: Iterable[Any]) -> Problem:
    messages = dict.fromkeys(_detail(detail) for detail in details)
    shown_messages = list(messages)[:_DETAILS]
    if len(messages) > _DETAILS:
        shown_messages.append(f"and {len(messages) - _DETAILS} more")
    cause = f"expected {type_name(spec.annotation)}, got {shown(value)}"
    return Problem(spec.name, cause, "; ".join(shown_messages))


def _detail(detail: Any) -> str:
    """``items[0].price: Input should be …``; the parameter's own name is in the problem already."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"][1:])
    message = str(detail["msg"])
    return f"{path.removeprefix('.')}: {message}" if path else message
