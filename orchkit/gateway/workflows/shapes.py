"""What the workflow API answers, as models: they make the documentation, and check nothing at run time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchkit.model.result import RunStatus, StepStatus

EXAMPLE_RUN: Final = "run_019a6f0c5f0a7c3e9d1b2a3c4d5e6f70"
_WHEN: Final = "2026-03-01T09:30:00.000000Z"
_LATER: Final = "2026-03-01T09:30:01.250000Z"
RunKind = Literal["workflow", "operation", "orchestrator", "call", "all"]

EXAMPLE_REQUEST: Final[dict[str, Any]] = {
    "workflow_definition": {
        "name": "intake",
        "execution_mode": "dag",
        "steps": [
            {
                "step_id": "create",
                "tool_name": "casefile.create",
                "parameters": {"title": "${context.title}"},
            },
            {
                "step_id": "notify",
                "tool_name": "mail.send",
                "parameters": {"to": "client@example.com", "subject": "Case ${steps.create.casefile_id}"},
                "retry_policy": {"max_attempts": 3, "delay": 1},
            },
        ],
    },
    "context": {"title": "A new case"},
}


class Submitted(BaseModel):
    """A run that was accepted, and is on the record."""

    run_id: str = Field(examples=[EXAMPLE_RUN])
    name: str = Field(description="The name of the workflow.", examples=["intake"])
    status: RunStatus = Field(examples=["running"])
    replayed: bool = Field(
        default=False, description="Whether it is an earlier run, which the idempotency key names."
    )


class RunEntry(BaseModel):
    """One run of a list."""

    run_id: str = Field(examples=[EXAMPLE_RUN])
    kind: str = Field(examples=["workflow"])
    name: str = Field(examples=["intake"])
    status: RunStatus = Field(examples=["success"])
    cut_off: bool = Field(description="Its process ended before it did: it does not go on by itself.")
    workflow_id: str | None = None
    user_id: str | None = Field(default=None, examples=["ci"])
    request_id: str | None = None
    started_at: datetime | None = Field(default=None, examples=[_WHEN])
    finished_at: datetime | None = Field(default=None, examples=[_LATER])
    duration_ms: float | None = Field(default=None, examples=[1250.0])
    error: str | None = None


class RunPage(BaseModel):
    """A page of runs, the newest first."""

    runs: list[RunEntry]
    next_cursor: str | None = Field(description="Of the next page; null: this is the last one.")


class StepStanding(BaseModel):
    """How a step stands."""

    step_id: str = Field(examples=["notify"])
    tool_name: str = Field(examples=["mail.send"])
    status: StepStatus = Field(examples=["running"])
    attempts: int = Field(examples=[2])
    progress: float | None = Field(default=None, description="From 0 to 1, where the step tells.")
    message: str | None = None
    run_id: str | None = Field(default=None, description="For a sub-workflow: its run.")


class RunStanding(BaseModel):
    """How a run stands."""

    run_id: str = Field(examples=[EXAMPLE_RUN])
    status: RunStatus = Field(examples=["running"])
    cut_off: bool
    steps: dict[str, int] = Field(description="How many steps have which status.")
    last_event: int = Field(description="The id of its last event.", examples=[420])


class RunDetails(RunEntry):
    """A run with its definition and its steps."""

    session_id: str | None = None
    casefile_id: str | None = None
    parent_run_id: str | None = None
    parent_step_id: str | None = None
    definition: dict[str, Any] | None = None
    context: Any = None
    steps: list[StepStanding]


class StepOutcome(BaseModel):
    """What came of a step."""

    step_id: str = Field(examples=["notify"])
    status: StepStatus = Field(examples=["success"])
    output: Any = None
    error: str | None = None
    reason: str | None = Field(default=None, description="Why it was skipped or cancelled.")
    attempts: int = Field(examples=[1])
    started_at: datetime | None = Field(default=None, examples=[_WHEN])
    completed_at: datetime | None = Field(default=None, examples=[_LATER])
    duration_ms: float | None = Field(default=None, examples=[1250.0])


class RunOutcome(BaseModel):
    """What came of a run, so far."""

    run_id: str = Field(examples=[EXAMPLE_RUN])
    workflow_id: str | None
    name: str = Field(examples=["intake"])
    status: RunStatus = Field(examples=["success"])
    steps: dict[str, StepOutcome]
    started_at: datetime | None = Field(default=None, examples=[_WHEN])
    completed_at: datetime | None = Field(default=None, examples=[_LATER])
    duration_ms: float | None = Field(default=None, examples=[1250.0])
    error: str | None = None


class WorkflowResponsePayload(BaseModel):
    """The result of a run, and what happened in words."""

    result: RunOutcome
    execution_log: list[str] = Field(
        examples=[[f"{_WHEN} intake begins", f"{_LATER} intake succeeded after 1.25 s"]]
    )


class Cancelling(BaseModel):
    """A run that is being cancelled, or was."""

    run_id: str = Field(examples=[EXAMPLE_RUN])
    status: RunStatus = Field(examples=["running"])


class Tool(BaseModel):
    """A tool that definitions may name."""

    name: str = Field(examples=["mail.send"])
    description: str = Field(examples=["Send a message."])
    category: str | None = None
    domain: str | None = Field(default=None, examples=["mail"])
    tags: list[str] = []
    parameters: dict[str, Any] = Field(
        description="The JSON schema of its parameters.",
        examples=[{"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}],
    )


class ToolList(BaseModel):
    """All of them."""

    tools: list[Tool]


# --- what is sent --------------------------------------------------------------------------


class StepShape(BaseModel):
    """One step of a definition."""

    model_config = ConfigDict(extra="forbid")
    step_id: str = Field(min_length=1, examples=["notify"])
    tool_name: str = Field(default="", description="A tool that `GET /tools` lists.", examples=["mail.send"])
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Values, with references such as `${steps.create.casefile_id}`."
    )
    depends_on: list[str] = []
    when: str | None = Field(default=None, description="A condition; when it is false the step is skipped.")
    timeout: float | dict[str, Any] | None = Field(default=None, description="Seconds, or a policy.")
    retry_policy: int | str | dict[str, Any] | None = Field(
        default=None, description="Attempts, or a policy."
    )
    fallback: Any = Field(default=None, description="A value or a tool that takes the place of a result.")
    compensate: str | dict[str, Any] | None = Field(default=None, description="The tool that undoes it.")
    over: Any = Field(default=None, description="Makes it a map: a list, or a reference to one.")
    max_concurrency: int | None = Field(default=None, ge=1)
    workflow: dict[str, Any] | None = Field(
        default=None, description="Makes it a sub-workflow: its definition, of this same form."
    )
    description: str | None = None


class DefinitionShape(BaseModel):
    """A workflow."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(examples=["intake"])
    workflow_id: str | None = None
    description: str | None = None
    steps: list[StepShape] = Field(min_length=1)
    execution_mode: Literal["sequential", "parallel", "dag"] = "sequential"
    error_handling: Literal["stop_on_failure", "continue_on_failure"] = "stop_on_failure"
    timeout: float | str | None = Field(default=None, description="Seconds for the whole run.")
    metadata: dict[str, Any] = {}


class DirectivesShape(BaseModel):
    """How the run is to be executed."""

    model_config = ConfigDict(extra="forbid")
    execution_mode: Literal["normal", "dry_run"] = "normal"
    timeout: float | str | None = Field(default=None, description="Seconds for each operation.")
    durability: Literal["sync", "async", "exit"] | None = None
    idempotency_key: str | None = Field(default=None, description="The same as the header `Idempotency-Key`.")
    ttl_hours: float = Field(default=24.0, gt=0, description="How long the key answers.")
    on_failed: Literal["execute", "raise"] = Field(
        default="execute", description="What the key does about a run that failed before."
    )


class SubmissionShape(BaseModel):
    """A request to run a workflow (`WorkflowRequestPayload`)."""

    model_config = ConfigDict(extra="forbid")
    workflow_definition: DefinitionShape
    context: dict[str, Any] = Field(default_factory=dict, description="What `${context.key}` refers to.")
    execution_directives: DirectivesShape | None = None
