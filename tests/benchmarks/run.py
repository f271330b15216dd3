"""Measures orchkit beside its peers and the floor of this machine: ``make bench ARGS="--rounds 3"``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from cases import LARGE, TINY, Section, Sizes, sections
from harness import in_own_process, in_this_process, measure_all, undisturbed
from rich.console import Console
from table import WIDTH, show

PACKAGES = ("orchkit", "duckdb", "dbos", "langgraph", "langgraph-checkpoint-sqlite")


def main() -> int:
    """Measure, print, write; 1 when a measurement of orchkit itself failed."""
    options = _options()
    sizes = TINY if options.tiny else Sizes()
    if options.large:
        sizes = replace(sizes, history=LARGE)
    chosen = _chosen(sections(sizes), options.only)
    measure = undisturbed(in_this_process if options.tiny else in_own_process, options.calm / 100)
    progress = Console(stderr=True)
    facts = {**_facts(options.folder), "rounds": options.rounds, "load before": _load()}
    with progress.status("measuring") as status:

        def tell(text: str) -> None:
            if progress.is_terminal:
                status.update(text)
            else:
                progress.print(text, highlight=False, soft_wrap=True)

        rows = measure_all(
            chosen,
            rounds=options.rounds,
            peers=options.peers,
            folder=options.folder,
            tell=tell,
            measure=measure,
        )
    facts["and after"] = _load()
    if shares := [share for row in rows for share in row.others]:
        middle, most = statistics.median(shares), max(shares)
        facts["others used"] = f"{middle:.0%} of the processors meanwhile, at most {most:.0%}"
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    show(console, rows, facts)
    if options.json:
        report = {"facts": facts, "rows": [row.as_dict() for row in rows]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(any(row.failure for row in rows if not row.case.peer))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=_count, metavar="N", help="turns of each candidate (5)")
    parser.add_argument("--only", metavar="W1,W2", help="these sections (and always the floor)")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--large", action="store_true", help="a history of 10 million attempts")
    parser.add_argument("--tiny", action="store_true", help="so little work that the numbers mean nothing")
    parser.add_argument(
        "--calm",
        type=float,
        default=100.0,
        metavar="PERCENT",
        help="measure again, a few times, what others disturbed with more than this part of the processors",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--folder", type=Path, metavar="PATH", help="where to put the temporary stores")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.tiny else 5)
    return options


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {number}")
    return number


def _chosen(found: list[Section], only: str | None) -> list[Section]:
    if only is None:
        return found
    known = {section.id.lower() for section in found}
    wanted = {name.strip().lower() for name in only.split(",")} | {"floor"}
    if wanted - known:
        names = ", ".join(dict.fromkeys(section.id for section in found))
        sys.exit(f"no such section: {', '.join(sorted(wanted - known))}; there are {names}")
    return [section for section in found if section.id.lower() in wanted]


def _facts(folder: Path | None) -> dict[str, Any]:
    """What the numbers depend on."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version for name, version in versions.items() if version},
        "cores": os.cpu_count(),
        "file system": _file_system(folder or Path(tempfile.gettempdir())),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "?"


def _file_system(folder: Path) -> str:
    """The type of the file system of a folder, as far as the system says."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "?"
    entries = [line.split()[1:3] for line in mounts.read_text(encoding="utf-8").splitlines()]
    here = [(point, kind) for point, kind in entries if folder.resolve().is_relative_to(point)]
    kind = max(here, key=lambda entry: len(entry[0]))[1] if here else "?"
    return f"{kind} (a disk in memory: nothing here says what a real one costs)" if kind == "tmpfs" else kind


if __name__ == "__main__":
    sys.exit(main())
