"""Runs the cases of each section in turn, round after round, each in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cases import Case, Line, Section
from neighbours import Neighbours
from worker import MARK, outcome

WORKER = Path(__file__).with_name("worker.py")
TIMEOUT_S = 1_800
Measure = Callable[[Case, Path | None], dict[str, Any]]
"""Gives the numbers of one measurement, or ``{"failed": reason}``."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 0.0)
"""Between the attempts at a measurement that is not disturbed."""
QUIET = {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false"}
"""No peer talks to the network while it is measured."""


@dataclass
class Row:
    """One line of the table with the numbers of all rounds."""

    section: str
    title: str
    case: Case
    line: Line
    values: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    """To the floor, measured in the same process just before and after."""
    beside: list[float] = field(default_factory=list)
    """For a peer: its value over that of orchkit in the same round."""
    others: list[float] = field(default_factory=list)
    """The part of all processors that other processes used meanwhile."""
    failure: str | None = None

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where there is no target for it."""
        target = self.line.target
        if target is None or not target.applies or not self.values:
            return ""
        numbers = self.values if target.of == "value" else self.ratios
        return "met" if target.met(statistics.median(numbers)) else "missed"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        task, target = self.case.task, self.line.target
        return {
            "section": self.section,
            "title": self.title,
            "label": self.line.label.strip(" …"),
            "candidate": task.candidate,
            "variant": task.variant,
            "workload": task.workload,
            "size": task.size,
            "on_disk": str(task.guarantee) if task.guarantee else None,
            "unit": self.line.unit,
            "key": self.line.key,
            "values": self.values,
            "median": statistics.median(self.values) if self.values else None,
            "ratios_to_floor": self.ratios,
            "ratio_to_floor": statistics.median(self.ratios) if self.ratios else None,
            "others": self.others,
            "beside_orchkit": statistics.median(self.beside) if self.beside else None,
            "target": target.text if target else None,
            "verdict": self.verdict,
            "failure": self.failure,
        }


def measure_all(
    sections: Iterable[Section],
    *,
    rounds: int,
    peers: bool,
    folder: Path | None,
    tell: Callable[[str], None],
    measure: Measure,
) -> list[Row]:
    """Measure every section; the rows come in the order of the table."""
    rows: list[Row] = []
    for section in sections:
        cases = [case for case in section.cases if peers or not case.peer]
        rows += _in_turn(section, cases, section.turns(rounds), folder, tell, measure)
    return rows


def _in_turn(
    section: Section,
    cases: list[Case],
    rounds: int,
    folder: Path | None,
    tell: Callable[[str], None],
    measure: Measure,
) -> list[Row]:
    rows = {case: [Row(section.id, section.title, case, line) for line in case.lines] for case in cases}
    for number in range(1, rounds + 1):
        seen: dict[str, dict[str, Any]] = {}
        for case in cases:
            if rows[case][0].failure:
                continue  # it would fail again
            tell(f"{section.title}: round {number} of {rounds}, {case.lines[0].label}")
            numbers = measure(case, folder)
            if not case.peer:
                seen[case.task.variant] = numbers
            for row in rows[case]:
                _note(row, numbers, seen.get(case.beside) if case.beside else None)
    return [row for case in cases for row in rows[case]]


def _note(row: Row, numbers: dict[str, Any], beside: dict[str, Any] | None) -> None:
    if "failed" in numbers:
        row.failure = numbers["failed"]
        row.values, row.ratios, row.beside = [], [], []
        return
    number = numbers[row.line.key]
    row.values.append(number * row.line.scale)
    row.others.append(numbers.get("others", 0.0))
    if "floor_s" in numbers:
        row.ratios.append(number / numbers["floor_s"])
    if beside is not None and "failed" not in beside:
        row.beside.append(number / beside[row.line.key])


def undisturbed(measure: Measure, most: float) -> Measure:
    """Measure again while others use more than this part of the processors; keep the least disturbed."""

    def again(case: Case, folder: Path | None) -> dict[str, Any]:
        found = []
        for pause in PAUSES_S:
            neighbours = Neighbours()
            numbers = measure(case, folder)
            found.append({**numbers, "others": neighbours.share()})
            if "failed" in numbers or found[-1]["others"] <= most:
                return found[-1]
            time.sleep(pause)
        return min(found, key=lambda numbers: float(numbers["others"]))

    return again


def in_this_process(case: Case, folder: Path | None) -> dict[str, Any]:
    """The same at once, for trying out whether it works: the numbers are not to be trusted."""
    return outcome(case.task, str(folder) if folder else None)


def in_own_process(case: Case, folder: Path | None) -> dict[str, Any]:
    """The numbers of one measurement in a new process, or ``{"failed": reason}``."""
    wanted = json.dumps({**asdict(case.task), "folder": str(folder) if folder else None})
    try:
        done = subprocess.run(
            [sys.executable, str(WORKER), wanted],
            env={**os.environ, **QUIET},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"failed: no result after {TIMEOUT_S} s"}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            found: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return found
    reason = (done.stderr.strip() or "no output").splitlines()[-1]
    return {"failed": f"failed: process ended with {done.returncode}: {reason}"}
