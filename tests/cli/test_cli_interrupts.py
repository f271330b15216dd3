"""Signals as requests, and runs whose process is gone."""

from __future__ import annotations

import os
import signal
import threading
from socket import gethostname
from typing import Any

import pytest

from orchkit.cli.interrupts import Interrupts
from orchkit.cli.words import standing

NOBODY = 2**22 + 1
"""A process id that Linux does not give."""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_are_counted_instead_of_raised(number: signal.Signals, code: int) -> None:
    """Inside the block a signal interrupts nothing; afterwards the old handler is back."""
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert (interrupts.count, interrupts.exit_code, interrupts.reason) == (0, 0, "")
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert (interrupts.count, interrupts.exit_code) == (2, code)
    assert interrupts.reason
    assert signal.getsignal(number) is before


def test_what_the_parent_ignores_stays_ignored() -> None:
    """A job in the background of a script is not stopped by a Ctrl-C that is not meant for it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
        assert interrupts.count == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hear_no_signals() -> None:
    """Only the main thread may set handlers; elsewhere the block is just a block."""
    answers: list[int] = []

    def work() -> None:
        with Interrupts() as interrupts:
            answers.append(interrupts.exit_code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [0]


@pytest.mark.parametrize(
    ("run", "cut_off"),
    [
        ({"status": "running", "pid": NOBODY, "host": gethostname()}, True),
        ({"status": "paused", "pid": NOBODY, "host": gethostname()}, True),
        ({"status": "running", "pid": os.getpid(), "host": gethostname()}, False),
        ({"status": "running", "pid": NOBODY, "host": "elsewhere"}, False),
        ({"status": "success", "pid": NOBODY, "host": gethostname()}, False),
        ({"status": "running", "pid": None, "host": None}, False),
        ({"status": "running", "pid": os.getpid(), "host": gethostname(), "imported": True}, True),
    ],
)
def test_a_run_whose_process_is_gone_was_cut_off(run: dict[str, Any], cut_off: bool) -> None:
    """It cannot say so itself; of other machines nothing is claimed."""
    assert standing({"imported": False, **run}).plain.endswith("cut off" if cut_off else run["status"])
