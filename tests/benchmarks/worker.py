"""One measurement in a process of its own: ``python worker.py '{"candidate": …}'`` prints its numbers."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import floor
from task import Guarantee, Task

MARK = "MEASURED "
PEERS = ("dbos", "langgraph", "aiosqlite")


def main() -> None:
    """Measure what the argument describes and print the numbers, or why there are none."""
    wanted = json.loads(sys.argv[1])
    folder = wanted.pop("folder")
    guarantee = wanted.pop("guarantee")
    task = Task(**wanted, guarantee=Guarantee(**guarantee) if guarantee else None)
    print(MARK + json.dumps(outcome(task, folder)), flush=True)


def outcome(task: Task, parent: str | None) -> dict[str, Any]:
    """The numbers of a measurement, or ``{"failed": reason}``."""
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=parent, ignore_cleanup_errors=True) as folder:
            return _measured(task, Path(folder))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        return {"failed": "not installed" if missing in PEERS else f"failed: {error}"}
    except BaseException as error:  # whatever it is, the table has to say it
        return {"failed": f"failed: {type(error).__name__}: {error}"}


def _measured(task: Task, folder: Path) -> dict[str, float]:
    """The numbers; where there is a floor, also its seconds, measured just before and just after."""
    module = importlib.import_module(task.candidate)
    if task.guarantee is None:
        return module.measure(task, folder)
    before = floor.seconds_of(task, folder)
    numbers = module.measure(task, folder)
    after = floor.seconds_of(task, folder)
    return {**numbers, "floor_s": (before + after) / 2}


if __name__ == "__main__":
    main()
