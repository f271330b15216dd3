"""What notebooks show of a kit and of a run in the background."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from orchkit.kit import Kit
from orchkit.kit import open as open_kit
from orchkit.model.result import StepResult, WorkflowResult
from orchkit.testing import FakeClock
from orchkit.views.bundle import bundle


def _words(obj: object) -> str:
    text = re.sub(r"<[^>]*>", " ", bundle(obj)["text/html"])
    return " ".join(unescape(text).split())


@pytest.fixture
def kit(clock: FakeClock) -> Iterator[Kit]:
    """A kit in memory."""
    with open_kit(clock=clock) as kit:
        yield kit


def _say(text: str) -> str:
    return text


def test_a_kit(kit: Kit, recording: Any, clock: FakeClock) -> None:
    """Its store, what it can call, how its runs ended, and the newest five of them."""
    kit.registry.methods.register_method(_say)
    for number, status in enumerate(["success"] * 5 + ["failed"] * 2, 1):
        recording(f"run_{number}").start(f"job {number}").end(status).store(kit.store, clock)
    words = _words(kit)
    assert words.startswith("Kit store in memory ")
    assert re.search(r"[\d,]+ methods? 7 runs: 5 ✓ success 2 ✗ failed run name", words)
    assert "job 3" in words
    assert "job 2" not in words
    assert "… and 2 more" in words
    assert bundle(kit).keys() == {"text/html"}


def test_a_new_kit_and_a_closed_one(kit: Kit) -> None:
    """A kit without runs says so, and one that is closed says why it cannot show them."""
    assert "No run is on the record yet." in _words(kit)
    kit.close()
    assert "its runs cannot be shown: " in _words(kit)


NAME = 'a <b> "c": d'
GOES_ON = "It goes on in the background: await it for its result, or cancel, pause, step and resume it."
ENDED = "took 2.5 ms steps 1 succeeded and 1 was skipped Cancelled: the shop closes"


class _Handle:
    """What the view knows of a `RunHandle`."""

    run_id = "run_7"

    def __init__(self, status: str, outcome: object = None) -> None:
        self.status, self._outcome, self.done = status, outcome, outcome is not None

    def result(self, timeout: float | None = None) -> object:
        assert timeout == 0
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def __repr__(self) -> str:
        return f"<RunHandle {self.run_id} of {NAME!r}: {self.status}>"


def _result() -> WorkflowResult:
    steps = {name: StepResult(name, status) for name, status in (("a", "success"), ("b", "skipped"))}  # type: ignore[arg-type]
    return WorkflowResult("run_7", "wf_1", "job", "cancelled", steps, 1_000, 3_500, error="the shop closes")


@pytest.mark.parametrize(
    ("handle", "text"),
    [
        (_Handle("running"), f"▶ running {NAME} run_7 {GOES_ON}"),
        (_Handle("cancelled", _result()), f"⊘ cancelled {NAME} run_7 {ENDED}"),
        (_Handle("running", OSError("disk full")), f"▶ running {NAME} run_7 OSError: disk full"),
    ],
)
def test_a_run_in_the_background(handle: _Handle, text: str) -> None:
    """Its status, name and id; after its end how it went, also when there is no result."""
    assert _words(handle) == text


async def _first() -> None:
    return None


def test_a_real_handle() -> None:
    """The card reads the handle that `start` returns, while it runs and afterwards."""
    begun = threading.Event()

    async def second() -> None:
        begun.set()
        await asyncio.Event().wait()

    with open_kit() as kit:
        for function in (_first, second):
            kit.registry.methods.register_method(function)
        handle = kit.start(kit.workflow("in the background").add_step(_first).add_step(second).build())
        assert begun.wait(10)
        assert _words(handle).startswith(
            f"▶ running in the background {handle.run_id} steps 1 of 2 over It goes on"
        )
        handle.cancel("enough")
        handle.result(10)
        assert _words(handle).startswith(f"⊘ cancelled in the background {handle.run_id} took ")
        assert _words(handle).endswith("steps 1 succeeded and 1 was cancelled Cancelled: enough")
