"""Signals as requests, and runs whose process is gone."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from orchkit.cli.interrupts import Interrupts
from orchkit.cli.words import standing
from orchkit.store.process import this_process

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
        ({"status": "running", "pid": NOBODY}, True),
        ({"status": "paused", "pid": NOBODY}, True),
        ({"status": "running"}, False),
        ({"status": "running", "born": "another/boot/1"}, True),
        ({"status": "running", "born": "another/boot/1", "host": "elsewhere"}, False),
        ({"status": "success", "pid": NOBODY}, False),
        ({"status": "running", "pid": None, "host": None}, False),
        ({"status": "running", "imported": True}, True),
        ({"status": "running", "run_id": "run_given_up"}, True),
        ({"status": "success", "run_id": "run_given_up"}, False),
    ],
)
def test_a_run_whose_process_is_gone_was_cut_off(run: dict[str, Any], cut_off: bool) -> None:
    """It cannot say so itself; of other machines nothing is claimed, unless the log knows."""
    row = {"run_id": "run_1", "imported": False, **this_process().facts, **run}
    assert standing(row, {"run_given_up"}).plain.endswith("cut off" if cut_off else run["status"])
