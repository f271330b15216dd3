"""A workflow as data: steps, references between them, an execution mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator, model_validator

from orchkit.errors import Problem, WorkflowValidationError
from orchkit.ids import new_id
from orchkit.model.base import Record
from orchkit.model.brief import brief_name
from orchkit.model.display import Displayable
from orchkit.model.faults import not_yaml, problems_of
from orchkit.model.manual import documented
from orchkit.model.policy import (
    NO_POLICY,
    READERS,
    BreakerPolicy,
    BulkheadPolicy,
    FallbackPolicy,
    FaultPolicy,
    HedgePolicy,
    RateLimitPolicy,
    ReliabilityPolicy,
    RetryPolicy,
    TimeoutPolicy,
)
from orchkit.model.presets import as_policy
from orchkit.model.span import Seconds
from orchkit.model.yamltext import load_yaml

ExecutionMode = Literal["sequential", "parallel", "dag"]
ErrorHandling = Literal["stop_on_failure", "continue_on_failure"]

_MOST_IDS = 8
_POLICY_FIELDS = {"retry_policy": "retry"}
"""Fields whose part of a policy has another name."""
_FIELD_OF = {part: field for field, part in _POLICY_FIELDS.items()}


@documented
class Compensation(Record):
    """How a completed step is undone when the run fails later."""

    tool_name: str = Field(validation_alias=AliasChoices("tool_name", "tool"))
    """What undoes it: a tool or method name, or ``package.module:function``."""
    parameters: dict[str, Any] | None = Field(
        default=None, validation_alias=AliasChoices("parameters", "params")
    )
    """Parameters with references; None: the parameters that the step itself was given."""


class StepDefinition(Record):
    """One step: what it calls, with which parameters, after which steps, under which policy."""

    also_read: ClassVar[tuple[str, ...]] = ("policy",)
    step_id: str = Field(validation_alias=AliasChoices("step_id", "id"))
    """Its name in the workflow."""
    tool_name: str = Field(default="", validation_alias=AliasChoices("tool_name", "tool"))
    """A tool or method name, or ``package.module:function``; empty for a sub-workflow."""
    parameters: dict[str, Any] = Field(
        default_factory=dict, validation_alias=AliasChoices("parameters", "params")
    )
    """Values by name; ``${steps.ID}``, ``${context.key}`` and ``${run.id}`` refer to others."""
    depends_on: tuple[str, ...] = ()
    """Ids of the steps that must be over before; those it refers to are so anyway."""
    when: str | None = None
    """Condition over references; the step is skipped when it is false."""
    timeout: TimeoutPolicy | None = None
    """Limits of time: see `ReliabilityPolicy`, also for the policies that follow."""
    retry_policy: RetryPolicy | None = Field(
        default=None, validation_alias=AliasChoices("retry_policy", "retry")
    )
    """Another attempt after a failed one."""
    breaker: BreakerPolicy | None = None
    """No calls to what fails."""
    fallback: FallbackPolicy | None = None
    """What takes the place of a result."""
    bulkhead: BulkheadPolicy | None = None
    """Calls at the same time."""
    rate_limit: RateLimitPolicy | None = None
    """Calls per period."""
    hedge: HedgePolicy | None = None
    """A second try beside a slow one."""
    faults: FaultPolicy | None = None
    """Failures on purpose."""
    compensate: Compensation | None = None
    """How it is undone when the run fails after it."""
    node_type: str = "task"
    """``task``, ``map``, ``workflow`` or a label of the user's; changes the picture, not the run."""
    executor: str | None = None
    """``inline`` or ``threads``; None: async functions inline, sync functions in threads."""
    over: Any = None
    """For a map: a list, or a reference to one; ``${item}`` and ``${index}`` are set per item."""
    max_concurrency: int | None = Field(default=None, ge=1)
    """For a map: how many items run at the same time; None: all."""
    workflow: Workflow | None = None
    """For a sub-workflow: its definition; ``parameters`` become its context."""
    description: str | None = None
    """For people."""

    @model_validator(mode="before")
    @classmethod
    def _whole_policy(cls, data: Any) -> Any:
        """``policy`` stands for all parts that it has; parts that are given beside it change it."""
        if not isinstance(data, Mapping) or data.get("policy") is None:
            return data
        rest = {_POLICY_FIELDS.get(name, name): value for name, value in data.items() if name != "policy"}
        own = {name: rest.pop(name) for name in READERS if rest.get(name) is not None}
        whole = as_policy(data["policy"])
        return {**rest, **(whole.but(**own).parts if whole is not None else own)}

    @field_validator("retry_policy", *(name for name in READERS if name != "retry"), mode="before")
    @classmethod
    def _policy(cls, value: Any, info: ValidationInfo) -> Any:
        return READERS[_POLICY_FIELDS.get(info.field_name or "", info.field_name or "")](value)

    @field_validator("compensate", mode="before")
    @classmethod
    def _compensate(cls, value: Any) -> Any:
        return Compensation(tool_name=value) if isinstance(value, str) else value

    @field_validator("depends_on", mode="before")
    @classmethod
    def _depends_on(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @cached_property
    def reliability(self) -> ReliabilityPolicy:
        """The policies that the step sets itself."""
        parts = {name: getattr(self, _FIELD_OF.get(name, name)) for name in READERS}
        parts = {name: part for name, part in parts.items() if part is not None}
        return ReliabilityPolicy.model_construct(**parts) if parts else NO_POLICY

    @property
    def is_map(self) -> bool:
        """Whether the step fans out over a list."""
        return self.over is not None


@documented
class Workflow(Record, Displayable):
    """A complete definition; immutable, and the same in Python, JSON and YAML."""

    workflow_id: str = Field(default_factory=lambda: new_id("wf"))
    """Tells definitions apart that have the same name."""
    name: str
    """What the runs are called."""
    description: str | None = None
    """For people."""
    steps: tuple[StepDefinition, ...] = ()
    """In the order of a sequential run."""
    execution_mode: ExecutionMode = "sequential"
    """``sequential``, ``parallel`` (all at once) or ``dag`` (as they depend on each other)."""
    error_handling: ErrorHandling = "stop_on_failure"
    """``stop_on_failure``, or ``continue_on_failure`` with all that does not depend on it."""
    timeout: Seconds | None = Field(default=None, gt=0)
    """Seconds for the whole run, also as a text: ``"5min"``."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Whatever else is to be known of it; not interpreted."""
    imports: tuple[str, ...] = ()
    """Modules to import before the tools are looked up (for definitions read from files)."""

    def __repr__(self) -> str:
        """In short; `to_yaml` and `to_dict` show everything."""
        count = len(self.steps)
        ids = [brief_name(step.step_id) for step in self.steps[:_MOST_IDS]]
        ids += [f"… and {count - _MOST_IDS:,} more"] if count > _MOST_IDS else []
        facts: list[str] = [self.execution_mode]
        facts += ["continues on failure"] if self.error_handling == "continue_on_failure" else []
        facts.append(f"{count:,} step{'' if count == 1 else 's'}" + (f": {', '.join(ids)}" if ids else ""))
        return f"<{type(self).__name__} {brief_name(self.name)}: {', '.join(facts)}>"

    def __str__(self) -> str:
        return repr(self)

    def step(self, step_id: str) -> StepDefinition:
        """The step of this id; KeyError if there is none."""
        for step in self.steps:
            if step.step_id == step_id:
                return step
        raise KeyError(step_id)

    def warnings(self) -> list[Problem]:
        """What in the policies of its steps cannot do what it seems to; it can be built all the same."""
        found: list[Problem] = []
        for step in self.steps:
            inner = step.workflow.warnings() if step.workflow is not None else step.reliability.warnings()
            found += [replace(problem, where=f"step {step.step_id!r} > {problem.where}") for problem in inner]
        return found

    def to_json(self, *, indent: int | None = None) -> str:
        """The definition as JSON; fields at their default are left out."""
        return self.model_dump_json(exclude_defaults=True, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote. Raises `WorkflowValidationError` with the line of each fault."""
        whole = text if isinstance(text, str) else text.decode("utf-8", errors="replace")
        return cls._read(partial(cls.model_validate_json, text), None, whole)

    def to_dict(self) -> dict[str, Any]:
        """The definition as plain Python values; fields at their default are left out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def to_anonymous(self) -> dict[str, Any]:
        """The same without the ids of the workflows: equal for definitions that were built alike."""
        return _without_ids(self.to_dict())

    def to_essence(self) -> dict[str, Any]:
        """What it does, apart from how it is tried and described: what an idempotency key is bound to.

        Left out are ids, names for people, policies, executors and limits.
        """
        return essence_of(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave. Raises `WorkflowValidationError` with all faults."""
        return cls._read(partial(cls.model_validate, data), data)

    def to_yaml(self) -> str:
        """The definition as YAML."""
        import yaml

        # PyYAML writes these as they are, and then reads them as line breaks.
        readable = not any(character in self.to_json() for character in "\x85\u2028\u2029\ufeff")
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=readable)

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Read YAML; ``id``, ``tool``, ``params`` and ``retry`` are accepted as short names.

        Raises `WorkflowValidationError` with the line of each fault.
        """
        import yaml

        try:
            data = load_yaml(text)
        except yaml.YAMLError as error:
            raise WorkflowValidationError("text", [not_yaml(error)]) from error
        return cls._read(partial(cls.model_validate, data), data, text)

    @classmethod
    def _read(cls, read: Callable[[], Self], data: Any, text: str | None = None) -> Self:
        try:
            return read()
        except ValidationError as error:
            name = data.get("name") if isinstance(data, Mapping) else None
            problems = problems_of(error, text, data)
            raise WorkflowValidationError(str(name or "text"), problems) from error

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a ``.json``, ``.yaml`` or ``.yml`` file.

        Raises `WorkflowValidationError` with the line of each fault; `OSError` and `UnicodeDecodeError` when
        the file cannot be read.
        """
        path = Path(path)
        text = path.read_text(encoding="utf-8")
        try:
            return cls.from_json(text) if path.suffix == ".json" else cls.from_yaml(text)
        except WorkflowValidationError as error:
            raise WorkflowValidationError(path.name, error.problems) from error.__cause__


def _without_ids(definition: dict[str, Any]) -> dict[str, Any]:
    definition.pop("workflow_id", None)
    for step in definition.get("steps", ()):
        if step.get("workflow") is not None:
            _without_ids(step["workflow"])
    return definition


_WORKFLOW_ESSENCE = ("name", "steps", "execution_mode", "error_handling")
_STEP_ESSENCE = ("step_id", "tool_name", "parameters", "depends_on", "when", "compensate", "over", "workflow")


def essence_of(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a recorded definition."""
    found = {name: definition[name] for name in _WORKFLOW_ESSENCE if name in definition}
    found["steps"] = [step_essence(step) for step in definition.get("steps", ())]
    return found


def step_essence(step: Mapping[str, Any]) -> dict[str, Any]:
    """What a recorded step does, apart from how it is tried and described."""
    found = {name: step[name] for name in _STEP_ESSENCE if name in step}
    if found.get("workflow") is not None:
        found["workflow"] = essence_of(found["workflow"])
    return found


WorkflowDefinition = Workflow
"""The name that the workflow API documents use."""

StepDefinition.model_rebuild()
documented(StepDefinition)  # not before: it has a field of a class that comes later
