"""``orchkit export`` and ``orchkit import``: a run from one store to another by way of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import orchkit as ok

Orchkit = Callable[..., Result]
FLOW = 'name: sums\nsteps: [{id: one, tool: "$T:add", params: {a: 2, b: 5}}]\n'


@pytest.fixture
def run_id(flow: Callable[..., str], orchkit: Orchkit) -> str:
    """A run in the store of the current folder."""
    return str(json.loads(orchkit("run", flow(FLOW), "--json").stdout)["run_id"])


def test_a_run_goes_into_another_store(run_id: str, orchkit: Orchkit, folder: Path) -> None:
    """What was written and read is said in a line; the run is there, and says where it is from."""
    exported = orchkit("export", "last", "run.orchkit")
    assert exported.exit_code == 0
    assert exported.stdout.startswith(f"Exported {run_id} (sums, success, ")
    assert "to run.orchkit" in exported.stdout
    imported = orchkit("import", "run.orchkit", "--store", "other.duckdb")
    assert (imported.exit_code, imported.stdout) == (
        0,
        f"Imported {run_id} (sums, success) in other.duckdb.\n",
    )
    assert "imported    run.orchkit, exported on" in orchkit("show", "last", "--store", "other.duckdb").stdout
    with ok.open("other.duckdb") as kit:
        assert kit.runs[run_id].step("one").output == 7
    again = orchkit("import", "run.orchkit", "--store", "other.duckdb")
    assert again.stdout.startswith(f"Nothing to import: the store has {run_id}")


def test_the_json_of_both(run_id: str, orchkit: Orchkit, folder: Path) -> None:
    """The manifest without the members; whether anything was imported."""
    exported = json.loads(orchkit("export", run_id[:12], "run.orchkit", "--json").stdout)
    size = (folder / "run.orchkit").stat().st_size
    assert (exported["run_id"], exported["complete"], exported["size"]) == (run_id, True, size)
    for news in (True, False):
        imported = json.loads(orchkit("import", "run.orchkit", "--store", "b.duckdb", "--json").stdout)
        assert (imported["imported"], imported["digest"]) == (news, exported["digest"])


def test_a_file_is_replaced_only_when_asked(run_id: str, orchkit: Orchkit, folder: Path) -> None:
    """Exit code 1 and what to do."""
    Path("run.orchkit").write_text("mine", encoding="utf-8")
    refused = orchkit("export", "last", "run.orchkit")
    assert refused.exit_code == 1
    assert "exists (name another, or overwrite it)" in refused.stderr
    assert Path("run.orchkit").read_text(encoding="utf-8") == "mine"
    assert orchkit("export", "last", "run.orchkit", "--overwrite").exit_code == 0


@pytest.mark.parametrize("contents", [None, b"not a zip"])
def test_what_is_no_run_makes_no_store(contents: Any, orchkit: Orchkit, folder: Path) -> None:
    """The file is looked at before a store is made for it."""
    if contents is not None:
        Path("run.orchkit").write_bytes(contents)
    refused = orchkit("import", "run.orchkit")
    assert refused.exit_code == 1
    assert "the file: " in refused.stderr
    assert not list(folder.glob("runs.duckdb*"))


def test_a_limit_of_what_it_may_unpack_to(run_id: str, orchkit: Orchkit, folder: Path) -> None:
    """Small files that unpack to large ones are not for everybody's memory."""
    with ok.open("runs.duckdb") as kit:
        kit.registry.methods.register_method(lambda: list(range(400_000)), name="many")
        kit.run(kit.workflow("large").add_step("many").build()).run.export("large.orchkit")
    refused = orchkit("import", "large.orchkit", "--store", "b.duckdb", "--max-mb", "1")
    assert refused.exit_code == 1
    assert "1,000,000 are allowed" in refused.stderr
    assert orchkit("import", "large.orchkit", "--store", "b.duckdb", "--max-mb", "4").exit_code == 0
