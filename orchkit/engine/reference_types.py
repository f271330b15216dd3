"""What references point at, as far as annotations tell: missing fields, and lists that are none."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from orchkit.engine.draft import Draft, Use, brief, did_you_mean, step_name
from orchkit.engine.grammar import Reference, parse
from orchkit.errors import Problem, ReferenceSyntaxError
from orchkit.model.workflow import StepDefinition
from orchkit.registry.parameters import NO_FIELD, UNKNOWN, field_type
from orchkit.registry.typeforms import base_class, is_open, is_typed_dict, members, type_name

_NO_LIST = (str, bytes, bytearray, Mapping, BaseModel)


def reference_type(draft: Draft, step: StepDefinition, reference: Reference) -> Any:
    """The type of the value that a reference of this step points at; UNKNOWN or NO_FIELD."""
    return field_type(_whole_type(draft, step, reference), reference.path)


def _whole_type(draft: Draft, step: StepDefinition, reference: Reference) -> Any:
    """The type of what the path starts from."""
    if reference.step_id is not None:
        return draft.result_type(reference.step_id) if reference.step_id in draft.position else UNKNOWN
    if reference.root == "index":
        return int
    if reference.root == "item" and step.is_map:
        return _item_type(draft, step)
    return UNKNOWN


def _item_type(draft: Draft, step: StepDefinition) -> Any:
    if isinstance(step.over, list | tuple):
        kinds = {type(item) for item in step.over}
        return kinds.pop() if len(kinds) == 1 and str not in kinds else UNKNOWN
    try:
        source = _whole_reference(step.over)
    except ReferenceSyntaxError:
        return UNKNOWN
    if source is None or source.root == "item":
        return UNKNOWN
    element = _element_type(reference_type(draft, step, source))
    return UNKNOWN if element is NO_FIELD else element


def _element_type(annotation: Any) -> Any:
    """The type of the elements of a list type; NO_FIELD when no value of the type is a list of any kind."""
    found = [_element_of(member) for member in members(annotation) if member is not NoneType]
    if UNKNOWN in found:
        return UNKNOWN
    types = [type_ for type_ in found if type_ is not NO_FIELD]
    return functools.reduce(operator.or_, types) if types else NO_FIELD


def _element_of(annotation: Any) -> Any:
    base = base_class(annotation)
    if is_open(annotation) or base is None:
        return UNKNOWN
    if issubclass(base, _NO_LIST) or not issubclass(base, Iterable):
        return NO_FIELD
    args = [arg for arg in get_args(annotation) if arg is not ...]
    return args[0] if len(args) == 1 else UNKNOWN


def _whole_reference(value: Any) -> Reference | None:
    """The reference that a text consists of, or None."""
    parts = parse(value) if isinstance(value, str) else ()
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Reference) else None


# --- problems ------------------------------------------------------------------------------


def use_problems(draft: Draft, step: StepDefinition, uses: Iterable[Use]) -> Iterator[Problem]:
    """References to items where there are none, and to fields that the referenced type does not have."""
    for use in uses:
        reference = use.reference
        if reference.root in ("item", "index") and not (step.is_map and use.where.startswith("parameter")):
            cause = f"{use.where}: {reference.text} has a meaning in the parameters of a map only"
            yield Problem(step_name(step.step_id), cause, None if step.is_map else "use add_map")
        elif reference_type(draft, step, reference) is NO_FIELD:
            yield _field_problem(draft, step, use)


def _field_problem(draft: Draft, step: StepDefinition, use: Use) -> Problem:
    reference = use.reference
    owner, key = _whole_type(draft, step, reference), reference.path[0]
    for key in reference.path:
        inner = field_type(owner, (key,))
        if inner is NO_FIELD:
            break
        owner = inner
    lacking = f"no field {key!r}" if isinstance(key, str) else f"no index {key}"
    cause = f"{use.where}: {reference.text}: {type_name(owner)} has {lacking}"
    return Problem(step_name(step.step_id), cause, did_you_mean(str(key), _field_names(owner)))


def _field_names(annotation: Any) -> Collection[str]:
    names: set[str] = set()
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            names |= member.model_fields.keys()
        elif isinstance(member, type) and is_dataclass(member):
            names |= {field.name for field in fields(member)}
        elif is_typed_dict(member):
            names |= member.__annotations__.keys()
    return sorted(names)


def over_problems(draft: Draft, step: StepDefinition) -> Iterator[Problem]:
    """A map needs a list, or one reference to something that can be a list."""
    if step.over is None or isinstance(step.over, list | tuple):
        return
    where = step_name(step.step_id)
    try:
        source = _whole_reference(step.over)
    except ReferenceSyntaxError:  # reported as such
        return
    if source is None:
        yield Problem(
            where, f"over is {brief(step.over)}", "give a list, or one reference such as ${steps.ID.rows}"
        )
    elif _element_type(found := reference_type(draft, step, source)) is NO_FIELD:
        yield Problem(where, f"over: {source.text} is {type_name(found)}, which is not a list")
