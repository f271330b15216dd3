"""Which steps a step draws on: the references in its parameters, its list and its condition.

Only as much of the grammar as a reader of records needs; a definition that was run has been checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from orchkit.model.workflow import StepDefinition

_OPENING = re.compile(r"(\$+)\{([^{}]*)\}")
_STEP = re.compile(r"\s*steps\s*(?:\.(\w[\w-]*)|\[\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)')\s*\])")

Place = Literal["parameters", "over", "when"]


@dataclass(frozen=True, slots=True)
class Use:
    """One reference to another step."""

    step_id: str
    text: str
    """The reference as written, such as ``${steps.fetch.rows}``."""
    place: Place


def uses(step: StepDefinition) -> list[Use]:
    """The references of a step to other steps, in order of appearance, each text once per place."""
    found: dict[tuple[str, Place], Use] = {}
    places: tuple[tuple[Place, Any], ...] = (
        ("parameters", step.parameters),
        ("over", step.over),
        ("when", step.when),
    )
    for place, value in places:
        for text in _texts(value):
            for reference, step_id in _references(text):
                found.setdefault((reference, place), Use(step_id, reference, place))
    return list(found.values())


def plain_condition(expression: str) -> str:
    """A condition without the signs around its references: ``steps.count.total > 3``."""
    return _OPENING.sub(lambda found: found[2].strip() if len(found[1]) == 1 else found[0], expression)


def _references(text: str) -> Iterator[tuple[str, str]]:
    for found in _OPENING.finditer(text):
        if len(found[1]) % 2 == 0:  # pairs of dollars are plain dollars
            continue
        step = _STEP.match(found[2])
        if step:
            yield f"${{{found[2]}}}", next(group for group in step.groups() if group is not None)


def _texts(value: Any) -> Iterator[str]:
    """All texts inside nested values, in order; without recursion, so that depth does not matter."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "${" in item:
                yield item
        elif isinstance(item, dict):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, list | tuple):
            stack.extend(reversed(item))
