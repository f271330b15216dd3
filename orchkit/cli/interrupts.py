"""Ctrl-C and SIGTERM as a request that the main loop finds, instead of an exception anywhere."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_WORDS = {signal.SIGINT: "the user pressed Ctrl-C", signal.SIGTERM: "the process was told to end (SIGTERM)"}


class Interrupts:
    """While the block runs, signals are only counted.

    An exception raised in the middle of a commit could make the record repeat itself; a flag cannot.
    """

    def __init__(self) -> None:
        self.count = 0
        self.obeyed = False
        """For the main loop to note that it has done what the first one asks for."""
        self.last: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def reason(self) -> str:
        """What happened, for the record."""
        return _WORDS.get(self.last, "") if self.last is not None else ""

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 after Ctrl-C."""
        return 0 if self.last is None else 128 + self.last

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # What the parent ignores for us (`nohup`, background jobs of scripts) stays ignored.
            heard = [number for number in _WORDS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.last = signal.Signals(number)
