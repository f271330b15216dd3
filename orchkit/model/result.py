"""What a run gives back: the status and output of every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from orchkit.errors import UnknownStepError, WorkflowExecutionError
from orchkit.model.brief import brief, brief_name
from orchkit.model.display import Displayable

RunStatus = Literal["pending", "running", "paused", "success", "failed", "partial", "cancelled"]
StepStatus = Literal["pending", "running", "success", "failed", "skipped", "cancelled"]

_LONGEST_ERROR = 300


class OutputDict(dict[str, Any]):
    """A dict output whose keys also read as attributes: ``step.output.casefile_id``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the output has no {name!r}; it has {', '.join(map(str, self))}") from None


def _utc(us: int | None) -> datetime | None:
    return None if us is None else datetime.fromtimestamp(us / 1e6, UTC)


@dataclass(slots=True)
class StepResult:
    """The outcome of one step; for a map ``output`` is the list of its items' outputs."""

    step_id: str
    status: StepStatus = "pending"
    output: Any = None
    error: str | None = None
    reason: str | None = None
    """Why it was skipped or cancelled."""
    attempts: int = 0
    started_us: int | None = None
    finished_us: int | None = None
    exception: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def success(self) -> bool:
        """Whether the step succeeded."""
        return self.status == "success"

    @property
    def started_at(self) -> datetime | None:
        """When the step was scheduled (UTC)."""
        return _utc(self.started_us)

    @property
    def completed_at(self) -> datetime | None:
        """When the step ended (UTC)."""
        return _utc(self.finished_us)

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from scheduled to ended, waits included; 0 when the clock was set back in between."""
        if self.started_us is None or self.finished_us is None:
            return None
        return max(0, self.finished_us - self.started_us) / 1000

    def __repr__(self) -> str:
        shown = {
            "step_id": self.step_id,
            "status": self.status,
            "output": self.output,
            "error": self.error[:_LONGEST_ERROR] if self.error is not None else None,
            "reason": self.reason,
            "attempts": self.attempts,
        }
        parts = (
            f"{name}={value!r}" if name == "error" else f"{name}={brief(value)}"
            for name, value in shown.items()
            if value is not None
        )
        return f"StepResult({', '.join(parts)})"


class StepResults(dict[str, StepResult]):
    """The results of steps by id, as defined; asked for one that is none, it names what is near."""

    def __missing__(self, step_id: object) -> StepResult:
        raise UnknownStepError(str(step_id), self)


@dataclass(slots=True)
class WorkflowResult(Displayable):
    """The outcome of a run; never raises by itself: see `raise_for_status`."""

    run_id: str
    workflow_id: str
    name: str
    status: RunStatus
    steps: dict[str, StepResult]
    started_us: int
    finished_us: int | None = None
    error: str | None = None
    replayed: bool = False
    """Whether the recorded result of an earlier run was returned instead of running again."""
    edited: tuple[str, ...] = ()
    """Of a replayed result: the tools whose code was edited since."""
    _open_run: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.steps = StepResults(self.steps)

    @property
    def success(self) -> bool:
        """Whether the whole run succeeded."""
        return self.status == "success"

    @property
    def started_at(self) -> datetime | None:
        """When the run started (UTC)."""
        return _utc(self.started_us)

    @property
    def completed_at(self) -> datetime | None:
        """When the run ended (UTC)."""
        return _utc(self.finished_us)

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; 0 when the clock was set back in between."""
        return None if self.finished_us is None else max(0, self.finished_us - self.started_us) / 1000

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of the steps that succeeded, by step id."""
        return {step_id: step.output for step_id, step in self.steps.items() if step.success}

    @property
    def run(self) -> Any:
        """The record of this run (`orchkit.Run`): tables, pictures, explanations."""
        if self._open_run is None:
            raise WorkflowExecutionError(f"{self.run_id} was not recorded in a store", run_id=self.run_id)
        return self._open_run(self.run_id)

    def __repr__(self) -> str:
        steps = f"{len(self.steps):,} step{'' if len(self.steps) == 1 else 's'}"
        return f"<WorkflowResult {brief_name(self.name)}: {self.status}, {steps}, {self.run_id}>"

    def __str__(self) -> str:
        took = "" if self.duration_ms is None else f" after {self.duration_ms:.0f} ms"
        lines = [f"{self.name}: {self.status}{took} ({self.run_id})"]
        for step in self.steps.values():
            said = step.error or step.reason
            lines.append(f"  {step.step_id}: {step.status}" + (f", {said}" if said else ""))
        return "\n".join(lines)

    def raise_for_status(self) -> WorkflowResult:
        """Raise `WorkflowExecutionError` for the first failed step unless the run succeeded."""
        if self.status == "success":
            return self
        for step in self.steps.values():
            if step.status == "failed":
                raise WorkflowExecutionError(
                    f"run {self.run_id} of {self.name!r} ended {self.status}: step {step.step_id!r} "
                    f"failed on attempt {step.attempts}: {step.error}",
                    run_id=self.run_id,
                    step_id=step.step_id,
                    attempt=step.attempts,
                    cause=step.error,
                ) from step.exception
        raise WorkflowExecutionError(
            f"run {self.run_id} of {self.name!r} ended {self.status}: {self.error or 'no step failed'}",
            run_id=self.run_id,
            cause=self.error,
        )
