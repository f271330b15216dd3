"""The benchmarks run, in tiny: every line of their table gets its numbers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "tests" / "benchmarks"


def _run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """The table and the rows of one run that is too small to say anything."""
    report = tmp_path_factory.mktemp("bench") / "report.json"
    done = _run("run.py", "--tiny", "--no-peers", "--json", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["rows"]
    return done.stdout, rows


def test_every_row_has_numbers(tiny: tuple[str, list[dict[str, Any]]]) -> None:
    """Without peers, every row of every section has finite numbers, none below nothing."""
    rows = tiny[1]
    assert {row["section"] for row in rows} >= {
        "floor",
        "W1",
        "W2",
        "W3",
        "W4",
        "W5",
        "W6",
        "W7",
        "ingest",
        "reopen",
        "history",
        "uptime",
    }
    for row in rows:
        assert row["failure"] is None, row
        assert row["values"], row
        # Of an import that takes next to nothing, noise may leave less than that.
        assert all(math.isfinite(value) and (value >= 0 or row["section"] == "W7") for value in row["values"])


def test_what_bare_sqlite_can_do_has_a_ratio_to_it(tiny: tuple[str, list[dict[str, Any]]]) -> None:
    """Each candidate with a guarantee on disk is set against bare SQLite at that guarantee."""
    guaranteed = [row for row in tiny[1] if row["on_disk"]]
    assert len(guaranteed) >= 18
    assert all(row["ratio_to_floor"] > 0 for row in guaranteed)


def test_targets_are_judged_in_words(tiny: tuple[str, list[dict[str, Any]]]) -> None:
    """A row with a target says whether it is met; a history too small for its target does not."""
    table, rows = tiny
    judged = [row for row in rows if row["target"] and " at " not in row["target"]]
    assert len(judged) >= 8
    assert all(row["verdict"] in ("met", "missed") for row in judged)
    assert all(row["verdict"] == "" for row in rows if row["target"] and " at " in row["target"])
    met, missed = (sum(row["verdict"] == word for row in rows) for word in ("met", "missed"))
    assert f"targets: {met} met, {missed} missed" in table


def _measured(**task: Any) -> dict[str, Any]:
    wanted = {"variant": "", "size": 3, "guarantee": None, "folder": None, **task}
    done = _run("worker.py", json.dumps(wanted))
    assert done.returncode == 0, done.stderr
    numbers: dict[str, Any] = json.loads(done.stdout.removeprefix("MEASURED "))
    return numbers


def test_a_measurement_has_a_process_of_its_own() -> None:
    """The process that measures prints its numbers, with the floor where there is a guarantee."""
    guarantee = {"written": "attempts", "survives": "power loss"}
    numbers = _measured(candidate="with_orchkit", variant="sync", workload="chain", guarantee=guarantee)
    assert numbers["seconds"] > 0
    assert numbers["floor_s"] > 0


def test_a_candidate_that_fails_says_why() -> None:
    """A failure is shown with its reason, never left out."""
    numbers = _measured(candidate="with_orchkit", variant="no such", workload="chain")
    assert numbers["failed"].startswith("failed: ParameterError")


def test_an_unknown_section_is_refused() -> None:
    """`--only` with a name that there is not says which there are."""
    done = _run("run.py", "--only", "W99")
    assert done.returncode != 0
    assert "W1" in done.stderr


def test_the_gateway_is_measured_beside_a_plain_proxy() -> None:
    """Every workload gets numbers of both, wall and processor time, and how they compare."""
    done = _run("gateway.py", "--rounds", "1", "--requests", "32")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("GET", "POST"))]
    assert len(rows) == 3
    for row in rows:
        numbers = [float(word) for word in row[28:].split()]
        assert len(numbers) == 6
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
