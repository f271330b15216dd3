"""The one immutable record: everything that is shown, queried or resumed is made of events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

RUN_STARTED = "run.started"
RUN_FINISHED = "run.finished"
RUN_PAUSED = "run.paused"
RUN_RESUMED = "run.resumed"
RUN_CANCELLED = "run.cancelled"
RUN_IMPORTED = "run.imported"
STEP_SCHEDULED = "step.scheduled"
STEP_FINISHED = "step.finished"
STEP_REUSED = "step.reused"
ATTEMPT_STARTED = "attempt.started"
ATTEMPT_FINISHED = "attempt.finished"
DECISION = "decision"
EVIDENCE = "evidence"
PROGRESS = "progress"
AUDIT = "audit"
HOOK_FAILED = "hook.failed"
CLAIM_ACQUIRED = "claim.acquired"
CLAIM_SETTLED = "claim.settled"
CLAIM_REPLAYED = "claim.replayed"
CLAIM_RELEASED = "claim.released"
BREAKER_TRANSITION = "breaker.transition"
BUDGET_RESET = "budget.reset"
HEALTH_CHECK = "health.check"
HEALTH_MAINTENANCE = "health.maintenance"
SESSION_CREATED = "session.created"
SESSION_LINKED = "session.linked"
SESSION_EXECUTION = "session.execution"
SESSION_CLOSED = "session.closed"
STORE_SWEPT = "store.swept"


@dataclass(frozen=True, slots=True)
class Event:
    """One event as read from the store; ``seq`` is its place in the total order of the store."""

    seq: int
    ts: int
    """Microseconds since the Unix epoch, UTC."""
    kind: str
    run_id: str | None
    step_id: str | None
    attempt: int | None
    payload: Mapping[str, Any]

    @property
    def time(self) -> datetime:
        """``ts`` as an aware UTC datetime."""
        return datetime.fromtimestamp(self.ts / 1e6, UTC)
