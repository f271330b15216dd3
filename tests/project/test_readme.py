"""The README: what it shows was run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_the_example_runs_and_prints_what_it_says(repository: Path, tmp_path: Path) -> None:
    """The examples of the README, one after the other in a fresh file, give the output in their comments."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 7
    (tmp_path / "example.py").write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Oslo: warm\n")
    assert "succeeded on the first attempt" in done.stdout
    assert "nearest with data" in done.stdout
    assert "\nTrue\n{'measure': 12.0, 'judge': 'Oslo: cold'}\n" in done.stdout
    assert re.search(r"forecast-2025-01-15 +COMPLETED +0", done.stdout)
    assert "The runs part at" in done.stdout
    assert (tmp_path / "cold.html").stat().st_size > 10_000
    assert "\nhealthy\n" in done.stdout
    assert "without sending a response. unhealthy\n" in done.stdout
    assert "\nanswered 200\n" in done.stdout
    assert "\nresearch closed the connection before its answer was complete" in done.stdout
    assert "\n['event: run.started', 'event: run.finished']\nBergen: warm\n" in done.stdout
    assert (tmp_path / "runs.duckdb").exists()


def test_its_links_lead_somewhere(repository: Path) -> None:
    """Every relative link of the README and of ARCHITECTURE.md names a file that is there."""
    for name in ("README.md", "ARCHITECTURE.md"):
        text = (repository / name).read_text(encoding="utf-8")
        targets = [t for t in re.findall(r"\]\(([^)]+)\)", text) if "://" not in t]
        assert [t for t in targets if not (repository / t.partition("#")[0]).exists()] == []
