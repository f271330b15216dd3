"""Many processes that want to execute the same keys at the same time."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

from orchkit.store.store import Store

check = runpy.run_path(str(Path(__file__).with_name("racing.py")))["check"]


def test_eight_processes_race_for_two_hundred_keys(path: Path, open_store: Callable[..., Store]) -> None:
    """Each key is executed once; all others get that one's result, or are told that it is in flight."""
    counts = check("claims", path, processes=8, keys=200)
    store = open_store()
    summary = "count(*), count(DISTINCT run_id), min(status), max(status), max(executions), sum(replays)"
    rows = store.query(f"SELECT {summary} FROM idempotency_keys")
    assert rows == [(200, 200, "COMPLETED", "COMPLETED", 1, counts["answered"])]
    kinds = store.query("SELECT kind, count(*) FROM claim_event GROUP BY kind ORDER BY kind")
    assert kinds == [("acquired", 200), ("replayed", counts["answered"]), ("settled", 200)]
