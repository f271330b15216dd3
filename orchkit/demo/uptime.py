"""Eight weeks of health checks of the three example services, made up by our own simulation."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchkit.analysis.frames import typed_column
from orchkit.demo import data_dir
from orchkit.simulation import Bursts, Failures, Latency, Outages, SlowDowns
from orchkit.simulation.checks import CHECKS, Monitoring, WatchedService, simulate_checks
from orchkit.store.frames import to_frame

if TYPE_CHECKING:
    import pandas as pd

FILE = "uptime_simulated.parquet"
START = datetime(2026, 3, 2, tzinfo=UTC)
WEEKS = 8
SEED = 6

_HOUR, _DAY, _WEEK = 3600.0, 86_400.0, 604_800.0
SERVICES = {
    "writer": WatchedService(
        [
            Latency(0.12, 0.4),
            Failures(0.0004, "ConnectionError"),
            Outages([(37 * _DAY + 9 * _HOUR, 25 * 60)], error="ServiceUnavailableError"),
        ],
        degraded_after=1.5,
    ),
    # Slow each night, while something is backed up.
    "research": WatchedService(
        [
            Latency(0.35, 0.5),
            SlowDowns([(1 * _HOUR, 40 * 60)], extra=1.6, every=_DAY),
            Failures(0.002, "ServiceUnavailableError"),
            Outages([(16.6 * _DAY, 3.3 * _HOUR)], rate=0.8, error="ServiceUnavailableError"),
        ],
        degraded_after=1.5,
    ),
    # Away for an hour every few days; each Sunday its disks are looked after.
    "backend": WatchedService(
        [
            Latency(0.08, 0.3),
            Bursts(up=5 * _DAY, down=1.2 * _HOUR),
            Outages([(44.3 * _DAY, 6 * _HOUR)], error="TimeoutError"),
        ],
        degraded_after=1.5,
        maintenance=[(week * _WEEK + 6 * _DAY + 3 * _HOUR, 2 * _HOUR) for week in range(WEEKS)],
    ),
}
MONITORING = Monitoring(
    interval=300,
    asleep=[(25 * _DAY + 22 * _HOUR, 9 * _HOUR)],
    no_network=[(9 * _DAY + 14 * _HOUR, 100 * 60)],
)


def simulated_checks() -> pd.DataFrame:
    """The history that is in ``data/``, made anew: see `orchkit.simulation.simulate_checks`."""
    return simulate_checks(SERVICES, start=START, duration=WEEKS * _WEEK, monitoring=MONITORING, seed=SEED)


def recorded_checks() -> pd.DataFrame:
    """The same, read from the file. Raises `FileNotFoundError` when it is not there."""
    import duckdb
    import pandas as pd

    path = data_dir() / FILE
    if not path.is_file():
        raise FileNotFoundError(path)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = to_frame(connection, "FROM read_parquet(?)", [str(path)])
    return pd.DataFrame({name: typed_column(found[name], kind) for name, kind in CHECKS.items()})


def write(path: Path) -> None:
    """Write the simulated history to a Parquet file."""
    import duckdb

    table = simulated_checks()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("checks", table)
        target = str(path).replace("'", "''")
        query = f"COPY checks TO '{target}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)"
        connection.execute(query)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else data_dir() / FILE)
