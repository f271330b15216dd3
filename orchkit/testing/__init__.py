"""What tests of workflows need: time that jumps, records in memory, faults on demand, captured decisions."""

from __future__ import annotations

from orchkit.testing.capture import BundledEvidence, ReportedProgress, TracedDecision, Traces, capture
from orchkit.testing.clock import START_US, FakeClock
from orchkit.testing.crash import Crash, crash_points
from orchkit.testing.faults import FaultyStore
from orchkit.testing.memory import MemoryStore

__all__ = [
    "START_US",
    "BundledEvidence",
    "Crash",
    "FakeClock",
    "FaultyStore",
    "MemoryStore",
    "ReportedProgress",
    "TracedDecision",
    "Traces",
    "capture",
    "crash_points",
]
