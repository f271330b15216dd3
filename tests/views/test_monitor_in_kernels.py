"""The monitor in real kernels: displayed, heard, led by a click while a cell is over or awaits, interrupted.

Beside the kernel of this environment those whose interpreters ORCHKIT_KERNELS names, apart by ``:``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 60.0
KERNELS = [sys.executable, *filter(None, os.environ.get("ORCHKIT_KERNELS", "").split(os.pathsep))]
SETUP = """
import asyncio, threading, time
import orchkit as ok
kit = ok.open()
def slow() -> int:
    print("step begun", flush=True)
    time.sleep(60)
    return 1
flow = kit.workflow("slow").add_step(slow, step_id="slow").build()
"""


class Front:
    """What a front end does with a kernel: run cells, show what they display, send clicks."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.shown: dict[str, dict[str, Any]] = {}
        self.comm: str | None = None
        self.news: list[dict[str, Any]] = []
        self.text = ""
        self.count = 0
        """How many messages came; front ends are spared more than some hundreds in a second."""
        self.idle: str | None = None
        """The request that the kernel has ended last."""

    def run(self, code: str, *, wait: bool = True) -> str:
        """Run a cell; the id of the request."""
        request: str = self.client.execute(code)
        if wait:
            self.until(lambda: self.idle == request)
        return request

    def until(self, condition: Callable[[], object]) -> None:
        """Take messages until something is so."""
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end, f"it did not happen: {self.text[-2000:]}"
            try:
                self._take(self.client.get_iopub_msg(timeout=0.5))
            except Exception as error:
                if type(error).__name__ != "Empty":
                    raise

    def _take(self, message: dict[str, Any]) -> None:
        self.count += 1
        kind, content = message["header"]["msg_type"], message["content"]
        if kind in ("display_data", "update_display_data"):
            self.shown[content["transient"].get("display_id", "")] = content["data"]
        elif kind == "comm_open" and "start" in content["data"].get("state", {}):
            self.comm = content["comm_id"]
        elif kind == "comm_msg" and content["comm_id"] == self.comm:
            self.news.append(content["data"].get("content", {}))
        elif kind == "stream":
            self.text += content["text"]
        elif kind == "error":
            self.text += "\n".join(content["traceback"])
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle = message["parent_header"].get("msg_id")

    def click(self, order: str, subshell: str | None = None) -> None:
        """A click on a button of the widget; where there is one, on a subshell, as JupyterLab does it."""
        data = {"method": "custom", "content": {"do": order}}
        message = self.client.session.msg("comm_msg", {"comm_id": self.comm, "data": data})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def subshell(self) -> str | None:
        """A new one; None where the kernel has none."""
        if "kernel subshells" not in self.client._features:
            return None
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        reply = self.client.get_control_msg(timeout=WAIT_S)
        return str(reply["content"]["subshell_id"])

    @property
    def last(self) -> str:
        """The HTML that the newest display shows."""
        return str(list(self.shown.values())[-1].get("text/html", "")) if self.shown else ""


@pytest.fixture(params=KERNELS, ids=[f"kernel {number}" for number in range(len(KERNELS))])
def kernel(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Iterator[tuple[Any, Front]]:
    """A kernel that has begun, and its front end."""
    manager_module = pytest.importorskip("jupyter_client.manager")
    from jupyter_client.kernelspec import KernelSpec

    manager = manager_module.KernelManager()
    command = [request.param, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=command, language="python", display_name="tested")
    path = os.pathsep.join(filter(None, (str(repository), os.environ.get("PYTHONPATH"))))
    folders = {"IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    manager.start_kernel(env={**os.environ, "PYTHONPATH": path, **folders}, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=WAIT_S)
        client.kernel_info()
        client._features = client.get_shell_msg(timeout=WAIT_S)["content"].get("supported_features", [])
        front = Front(client)
        front.run(SETUP)
        yield manager, front
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_click_after_the_cell_cancels(kernel: tuple[Any, Front]) -> None:
    """The cell has ended: the button is heard at once, and the display becomes the card of the run."""
    _, front = kernel
    front.run("handle = kit.start(flow)\nhandle")
    front.until(lambda: any("slow begins" in str(news) for news in front.news))
    front.click("cancel")
    front.until(lambda: "cancelled by hand" in front.last)
    assert "widget" not in str(list(front.shown.values())[-1].keys())


def test_a_click_while_the_cell_awaits_cancels(kernel: tuple[Any, Front]) -> None:
    """The cell awaits the handle; a kernel without subshells hears of the click when it is interrupted."""
    manager, front = kernel
    subshell = front.subshell()
    front.run("handle = kit.start(flow)\ndisplay(handle)\nprint((await handle).status)", wait=False)
    front.until(lambda: any("slow begins" in str(news) for news in front.news))
    front.click("cancel", subshell)
    if subshell is None:
        manager.interrupt_kernel()
    front.until(lambda: "cancelled by hand" in front.last)


def test_an_interrupt_of_a_blocking_cell_cancels(kernel: tuple[Any, Front]) -> None:
    """The cell blocks and the monitor of the run goes on by itself; the interrupt cancels the run."""
    manager, front = kernel
    request = front.run("kit.run(flow)", wait=False)
    front.until(lambda: "step begun" in front.text)
    manager.interrupt_kernel()
    front.until(lambda: "KeyboardInterrupt" in front.text and front.idle == request)
    front.run("print('ended', kit.last.status)")
    assert "ended cancelled" in front.text


def test_a_blocked_kernel_still_shows_the_run(kernel: tuple[Any, Front]) -> None:
    """While the cell that has shown the monitor blocks, it is told of what happens all the same."""
    _, front = kernel
    front.run("handle = kit.start(flow)\ndisplay(handle)\ntime.sleep(3)\nhandle.cancel()", wait=False)
    front.until(lambda: any("slow begins" in str(news) for news in front.news))
    assert all(news.get("all") for news in front.news)
    front.until(lambda: "✓" not in front.last and "cancelled by the user" in front.last)


MANY = """
shown = threading.Event()

def many() -> int:
    shown.wait(60)  # not before somebody looks
    for number in range(5000):
        ok.report_progress(number / 5000, f"line {number}")
    return 1
handle = kit.start(kit.workflow("many").add_step(many, step_id="many").build())
display(handle)
shown.set()
"""


def test_thousands_of_updates_do_not_flood_the_front_end(kernel: tuple[Any, Front]) -> None:
    """5,000 updates in a tight loop are some dozen messages, and the last of them is the card of the run."""
    _, front = kernel
    before = front.count
    front.run(MANY)
    front.until(lambda: "✓ success" in front.last)
    assert front.comm is not None
    assert front.count - before < 150
