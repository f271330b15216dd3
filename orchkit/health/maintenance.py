"""Times in which a service is meant to be away: on record, and shared by all who watch it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from orchkit.errors import ParameterError, Problem, StoreError
from orchkit.model import event as ev
from orchkit.store import codec
from orchkit.store.log import StateConflictError
from orchkit.store.store import Store

KIND: Final = "maintenance"
MOST_KEPT: Final = 50
"""Windows of a service that are at hand; all of them are in the history."""


class Window(NamedTuple):
    """One time in which a service is meant to be away; microseconds since the Unix epoch."""

    from_us: int
    until_us: int | None
    """None: until somebody says that it is over."""
    reason: str | None = None

    def __str__(self) -> str:
        until = "until it is ended" if self.until_us is None else f"until {_moment(self.until_us)}"
        return f"from {_moment(self.from_us)} {until}{f' ({self.reason})' if self.reason else ''}"

    def holds(self, at_us: int) -> bool:
        """Whether it is going on."""
        return self.from_us <= at_us and (self.until_us is None or at_us < self.until_us)

    def over(self, at_us: int) -> bool:
        """Whether it will never go on again."""
        return self.until_us is not None and self.until_us <= max(at_us, self.from_us)


class Maintenance:
    """The windows of all services of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[Window, ...]] = {}

    def refresh(self, name: str) -> None:
        """Read those of a service anew: another process may have named some."""
        with suppress(StoreError):  # then what is known counts
            record = self._store.get_state(KIND, name)
            self._known[name] = () if record is None else _windows(record.value)

    def current(self, name: str, at_us: int) -> Window | None:
        """The window that a service is in."""
        return next((window for window in self._known.get(name, ()) if window.holds(at_us)), None)

    def planned(self, name: str, at_us: int) -> tuple[Window, ...]:
        """Those that are still to come, the next one first."""
        return tuple(
            sorted(
                window
                for window in self._known.get(name, ())
                if window.from_us > at_us and not window.over(at_us)
            )
        )

    def begin(self, name: str, window: Window) -> None:
        """Write down one more. Raises `StoreError`."""
        self._change(name, lambda windows: ((*windows, window), (window,)))

    def end(self, name: str, at_us: int, *, planned: bool) -> int:
        """End those that go on, and with ``planned`` those to come; how many. Raises `StoreError`."""

        def ended(windows: tuple[Window, ...]) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
            these = [
                window for window in windows if window.holds(at_us) or (planned and window.from_us > at_us)
            ]
            told = tuple(window._replace(until_us=max(at_us, window.from_us)) for window in these)
            return tuple(window for window in windows if window not in these), told

        return self._change(name, ended)

    def _change(self, name: str, change: Any) -> int:
        """Replace the windows of a service, whoever else does so at the same moment."""
        now_us = self._store.clock.now_us()
        while True:
            record = self._store.get_state(KIND, name)
            version, windows = (record.version, _windows(record.value)) if record else (0, ())
            after, told = change(windows)
            kept = tuple(window for window in after if not window.over(now_us))[-MOST_KEPT:]
            with suppress(StateConflictError):
                if told:
                    value = {"windows": [list(window) for window in kept]}
                    self._store.put_state(KIND, name, value, expect_version=version)
                self._known[name] = kept
                break
        for window in told:
            self._store.append(ev.HEALTH_MAINTENANCE, codec.dumps({"service": name, **window._asdict()}))
        self._store.commit()
        return len(told)


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"


def window_of(now_us: int, start: Any, duration: float | None, reason: str | None) -> Window:
    """The window that begins at ``start`` (None: now) and lasts for ``duration`` seconds (None: open).

    Raises `ParameterError`: ``start`` has no time zone, ``duration`` is not above 0.
    """
    problems = []
    begin_us = now_us
    if isinstance(start, datetime):
        if start.tzinfo is None:
            hint = "give it one, such as datetime.now(UTC) or start.astimezone()"
            problems.append(Problem("start", "it has no time zone", hint))
        begin_us = round(start.astimezone(UTC).timestamp() * 1e6)
    elif start is not None:
        problems.append(Problem("start", f"{start!r} is no datetime"))
    if duration is not None and not duration > 0:
        problems.append(Problem("duration", f"{duration!r} is no number of seconds above 0"))
    if problems:
        raise ParameterError("maintenance", problems)
    return Window(begin_us, None if duration is None else begin_us + round(duration * 1e6), reason)


def _windows(value: Any) -> tuple[Window, ...]:
    with suppress(KeyError, TypeError, ValueError):
        listed: Sequence[Any] = value["windows"]
        return tuple(Window(int(one[0]), None if one[1] is None else int(one[1]), one[2]) for one in listed)
    return ()
