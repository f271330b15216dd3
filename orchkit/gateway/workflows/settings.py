"""What the workflow API offers, and how much of it."""

from __future__ import annotations

from typing import Final, Protocol

from pydantic import Field, field_validator

from orchkit.model.base import Record
from orchkit.model.manual import documented
from orchkit.model.policy import READERS

PARTS: Final = (*READERS, "budget", "executor")
"""What a definition may set beside its calls, where the operator lets it."""
SAFE_PARTS: Final = ("retry", "timeout", "fallback", "hedge")
"""Parts of a policy that concern only the step that they stand at."""


@documented
class WorkflowSettings(Record):
    """Nothing can be run unless its tools are listed here; the rest are limits."""

    enabled: bool = True
    """Whether there is such an API."""
    prefix: str = Field(default="", pattern=r"^(/[A-Za-z0-9_~.-]+)*$")
    """Before the paths of all operations, such as ``/v1``."""
    tools: tuple[str, ...] = ()
    """The tools that definitions may name: exact names, prefixes such as ``mail.*``, or ``*`` for all that
    are registered. A name that is registered nowhere is an error at the start, a prefix that fits nothing a
    warning. Modules and functions that are not registered are never reached, whatever is listed."""
    step_policies: tuple[str, ...] = SAFE_PARTS
    """The parts of a policy that a definition may set itself. ``breaker``, ``bulkhead``, ``rate_limit`` and
    ``budget``, which calls share by name, ``faults`` and ``executor`` are the operator's unless listed."""
    allow_skip_hooks: bool = False
    """Whether ``execution_directives`` may leave out hooks, such as an audit."""
    max_bytes: int = Field(default=1_048_576, ge=1)
    """The largest request."""
    max_body_s: float = Field(default=30.0, gt=0)
    """The longest, in seconds, that a request may take to come in."""
    max_steps: int = Field(default=1_000, ge=1)
    """The most steps of a definition, those of its sub-workflows included."""
    max_depth: int = Field(default=32, ge=4)
    """How deep values may be nested in a request."""
    max_sub_workflows: int = Field(default=4, ge=0)
    """How deep sub-workflows may be nested."""
    max_attempts: int = Field(default=20, ge=1)
    """The most attempts (and hedges) that a step may ask for."""
    max_running: int = Field(default=32, ge=1)
    """The most submitted runs at the same time; one more is answered 429."""
    max_seconds: float | None = Field(default=3600.0, gt=0)
    """The longest that a submitted run may take; None: as long as it likes."""
    retry_after_s: int = Field(default=5, ge=1)
    """After how many seconds somebody who was refused should try again."""
    max_page: int = Field(default=200, ge=1)
    """The most runs in a page of the list."""
    max_log_lines: int = Field(default=10_000, ge=1)
    """The most lines of an execution log; of a longer one the last."""
    max_streams: int = Field(default=100, ge=1)
    """The most clients that follow events at the same time; one more is answered 429."""
    heartbeat_s: float = Field(default=15.0, gt=0)
    """How often a quiet stream of events says that it is still there."""
    poll_s: float = Field(default=1.0, gt=0)
    """How often a run that goes on in another process is looked up in the record."""
    stream_buffer: int = Field(default=1_000, ge=1)
    """How many events wait for a slow client; one that is further behind reads on from the record."""

    @field_validator("step_policies", mode="after")
    @classmethod
    def _parts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if part not in PARTS:
                raise ValueError(f"there is no part {part!r}: there are {', '.join(PARTS)}")
        return value

    @field_validator("tools", mode="after")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if pattern != "*" and ("*" in pattern[:-1] or (pattern.endswith("*") and pattern[-2:] != ".*")):
                raise ValueError(f"pattern {pattern!r}: only a trailing '.*' is a wildcard")
        return value


class Offering(Protocol):
    """What of the configuration of a gateway is asked for here."""

    @property
    def workflows(self) -> WorkflowSettings:
        """The settings."""
        ...
