"""Whether steps and compensations call something that exists, with parameters that fit it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from orchkit.engine.draft import Draft, brief, did_you_mean, quoting_hint, read_uses, step_name
from orchkit.engine.reference_types import reference_type, use_problems
from orchkit.engine.references import Reference, compile_template, parse, texts_in
from orchkit.errors import OrchkitError, ParameterError, Problem, ReferenceSyntaxError
from orchkit.model.near import near
from orchkit.model.workflow import StepDefinition
from orchkit.registry.parameters import NO_FIELD, UNKNOWN, compatible
from orchkit.registry.schema import exists_only_in_python
from orchkit.registry.target import Target
from orchkit.registry.typeforms import type_name

_ONLY_THE_TYPE: Final = re.compile(r"Input should be (?:a valid|an instance of) [^;]*")
NO_TOOL: Final = "names no tool and has no sub-workflow"


def call_problems(draft: Draft, step: StepDefinition) -> Iterator[Problem]:
    """What is wrong with the tool of a step and the parameters for it."""
    if step.workflow is not None:
        return  # its parameters become the context of the sub-workflow, which takes anything
    if not step.tool_name:
        yield Problem(step_name(step.step_id), NO_TOOL)
        return
    yield from _call(draft, step, step.tool_name, step.parameters, "")


def compensation_problems(draft: Draft, step: StepDefinition) -> Iterator[Problem]:
    """What is wrong with the undoing of a step; it may refer to the output of any step, its own included."""
    if step.compensate is None:
        return
    tool, parameters = step.compensate.tool_name, step.compensate.parameters
    if parameters is None:
        yield from _same_parameters(draft, step, tool)
        return
    texts = ((f"compensation parameter {path!r}", text) for path, text in texts_in(parameters))
    uses, problems = read_uses(draft, step.step_id, texts)
    yield from problems
    for use in uses:
        other = use.reference.step_id
        if other is not None and other not in draft.position:
            cause = f"{use.where}: {use.reference.text} names unknown step {other!r}"
            hint = quoting_hint(use.reference.text, draft.quoted_ids) or did_you_mean(other, draft.position)
            yield Problem(step_name(step.step_id), cause, hint)
    yield from use_problems(draft, step, uses)
    yield from _call(draft, step, tool, parameters, "compensation ")


def fallback_problems(
    draft: Draft, step: StepDefinition, tool: str, parameters: dict[str, Any] | None
) -> Iterator[Problem]:
    """What is wrong with a tool in place of a step's; its parameters are by default those of the step."""
    if parameters is not None:
        for path, text in texts_in(parameters):
            if "${" in text.replace("$${", ""):
                cause = f"fallback parameter {path!r}: a fallback cannot refer to anything, got {brief(text)}"
                yield Problem(step_name(step.step_id), cause, "without params it gets those of its step")
        yield from _call(draft, step, tool, parameters, "fallback ")
        return
    target = draft.lookup(tool)
    if isinstance(target, OrchkitError):
        hint = "a text is the name of a tool: for a value write {'value': …}"
        yield Problem(step_name(step.step_id), f"fallback {target}", hint)
    elif causes := [problem.cause for problem in _call(draft, step, tool, step.parameters, "")]:
        cause = f"fallback {tool!r} cannot be given the parameters of its step: {'; '.join(causes)}"
        yield Problem(step_name(step.step_id), cause, "give fallback={'tool': …, 'params': …}")


def _same_parameters(draft: Draft, step: StepDefinition, tool: str) -> Iterator[Problem]:
    """A compensation without parameters of its own is given those of its step, so it must take them."""
    where, hint = step_name(step.step_id), "give compensate={'tool': …, 'params': …}"
    target = draft.lookup(tool)
    if isinstance(target, OrchkitError):
        yield Problem(where, f"compensation {target}")
    elif step.is_map or step.workflow is not None:
        kind = "map" if step.is_map else "sub-workflow"
        yield Problem(where, f"compensation {tool!r} of a {kind} needs parameters of its own", hint)
    elif causes := [problem.cause for problem in _call(draft, step, tool, step.parameters, "")]:
        cause = f"compensation {tool!r} cannot be given the parameters of its step: {'; '.join(causes)}"
        yield Problem(where, cause, hint)


def _call(
    draft: Draft, step: StepDefinition, tool: str, parameters: dict[str, Any], label: str
) -> Iterator[Problem]:
    where = step_name(step.step_id)
    target = draft.lookup(tool)
    if isinstance(target, OrchkitError):
        yield Problem(where, f"{label}{target}")
        return
    fixed, open_ = _split(parameters)
    injected = {name for name, _ in draft.registry.services_of(target.method)}
    specs = {spec.name: spec for spec in target.parameters if spec.name not in injected}
    missing = [name for name, spec in specs.items() if spec.required and name not in parameters]
    expected: set[str] = set()
    if draft.services_to_come:
        expected = {name for name in missing if exists_only_in_python(specs[name].annotation)}
    # A misspelt parameter is one mistake, not also a missing one; and what holds a reference is not missing.
    misspelt = {found for name in parameters.keys() - specs.keys() for found in near(name, missing)}
    for problem in _fixed_problems(draft, target, fixed) if fixed or missing else ():
        if not any(problem.where in names for names in (open_, misspelt, expected)):
            yield Problem(
                where, f"{label}parameter {problem.where!r}: {problem.cause}", _more_than_the_type(problem)
            )
    for name, value in open_.items():
        if name in specs:
            given = _type_of(draft, step, value)
            if given not in (UNKNOWN, NO_FIELD) and not compatible(given, specs[name].annotation):
                wanted = type_name(specs[name].annotation)
                cause = f"{label}parameter {name!r}: {brief(value)} is {type_name(given)}, expected {wanted}"
                yield Problem(where, cause)
        elif name in injected or not _accepts_extra(target):
            yield Problem(where, f"{label}parameter {name!r}: unknown parameter", did_you_mean(name, specs))


def _more_than_the_type(problem: Problem) -> str | None:
    """The hint, unless it only says once more that a value is not of the type that the cause names."""
    said = problem.hint is not None and _ONLY_THE_TYPE.fullmatch(problem.hint)
    return None if said and problem.cause.startswith("expected ") else problem.hint


def _split(parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters whose values are known now (unescaped), and those that hold references."""
    fixed: dict[str, Any] = {}
    open_: dict[str, Any] = {}
    for name, value in parameters.items():
        try:
            template = compile_template(value)
        except ReferenceSyntaxError:  # reported as such, where it stands
            open_[name] = value
            continue
        if template.is_static:
            fixed[name] = template.static
        else:
            open_[name] = value
    return fixed, open_


def _fixed_problems(draft: Draft, target: Target, fixed: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        draft.registry.validate(target, fixed)
    except ParameterError as error:
        return error.problems
    return ()


def _accepts_extra(target: Target) -> bool:
    if target.tool is not None and target.tool.own_parameters is not None:
        return target.tool.accepts_extra
    return target.method.accepts_extra


def _type_of(draft: Draft, step: StepDefinition, value: Any) -> Any:
    """The type that a value with references will have."""
    if not isinstance(value, str):
        return type(value)
    try:
        parts = parse(value)
    except ReferenceSyntaxError:
        return UNKNOWN
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return reference_type(draft, step, parts[0])
    return str
