"""The clock of the wall is set back or forward by hours while a store is open."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import orchkit as ok
from orchkit.errors import StoreBusyError
from orchkit.store.lease import Lease
from orchkit.store.log import SqliteLog
from orchkit.store.store import Store
from orchkit.testing import FakeClock

Process = subprocess.Popen[str]
HOURS = 3_600

HOLD = """
import sys
from orchkit.store.store import Store
store = Store(sys.argv[1])
store.record("x", {}, run_id="run_1")
with store.history.borrow():
    print("holding", flush=True)
    sys.stdin.readline()
print("let go", flush=True)
sys.stdin.readline()
store.close()
"""


@pytest.fixture
def jumping() -> FakeClock:
    """Where this computer's time is, to begin with."""
    return FakeClock(start_us=time.time_ns() // 1_000)


@pytest.mark.parametrize("jumps", [(-5, 0), (0, -5), (7, -9), (-9, 7)])
def test_a_run_during_which_the_clock_is_set(
    path: Path, jumping: FakeClock, jumps: tuple[float, ...]
) -> None:
    """Events keep their order, all of them arrive, and nothing took less than no time."""
    kit = ok.Kit(Store(path, clock=jumping))

    async def jump(hours: float) -> float:
        jumping.set_by(hours * HOURS)
        return hours

    kit.registry.methods.register_method(jump)
    flow = kit.workflow("jumps").with_execution_mode("sequential")
    for number, hours in enumerate(jumps):
        flow.add_step("jump", {"hours": hours}, step_id=f"s{number}")
    result = kit.run(flow.build())
    assert result.success
    frames = {view: kit.sql(f"SELECT * FROM {view}") for view in ("runs", "steps", "attempts", "events")}
    for view in ("runs", "steps", "attempts"):
        assert frames[view]["duration_ms"].min() >= 0, view
    assert len(frames["steps"]) == len(jumps)
    assert frames["events"]["seq"].tolist() == list(range(1, len(frames["events"]) + 1))
    assert kit.last.state.status == "success"
    durations = [result.duration_ms, *(step.duration_ms for step in result.steps.values())]
    assert min(duration for duration in durations if duration is not None) >= 0
    kit.close()


@pytest.mark.parametrize("hours", [5, -5])
def test_a_holder_in_another_process_keeps_the_file(
    path: Path,
    start: Callable[..., Process],
    next_line: Callable[[Process], str],
    open_store: Callable[..., Store],
    jumping: FakeClock,
    hours: float,
) -> None:
    """For whom the lease looks long over, or not over for hours, still waits; the next turn comes at once."""
    holder = start(HOLD, path, stdin=subprocess.PIPE)
    next_line(holder)
    jumping.set_by(hours * HOURS)
    store = open_store(clock=jumping, busy_timeout_s=0.3)
    with pytest.raises(StoreBusyError, match=rf"(?i)(process|PID) {holder.pid}"):
        store.query("SELECT 1")
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert next_line(holder) == "let go"
    store.history.timeout_s = 20.0
    store.record("x", {}, run_id="run_1")
    assert len(store.events("run_1")) == 2


def test_a_holder_in_the_same_process_keeps_the_file(
    open_store: Callable[..., Store], jumping: FakeClock
) -> None:
    """DuckDB would let two stores of one process in at once, and each would ingest the same events."""
    first, second = open_store(), open_store(clock=jumping, busy_timeout_s=0.2)
    first.record("x", {}, run_id="run_1")
    jumping.set_by(5 * HOURS)
    with first.history.borrow(), pytest.raises(StoreBusyError):
        second.query("SELECT 1")
    second.history.timeout_s = 20.0
    assert len(second.events("run_1")) == 1


def test_a_lease_from_the_future_is_over(tmp_path: Path, jumping: FakeClock) -> None:
    """It was taken before the clock was set back: nobody waits for hours because of that."""
    log = SqliteLog(tmp_path / "log", clock=jumping)
    jumping.set_by(5 * HOURS)
    Lease(log, "a", jumping).acquire()
    with log.exclusive() as connection:
        connection.execute("UPDATE lease SET host = 'elsewhere'")
    other = Lease(log, "a", jumping)
    assert other.acquire() is not None
    jumping.set_by(-5 * HOURS)
    assert other.acquire() is None
    log.close()
