"""How long a first line of Python takes, above what starting Python takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from task import Task

STATEMENTS = {
    "floor": "import asyncio, pydantic",
    "orchkit": "import orchkit",
    "orchkit.open": "import orchkit; orchkit.open",
    "orchkit.open()": "import orchkit; orchkit.open()",
    "dbos": "import dbos",
    "langgraph": "import langgraph.graph",
}


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Milliseconds of the statement in a new process, minus those of a process that does nothing."""
    statement = STATEMENTS[task.variant]
    for _ in range(2):  # twice: the first may still have to write its bytecode
        bare, imported = _seconds("pass", folder), _seconds(statement, folder)
    return {"value": (imported - bare) * 1000}


def _seconds(statement: str, folder: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", statement], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        message = (done.stderr.strip() or "?").splitlines()[-1]
        if message.startswith("ModuleNotFoundError"):
            raise ModuleNotFoundError(message, name=message.rpartition("'")[0].rpartition("'")[2])
        raise RuntimeError(message)
    return seconds
