"""What an idempotency key stands for while it is valid."""

from __future__ import annotations

from enum import StrEnum


class RequestStatus(StrEnum):
    """How the execution under a key stands; the column ``status`` of ``idempotency_keys``."""

    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
