"""The numbers of ``ingest.py``, as a measurement among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ingest

if TYPE_CHECKING:
    from pathlib import Path

    from task import Task


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Each row by its label, of histories of ``task.size`` steps.

    Twice, and the better of them: the first question also loads pandas.
    """
    return {row.label: row.value for row in ingest.run(task.size, repeats=2, folder=folder)}
