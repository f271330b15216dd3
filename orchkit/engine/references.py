"""References at work: parameters with ``${...}`` compiled once, then resolved per attempt in about 1 µs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchkit.engine.grammar import MISSING, Missing, Reference, escape, parse
from orchkit.engine.paths import follow, listed
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
        return partial(_one_entry, *dynamic[0]), None

    def fill(scope: Scope) -> dict[Any, Any]:
        filled = base.copy()
        for key, resolve in dynamic:
            filled[key] = resolve(scope)
        return filled

    return fill, None


def _one_entry(key: Any, get: Resolver, scope: Scope) -> dict[Any, Any]:
    return {key: get(scope)}


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
    # partials, not closures: half the objects, which counts when a plan has 100,000 steps
    if reference.step_id is not None:
        get: Resolver = partial(_from_step, reference, reference.step_id)
    else:
        get = partial(_from_scope, reference)
    return partial(_or_default, reference, get) if reference.has_default else get


def _from_step(reference: Reference, step_id: str, scope: Scope) -> Any:
    try:
        value = scope.steps[step_id]
    except KeyError:
        cause = f"step {step_id!r} has no output; steps with one: {listed(scope.steps)}"
        raise UnresolvedReferenceError(reference.text, cause) from None
    return follow(value, reference) if reference.path else value


def _from_scope(reference: Reference, scope: Scope) -> Any:
    value = getattr(scope, reference.root)
    if value is MISSING:
        raise UnresolvedReferenceError(reference.text, f"there is no {reference.root} outside of a map")
    return follow(value, reference) if reference.path else value


def _or_default(reference: Reference, get: Resolver, scope: Scope) -> Any:
    try:
        value = get(scope)
    except UnresolvedReferenceError:
        value = None
    # copied: a step that changes its list must not change the default of the next one
    return deepcopy(reference.default) if value is None else value
