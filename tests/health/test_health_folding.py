"""What many checks add up to: uptime, failures in a row, one status for all, moments on a grid."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchkit.health.slots import Slots
from orchkit.health.standing import MOST_COUNTED, Check, Standing, read
from orchkit.model.health import BY_GRAVITY, overall
from orchkit.testing import FakeClock

FOUND = st.sampled_from(["healthy", "degraded", "unhealthy", None])
CHECKS = st.lists(
    st.builds(
        lambda found, ms, at: Check(at, found, None if found else "late", ms if found else None),
        FOUND,
        st.floats(0, 1e6),
        st.integers(0, 2**50),
    ),
    max_size=250,
)


def folded(checks: list[Check]) -> Standing:
    """The standing after all of them."""
    standing = Standing()
    for check in checks:
        standing = standing.after(check)
    return standing


@given(CHECKS)
def test_uptime_is_of_the_last_hundred_that_were_performed(checks: list[Check]) -> None:
    """Counted one by one it is the same; with none there is no percentage."""
    performed = [check.found for check in checks if check.found is not None][-MOST_COUNTED:]
    up = sum(found != "unhealthy" for found in performed)
    standing = folded(checks)
    assert len(standing.up) == len(performed)
    assert standing.uptime == (round(100 * up / len(performed), 2) if performed else None)


@given(CHECKS)
def test_checks_that_were_not_performed_change_nothing_that_counts(checks: list[Check]) -> None:
    """With and without them the service stands the same."""

    def counted(standing: Standing) -> Any:
        return standing.found, standing.checked_us, standing.failures, standing.up, standing.error

    assert counted(folded(checks)) == counted(folded([check for check in checks if check.performed]))


@given(CHECKS)
def test_failures_in_a_row_are_those_at_the_end(checks: list[Check]) -> None:
    """Whatever answered ends the row."""
    row = 0
    for check in reversed([check for check in checks if check.performed]):
        if check.found != "unhealthy":
            break
        row += 1
    assert folded(checks).failures == row


@given(CHECKS)
def test_a_standing_comes_back_from_the_log_as_it_was(checks: list[Check]) -> None:
    """Written as JSON and read again."""
    standing = folded(checks)
    assert read(json.loads(json.dumps(standing.written()))) == standing


@given(st.lists(st.sampled_from(BY_GRAVITY)))
def test_one_status_for_several_is_the_gravest(statuses: list[Any]) -> None:
    """What is in maintenance is not held against the rest; without services nothing is known."""
    found = overall(statuses)
    assert found == min(statuses, key=BY_GRAVITY.index, default="unknown")
    others = [status for status in statuses if status != "maintenance"]
    if others:
        assert overall(others) == found


@given(st.floats(0.05, 100), st.lists(st.floats(0, 1000), max_size=40), st.floats(0, 10))
def test_moments_stay_on_the_grid(interval: float, efforts: list[float], delay: float) -> None:
    """However long things take: always ahead, and a whole number of intervals from the first one."""
    clock = FakeClock(autojump=False)
    slots = Slots.starting(clock, interval, delay)
    begin, before = slots.begin, -1.0
    for effort in efforts:
        clock.advance(max(0.0, slots.pause))
        clock.advance(effort)
        slots.advance()
        count = (slots.due - begin) / interval
        assert abs(count - round(count)) < 1e-6
        assert before < slots.due
        assert slots.due > clock.monotonic() - 1e-6
        before = slots.due
