"""Several kernels on one store, and what becomes of a monitor when its process ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.demo.services import Character, ExampleServices

REPOSITORY = Path(__file__).resolve().parents[2]
INTERVAL_S = 0.5
WATCHER = f"""
import sys
import orchkit as ok
kit = ok.open(sys.argv[1])
kit.health.watch({{"it": sys.argv[2]}}, interval={INTERVAL_S})
print("watching", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start(path, url)``: a process that watches, until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WATCHER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def test_two_processes_ask_once_and_one_takes_over(start: Callable[..., Any], tmp_path: Path) -> None:
    """One of two looks each time; when it is killed, the other one does, within two intervals."""
    path = tmp_path / "runs.duckdb"
    with ExampleServices({"it": Character()}) as services:
        url = f"{services['it'].url}/health"
        first, second = start(path, url), start(path, url)
        time.sleep(INTERVAL_S)
        before, began = services["it"].answered, time.monotonic()
        time.sleep(6 * INTERVAL_S)
        asked, intervals = services["it"].answered - before, (time.monotonic() - began) / INTERVAL_S
        assert asked <= intervals * 1.4 + 1  # without sharing it would be twice as many
        first.kill()
        before = services["it"].answered
        end = time.monotonic() + 20
        while services["it"].answered < before + 3:
            assert time.monotonic() < end, "nobody looks any more"
            time.sleep(0.05)
        assert second.communicate("\n", timeout=30)[1] == ""
        answered = services["it"].answered
    with ok.open(path) as kit:
        performed = kit.store.query("SELECT count(*) FROM health_checks WHERE performed")[0][0]
        kit.health.watch({"it": url}, interval=36_000)
        # What the one that was killed had asked last may not have been written.
        assert answered - 2 <= performed <= answered
        assert kit.health["it"].checks == performed


def test_a_process_that_just_ends_does_so_in_silence(start: Callable[..., Any], tmp_path: Path) -> None:
    """Without closing the kit: no warning, no error, and what was found is on record."""
    path = tmp_path / "runs.duckdb"
    with ExampleServices({"it": Character()}) as services:
        process = start(path, f"{services['it'].url}/health")
        time.sleep(3 * INTERVAL_S)
        assert process.communicate("\n", timeout=30)[1] == ""
    assert process.returncode == 0
    with ok.open(path) as kit:
        assert len(kit.store.query("FROM health_checks")) >= 2
