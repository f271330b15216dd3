"""Recorded executions are played by the engine in the order and the time that their shape allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.runner import WorkflowEngine
from orchkit.interop import wfcommons
from orchkit.model.result import WorkflowResult
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry
from orchkit.store.store import Store
from orchkit.testing import FakeClock

Played = tuple[WorkflowResult, FakeClock]


@pytest.fixture
def play(shared_data: Path) -> Callable[[str, float], Played]:
    """Plays an instance in virtual time."""

    def played(instance: str, scale: float) -> Played:
        clock = FakeClock()
        store = Store(clock=clock)
        registry = Registry(parent=default_registry)
        registry.services.register(Store, store)
        flow = wfcommons.load(shared_data / "wfinstances" / instance, scale=scale)
        engine = WorkflowEngine(Orchestrator(registry=registry, store=store), durability="exit")
        try:
            return asyncio.run(engine.execute(flow)), clock
        finally:
            store.close()

    return played


@pytest.mark.parametrize(
    ("instance", "scale"),
    [
        ("helloworld/helloworld-forkjoin-10-chameleon.json", 1.0),
        ("makeflow/blast-chameleon-small-001.json", 10.0),
        ("nextflow/bacass-dirt02-001.json", 0.001),
        ("pegasus/montage-chameleon-2mass-01d-001.json", 1.0),
    ],
)
def test_playing_takes_the_time_of_the_slowest_chain(
    play: Callable[[str, float], Played], shared_data: Path, instance: str, scale: float
) -> None:
    """With as many workers as tasks nothing but the dependencies holds a task back; no task starts early."""
    result, clock = play(instance, scale)
    shape = wfcommons.summary(shared_data / "wfinstances" / instance)
    assert result.status == "success"
    assert clock.monotonic() == pytest.approx(shape.critical_path_s * scale, rel=1e-6)
    assert sum(clock.sleeps) == pytest.approx(shape.total_runtime_s * scale)
    flow = wfcommons.load(shared_data / "wfinstances" / instance, scale=scale)
    for step in flow.steps:
        mine = result.steps[step.step_id]
        assert mine.output.task == step.step_id
        for parent in step.depends_on:
            finished, started = result.steps[parent].finished_us, mine.started_us
            assert finished is not None
            assert started is not None
            assert started >= finished


def test_the_shape_alone_takes_no_time(play: Callable[[str, float], Played]) -> None:
    """``scale=0`` plays 902 tasks without a single wait."""
    result, clock = play("pegasus/1000genome-chameleon-22ch-250k-001.json", 0.0)
    assert result.status == "success"
    assert len(result.steps) == 902
    assert clock.sleeps == []
