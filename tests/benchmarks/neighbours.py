"""How much of the processors other processes used meanwhile: what makes a measurement worth little."""

from __future__ import annotations

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
IDLE = (3, 4)
"""The fields of idling and of waiting for a disk, after the name in the first line of ``/proc/stat``."""


class Neighbours:
    """Watches from its making on; only where the system says (Linux), elsewhere there are none."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.monotonic(), _busy_s(), _own_s()

    def share(self) -> float:
        """The part of all processors, from 0 to 1, that neither this process nor its children used."""
        wall = time.monotonic() - self._start
        others = (_busy_s() - self._busy) - (_own_s() - self._own)
        return min(1.0, max(0.0, others / (wall * (os.cpu_count() or 1))))


def _busy_s() -> float:
    if not STAT.exists():
        return 0.0
    fields = STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]
    return sum(int(field) for index, field in enumerate(fields) if index not in IDLE) / TICKS_PER_S


def _own_s() -> float:
    if not STAT.exists():
        return 0.0
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
