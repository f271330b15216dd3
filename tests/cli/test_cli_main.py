"""The command line without its script."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["orchkit", "orchkit.cli"])
def test_the_package_can_be_run(module: str) -> None:
    """``python -m orchkit`` is the console script."""
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "sweep" in done.stdout
