"""What goes into a dispatch and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, field_validator

from orchkit.errors import OperationError
from orchkit.model.base import Record
from orchkit.model.idempotency import DEFAULT_TTL_HOURS, IdempotencyKey, InFlight, OnFailed
from orchkit.model.manual import documented
from orchkit.model.policy import TimeoutPolicy, as_timeout

Durability = Literal["sync", "async", "exit"]
"""``sync``: on disk before anything that depends on it starts; ``async``: survives a killed
process; ``exit``: committed when the run ends."""


@documented
class ExecutionDirective(Record):
    """How one request is to be executed, over and above its policy."""

    skip_hooks: tuple[str, ...] = ()
    """Names of hooks that are not called."""
    execution_mode: Literal["normal", "dry_run"] = "normal"
    """``dry_run``: everything but the call itself."""
    timeout: TimeoutPolicy | None = None
    """In place of that of the policy."""
    durability: Durability | None = None
    """In place of that of the kit: ``sync``, ``async`` or ``exit``."""
    idempotency_key: str | None = None
    """Execute this request once: later ones with the same key and input get the recorded result."""
    ttl_hours: float = DEFAULT_TTL_HOURS
    """How long the recorded result answers."""
    on_in_flight: InFlight = "raise"
    """While another request with the key is being executed: ``raise``, or ``wait`` for its result."""
    on_failed: OnFailed = "execute"
    """When one with the key has failed: ``execute`` it again, or ``raise``."""

    def key(self) -> IdempotencyKey | None:
        """The idempotency key with its options; None when there is none. Raises `ParameterError`."""
        if self.idempotency_key is None:
            return None
        return IdempotencyKey(self.idempotency_key, self.ttl_hours, self.on_in_flight, self.on_failed)

    @field_validator("timeout", mode="before")
    @classmethod
    def _timeout(cls, value: Any) -> Any:
        return as_timeout(value)


NO_DIRECTIVES = ExecutionDirective()


@dataclass(frozen=True, slots=True)
class Request:
    """One operation to perform: a tool or method name and its parameters."""

    operation: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    user_id: str | None = None
    session_id: str | None = None
    casefile_id: str | None = None
    request_id: str | None = None
    directives: ExecutionDirective = NO_DIRECTIVES


@dataclass(frozen=True, slots=True)
class Response:
    """What an operation gave: its output or its error, and how it was obtained."""

    operation: str
    status: Literal["success", "failed", "dry_run"]
    output: Any = None
    error: str | None = None
    exception: BaseException | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """``run_id``, ``request_id``, ``policy``, ``hooks``, ``attempts``, ``duration_ms``; ``replayed``
    when it is the recorded response of an earlier request with the same idempotency key."""

    @property
    def success(self) -> bool:
        """Whether the operation succeeded."""
        return self.status == "success"

    def raise_for_status(self) -> Response:
        """Raise `OperationError` (caused by the original exception) unless it succeeded."""
        if self.status == "failed":
            raise OperationError(
                self.operation, self.error or "unknown error", run_id=self.metadata.get("run_id")
            ) from self.exception
        return self


@documented
class WorkflowRequestPayload(Record):
    """A request to execute a workflow, as an API receives it."""

    workflow_definition: dict[str, Any]
    """The definition, as `Workflow.to_dict` writes it."""
    context: dict[str, Any] = Field(default_factory=dict)
    """What ``${context.key}`` refers to."""
    execution_directives: ExecutionDirective | None = None
    """How it is to be executed."""
