"""What tests of workflows need: time that jumps, records in memory, faults on demand, captured decisions."""

from __future__ import annotations

from orchkit.testing.clock import START_US, FakeClock

__all__ = ["START_US", "FakeClock"]
