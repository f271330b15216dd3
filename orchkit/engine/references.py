"""References at work: parameters with ``${...}`` compiled once, then resolved per attempt in about 1 µs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

from orchkit.engine.grammar import MISSING, Missing, Reference, escape, parse
from orchkit.errors import UnresolvedReferenceError

__all__ = [
    "MISSING",
    "Missing",
    "Reference",
    "Scope",
    "Template",
    "compile_template",
    "escape",
    "fresh",
    "parse",
    "references_in",
    "resolver_of",
]

_SHOWN = 10
_NOT_DATA = (ModuleType, FrameType, CodeType, TracebackType)


@dataclass(slots=True)
class Scope:
    """What references can see while one step is prepared."""

    steps: Mapping[str, Any]
    """The outputs of the steps that succeeded, by step id."""
    context: Mapping[str, Any]
    run: Mapping[str, Any]
    """Facts of the run; at least ``id``."""
    item: Any = MISSING
    """The current item of a map."""
    index: int | Missing = MISSING
    """The position of the current item of a map, from 0."""


Resolver = Callable[[Scope], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A value whose references are compiled: ``resolve(scope)`` fills them in."""

    references: tuple[Reference, ...]
    resolve: Resolver
    """Gives a value of the caller's own (but see `is_static`). Raises `UnresolvedReferenceError`."""
    static: Any = MISSING
    """The value when it is static."""

    @property
    def is_static(self) -> bool:
        """Whether there is nothing to fill in; flat dicts and lists are then handed out without a copy."""
        return not self.references


def references_in(value: Any) -> list[tuple[str, Reference]]:
    """All references inside nested dicts, lists and tuples, each with the path to where it stands.

    The path of a reference in ``{"to": ["${item}"]}`` is ``to[0]``; the keys of dicts are taken as they are.
    Raises `ReferenceSyntaxError` at the first text that cannot be parsed.
    """
    texts = texts_in(value)
    return [(where, part) for where, text in texts for part in parse(text) if isinstance(part, Reference)]


def texts_in(value: Any, where: str = "") -> list[tuple[str, str]]:
    """All texts inside nested values that may hold a reference, each with the path to it."""
    if isinstance(value, str):
        return [(where, value)] if "${" in value else []
    found: list[tuple[str, str]] = []
    if isinstance(value, dict):
        for key, item in value.items():
            found += texts_in(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            found += texts_in(item, f"{where}[{index}]")
    return found


# --- compiling -----------------------------------------------------------------------------


def compile_template(value: Any) -> Template:
    """Compile the references inside a value. Raises `ReferenceSyntaxError`."""
    references: list[Reference] = []
    resolve, static = _compile(value, references, False)
    return Template(tuple(references), resolve or (lambda scope: static), MISSING if references else static)


Compiled = tuple[Resolver | None, Any]
"""How to make the value, or None when it is always the same; and the value, if it holds no references."""


def _compile(value: Any, references: list[Reference], inside: bool = True) -> Compiled:
    if isinstance(value, str):
        return _compile_text(value, references) if "${" in value else (None, value)
    if isinstance(value, dict):
        return _compile_dict(value, references, inside)
    if isinstance(value, list | tuple):
        return _compile_sequence(value, references, inside)
    return None, value


def _compile_text(text: str, references: list[Reference]) -> Compiled:
    parts = parse(text)
    found = [part for part in parts if isinstance(part, Reference)]
    references += found
    if not found:
        return None, "".join(map(str, parts))
    if len(parts) == 1:
        return resolver_of(found[0]), None
    pieces = [(part, None) if isinstance(part, str) else (part.text, resolver_of(part)) for part in parts]

    def interpolate(scope: Scope) -> str:
        return "".join([_text(text, get(scope)) if get else text for text, get in pieces])

    return interpolate, None


def _text(reference: str, value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        raise UnresolvedReferenceError(reference, f"its value cannot be made text: {error!r}") from error


def _compile_dict(value: dict[Any, Any], references: list[Reference], inside: bool) -> Compiled:
    before = len(references)
    base: dict[Any, Any] = {}
    dynamic: list[tuple[Any, Resolver]] = []
    for key, item in value.items():
        resolve, base[key] = _compile(item, references)
        if resolve is not None:
            dynamic.append((key, resolve))
    if len(references) == before:
        changed = any(base[key] is not item for key, item in value.items())
        return _compile_static(base if changed else value, base.values(), inside)
    if len(base) == 1:
        ((only, get),) = dynamic
        return (lambda scope: {only: get(scope)}), None

    def fill(scope: Scope) -> dict[Any, Any]:
        filled = base.copy()
        for key, resolve in dynamic:
            filled[key] = resolve(scope)
        return filled

    return fill, None


def _compile_sequence(value: Sequence[Any], references: list[Reference], inside: bool) -> Compiled:
    before = len(references)
    base: list[Any] = []
    dynamic: list[tuple[int, Resolver]] = []
    for index, item in enumerate(value):
        resolve, static = _compile(item, references)
        base.append(static)
        if resolve is not None:
            dynamic.append((index, resolve))
    rebuild = _rebuilder(value)
    if len(references) == before:
        changed = any(old is not new for old, new in zip(value, base, strict=True))
        return _compile_static(rebuild(base) if changed else value, base, inside)

    def fill(scope: Scope) -> Any:
        filled = base.copy()
        for index, resolve in dynamic:
            filled[index] = resolve(scope)
        return rebuild(filled)

    return fill, None


def _compile_static(value: Any, items: Iterable[Any], inside: bool) -> Compiled:
    """A container without references, made anew as far as a tool could change it for the next one.

    Only the outermost is handed out as it is: the engine passes its entries on one by one.
    """
    if any(isinstance(item, dict | list | tuple) for item in items):
        return (lambda scope: fresh(value)), value
    if inside and not isinstance(value, tuple):
        return (lambda scope: value.copy()), value
    return None, value


def fresh(value: Any) -> Any:
    """The same containers made anew around the same leaves."""
    if isinstance(value, dict):
        return {key: fresh(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _rebuilder(value)([fresh(item) for item in value])
    return value


def _rebuilder(value: Sequence[Any]) -> Callable[[list[Any]], Any]:
    """How to make a sequence of the same type (a list, a tuple, a named tuple) from a list."""
    if isinstance(value, list):
        return lambda items: items
    if hasattr(value, "_fields"):
        return lambda items: type(value)(*items)
    return tuple


# --- resolving -----------------------------------------------------------------------------


def resolver_of(reference: Reference) -> Resolver:
    """A function from scope to the value that the reference points at."""
    get = _steps_resolver(reference) if reference.root == "steps" else _scope_resolver(reference)
    if not reference.has_default:
        return get
    default = reference.default

    def with_default(scope: Scope) -> Any:
        try:
            value = get(scope)
        except UnresolvedReferenceError:
            value = None
        # copied: a step that changes its list must not change the default of the next one
        return deepcopy(default) if value is None else value

    return with_default


def _steps_resolver(reference: Reference) -> Resolver:
    step_id, path = reference.step_id or "", reference.path

    def resolve(scope: Scope) -> Any:
        try:
            value = scope.steps[step_id]
        except KeyError:
            cause = f"step {step_id!r} has no output; steps with one: {_listed(scope.steps)}"
            raise UnresolvedReferenceError(reference.text, cause) from None
        return _follow(value, path, reference) if path else value

    return resolve


def _scope_resolver(reference: Reference) -> Resolver:
    root, path = reference.root, reference.path

    def resolve(scope: Scope) -> Any:
        value = getattr(scope, root)
        if value is MISSING:
            raise UnresolvedReferenceError(reference.text, f"there is no {root} outside of a map")
        return _follow(value, path, reference) if path else value

    return resolve


def _follow(value: Any, path: tuple[str | int, ...], reference: Reference) -> Any:
    for depth, key in enumerate(path):
        try:
            value = value[key] if type(value) is dict else _member(value, key)
        except LookupError:
            if type(value) is not dict or str(key) not in value:
                raise _absent(value, depth, reference) from None
            value = value[str(key)]  # JSON made text of the number that the key was
        except Exception as error:
            cause = f"reading {path_text(path[: depth + 1])!r} raised {error!r}"
            raise UnresolvedReferenceError(reference.text, cause) from error
    return value


def _member(value: Any, key: str | int) -> Any:
    """What a name or an index means on a value that is not a plain dict; LookupError if nothing."""
    if isinstance(value, dict | Mapping):
        return value[key] if key in value else value[str(key)]
    if isinstance(key, str):
        return _attribute(value, key)
    if not isinstance(value, str | bytes) and hasattr(value, "__getitem__"):
        return value[key]
    raise LookupError(key)


def _attribute(value: Any, name: str) -> Any:
    if name.startswith("_"):
        raise LookupError(name)
    try:
        member = getattr(value, name)
    except AttributeError:
        raise LookupError(name) from None
    if inspect.isroutine(member) or isinstance(member, _NOT_DATA):
        raise LookupError(name)
    return member


# --- saying what is there instead ----------------------------------------------------------


def _absent(value: Any, depth: int, reference: Reference) -> UnresolvedReferenceError:
    key = reference.path[depth]
    what = f"no field {key!r}" if isinstance(key, str) else f"no index {key}"
    whole = reference.root if reference.step_id is None else f"the output of step {reference.step_id!r}"
    taken = path_text(reference.path[:depth])
    place = f"{taken!r} of {whole}" if taken else whole
    return UnresolvedReferenceError(reference.text, f"{place} has {what}; it is {_described(value)}")


def path_text(path: Sequence[str | int]) -> str:
    """A path as people write it: ``rows[0].total``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _described(value: Any) -> str:
    """What a value offers to a path, without showing its contents (they may be secret)."""
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, Mapping):
        return f"of type {name} with the keys {_listed(value)}" if value else f"an empty {name}"
    if isinstance(value, list | tuple):
        return f"of type {name} with {len(value)} items"
    names = _field_names(value)
    return f"of type {name} with {_listed(names)}" if names else f"of type {name}"


def _field_names(value: Any) -> list[str]:
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    model_fields = getattr(type(value), "model_fields", None)
    names = model_fields if isinstance(model_fields, dict) else getattr(value, "__dict__", {})
    return [str(name) for name in names if not str(name).startswith("_")]


def _listed(names: Mapping[Any, Any] | Sequence[str]) -> str:
    shown = [str(name) for name in list(names)[:_SHOWN]]
    more = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more > 0 else "")
