"""What connects the steps of a workflow: data, conditions, declared dependencies, plain order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from pydantic import ValidationError

from orchkit.analysis.references import uses
from orchkit.model.workflow import StepDefinition, Workflow

LinkKind = Literal["data", "condition", "dependency", "order"]
"""The strongest reason for a link, in this order: the target uses the source's output as a parameter; in
its condition; names it in ``depends_on``; simply comes after it in a sequential workflow."""


@dataclass(frozen=True, slots=True)
class Link:
    """One step comes after another, and why."""

    source: str
    target: str
    kind: LinkKind
    references: tuple[str, ...] = ()
    """The references that make it, as written."""


def workflow_of(definition: Workflow | Mapping[str, Any] | None) -> Workflow | None:
    """A definition as it stands in a record; None where there is none or this version cannot read it."""
    if definition is None or isinstance(definition, Workflow):
        return definition
    try:
        return Workflow.model_validate(definition)
    except ValidationError:
        return None


def links(workflow: Workflow) -> list[Link]:
    """The links of a workflow, each pair of steps once; to steps that do not exist there are none."""
    known = {step.step_id for step in workflow.steps}
    found: list[Link] = []
    for step in workflow.steps:
        found += [link for link in _into(step) if link.source in known and link.source != step.step_id]
    if workflow.execution_mode == "sequential":
        taken = {(link.source, link.target) for link in found}
        for before, after in pairwise(workflow.steps):
            if (before.step_id, after.step_id) not in taken:
                found.append(Link(before.step_id, after.step_id, "order"))
    return found


def _into(step: StepDefinition) -> list[Link]:
    """The links into one step, by source in order of appearance, named dependencies first."""
    references: dict[str, list[str]] = {source: [] for source in step.depends_on}
    kinds: dict[str, LinkKind] = dict.fromkeys(step.depends_on, "dependency")
    for use in uses(step):
        texts = references.setdefault(use.step_id, [])
        if use.text not in texts:
            texts.append(use.text)
        if use.place != "when":
            kinds[use.step_id] = "data"
        elif kinds.get(use.step_id) != "data":
            kinds[use.step_id] = "condition"
    return [Link(source, step.step_id, kinds[source], tuple(texts)) for source, texts in references.items()]
