"""An event loop on which virtual time passes when, and only when, nobody has anything to do."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from orchkit.executors.threads import away
from orchkit.testing.clock import FakeClock

T = TypeVar("T")


class _Idle(selectors.BaseSelector):
    """Waits for files as any selector does; before it would really wait, time may jump."""

    def __init__(self, jump: Callable[[], bool]) -> None:
        self._files = selectors.DefaultSelector()
        self._jump = jump

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        return self._files.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        return self._files.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """The loop is asking for longer than an instant: all its tasks are waiting for something."""
        if (timeout is None or timeout > 0) and self._jump():
            timeout = 0
        return self._files.select(timeout)

    def close(self) -> None:
        """See `selectors.BaseSelector`."""
        self._files.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See `selectors.BaseSelector`."""
        return self._files.get_map()


def run_in_virtual_time(clock: FakeClock, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, on a loop and a thread of their own; the caller stands still meanwhile.

    An interrupt (Ctrl-C) cancels it and is raised on when it has ended.
    """
    ended: list[T | BaseException] = []
    begun: list[Callable[[], object]] = []

    async def main() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        begun.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return await work()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Idle(clock.jump))) as runner:
                ended.append(runner.run(main()))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, name="orchkit-simulation", daemon=True)
    with away():
        thread.start()
        try:
            thread.join()
        except BaseException:
            for cancel in begun:
                cancel()
            thread.join()
            raise
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]
