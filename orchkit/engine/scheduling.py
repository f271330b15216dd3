"""Pure decisions about steps: may it run, and how did the run end."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from orchkit.engine.plan import Node
from orchkit.model.result import RunStatus, StepStatus
from orchkit.model.workflow import ErrorHandling


@dataclass(slots=True)
class Standing:
    """Which steps stand in the way of others."""

    failed: set[str] = field(default_factory=set)
    """Steps that failed or were cancelled, and those skipped because of them."""
    passed_over: set[str] = field(default_factory=set)
    """Steps that were not needed: their condition was false, or that of what they depend on."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A step is not to run, and why."""

    reason: str
    because_of_failure: bool


def skip_of(node: Node, standing: Standing) -> Skip | None:
    """Why a step whose predecessors are all over must be skipped; None when it may run.

    A failed dependency always skips. A dependency that was passed over skips a step that needs its
    output, and one all of whose dependencies were passed over; so branches can be joined again. What is
    only referred to with a default (``??``) may be missing: it never skips.
    """
    for step_id in node.requires:
        if step_id in standing.failed:
            return Skip(f"step {step_id!r}, which it depends on, did not succeed", True)
    for step_id in node.needs_output:
        if step_id in standing.passed_over:
            return Skip(f"it needs the output of step {step_id!r}, which was skipped", False)
    named = node.step.depends_on
    if named and not node.needs_output and all(step_id in standing.passed_over for step_id in named):
        return Skip(f"all steps it depends on were skipped: {_listed(named)}", False)
    return None


def run_status(statuses: Iterable[StepStatus], handling: ErrorHandling) -> RunStatus:
    """How a run ended whose steps ended like this.

    ``continue_on_failure`` gives ``partial`` when something failed and something succeeded.
    """
    found: Collection[StepStatus] = set(statuses)
    if "failed" not in found and "cancelled" not in found:
        return "success"
    return "partial" if handling == "continue_on_failure" and "success" in found else "failed"


def _listed(step_ids: Iterable[str]) -> str:
    return ", ".join(map(repr, step_ids))
