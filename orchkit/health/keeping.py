"""What a monitor has on the daemon loop: a task for each service, and one that writes for all of them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orchkit.errors import StoreClosedError
from orchkit.executors.threads import ThreadWorkers
from orchkit.health.recording import Recorder
from orchkit.health.standing import Standing
from orchkit.health.watch import Watch
from orchkit.reliability.classify import error_text


class Flusher:
    """Writes what was found, in a worker thread: the checks that end together in one transaction."""

    def __init__(self, recorder: Recorder, workers: ThreadWorkers) -> None:
        self._recorder, self._workers = recorder, workers
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Return when everything that was noted so far is written, or waits. Raises `StoreClosedError`."""
        async with self._turn:
            if not self._recorder.idle:
                await self._workers.run(self._recorder.flush, {})


def reader(recorder: Recorder, workers: ThreadWorkers) -> Callable[[str], Awaitable[Standing]]:
    """Reads in a worker thread how a service stands by the history, which may take its time."""

    def read(name: str) -> Awaitable[Standing]:
        return workers.run(recorder.recorded, {"name": name})

    return read


class Keeping:
    """The tasks; all methods are for the loop. It holds no watch: a monitor that is gone is not kept."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[Any]] = set()
        self._expected: set[str] = set()

    @property
    def going(self) -> bool:
        """Whether somebody looks by the clock; for any thread."""
        return bool(self._expected) or any(not keeper.done() for keeper in list(self._keepers.values()))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to end; for any thread."""
        return not (self._expected or self._keepers or self._others)

    def expect(self, name: str) -> None:
        """Say that `begin` is on its way to the loop; for any thread."""
        self._expected.add(name)

    def begin(self, watch: Watch, delay: float) -> None:
        """Look at a service in so many seconds, and then again and again."""
        self._cancel(watch.service.name)
        self._expected.discard(watch.service.name)
        watch.begin(delay)
        self._keepers[watch.service.name] = self._task(_keep_looking(weakref.ref(watch), self._recorder))

    def end(self, watch: Watch) -> None:
        """Look at it no more."""
        self._cancel(watch.service.name)
        self._task(watch.land())

    def _cancel(self, name: str) -> None:
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.cancel()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        return task

    def cancel(self) -> None:
        """End all tasks without waiting for it."""
        for name in list(self._keepers):
            self._cancel(name)
        for task in list(self._others):
            task.cancel()

    async def close(self, watches: Iterable[Watch]) -> None:
        """End everything, and wait until it has ended."""
        self.cancel()
        mine = [task for task in self._others if task is not asyncio.current_task()]
        await asyncio.gather(*mine, *(watch.land() for watch in watches), return_exceptions=True)
        # Names are looked up in threads of the loop, which would stay. They end with the executor that they
        # are of, as soon as nobody holds it.
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(thread_name_prefix="orchkit-names")
        )


async def _keep_looking(reference: weakref.ref[Watch], recorder: Recorder) -> None:
    """Look whenever it is due, as long as there is somebody to look for."""
    while (watch := reference()) is not None:
        pause, clock = watch.pause, watch.clock
        if pause > 0:
            del watch
            await clock.sleep(pause)
            watch = reference()
        if watch is None:
            return
        try:
            await watch.slot()
        except StoreClosedError:
            return
        except Exception as error:  # whatever it is, it must be seen, and the next look may succeed
            recorder.trouble = f"a check of {watch.service.name} could not be made: {error_text(error)}"
            watch.skip()
        del watch
