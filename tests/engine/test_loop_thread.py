"""The daemon loop thread: there while somebody may need it, then gone, and nothing is lost in between."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orchkit as ok
from orchkit.engine.loop import LoopThread
from orchkit.registry.registry import Registry

WAIT_S = 60.0


class Holder:
    """Somebody who needs the loop."""


async def double(x: int) -> int:
    """The step of these tests."""
    await asyncio.sleep(0)
    return 2 * x


def flow_of(kit: ok.Kit) -> ok.Workflow:
    """One step."""
    kit.registry.methods.register_method(double)
    return kit.workflow("w").add_step("double", {"x": "${context.x}"}, step_id="a").build()


def gone(thread: threading.Thread) -> bool:
    """Whether it ends within a while."""
    thread.join(WAIT_S)
    return not thread.is_alive()


def serving(loops: LoopThread) -> Any:
    """The thread that it has now."""
    return loops.submit(_current()).result(WAIT_S)


async def _current() -> threading.Thread:
    return threading.current_thread()


def test_it_ends_with_the_last_holder() -> None:
    """As long as one of two holds it, it is the same thread; then it ends, and the next use has a new one."""
    loops, holders = LoopThread(), [Holder(), Holder()]
    for holder in holders:
        loops.hold(holder)
    first = serving(loops)
    loops.release(holders[0])
    assert serving(loops) is first
    loops.release(holders[1])
    loops.release(holders[1])
    assert gone(first)
    second = serving(loops)
    assert second is not first
    loops.release(holders[1])
    assert gone(second)


def test_what_goes_on_there_ends_first() -> None:
    """A task that was begun before the last holder let go has its end, although others get a new loop."""
    loops = LoopThread()

    async def scene() -> threading.Thread:
        await opened.wait()
        return threading.current_thread()

    async def event() -> asyncio.Event:
        return asyncio.Event()

    opened = loops.submit(event()).result(WAIT_S)
    future, loop = loops.launch(scene())
    first = serving(loops)
    loops.release(Holder())
    assert serving(loops) is not first
    assert not future.done()
    loop.call_soon_threadsafe(opened.set)
    assert future.result(WAIT_S) is first
    assert gone(first)
    loops.release(Holder())


ALL_OF_A_KIT = """
import threading
import psutil
import orchkit as ok

def seen():
    process = psutil.Process()
    return [thread.name for thread in threading.enumerate()], process.num_fds(), process.net_connections()

async def double(x: int) -> int:
    return 2 * x

def shout(x: int) -> str:
    return f"{x}!"

with ok.open():
    pass  # what is imported at the first kit may keep files of its own
before = seen()
kit = ok.open()
for method in (double, shout):
    kit.registry.methods.register_method(method)
flow = kit.workflow("w").add_step("double", {"x": 2}).add_step("shout", {"x": "${steps.double}"}).build()
assert kit.reliable(retry=2)(lambda: 1)() == 1
assert kit.run(flow).outputs["shout"] == "4!"
handle = kit.start(flow, pause="before_each")
handle.cancel()
handle.result(60)
kit.health.watch({"fine": lambda: True})
kit.health.check()
kit.gateway.start({"services": {"a": "http://127.0.0.1:9"}, "routes": {"/a": "a"}})
assert len(seen()[0]) > len(before[0]) and seen()[2]
kit.close()
print(before == seen() or (before, seen()))
"""


def test_a_closed_kit_leaves_no_thread_and_no_socket() -> None:
    """After runs, reliable calls of sync code, watched services and a gateway all is as it was before."""
    command = [sys.executable, "-W", "error", "-c", ALL_OF_A_KIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_kits_that_come_and_go_in_many_threads() -> None:
    """Each result arrives, whoever else closes the last kit at that moment."""
    end = time.monotonic() + WAIT_S

    def work(number: int) -> list[Any]:
        found = []
        for turn in range(15):
            with ok.open(registry=Registry()) as kit:
                found.append(
                    kit.start(flow_of(kit), context={"x": turn}).result(end - time.monotonic()).outputs
                )
        return found

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert results == [[{"a": 2 * turn} for turn in range(15)]] * 4
