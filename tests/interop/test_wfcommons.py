"""Recorded executions become workflows of the same shape and the same times."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.errors import WorkflowValidationError
from orchkit.interop import wfcommons
from orchkit.model.workflow import Workflow
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry
from orchkit.testing import FakeClock

INSTANCES = {
    "helloworld/helloworld-forkjoin-10-chameleon.json": (10, 16, 3, 8),
    "makeflow/blast-chameleon-small-001.json": (43, 120, 3, 40),
    "nextflow/bacass-dirt02-001.json": (11, 14, 5, 4),
    "nextflow/rnaseq-dirt02-001.json": (197, 451, 10, 86),
    "pegasus/1000genome-chameleon-22ch-250k-001.json": (902, 1166, 3, 572),
    "pegasus/montage-chameleon-2mass-01d-001.json": (103, 231, 8, 45),
}
"""Tasks, edges, depth, width."""


@pytest.fixture(params=sorted(INSTANCES))
def instance(request: pytest.FixtureRequest, shared_data: Path) -> Path:
    """Each recorded instance in turn."""
    path = shared_data / "wfinstances" / request.param
    assert path.is_file()
    return path


def raw(path: Path) -> dict[str, Any]:
    """The instance as plain JSON."""
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


# --- the recorded instances ----------------------------------------------------------------


def test_all_recorded_instances_are_tested(shared_data: Path) -> None:
    """A file that is added there is added here."""
    folder = shared_data / "wfinstances"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.json")} == set(INSTANCES)


def test_a_workflow_has_the_tasks_edges_and_times_of_its_instance(instance: Path) -> None:
    """One step per task, after its parents and with its runtime, read independently from the JSON."""
    document = raw(instance)
    tasks = document["workflow"]["specification"]["tasks"]
    runtimes = {task["id"]: task["runtimeInSeconds"] for task in document["workflow"]["execution"]["tasks"]}
    flow = wfcommons.load(instance, scale=0.5)
    assert {step.step_id: set(step.depends_on) for step in flow.steps} == {
        task["id"]: set(task["parents"]) for task in tasks
    }
    assert {step.step_id: step.parameters["seconds"] for step in flow.steps} == {
        task: seconds * 0.5 for task, seconds in runtimes.items()
    }
    assert flow.execution_mode == "dag"
    assert flow.name == document["name"]
    assert flow.metadata["makespanInSeconds"] == document["workflow"]["execution"]["makespanInSeconds"]
    assert flow.metadata["machines"] == len(document["workflow"]["execution"]["machines"])


def test_steps_stand_after_what_they_depend_on(instance: Path) -> None:
    """A reader from top to bottom meets every parent before its children."""
    seen: set[str] = set()
    for step in wfcommons.load(instance).steps:
        assert seen.issuperset(step.depends_on)
        seen.add(step.step_id)


def test_a_workflow_survives_json(instance: Path) -> None:
    """It can be stored and loaded, and names the module that brings its tool."""
    flow = wfcommons.load(instance, scale=0)
    again = Workflow.from_json(flow.to_json())
    assert again == flow
    assert again.imports == ("orchkit.interop.wfcommons",)


def test_the_summary_agrees_with_networkx(instance: Path, shared_data: Path) -> None:
    """Depth, width and the slowest chain as an independent library computes them."""
    result = wfcommons.summary(instance)
    flow = wfcommons.load(instance)
    graph = nx.DiGraph()
    seconds = {step.step_id: step.parameters["seconds"] for step in flow.steps}
    graph.add_nodes_from(seconds)
    graph.add_edges_from((parent, step.step_id) for step in flow.steps for parent in step.depends_on)
    levels = list(nx.topological_generations(graph))
    expected = INSTANCES[instance.relative_to(shared_data / "wfinstances").as_posix()]
    assert (result.tasks, result.edges, result.depth, result.width) == expected
    assert (len(levels), max(map(len, levels))) == expected[2:]
    weighted = nx.DiGraph()
    weighted.add_edges_from((a, b, {"s": seconds[a]}) for a, b in graph.edges)
    weighted.add_edges_from((task, "end", {"s": seconds[task]}) for task in graph)
    assert result.critical_path_s == pytest.approx(nx.dag_longest_path_length(weighted, weight="s"))
    assert result.total_runtime_s == pytest.approx(sum(seconds.values()))
    assert result.critical_path_s <= result.total_runtime_s


# --- playing -------------------------------------------------------------------------------


def test_a_task_takes_its_time_on_the_clock_it_is_given() -> None:
    """With a virtual clock an hour passes at once."""
    clock = FakeClock()
    played = asyncio.run(wfcommons.play_task("t", 3600.0, ["out.txt"], wfcommons.Playback(clock)))
    assert clock.sleeps == [3600.0]
    assert clock.monotonic() == 3600.0
    assert played == wfcommons.PlayedTask(task="t", seconds=3600.0, output_files=("out.txt",))


def test_without_seconds_nothing_waits() -> None:
    """``scale=0`` plays only the shape: not even a turn of the loop is given away."""
    clock = FakeClock()
    asyncio.run(wfcommons.play_task("t", 0.0, (), wfcommons.Playback(clock)))
    assert clock.sleeps == []


# --- handmade instances --------------------------------------------------------------------


def document(**changes: Any) -> dict[str, Any]:
    """A chain a -> b with a diamond's worth of freedom to break it."""
    tasks = [
        {"id": "a", "name": "a", "parents": [], "children": ["b"], "outputFiles": ["x"]},
        {"id": "b", "name": "b", "parents": ["a"], "children": []},
    ]
    runs = [{"id": "a", "runtimeInSeconds": 2.5}, {"id": "b", "runtimeInSeconds": 1}]
    made: dict[str, Any] = {
        "name": "small",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": changes.pop("tasks", tasks)},
            "execution": {"tasks": changes.pop("runs", runs), "makespanInSeconds": 4, "machines": [{}]},
        },
    }
    return made | changes


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes an instance file."""

    def written(content: Any) -> Path:
        path = tmp_path / "instance.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return written


def task(name: str, *parents: str, children: tuple[str, ...] = ()) -> dict[str, Any]:
    """A task of the specification."""
    return {"id": name, "name": name, "parents": list(parents), "children": list(children)}


def runs(*names: str) -> list[dict[str, Any]]:
    """Executions of one second each."""
    return [{"id": name, "runtimeInSeconds": 1.0} for name in names]


def test_a_small_instance(write: Callable[[Any], Path]) -> None:
    """Everything that is taken over, at a glance."""
    flow = wfcommons.load(write(document()), scale=2)
    first, second = flow.steps
    assert first.parameters == {"task": "a", "seconds": 5.0, "output_files": ["x"]}
    assert second.parameters == {"task": "b", "seconds": 2.0}
    assert second.depends_on == ("a",)
    assert first.tool_name == wfcommons.TASK_TOOL
    assert flow.metadata == {
        "name": "small",
        "description": None,
        "schemaVersion": "1.5",
        "makespanInSeconds": 4.0,
        "machines": 1,
        "scale": 2,
    }


def test_an_edge_counts_whichever_end_names_it(write: Callable[[Any], Path]) -> None:
    """Converters that fill only ``parents`` or only ``children`` give the same workflow."""
    down = [task("a", children=("b", "c")), task("b", children=("c",)), task("c")]
    up = [task("a"), task("b", "a"), task("c", "a", "b")]
    both = [task("a", children=("b",)), task("b", "a", "a"), task("c", "a", children=()), task("b2", "c")]
    edges = []
    for tasks in (down, up):
        flow = wfcommons.load(write(document(tasks=tasks, runs=runs("a", "b", "c"))))
        edges.append({step.step_id: set(step.depends_on) for step in flow.steps})
    assert edges[0] == edges[1] == {"a": set(), "b": {"a"}, "c": {"a", "b"}}
    flow = wfcommons.load(write(document(tasks=both, runs=runs("a", "b", "c", "b2"))))
    assert flow.step("b").depends_on == ("a",), "an edge that is named twice is one edge"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"not json", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        ([], "not a WfCommons instance"),
        ({"name": "x"}, "not a WfCommons instance"),
        (document(schemaVersion="1.4"), r"'1.4' is not supported \(supported: 1.5\)"),
        (document(schemaVersion=None), "None is not supported"),
        (document(workflow={}), "workflow.specification: Field required"),
        (document(tasks=[]), "at least 1 item"),
        (document(tasks=[{"name": "a"}]), "tasks.0.id: Field required"),
        (document(tasks=[task("a", "ghost")], runs=runs("a")), "task 'a': unknown parent 'ghost'"),
        (document(tasks=[task("a", children=("ghost",))], runs=runs("a")), "task 'a': unknown child 'ghost'"),
        (document(tasks=[task("a"), task("a")], runs=runs("a")), "task 'a': is specified 2 times"),
        (document(runs=runs("a")), "task 'b': no runtimeInSeconds"),
        (document(runs=[]), "task 'a': no runtimeInSeconds"),
        (document(runs=[{"id": "a"}, *runs("b")]), "task 'a': no runtimeInSeconds"),
        (document(runs=[{"id": "a", "runtimeInSeconds": -1.0}, *runs("b")]), "greater than or equal to 0"),
        (document(runs=[{"id": "a", "runtimeInSeconds": "1"}, *runs("b")]), "valid number"),
        (document(runs=[{"id": "a", "runtimeInSeconds": float("nan")}, *runs("b")]), "finite number"),
        (document(tasks=[task("a", "a")], runs=runs("a")), "cycle a -> a"),
        (
            document(tasks=[task("a", "c"), task("b", "a"), task("c", "b")], runs=runs("a", "b", "c")),
            r"cycle (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)",
        ),
    ],
)
@pytest.mark.parametrize("read", [wfcommons.load, wfcommons.summary])
def test_what_cannot_be_read_says_what_and_where(
    write: Callable[[Any], Path], content: Any, complaint: str, read: Callable[[Path], object]
) -> None:
    """The error names the file, the task and the way out; loading and summing up refuse the same files."""
    path = write(content)
    with pytest.raises(WorkflowValidationError, match=complaint) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_all_faults_are_named_at_once_but_not_thousands(write: Callable[[Any], Path]) -> None:
    """Two different mistakes are both there; of 500 equal ones twenty are shown and the rest counted."""
    with pytest.raises(WorkflowValidationError) as caught:
        wfcommons.load(write(document(tasks=[task("a", "ghost"), task("b")], runs=runs("a"))))
    assert [problem.where for problem in caught.value.problems] == ["task 'a'", "task 'b'"]
    with pytest.raises(WorkflowValidationError, match="480 more problems") as caught:
        wfcommons.load(write(document(tasks=[task(f"t{n}") for n in range(500)], runs=[])))
    assert len(caught.value.problems) == 21


def test_a_missing_file_is_an_operating_system_error(tmp_path: Path) -> None:
    """Nothing about the format is wrong then."""
    with pytest.raises(FileNotFoundError):
        wfcommons.load(tmp_path / "gone.json")


@pytest.mark.parametrize("scale", [-1, float("inf"), float("nan")])
def test_time_neither_runs_backwards_nor_stands(write: Callable[[Any], Path], scale: float) -> None:
    """An impossible scale is refused before anything is registered."""
    with pytest.raises(ValueError, match="scale must be"):
        wfcommons.load(write(document()), scale=scale)


def test_the_tool_is_where_the_workflow_is_to_run(write: Callable[[Any], Path]) -> None:
    """In the default registry from importing, in another one from loading, with the clock as its service."""
    registry, clock = Registry(), FakeClock()
    wfcommons.load(write(document()), registry=registry, clock=clock)
    assert wfcommons.TASK_TOOL in default_registry.tools
    method = registry.resolve(wfcommons.TASK_TOOL).method
    playback = registry.inject(method)["playback"]
    assert isinstance(playback, wfcommons.Playback)
    assert playback.clock is clock
    wfcommons.load(write(document()), registry=registry)
    child = Registry(parent=default_registry)
    wfcommons.load(write(document()), registry=child)
    assert default_registry.resolve(wfcommons.TASK_TOOL).method is child.resolve(wfcommons.TASK_TOOL).method


@given(
    st.integers(1, 12).flatmap(
        lambda size: st.lists(
            st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(
                lambda edge: edge[0] < edge[1]
            ),
            max_size=30,
        ).map(lambda edges: (size, edges))
    ),
    st.randoms(use_true_random=False),
)
def test_any_graph_without_cycle_is_read_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, graph: tuple[int, list[tuple[int, int]]], rng: Any
) -> None:
    """However tasks are ordered and whichever ends name the edges, the same graph comes out."""
    size, edges = graph
    tasks = {number: task(f"t{number}") for number in range(size)}
    for parent, child in edges:
        ends = rng.choice(("parents", "children", "both"))
        if ends != "children":
            tasks[child]["parents"].append(f"t{parent}")
        if ends != "parents":
            tasks[parent]["children"].append(f"t{child}")
    shuffled = rng.sample(list(tasks.values()), size)
    path = tmp_path_factory.getbasetemp() / "random.json"
    path.write_text(json.dumps(document(tasks=shuffled, runs=runs(*(entry["id"] for entry in shuffled)))))
    flow = wfcommons.load(path, scale=0)
    found = {(parent, step.step_id) for step in flow.steps for parent in step.depends_on}
    assert found == {(f"t{parent}", f"t{child}") for parent, child in edges}
    assert wfcommons.summary(path).edges == len(found)
