"""Real time, real threads, real sockets: it keeps its interval, and leaves nothing behind."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil
import pytest

import orchkit as ok
from orchkit.demo.services import WELL, ExampleServices
from orchkit.engine.loop import loop_thread

BLOCK_S = float(os.environ.get("ORCHKIT_BLOCK_S", "3"))


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("block", [time.sleep, _spin], ids=["that waits", "that computes"])
def test_the_interval_is_kept_while_a_cell_blocks(block: Callable[[float], None]) -> None:
    """Each check is within ten per cent of its moment, while the main thread does nothing else."""
    interval = 0.5 if block is time.sleep else 1.0
    with ExampleServices(WELL) as services, ok.open() as kit:
        kit.health.watch({**services.health_urls, "sync": lambda: True}, interval=interval)
        block(BLOCK_S)
        kit.health.stop()
        rows = kit.store.query("SELECT service, epoch_us(checked_at) FROM health_checks WHERE performed")
    for name in ("writer", "research", "backend", "sync"):
        times = sorted(at / 1e6 for service, at in rows if service == name)
        assert len(times) >= BLOCK_S / interval * 0.8 - 1
        phases = [(at - times[0]) / interval for at in times]
        usual = median(phase - round(phase) for phase in phases)
        off = [abs(phase - usual - round(phase - usual)) > 0.1 for phase in phases]
        # On a machine that is busy with other things, one of them may be late.
        assert sum(off) <= 1


def test_closing_the_kit_leaves_nothing_behind() -> None:
    """No thread (but the loop that all kits share), no task, no socket, no file."""

    def there() -> tuple[set[str], int, int]:
        return (
            {thread.name for thread in threading.enumerate() if "process_request" not in thread.name},
            len(psutil.Process().net_connections("inet")),
            psutil.Process().num_fds(),
        )

    loop_thread.run(_nothing())
    with ExampleServices(WELL) as services:
        with ok.open() as kit:  # what is imported, and the first use of everything
            kit.health.watch(services.health_urls).check()
        before = there()
        kit = ok.open()
        urls = {name: url.replace("127.0.0.1", "localhost") for name, url in services.health_urls.items()}
        kit.health.watch({**urls, "sync": lambda: True, "slow": lambda: time.sleep(0.3)}, interval=0.1)
        services["writer"].be("slow", delay=0.3)
        time.sleep(0.5)
        assert kit.health.running
        kit.close()
        assert not kit.health.running
        time.sleep(0.6)  # the sync probe that was going on ends by itself, as does the server
        gc.collect()
        names, sockets, files = there()
    assert names <= before[0]
    assert sockets <= before[1]
    assert files <= before[2]
    assert loop_thread.run(_tasks()) == []


async def _nothing() -> None: ...


async def _tasks() -> list[str]:
    import asyncio

    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def test_a_kit_that_nobody_holds_is_not_watched_for() -> None:
    """A cell that opens the kit anew does not leave the old monitor behind."""
    asked: list[int] = []
    kit = ok.open()
    kit.health.watch({"it": lambda: asked.append(1)}, interval=0.05)
    gone = weakref.ref(kit.health)
    time.sleep(0.2)
    kit.store.close()
    del kit
    gc.collect()
    assert gone() is None
    time.sleep(0.1)
    count = len(asked)
    time.sleep(0.2)
    assert (len(asked), loop_thread.run(_tasks())) == (count, [])


@pytest.mark.parametrize("how", ["stop", "close", "unwatch"])
def test_who_asks_while_it_is_stopped_gets_an_error(how: str) -> None:
    """Neither an answer that never comes nor a cancellation that nobody asked for."""
    kit = ok.open()
    begun = threading.Event()

    def probe() -> None:
        begun.set()
        time.sleep(0.5)

    kit.health.watch({"it": probe}, interval=36_000)
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            kit.health.check()
        except BaseException as error:
            raised.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(10)
    end = {"stop": kit.health.stop, "close": kit.close, "unwatch": lambda: kit.health.unwatch("it")}
    end[how]()
    asking.join(10)
    kit.close()
    kit.close()
    assert [type(error) for error in raised] == [ok.errors.ExecutionError]


def test_opening_watching_and_closing_from_many_threads() -> None:
    """Whatever comes between, nothing hangs and only the errors that are documented come out."""
    wrong: list[BaseException] = []

    def once(number: int) -> None:
        try:
            for _ in range(5):
                kit = ok.open()
                kit.health.watch({"a": lambda: True, "b": lambda: False}, interval=0.02, timeout=0.5)
                asking = threading.Thread(target=ask, args=(kit,))
                asking.start()
                time.sleep(0.01 * number)
                kit.close()
                asking.join(20)
                assert not asking.is_alive()
        except BaseException as error:
            wrong.append(error)

    def ask(kit: ok.Kit) -> None:
        try:
            while True:
                kit.health.check()
                kit.health.maintenance("a", duration=0.01)
                kit.health.status()
        except (ok.errors.ExecutionError, ok.StoreClosedError):
            pass
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=once, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)
    assert loop_thread.run(_tasks()) == []


def test_stopping_twice_and_watching_again() -> None:
    """Stopping is idempotent; what is stopped can be begun again."""
    with ok.open() as kit:
        kit.health.stop()
        kit.health.watch({"it": lambda: True}, interval=0.05)
        kit.health.stop()
        kit.health.stop()
        assert not kit.health.running
        kit.health.watch({"it": lambda: True}, interval=0.05)
        end = time.monotonic() + 5
        while kit.health["it"].checks < 2:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_checks_that_only_the_history_has_are_known(tmp_path: Path) -> None:
    """The log is gone, or the checks came from elsewhere: uptime goes on from what is on record."""
    path = tmp_path / "runs.duckdb"
    with ok.open(path) as kit:
        for number in range(130):
            status = "unhealthy" if number in (29, 128, 129) else "healthy"
            performed = number % 2 == 1 or number > 100
            shown = {"status": status, "performed": performed} if performed else {"performed": False}
            kit.store.append("health.check", json.dumps({"service": "it", "reason": "late", **shown}))
        kit.store.commit()
    (tmp_path / "runs.duckdb-log").unlink()
    with pytest.warns(UserWarning, match="was missing"):
        kit = ok.open(path)
    with kit:
        kit.health.watch({"it": lambda: False}, interval=36_000)
        health = kit.health.check()["it"]
        # 79 were performed and one now; of these numbers 29, 128, 129 and the one now were not up.
        assert (health.checks, health.uptime_percentage, health.consecutive_failures) == (80, 95.0, 3)


def test_what_was_found_survives_the_process(tmp_path: object) -> None:
    """The same file, opened again: uptime and failures in a row are there before the first check."""
    path = f"{tmp_path}/runs.duckdb"
    with ok.open(path) as kit:
        kit.health.watch({"it": lambda: False}, interval=36_000)
        kit.health.check()
    with ok.open(path) as kit:
        kit.health.watch({"it": lambda: True}, interval=36_000)
        health = kit.health["it"]
        assert (health.status, health.consecutive_failures, health.uptime_percentage) == ("unhealthy", 1, 0.0)
