"""WfCommons instances (WfFormat JSON, real executions of workflows) as workflows that can be played."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchkit.clock import Clock, SystemClock
from orchkit.errors import Problem, WorkflowValidationError
from orchkit.model.base import Record
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.registry.registration import default_registry, register_tool
from orchkit.registry.registry import Registry
from orchkit.store.store import Store

SUPPORTED_VERSIONS = ("1.5",)
"""The WfFormat versions that can be read."""

TASK_TOOL = "wfcommons.task"
"""The tool that every step of a loaded workflow calls."""

_MOST_PROBLEMS = 20


class PlayedTask(Record):
    """What a played task gives: which one it was, how long it waited, what the recorded one had written."""

    task: str
    seconds: float
    output_files: tuple[str, ...] = ()


class InstanceSummary(Record):
    """The size and the shape of an instance."""

    name: str
    tasks: int
    edges: int
    depth: int
    """Tasks on the longest chain."""
    width: int
    """Most tasks on one level; a task's level is the length of the longest chain above it."""
    total_runtime_s: float
    """Seconds of all tasks together."""
    critical_path_s: float
    """Seconds of the slowest chain: no execution can be faster than this."""
    makespan_s: float | None
    """Seconds that the recorded execution took; None when it was not recorded."""


class Playback:
    """The service that says on which clock recorded tasks wait."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock


@register_tool(TASK_TOOL, category="replay")
async def play_task(
    task: str,
    seconds: float,
    output_files: Sequence[str] = (),
    playback: Playback | None = None,
    store: Store | None = None,
) -> PlayedTask:
    """Take as long as the recorded task did."""
    if seconds > 0:
        own = playback.clock if playback is not None else None
        clock = own or (store.clock if store is not None else SystemClock())
        await clock.sleep(seconds)
    return PlayedTask(task=task, seconds=seconds, output_files=tuple(output_files))


# --- what is read of the format ------------------------------------------------------------


class _SpecTask(BaseModel):
    model_config = ConfigDict(strict=True)
    id: str = Field(min_length=1)
    parents: list[str] = []
    children: list[str] = []
    outputFiles: list[str] = []


class _ExecTask(BaseModel):
    model_config = ConfigDict(strict=True)
    id: str
    runtimeInSeconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class _Specification(BaseModel):
    tasks: list[_SpecTask] = Field(min_length=1)


class _Execution(BaseModel):
    tasks: list[_ExecTask] = []
    makespanInSeconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    machines: list[Any] = []


class _Body(BaseModel):
    specification: _Specification
    execution: _Execution = _Execution()


class _Document(BaseModel):
    name: str
    description: str | None = None
    schemaVersion: str
    workflow: _Body


@dataclass(frozen=True, slots=True)
class _Instance:
    """A checked instance: every task with its parents and its runtime, parents first."""

    document: _Document
    tasks: Mapping[str, _SpecTask]
    parents: Mapping[str, tuple[str, ...]]
    runtimes: Mapping[str, float]
    order: Sequence[str]

    @property
    def execution(self) -> _Execution:
        return self.document.workflow.execution


def load(
    path: str | Path, *, scale: float = 1.0, registry: Registry | None = None, clock: Clock | None = None
) -> Workflow:
    """Read an instance as a ``dag`` workflow that takes the recorded times, times ``scale``.

    One step per task, its id that of the task, after the task's parents (those named by ``parents`` and
    those that name it in ``children``). Each step waits ``runtimeInSeconds * scale`` seconds, not at all
    with ``scale=0``, and returns a `PlayedTask`.

    Importing this module has registered the tool that does it, `TASK_TOOL`, in the default registry; give
    ``registry`` for one that does not fall through to it. The steps wait on the clock of the kit that runs
    them, or on the ``clock`` given here, which the registry then keeps as its `Playback` service.

    Raises `WorkflowValidationError` with all problems when the file is not JSON, has an unsupported
    ``schemaVersion``, names an unknown parent or child, lacks a runtime, or has a cycle; `OSError` when it
    cannot be opened; `ValueError` for a negative scale.
    """
    if not 0 <= scale < float("inf"):
        raise ValueError(f"scale must be a number from 0 upwards, got {scale!r}")
    instance = _read(Path(path))
    target = default_registry if registry is None else registry
    if TASK_TOOL not in target.tools:
        register_tool(TASK_TOOL, category="replay", registry=target)(play_task)
    if clock is not None:
        target.services.register(Playback, Playback(clock))
    document = instance.document
    return Workflow(
        name=document.name,
        description=document.description,
        execution_mode="dag",
        steps=tuple(_step(instance, task_id, scale) for task_id in instance.order),
        metadata={
            "name": document.name,
            "description": document.description,
            "schemaVersion": document.schemaVersion,
            "makespanInSeconds": instance.execution.makespanInSeconds,
            "machines": len(instance.execution.machines),
            "scale": scale,
        },
        imports=(__name__,),
    )


def summary(path: str | Path) -> InstanceSummary:
    """Size, shape and times of an instance; raises what `load` raises for a file that cannot be read."""
    instance = _read(Path(path))
    levels: dict[str, int] = {}
    finished: dict[str, float] = {}
    for task_id in instance.order:
        above = instance.parents[task_id]
        levels[task_id] = 1 + max((levels[parent] for parent in above), default=0)
        ready = max((finished[parent] for parent in above), default=0.0)
        finished[task_id] = ready + instance.runtimes[task_id]
    return InstanceSummary(
        name=instance.document.name,
        tasks=len(instance.tasks),
        edges=sum(map(len, instance.parents.values())),
        depth=max(levels.values()),
        width=max(Counter(levels.values()).values()),
        total_runtime_s=sum(instance.runtimes.values()),
        critical_path_s=max(finished.values()),
        makespan_s=instance.execution.makespanInSeconds,
    )


def _step(instance: _Instance, task_id: str, scale: float) -> StepDefinition:
    parameters: dict[str, Any] = {"task": task_id, "seconds": instance.runtimes[task_id] * scale}
    if instance.tasks[task_id].outputFiles:
        parameters["output_files"] = instance.tasks[task_id].outputFiles
    return StepDefinition(
        step_id=task_id, tool_name=TASK_TOOL, parameters=parameters, depends_on=instance.parents[task_id]
    )


# --- reading -------------------------------------------------------------------------------


def _read(path: Path) -> _Instance:
    document = _document(path)
    spec = document.workflow.specification.tasks
    tasks = {task.id: task for task in spec}
    runtimes = {
        task.id: task.runtimeInSeconds
        for task in document.workflow.execution.tasks
        if task.runtimeInSeconds is not None
    }
    problems = [*_duplicates(spec), *_strangers(tasks), *_untimed(tasks, runtimes)]
    if problems:
        raise _refused(path, problems)
    parents = _parents(tasks)
    try:
        order = tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        chain = " -> ".join(error.args[1])
        raise _refused(path, [Problem("workflow.specification.tasks", f"cycle {chain}")]) from None
    return _Instance(document, tasks, parents, runtimes, order)


def _document(path: Path) -> _Document:
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        cause = f"is not JSON: {error}"
        raise _refused(path, [Problem("the file", cause, "WfCommons instances are JSON files")]) from None
    if not isinstance(data, dict) or "schemaVersion" not in data:
        cause = "is missing: this is not a WfCommons instance"
        raise _refused(path, [Problem("schemaVersion", cause, _supported())])
    if str(data["schemaVersion"]) not in SUPPORTED_VERSIONS:
        cause = f"{data['schemaVersion']!r} is not supported"
        raise _refused(path, [Problem("schemaVersion", cause, _supported())])
    try:
        return _Document.model_validate(data | {"schemaVersion": str(data["schemaVersion"])})
    except ValidationError as error:
        problems = [Problem(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
        raise _refused(path, problems) from None


def _supported() -> str:
    return f"supported: {', '.join(SUPPORTED_VERSIONS)}"


def _refused(path: Path, problems: Sequence[Problem]) -> WorkflowValidationError:
    shown = list(problems[:_MOST_PROBLEMS])
    if hidden := len(problems) - len(shown):
        shown.append(Problem("the file", f"has {hidden} more problems of these kinds"))
    return WorkflowValidationError(str(path), shown)


def _duplicates(spec: Iterable[_SpecTask]) -> Iterator[Problem]:
    for task_id, count in Counter(task.id for task in spec).items():
        if count > 1:
            yield Problem(f"task {task_id!r}", f"is specified {count} times")


def _strangers(tasks: Mapping[str, _SpecTask]) -> Iterator[Problem]:
    for task in tasks.values():
        for relation, names in (("parent", task.parents), ("child", task.children)):
            for name in names:
                if name not in tasks:
                    yield Problem(f"task {task.id!r}", f"unknown {relation} {name!r}")


def _untimed(tasks: Iterable[str], runtimes: Mapping[str, float]) -> Iterator[Problem]:
    for task_id in tasks:
        if task_id not in runtimes:
            hint = "only instances of an execution can be played, not bare specifications"
            yield Problem(f"task {task_id!r}", "no runtimeInSeconds under workflow.execution.tasks", hint)


def _parents(tasks: Mapping[str, _SpecTask]) -> dict[str, tuple[str, ...]]:
    # Some converters fill only one of the two directions; a dict per task keeps order without repeats.
    found: dict[str, dict[str, None]] = {name: dict.fromkeys(task.parents) for name, task in tasks.items()}
    for task in tasks.values():
        for child in task.children:
            found[child][task.id] = None
    return {task_id: tuple(parents) for task_id, parents in found.items()}
