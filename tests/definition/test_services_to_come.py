"""Workflows whose tools need services that only the kit will have."""

from __future__ import annotations

from typing import Any

import pytest

from orchkit.engine.builder import WorkflowBuilder
from orchkit.engine.validation import check
from orchkit.errors import WorkflowValidationError
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry


class Ledger:
    """Something that only exists in Python."""

    def total(self) -> int:
        return 7


def book(amount: int, ledger: Ledger) -> int:
    """Use a service."""
    return amount + ledger.total()


def built(registry: Registry, **params: Any) -> Workflow:
    """A workflow of one step that books."""
    return WorkflowBuilder("w", registry=registry).add_step(book, params).build()


def test_a_service_may_come_later() -> None:
    """Built over the common registry, a parameter that only a service can fill is not missing yet."""
    workflow = built(Registry(), amount=1)
    assert workflow.steps[0].parameters == {"amount": 1}


def test_the_kit_that_runs_it_must_have_the_service() -> None:
    """The check before a run says which parameter is missing; with the service there is no problem."""
    common = Registry()
    workflow = built(common, amount=1)
    kit = Registry(parent=common)
    (problem,) = check(workflow, kit)
    assert "ledger" in problem.cause
    kit.services.register(Ledger, Ledger())
    assert check(workflow, kit) == []


def test_a_kit_without_the_service_refuses_at_build() -> None:
    """A builder on a kit's registry knows that the service is not there."""
    with pytest.raises(WorkflowValidationError, match="ledger"):
        built(Registry(parent=Registry()), amount=1)


def test_plain_parameters_are_still_missing() -> None:
    """Only what cannot be written as data is taken for a service."""
    with pytest.raises(WorkflowValidationError, match="amount"):
        built(Registry())
