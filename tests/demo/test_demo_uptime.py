"""The simulated history of health checks in ``data/``: it is what the simulation makes, and says so."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from orchkit.analysis import uptime
from orchkit.demo import data_dir
from orchkit.demo import uptime as demo


def test_the_history_is_what_the_simulation_makes() -> None:
    """Made anew, it is the same: every check, and response times to the rounding of a millisecond."""
    recorded, made = demo.recorded_checks(), demo.simulated_checks()
    times = (recorded.pop("response_ms"), made.pop("response_ms"))
    pd.testing.assert_frame_equal(recorded, made)
    pd.testing.assert_series_equal(*times, atol=1.0, rtol=0)


def test_the_history_can_be_written_again(tmp_path: Path) -> None:
    """What is written is what is read, and it is small."""
    path = tmp_path / "history.parquet"
    demo.write(path)
    assert path.stat().st_size < 300_000
    assert (data_dir() / demo.FILE).stat().st_size < 300_000


def test_the_history_says_that_it_is_simulated() -> None:
    """Beside the file stands where it comes from, with the seed."""
    text = " ".join((data_dir() / "README.md").read_text(encoding="utf-8").split())
    assert f"`{demo.FILE}`" in text
    assert f"seed {demo.SEED}," in text
    assert "Nobody ever made these checks: our own simulation did" in text


def test_the_history_has_what_is_told_of_it() -> None:
    """Slow nights, a long outage, maintenance, a monitor that slept and one without a network."""
    checks = demo.recorded_checks()
    table = uptime.availability(checks).set_index("service")
    assert table.index.tolist() == ["backend", "research", "writer"]
    assert table.in_maintenance.tolist() == [8 * 24, 0, 0]
    assert table.degraded["research"] > 400
    assert (table.not_performed == 21).all()
    assert (table.unknown_s > 10 * 3600).all()
    longest = uptime.outages(checks, services="backend")
    assert longest.longest_s.tolist() == [6 * 3600]
    assert str(longest.longest_at[0]) == "2026-04-15 07:13:20+00:00"
