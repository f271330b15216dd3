"""The record of a run that a handle holds."""

from __future__ import annotations

import threading

import pytest

import orchkit as ok
from orchkit.errors import ExecutionError
from orchkit.registry.registry import Registry


def test_a_handle_leads_to_the_record_while_the_run_goes_on() -> None:
    """`handle.run` is the record: running while a step waits, complete afterwards."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        go_on.wait(10)
        return "done"

    with ok.open(registry=Registry()) as kit:
        handle = kit.start(kit.workflow("w").add_step(wait, step_id="a").build())
        assert begun.wait(10)
        assert handle.run.state.steps["a"].status == "running"
        go_on.set()
        assert handle.result(10).success
        assert handle.run.state.steps["a"].output == "done"
        assert handle.run.id == handle.run_id


def test_a_handle_of_a_bare_engine_says_that_there_is_no_record() -> None:
    """Without a kit nobody knows how to open a record."""

    async def nothing() -> None:
        """Do nothing."""

    registry = Registry()
    flow = ok.WorkflowBuilder("w", registry=registry).add_step(nothing).build()
    handle = ok.WorkflowEngine(method_registry=registry).start(flow)
    handle.result(10)
    with pytest.raises(ExecutionError, match="made without a kit"):
        _ = handle.run
