"""A store that fails, or kills its process, at a chosen commit."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from orchkit.clock import Clock
from orchkit.errors import StoreError, StoreFullError
from orchkit.store.log import SqliteLog
from orchkit.store.store import Store

KILLED_ON_PURPOSE = "killed on purpose"
"""What such a process leaves behind on stderr, among other words."""

When = Literal["before", "after"]


class _Plan:
    """Which commits come to grief, at which moment, and how."""

    def __init__(self, when: When | None, commits: range, act: Callable[[str], object]) -> None:
        self._when, self._commits, self._act = when, commits, act
        self.count: int | None = None
        """How many commits there were; None while the store is still being opened."""

    def before(self) -> int:
        """Another commit is about to land; its number."""
        if self.count is None:
            return 0
        self.count += 1
        self._at("before", self.count)
        return self.count

    def after(self, number: int) -> None:
        """It has landed."""
        self._at("after", number)

    def _at(self, when: When, number: int) -> None:
        if when == self._when and number in self._commits:
            state = "nothing of it was written" if when == "before" else "it was written"
            self._act(f"commit {number}: {state}")


class _FaultyLog(SqliteLog):
    """Asks the plan around each transaction that writes something."""

    def __init__(self, plan: _Plan, *args: Any, **options: Any) -> None:
        self._plan = plan
        super().__init__(*args, **options)

    @contextmanager
    def writing(self, *, strict: bool) -> Iterator[sqlite3.Connection]:
        """The transaction of what somebody waits for."""
        number = None
        with super().writing(strict=strict) as connection:
            changes = connection.total_changes
            yield connection
            if connection.total_changes > changes:
                number = self._plan.before()
        if number is not None:
            self._plan.after(number)


class FaultyStore(Store):
    """A `Store` that fails, or kills its own process, before or after its n-th commit.

    A commit is what somebody waits for: a transaction with events, large values, claims or states in it. What
    several threads or steps write in one transaction counts once, and what the store does on its own account
    (leases, moving records to the history) does not count. They are numbered from 1 since the store was made.

    >>> import orchkit as ok
    >>> store = FaultyStore(fail_before=2)
    >>> store.record("note", {"n": 1})
    >>> store.record("note", {"n": 2})
    Traceback (most recent call last):
        ...
    orchkit.errors.StoreFullError: failed on purpose at commit 2: nothing of it was written
    >>> store.record("note", {"n": 3})
    >>> store.query("SELECT payload->>'n' FROM events ORDER BY seq")
    [('1',), ('2',), ('3',)]

    As on a disk that was full for a moment, what could not be written stayed in the buffer and went with the
    next commit. After ``fail_after`` it is the other way round: everything is written, only the caller does
    not hear of it.

    Crashes are for a process of their own: `orchkit.testing.crash_points` starts one for each commit of a
    workflow. Without any fault the store only counts: run the workflow once and read `commits`.

    Args:
        path: As for `Store`; without one everything is in memory (which a kill does not survive).
        fail_before: The n-th commit raises and writes nothing, as on a full disk.
        fail_after: The n-th commit writes everything and raises all the same: an acknowledgement is lost.
        kill_before: The process is killed just before the n-th commit, having said so on stderr; by
            SIGKILL where there are signals.
        kill_after: The process is killed just after the n-th commit, before anybody hears of it.
        times: How many commits in a row fail, the n-th the first of them.
        error: Makes the error that is raised from its message: a `StoreError`.
        clock: Time; by default the real one.

    Raises:
        ValueError: More than one fault is asked for, or a number is below 1.
    """

    def __init__(  # noqa: PLR0913 - the four faults by name: at most one of them is given
        self,
        path: str | Path | None = None,
        *,
        fail_before: int | None = None,
        fail_after: int | None = None,
        kill_before: int | None = None,
        kill_after: int | None = None,
        times: int = 1,
        error: Callable[[str], StoreError] = StoreFullError,
        clock: Clock | None = None,
    ) -> None:
        faults = {
            "fail_before": fail_before,
            "fail_after": fail_after,
            "kill_before": kill_before,
            "kill_after": kill_after,
        }
        self._plan = _planned({name: n for name, n in faults.items() if n is not None}, times, error)
        super().__init__(path, clock=clock, make_log=partial(_FaultyLog, self._plan))
        self._plan.count = 0

    @property
    def commits(self) -> int:
        """How many commits that write something there were, with those that failed."""
        return self._plan.count or 0


def _planned(faults: Mapping[str, int], times: int, error: Callable[[str], StoreError]) -> _Plan:
    if len(faults) > 1:
        raise ValueError(f"one fault at a time, not {' and '.join(faults)}")
    for name, number in (*faults.items(), ("times", times)):
        if number < 1:
            raise ValueError(f"{name} counts from 1, got {number!r}")
    if not faults:
        return _Plan(None, range(0), _kill)
    ((name, first),) = faults.items()
    kind, _, when = name.partition("_")
    act = _kill if kind == "kill" else _raiser(error)
    return _Plan("before" if when == "before" else "after", range(first, first + times), act)


def _raiser(error: Callable[[str], StoreError]) -> Callable[[str], NoReturn]:
    def fail(message: str) -> NoReturn:
        made = error(f"failed on purpose at {message}")
        if not isinstance(made, StoreError):
            raise TypeError(f"error must make a StoreError, which is what a store raises, not {made!r}")
        raise made

    return fail


def _kill(message: str) -> NoReturn:
    """End this process at once: nothing is flushed or closed."""
    with suppress(OSError):  # it may have no stderr
        os.write(2, f"orchkit: process {os.getpid()} {KILLED_ON_PURPOSE} at {message}\n".encode())
    if sys.platform != "win32":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)  # as shells report a kill
