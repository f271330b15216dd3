"""What one measurement is asked to do, and how it takes the time."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Literal, Self

Written = Literal["attempts", "results", "run"]
Survives = Literal["power loss", "killed process"]


@dataclass(frozen=True)
class Guarantee:
    """What is on disk before the next thing may begin, and what it survives there."""

    written: Written
    survives: Survives

    def __str__(self) -> str:
        written = {"attempts": "each attempt", "results": "each result", "run": "run, at its end"}[
            self.written
        ]
        return f"{written} · {'power loss' if self.survives == 'power loss' else 'kill'}"


@dataclass(frozen=True)
class Task:
    """One measurement: which candidate does what, how much of it."""

    candidate: str
    """The module beside this one that measures: it has ``measure(task, folder) -> {name: number}``."""
    variant: str
    workload: str
    size: int
    guarantee: Guarantee | None = None
    """For workloads that bare SQLite can do too: at what guarantee it has to, to be the floor."""


class Stopwatch:
    """Seconds of a block. Whoever is measured begins with a collected heap and collection switched on."""

    seconds: float = 0.0

    def __enter__(self) -> Self:
        gc.enable()
        gc.collect()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start


def expect(what: str, found: object, wanted: object) -> None:
    """A measurement of work that was not done is worth nothing."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")
