"""The monitor of a run that goes on: what it sends, what it obeys, and that it ends."""

from __future__ import annotations

import gc
import json
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import StoreError
from orchkit.registry.registry import Registry
from orchkit.views import monitor as monitor_module
from orchkit.views.monitor import Monitor
from orchkit.views.monitorwidget import make_widget

WAIT_S = 30.0


def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


class Page:
    """The other end of the widget's comm: puts together what it is sent, as the front end does."""

    def __init__(self, monitor: Monitor, sent: list[dict[str, Any]]) -> None:
        self._monitor, self._sent = monitor, sent
        self.widget = monitor.widget

    def say(self, **order: Any) -> None:
        """A message from the page."""
        self.widget._handle_custom_msg(order, [])

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The custom messages so far."""
        return [one["content"] for one in self._sent if one.get("method") == "custom"]

    @property
    def board(self) -> dict[str, Any]:
        """What they add up to."""
        board: dict[str, Any] = {}
        for news in self.messages:
            board = dict(news["board"]) if news.get("all") else board | news.get("board", {})
        return board

    @property
    def problems(self) -> list[str]:
        """What was complained about."""
        return [news["problem"] for news in self.messages if "problem" in news]


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory that knows no methods."""
    with ok.open(registry=Registry()) as kit:
        yield kit


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ok.RunHandle], tuple[Monitor, Page]]]:
    """``shown(handle)``: a monitor as a notebook would show it, on a comm that keeps what it is given."""
    import comm
    from comm.base_comm import BaseComm

    sent: list[dict[str, Any]] = []

    class Kept(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
            sent.append(data or {})

    monkeypatch.setattr(comm, "create_comm", Kept)

    monitors: list[Monitor] = []

    def show(handle: ok.RunHandle) -> tuple[Monitor, Page]:
        monitor = handle.monitor()
        monitors.append(monitor)
        monitor.widget = make_widget(monitor)
        page = Page(monitor, sent)
        page.say(do="refresh")
        monitor.start()
        return monitor, page

    yield show
    for monitor in monitors:
        monitor.close()


class Door:
    """A step that waits until it is let through."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def pass_through(self, x: int = 1) -> int:
        """Wait."""
        self.reached.set()
        assert self.open.wait(WAIT_S)
        return x


@pytest.fixture
def door() -> Iterator[Door]:
    """One that is open at the end, whatever happened."""
    door = Door()
    yield door
    door.open.set()


def _listeners(kit: ok.Kit) -> int:
    return len(kit.store.log._listeners)


def test_thousands_of_updates_are_few_messages(kit: ok.Kit, door: Door, shown: Any) -> None:
    """5,000 updates in a tight loop make at most tens of messages; the last one is what is shown."""

    def busy() -> int:
        for number in range(5000):
            ok.report_progress(number / 5000, f"line {number}")
        return door.pass_through(7)

    handle = kit.start(kit.workflow("busy").add_step(busy, step_id="busy").build())
    monitor, page = shown(handle)
    assert door.reached.wait(WAIT_S)
    until(lambda: (page.board.get("doing") or {}).get("rows", [{}])[0].get("message") == "line 4999")
    assert len(page.messages) < 40
    door.open.set()
    until(lambda: not monitor.active)
    assert "busy" in page.board["final"]
    assert len(page.messages) < 50


def test_messages_say_what_has_changed(kit: ok.Kit, door: Door, shown: Any) -> None:
    """Versions follow each other; a step that ends changes its part of the picture, not all of it."""
    flow = kit.workflow("two").add_step(door.pass_through, {"x": 1}, step_id="a")
    handle = kit.start(flow.add_step(door.pass_through, {"x": "${steps.a}"}, step_id="b").build())
    _, page = shown(handle)
    until(lambda: any("svg" in news and news["svg"] for news in page.messages))
    before = len(page.messages)
    door.open.set()
    until(lambda: "final" in page.board)
    after = [news for news in page.messages[before:] if not news.get("all")]
    assert all("svg" not in news for news in after)
    assert {name for news in after for name in news.get("parts", {})} >= {"step_a", "step_b"}
    versions = [news["version"] for news in page.messages]
    assert versions == sorted(versions)


def test_a_wait_for_a_retry_is_shown_with_its_reason(kit: ok.Kit, shown: Any) -> None:
    """When the next attempt is made, and what was wrong with the last one."""

    def flaky() -> None:
        raise ConnectionError("the line is busy")

    retry = {"max_attempts": 2, "delay": 60.0, "jitter": "none"}
    flow = kit.workflow("w").add_step(flaky, step_id="call", retry=retry).build()
    handle = kit.start(flow)
    _, page = shown(handle)
    until(lambda: (page.board.get("waits") or {}).get("rows"))
    (wait,) = page.board["waits"]["rows"]
    assert wait["step"] == "call"
    assert wait["why"] == "attempt 1 of 2 failed with ConnectionError: the line is busy"
    assert 50e6 < wait["until_us"] - kit.store.clock.now_us() <= 60e6
    page.say(do="cancel")
    assert handle.result(WAIT_S).status == "cancelled"


def test_a_run_is_led_from_the_page(kit: ok.Kit, shown: Any) -> None:
    """Step, retry with other parameters, skip, continue: all through the handle, and what waits is shown."""
    calls: list[int] = []

    def picky(x: int) -> int:
        calls.append(x)
        if x < 2:
            raise ValueError("too small")
        return x

    flow = kit.workflow("w", description="led")
    for step_id in ("a", "b", "c", "d"):
        flow = flow.add_step(picky, {"x": 1 if step_id == "b" else 2}, step_id=step_id)
    handle = kit.start(flow.build(), pause="before_each", break_on=["failure"])
    monitor, page = shown(handle)
    until(lambda: page.board.get("paused") == "before each step" and page.board["waiting"]["rows"])
    first = page.board["waiting"]["rows"][0]
    assert (first["step"], first["error"], json.loads(first["params"])) == ("a", None, {"x": 2})
    page.say(do="step", params={"x": 5})
    until(lambda: "b" in handle.waiting)
    page.say(do="step")
    until(lambda: page.board["held"]["rows"])
    assert "too small" in page.board["held"]["rows"][0]["error"]
    page.say(do="retry", step="b", params={"x": 3})
    until(lambda: "c" in handle.waiting)
    page.say(do="skip", step="c")
    page.say(do="resume")
    result = handle.result(WAIT_S)
    assert calls == [5, 1, 3, 2]
    assert result.steps["c"].status == "skipped"
    until(lambda: not monitor.active)
    assert not page.problems


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"do": "explode"}, "unknown order 'explode'"),
        ({"step": "a"}, "unknown order None"),
        ({"do": "step", "params": [1]}, "the parameters must be a JSON object"),
        ({"do": "skip", "step": 5}, "the parameters must be a JSON object"),
        ({"do": "skip", "step": "nobody"}, "does not wait here"),
    ],
)
def test_what_cannot_be_done_is_said_on_the_page(
    kit: ok.Kit, door: Door, shown: Any, order: dict[str, Any], problem: str
) -> None:
    """A message that means nothing does nothing, and the page hears why."""
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    _, page = shown(handle)
    assert door.reached.wait(WAIT_S)
    page.say(**order)
    assert problem in page.problems[0]
    assert handle.status == "running"


def test_a_page_that_is_opened_later_gets_all_of_it(kit: ok.Kit, door: Door, shown: Any) -> None:
    """The state of the widget is that of now: whoever asks for it needs none of the messages before."""
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    _, page = shown(handle)
    until(lambda: any(news.get("svg") for news in page.messages))
    state = page.widget.get_state("start")["start"]
    assert state["board"] == page.board
    assert state["version"] == page.messages[-1]["version"]
    assert 'id="step_a"' in state["svg"]
    door.open.set()
    until(lambda: "final" in page.board)
    assert set(page.widget.get_state("start")["start"]["board"]) == {"final"}


def test_a_page_that_has_not_answered_gets_all_of_it_each_time(
    kit: ok.Kit, door: Door, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy kernel does not hear that the page is there; what the page missed while it loaded is no loss."""
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    monitor, page = shown(handle)
    monitor._greeted = False
    seen = len(page.messages)
    until(lambda: len(page.messages) > seen)
    assert all(news.get("all") for news in page.messages[seen:])


def test_a_monitor_that_nobody_has_any_more_listens_no_more(kit: ok.Kit, door: Door) -> None:
    """Forgotten without having been shown: it is collected, and its listener is gone."""
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    before = _listeners(kit)
    monitor = handle.monitor()
    monitor.start()
    assert _listeners(kit) == before + 1
    forgotten = weakref.ref(monitor)
    del monitor
    until(lambda: gc.collect() is not None and forgotten() is None)
    assert _listeners(kit) == before


@pytest.mark.parametrize("how", ["monitor", "widget"])
def test_a_closed_monitor_listens_no_more(kit: ok.Kit, door: Door, shown: Any, how: str) -> None:
    """Closed from Python or by ipywidgets (`Widget.close_all`): nothing is sent any more, the run goes on."""
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    before = _listeners(kit)
    monitor, page = shown(handle)
    assert door.reached.wait(WAIT_S)
    (monitor if how == "monitor" else page.widget).close()
    assert _listeners(kit) == before
    assert not monitor.active
    assert handle.status == "running"
    monitor.close()


def test_a_monitor_outside_of_a_notebook_is_a_card(kit: ok.Kit, door: Door) -> None:
    """Where there is no kernel nothing moves: it shows how the run stands, and at the end what came of it."""
    handle = kit.start(kit.workflow("a <b>").add_step(door.pass_through, step_id="a").build())
    assert door.reached.wait(WAIT_S)
    bundle = handle.monitor()._repr_mimebundle_()
    assert "running" in bundle["text/html"]
    assert "a &lt;b&gt;" in bundle["text/html"]
    assert bundle["text/plain"] == f"<Monitor of {handle.run_id}: running>"
    door.open.set()
    handle.result(WAIT_S)
    assert "data:image/svg+xml" in handle.monitor()._repr_mimebundle_()["text/html"]


def test_a_handle_of_a_run_that_is_over_shows_itself_as_a_record(kit: ok.Kit) -> None:
    """Then there is nothing to follow: IPython is told to look for another way of showing it."""
    door = Door()
    door.open.set()
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    handle.result(WAIT_S)
    with pytest.raises(NotImplementedError):
        handle._ipython_display_()
    assert "text/html" in handle._repr_mimebundle_()


def test_a_monitor_that_fails_says_so_once(
    kit: ok.Kit, door: Door, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A record that cannot be shown costs the monitor, never the run."""

    def broken(*_: object) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(monitor_module, "board_of", broken)
    warnings.simplefilter("always")
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    monitor = handle.monitor()
    monitor.start()
    until(lambda: not monitor.active)
    assert [str(one.message) for one in recwarn if "the disk is gone" in str(one.message)]
    door.open.set()
    assert handle.result(WAIT_S).success


def test_a_kit_may_be_closed_under_a_monitor(door: Door, shown: Any) -> None:
    """Then it says what it has seen, which is all of a run that ended before."""
    kit = ok.open(registry=Registry())
    handle = kit.start(kit.workflow("w").add_step(door.pass_through, step_id="a").build())
    monitor, page = shown(handle)
    until(lambda: page.board.get("total"))
    door.open.set()
    handle.result(WAIT_S)
    kit.close()
    until(lambda: not monitor.active)
    assert "✓ success" in page.board["final"]
