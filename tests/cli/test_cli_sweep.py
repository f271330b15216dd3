"""``orchkit sweep``: what it removes, what it says, what it does not understand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import orchkit as ok
from orchkit.store.store import Store
from orchkit.testing import FakeClock

Orchkit = Callable[..., Result]


@pytest.fixture
def swept(folder: Path) -> list[str]:
    """A store of five runs that ended a day ago, and one that an idempotency key needs; their ids."""
    clock = FakeClock(start_us=_yesterday())
    ids = []
    with Store("runs.duckdb", clock=clock) as store, ok.Kit(store) as kit:
        kit.registry.methods.register_method(lambda n: n, name="same")
        for number in range(5):
            ids.append(kit.run(kit.workflow(f"w{number}").add_step("same", {"n": number}).build()).run_id)
            clock.advance(1)
        flow = kit.workflow("keyed").add_step("same", {"n": 1}).build()
        ids.append(kit.run(flow, idempotency_key="k").run_id)
    return ids


def _yesterday() -> int:
    from orchkit.clock import SystemClock

    return SystemClock().now_us() - timedelta(hours=20) // timedelta(microseconds=1)


def _left() -> list[str]:
    with Store("runs.duckdb") as store:
        return [run for (run,) in store.query("SELECT run_id FROM runs ORDER BY started_at")]


def test_it_says_what_it_removed(orchkit: Orchkit, swept: list[str]) -> None:
    """A line each for what went, what stays though it was due, and the space."""
    answer = orchkit("sweep", "runs.duckdb", "--older-than", "12h")
    assert answer.exit_code == 0
    lines = " ".join(answer.stdout.split())
    assert lines.startswith("Removed 5 runs, ")
    assert f"Kept 1 run that was due: {swept[5]} (needed by an idempotency key)." in lines
    assert lines.endswith(" MB.")
    assert _left() == swept[5:]


def test_a_trial_removes_nothing(orchkit: Orchkit, swept: list[str]) -> None:
    """It says what would go."""
    answer = orchkit("sweep", "--keep", "2", "--dry-run")
    assert answer.stdout.startswith("Would remove 4 runs, ")
    assert _left() == swept


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ([], range(6)),
        (["--keep", "3"], [3, 4, 5]),
        (["--older-than", "30d"], range(6)),
        (["--older-than", "1h", "--keep", "4"], [2, 3, 4, 5]),
        (["--keep", "$1", "--keep", "$3"], [1, 3, 5]),
        (["--older-than", "1h", "--keep", "last"], [5]),
    ],
)
def test_what_stays(orchkit: Orchkit, swept: list[str], arguments: list[str], kept: Any) -> None:
    """By age, by number, by id; without any of them no run goes."""
    named = [swept[int(text[1:])] if text.startswith("$") else text for text in arguments]
    assert orchkit("sweep", *named).exit_code == 0
    assert _left() == [swept[number] for number in kept]


def test_json(orchkit: Orchkit, swept: list[str]) -> None:
    """Counts, reasons by run, sizes, for machines."""
    report = json.loads(orchkit("sweep", "--keep", "0", "--json").stdout)
    removed = report.pop("removed")
    assert (removed["runs"], removed["sub_runs"], removed["keys"]) == (5, 0, 0)
    assert removed["events"] > 25
    assert report.pop("bytes_before") > 0
    assert report.pop("bytes_after") > 0
    assert report == {
        "dry_run": False,
        "kept_though_due": {swept[5]: "needed by an idempotency key"},
        "not_compacted": None,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--older-than", "soon"], "older_than: 'soon' is no span of time (such as '30d', '12h' or '90m')"),
        (["--keep", "run_nobody"], "unknown run 'run_nobody'"),
        (["--keep", "3", "--keep", "last"], "--keep 3 is how many runs stay: give it alone"),
        (["--keep", "-1"], "unknown run '-1'"),
        (["nowhere.duckdb"], "there is no store at nowhere.duckdb"),
    ],
)
def test_what_is_not_understood(orchkit: Orchkit, swept: list[str], arguments: list[str], words: str) -> None:
    """Exit code 2, the reason on stderr, and nothing is removed."""
    answer = orchkit("sweep", *arguments)
    assert answer.exit_code == 2
    assert words in " ".join(answer.stderr.split())
    assert _left() == swept
