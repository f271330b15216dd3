"""The code of functions that are defined in notebook cells, run by the shells of IPython and ipykernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from orchkit.registry import code_of, default_registry

shell = InteractiveShell.instance()
if sys.argv[1] == "ipykernel":
    from ipykernel.compiler import XCachingCompiler
    shell.compile = XCachingCompiler()
found = []
for source in json.load(sys.stdin):
    shell.run_cell(source, store_history=True, silent=False).raise_error()
    if "work" in shell.user_ns:
        code = default_registry.methods.find("work")
        code = code_of(shell.user_ns["work"]) if code is None else code.code
        found.append([code.hash, code.source, code.place])
sys.__stdout__.write("\\x00" + json.dumps(found))
"""

CELL = '''import orchkit as ok

@ok.method(domain="orders")
def work(a: int, b: int = 1) -> int:
    """What it does."""
    return a * b + 1000
'''
SHELLS = ["ipython", "ipykernel"]


@pytest.fixture
def run_cells(tmp_path: Path) -> Any:
    """``run_cells("ipython", cell, ...)``: hash, source and place of ``work`` after each cell that has it."""

    def run(shell: str, *cells: str) -> list[tuple[str, str | None, str]]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, shell],
            input=json.dumps(cells),
            env={**os.environ, "IPYTHONDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(each) for each in json.loads(done.stdout.rpartition("\0")[2])]

    return run


@pytest.mark.parametrize("shell", SHELLS)
def test_a_cell_that_is_run_again_defines_what_it_says_now(run_cells: Any, shell: str) -> None:
    """Re-run, moved or commented, the code is the same; edited, another; taken back, the first again."""
    lines = CELL.splitlines(keepends=True)
    cells = {
        "first": CELL,
        "again": CELL,
        "moved": "x = 1\n\n" + CELL + "\nx + 1\n",
        "commented": CELL.replace("    return", "    # multiply\n\n    return"),
        "awaiting": "import asyncio\nawait asyncio.sleep(0)\n" + CELL,
        "with a magic": "%precision 3\n" + CELL,
        "another body": CELL.replace("1000", "1001"),
        "another default": CELL.replace("b: int = 1", "b: int = 2"),
        "another decorator": "".join([*lines[:3], "@(lambda function: function)\n", *lines[3:]]),
        "as at first": CELL,
    }
    found = dict(zip(cells, run_cells(shell, *cells.values()), strict=True))
    first = found["first"]
    same = {name for name, seen in found.items() if seen[0] == first[0]}
    assert same == {"first", "again", "moved", "commented", "awaiting", "with a magic", "as at first"}
    assert first[1] == CELL.partition("\n\n")[2].rstrip("\n")
    assert "b: int = 2" in str(found["another default"][1])
    assert "# multiply" in str(found["commented"][1])
    assert first[2].startswith("notebook Cell In[1]")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_cell_and_a_module_with_the_same_text_have_the_same_code(
    run_cells: Any, shell: str, tmp_path: Path
) -> None:
    """A function that is moved from the notebook into a module stays what it was."""
    (tmp_path / "moved_out.py").write_text("'''A module.'''\n\n\n" + CELL, encoding="utf-8")
    load = (
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nfrom orchkit.registry import default_registry\n"
    )
    load += "default_registry.methods.unregister('work')\nfrom moved_out import work\n"
    in_cell, in_module = run_cells(shell, CELL, load)
    assert in_cell[:2] == in_module[:2]


def test_a_cell_that_keeps_no_source_counts_by_its_compiled_code(run_cells: Any) -> None:
    """``%%time`` compiles under a made-up name: the same again gives the same hash, other code another."""
    plain = CELL.partition("@")[0] + CELL.partition(")\n")[2]
    timed = "%%time\n" + plain
    first, again, commented, edited = run_cells(
        "ipykernel",
        timed,
        "%%time\nx = 1\n" + plain,
        timed.replace("    return", "    # multiply\n    return"),
        timed.replace("1000", "1001"),
    )
    assert first[1] is None
    assert again[0] == first[0] == commented[0]
    assert edited[0] != first[0]


def test_classes_and_lambdas_in_cells_have_sources(run_cells: Any) -> None:
    """A class in ``__main__`` is found by the cells of its methods, a lambda by its place in the line."""
    kind = "class work:\n    def __init__(self, a: int) -> None:\n        self.a = a{}\n"
    cells = [
        kind.format(""),
        kind.format("  # kept"),
        kind.format(" + 1"),
        "work, other = lambda a: a + 1, lambda a: a + 2",
        "\nother, work = lambda a: a + 2, lambda a: a + 1  # the other way round",
        "other, work = lambda a: a + 1, lambda a: a + 2",
    ]
    first, same, edited, one, still_one, two = run_cells("ipykernel", *cells)
    assert first[0] == same[0] != edited[0]
    assert first[1] == cells[0].rstrip("\n")
    assert one[:2] == still_one[:2]
    assert (one[1], two[1]) == ("lambda a: a + 1", "lambda a: a + 2")
    assert one[0] != two[0]
