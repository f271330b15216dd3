"""The numbers of ``ingest.py``, as a measurement among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ingest

if TYPE_CHECKING:
    from pathlib import Path

    from task import Task


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Each row by its label, of one history of ``task.size`` steps."""
    return {row.label: row.value for row in ingest.run(task.size, repeats=1, folder=folder)}
