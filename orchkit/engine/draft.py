"""A definition under check: what its names and references mean, as far as they mean anything."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from reprlib import Repr
from typing import Any, Final, TypedDict

from orchkit.engine.conditions import compile_condition
from orchkit.engine.references import Reference, parse, texts_in
from orchkit.errors import ConditionSyntaxError, OrchkitError, Problem, ReferenceSyntaxError
from orchkit.model.near import near
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.registry.parameters import UNKNOWN
from orchkit.registry.registry import Registry
from orchkit.registry.target import Target

_make_typed_dict: Any = TypedDict
"""Called with computed names, which type checkers do not allow under the real name."""

_MANY_NAMES: Final = 2_000
_LISTED: Final = 8
_LONG_LIST: Final = 60
"""Characters that the names in a hint may take."""
_EXCERPT: Final = 60
"""Characters of a value or a text that a message shows."""
_LONG_VALUE: Final = 100
"""Characters of a value of several parts."""
_PLAIN_ID: Final = re.compile(r"\w[\w-]*")
_STEPS: Final = re.compile(r"\$\{\s*steps\.")
_SPACED_ID: Final = re.compile(r"\w[\w-]*(?:\s+\w[\w-]*)+")
_REST_OF_PATH: Final = re.compile(r"(?:\.\w[\w-]*|\[[^\]]*\])*")

_brief = Repr()
_brief.maxstring = _brief.maxother = _EXCERPT
_brief.maxlevel = 3


@dataclass(frozen=True, slots=True)
class Use:
    """One reference and where in its step it stands."""

    where: str
    """For people: ``parameter 'to[0]'``, ``when``, ``over``, ``compensation parameter 'id'``."""
    reference: Reference


class Draft:
    """A workflow with the look-ups that its checks need."""

    def __init__(self, workflow: Workflow, registry: Registry, *, services_to_come: bool = False) -> None:
        self.workflow = workflow
        self.registry = registry
        self.services_to_come = services_to_come
        self.position: dict[str, int] = {}
        """Where each step id is used first."""
        self.repeated: set[str] = set()
        """The ids that are used more than once."""
        for index, step in enumerate(workflow.steps):
            if self.position.setdefault(step.step_id, index) != index:
                self.repeated.add(step.step_id)
        self.quoted_ids = [step_id for step_id in self.position if not _PLAIN_ID.fullmatch(step_id)]
        """The ids that references must put into quotes."""
        self.uses: list[list[Use]] = []
        """What each step refers to, in the order of the steps."""
        self.unreadable: list[list[Problem]] = []
        """The mistakes in references and conditions that could not be read, in the order of the steps."""
        for step in workflow.steps:
            uses, problems = read_uses(self, step.step_id, _texts(step))
            self.uses.append(uses)
            self.unreadable.append(problems)
        self.shared: dict[tuple[str, str], tuple[str, Any]] = {}
        """What steps share by kind and name: the first step that sets it, and how."""
        self._targets: dict[str, Target | OrchkitError] = {}
        self._results: dict[str, Any] = {}

    def lookup(self, tool_name: str) -> Target | OrchkitError:
        """The target of a name, or the reason why there is none."""
        found = self._targets.get(tool_name)
        if found is None:
            try:
                found = self.registry.resolve(tool_name)
            except OrchkitError as error:
                found = error
            self._targets[tool_name] = found
        return found

    def result_type(self, step_id: str) -> Any:
        """The type of a step's output; UNKNOWN if nothing can be said."""
        known = self._results.get(step_id)
        if known is None:
            known = self._results[step_id] = self._result_type(step_id)
        return known

    def _result_type(self, step_id: str) -> Any:
        step = self.workflow.steps[self.position[step_id]]
        if step_id in self.repeated:
            return UNKNOWN
        if step.workflow is not None:
            return Draft(step.workflow, self.registry).outputs_type()
        target = self.lookup(step.tool_name)
        if isinstance(target, OrchkitError):
            return UNKNOWN
        result: Any = target.result_type
        return list[result] if step.is_map else result

    def outputs_type(self) -> Any:
        """The type of the outputs of all steps by step id, which is the output of a sub-workflow."""
        types = {step_id: self.result_type(step_id) for step_id in self.position}
        return _make_typed_dict(
            self.workflow.name, {key: Any if type_ is UNKNOWN else type_ for key, type_ in types.items()}
        )

    def edges(self) -> dict[str, list[str]]:
        """For each step id the other ids that it depends on, for any reason."""
        edges: dict[str, list[str]] = {}
        for step, uses in zip(self.workflow.steps, self.uses, strict=True):
            if step.step_id not in edges:
                referred = [use.reference.step_id for use in uses if use.reference.step_id is not None]
                needed = dict.fromkeys([*step.depends_on, *referred])
                edges[step.step_id] = [other for other in needed if other != step.step_id]
        return edges


def read_uses(
    draft: Draft, step_id: str, texts: Iterator[tuple[str, str]]
) -> tuple[list[Use], list[Problem]]:
    """The references in texts, and a problem for each text that cannot be read."""
    uses: list[Use] = []
    problems: list[Problem] = []
    for where, text in texts:
        try:
            found = compile_condition(text).references if where == "when" else parse(text)
        except (ReferenceSyntaxError, ConditionSyntaxError) as error:
            hint = quoting_hint(text, draft.quoted_ids)
            problems.append(Problem(step_name(step_id), f"{where}: {_fault(error)}", hint))
        else:
            uses += [Use(where, part) for part in found if isinstance(part, Reference)]
    return uses, problems


def _fault(error: ReferenceSyntaxError | ConditionSyntaxError) -> str:
    """The message with no more of a long text than what is around the fault."""
    if isinstance(error, ConditionSyntaxError) or len(error.text) <= _EXCERPT:
        return str(error)
    begin = max(0, min(error.position - _EXCERPT // 2, len(error.text) - _EXCERPT))
    end = begin + _EXCERPT
    excerpt = "…" * (begin > 0) + error.text[begin:end] + "…" * (end < len(error.text))
    return f"{error.cause} at position {error.position} of {excerpt!r}"


def quoting_hint(text: str, ids: Iterable[str]) -> str | None:
    """How to write the first reference to an id that needs quotes: one of ``ids``, or one with spaces."""
    for opening in _STEPS.finditer(text):
        rest = text[opening.end() :]
        meant = max((one for one in ids if rest.startswith(one)), key=len, default=None)
        spaced = _SPACED_ID.match(rest)
        if meant is None and spaced is not None:
            meant = spaced[0]
        path = _REST_OF_PATH.match(rest, len(meant)) if meant else None
        if path is not None:
            return f"write ${{steps[{json.dumps(meant, ensure_ascii=False)}]{path[0]}}}"
    return None


def _texts(step: StepDefinition) -> Iterator[tuple[str, str]]:
    """What may hold references that are resolved before the step runs."""
    for path, text in texts_in(step.parameters):
        yield f"parameter {path!r}", text
    for path, text in texts_in(step.over):
        yield f"over{path}", text
    if step.when is not None:
        yield "when", step.when


def step_name(step_id: str) -> str:
    """How a problem names a step."""
    return f"step {step_id!r}"


def did_you_mean(name: str, known: Collection[str]) -> str | None:
    """A hint with the names that are like this one, or with all when there are few."""
    if len(known) <= _MANY_NAMES:  # comparing is slow, and a large workflow may be all wrong
        found = near(name, known)
        if found:
            return f"did you mean {found[0]!r}?"
    if not 0 < len(known) <= _LISTED:
        return None
    shown: list[str] = []
    for one in map(repr, known):
        if shown and len(", ".join([*shown, one])) > _LONG_LIST:
            break
        shown.append(one)
    left = len(known) - len(shown)
    return f"known: {', '.join(shown)}" + (f" and {left} more" if left else "")


def brief(value: object) -> str:
    """A value as in code, short enough for a message."""
    text = _brief.repr(value)
    return text if len(text) <= _LONG_VALUE else f"{text[: _LONG_VALUE - 1]}…"
