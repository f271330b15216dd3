"""What a test does when its data or its tool is not on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEST = '''
def test_data(shared_data):
    """Needs data."""

def test_tool(require):
    """Needs a tool."""
    require("no-such-tool")

def test_here(require):
    """Needs what is always here."""
    assert require("pytest")
'''


@pytest.mark.parametrize(
    ("ci", "summary"),
    [("", "1 passed, 2 skipped"), ("true", "1 failed, 1 passed, 1 error")],
    ids=["at home", "in CI"],
)
def test_missing_things_are_skipped_at_home_and_fail_in_ci(
    repository: Path, tmp_path: Path, ci: str, summary: str
) -> None:
    """A skip names what is missing; with ``CI=true`` the same is a failure, so nothing is left out unseen."""
    shutil.copy(repository / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(TEST, encoding="utf-8")
    environment = {**os.environ, "CI": ci, "ORCHKIT_SHARED_DATA": str(tmp_path / "nowhere")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-ra",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        str(tmp_path),
    ]
    answer = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert summary in answer.stdout
    assert "no recorded inputs at" in answer.stdout
    assert "no-such-tool is not installed" in answer.stdout
