"""Many processes that make the same requests of an orchestrator at the same time."""

from __future__ import annotations

import runpy
from pathlib import Path

from orchkit.store.store import Store

check = runpy.run_path(str(Path(__file__).parents[1] / "store" / "racing.py"))["check"]


def test_eight_processes_make_two_hundred_requests(tmp_path: Path) -> None:
    """Each is executed once and on record as one run; others get that result, or `DuplicateRequestError`."""
    path = tmp_path / "runs.duckdb"
    counts = check("orchestrator", path, processes=8, keys=200)
    with Store(path) as store:
        summary = "count(*), min(status), max(status), max(executions), sum(replays)"
        rows = store.query(f"SELECT {summary} FROM idempotency_keys")
        assert rows == [(200, "COMPLETED", "COMPLETED", 1, counts["answered"])]
        runs = store.query("SELECT count(*), count(DISTINCT request_id), min(status), max(status) FROM runs")
        assert runs == [(200, 200, "success", "success")]
        assert store.query(
            "SELECT count(*) FROM idempotency_keys k JOIN runs r USING (run_id, request_id)"
        ) == [(200,)]
        assert store.open_runs.all() == []
