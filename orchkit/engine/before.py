"""What a run begins with when it does not begin at the beginning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from orchkit.engine.compiled import Compiled
from orchkit.engine.options import RunOptions
from orchkit.engine.recorder import RunRecorder
from orchkit.engine.resumption import Resumption
from orchkit.model.result import StepResult


class Before(Protocol):
    """What a run begins with when it does not begin at the beginning."""

    @property
    def started_us(self) -> int | None:
        """When it began; None: now."""
        ...

    @property
    def kept(self) -> Mapping[str, StepResult]:
        """Results that are taken over, in order of completion; of items of maps and of compensations, too."""
        ...

    @property
    def inputs(self) -> Mapping[str, Any]:
        """By step id, what those were given."""
        ...

    @property
    def children(self) -> Mapping[str, Resumption]:
        """By step id, the runs of sub-workflows that go on."""
        ...

    def record(self, recorder: RunRecorder, compiled: Compiled, options: RunOptions) -> None:
        """Put the beginning on the record."""
        ...
