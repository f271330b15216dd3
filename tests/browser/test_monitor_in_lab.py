"""The monitor and the stepper in JupyterLab: watched, led by its buttons, still there after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

# Steps wait for files to appear, so that the test says when something happens.
SETUP = """
import time
from pathlib import Path
import orchkit as ok

kit = ok.open()

def signal(name):
    while not Path(name).exists():
        time.sleep(0.01)

def fetch(parts: int) -> int:
    for part in range(parts):
        ok.report_progress((part + 1) / parts, f"part {part + 1} of {parts}")
    signal("fetched")
    return parts

calls = []
def send(parts: int, to: str = "nobody") -> str:
    calls.append(to)
    if len(calls) == 1:
        raise ConnectionError("the line is busy")
    return f"{parts} to {to}"

def close(receipt: str) -> str:
    signal("closed")
    return receipt.upper()

flow = (kit.workflow("Delivery")
    .add_step(fetch, {"parts": 4})
    .add_step(send, {"parts": "${steps.fetch}"},
              retry={"max_attempts": 3, "delay": RETRY_S, "jitter": "none"})
    .add_step(close, {"receipt": "${steps.send}"})
    .build())
"""
GO_ON = "Path('{}').touch()"


def setup(retry_s: float = 1.5) -> str:
    """The first cell."""
    return SETUP.replace("RETRY_S", str(retry_s))


@pytest.fixture(autouse=True)
def no_signals(lab: Any) -> None:
    """Files of tests before are gone."""
    for name in ("fetched", "closed"):
        (lab.root / name).unlink(missing_ok=True)


def test_a_run_is_watched_and_stays_in_the_saved_notebook(notebook: Callable[..., Any], lab: Any) -> None:
    """Progress, waits with their reason, the picture; then a card that needs neither kernel nor widget."""
    book = notebook(setup(), "handle = kit.start(flow)\nhandle")
    book.run(0)
    book.run(1)
    output = book.output(1)
    monitor = output.locator(".monitor")
    monitor.locator(".doing", has_text="part 4 of 4").wait_for()
    monitor.locator("svg.orchkit_dag .status_running").wait_for()
    assert monitor.locator(".tally strong").inner_text() == "0 of 3 steps"
    book.shot("monitor_running", output)
    (lab.root / "fetched").touch()
    wait = monitor.locator(".wait", has_text="retry in")
    wait.wait_for()
    assert "because attempt 1 of 3 failed with ConnectionError: the line is busy" in wait.inner_text()
    book.shot("monitor_waiting", output)
    monitor.locator(".tally strong", has_text="2 of 3 steps").wait_for()
    book.theme("Dark")
    monitor.locator("#step_close.status_running").wait_for()
    book.shot("monitor_dark", output)
    assert book.barriers(".orchkit-monitor") == []
    book.theme("Light")
    (lab.root / "closed").touch()
    output.locator("img[alt*=success]").wait_for()
    assert output.locator(".monitor").count() == 0
    (saved,) = book.outputs(1)
    assert set(saved["data"]) == {"text/plain", "text/html"}
    book.restart()
    book.reload()
    book.output(1).locator("img[alt*=success]").wait_for()
    assert "4 to nobody" in book.output(1).inner_text().lower()
    book.shot("monitor_frozen", book.output(1))


def test_a_run_is_cancelled_by_its_button(notebook: Callable[..., Any]) -> None:
    """The button of the monitor cancels: the record says so, and the frozen view as well."""
    book = notebook(setup(), "handle = kit.start(flow)\nhandle.monitor()", "print(handle.result().status)")
    book.run(0)
    book.run(1)
    output = book.output(1)
    output.locator(".doing", has_text="fetch").wait_for()
    output.get_by_role("button", name="Cancel").click()
    output.locator("img[alt*=cancelled]").wait_for()
    assert "cancelled by hand" in output.inner_text()
    book.run(2)
    assert book.output(2).inner_text().strip() == "cancelled"
    book.shot("monitor_cancelled", output)


def test_a_run_is_led_step_by_step(notebook: Callable[..., Any], lab: Any) -> None:
    """Step, a failure that is held, retry with other parameters, continue: each is on the record."""
    (lab.root / "fetched").touch()
    (lab.root / "closed").touch()
    book = notebook(
        setup().replace('"max_attempts": 3', '"max_attempts": 1'),
        'handle = kit.start(flow, pause="before_each", break_on=["failure"])\nhandle',
        "import json\nrows = handle.run.decisions().query(\"decision_point == 'operator'\")\n"
        "told = json.dumps(rows[['step_id', 'decision']].values.tolist())\n"
        "print(told, handle.result().steps['close'].output)",
    )
    book.run(0)
    book.run(1)
    monitor = book.output(1).locator(".monitor")
    hand = monitor.locator(".hand")
    hand.get_by_text("Paused").wait_for()
    monitor.locator("svg.orchkit_dag").wait_for()
    book.shot("stepper_paused", book.output(1))
    hand.get_by_role("button", name="Step fetch").click()
    hand.get_by_role("button", name="Step send").wait_for()
    monitor.get_by_role("toolbar").get_by_role("button", name="Step").click()
    held = hand.locator(".held")
    held.get_by_text("the line is busy").wait_for()
    held.get_by_text("with other parameters").click()
    area = held.get_by_role("textbox", name="Parameters of send as JSON")
    assert json.loads(area.input_value()) == {"parts": 4}
    area.fill("{not JSON")
    held.get_by_role("button", name="Retry with these").click()
    held.get_by_text("This is no JSON").wait_for()
    book.shot("stepper_held", book.output(1))
    assert book.barriers(".orchkit-monitor") == []
    area.fill('{"to": "the shop"}')
    held.get_by_role("button", name="Retry with these").click()
    hand.get_by_role("button", name="Step close").wait_for()
    monitor.get_by_role("button", name="Continue").click()
    book.output(1).locator("img[alt*=success]").wait_for()
    book.run(2)
    told, result = book.output(2).inner_text().strip().rsplit("]] ", 1)
    assert json.loads(told + "]]") == [["send", "edit"], ["send", "retry"]]
    assert result == "4 TO THE SHOP"


MUCH = """
def item(x: int) -> int:
    if x > 2:
        signal("fetched")
    return x

def call(x: int) -> int:
    if len(calls) < 3:
        calls.append(x)
        raise ConnectionError("no answer")
    return x

inner = kit.workflow("Check").add_step(item, {"x": 1}, step_id="weigh").add_step(
    close, {"receipt": "a"}, step_id="stamp").build()
much = (kit.workflow("Depot").with_execution_mode("dag")
    .add_map(item, [1, 2, 3, 4, 5], {"x": "${item}"}, step_id="parcels")
    .add_workflow(inner, step_id="check")
    .add_step(call, {"x": 1}, step_id="call", breaker={"failure_threshold": 1, "reset_timeout": 600},
              retry={"max_attempts": 9, "delay": 300, "jitter": "none"})
    .add_step(call, {"x": 1}, step_id="late", depends_on=["parcels", "check"],
              when="${steps.call} > 0")
    .build())
"""


def test_maps_sub_workflows_and_breakers_are_watched(notebook: Callable[..., Any], lab: Any) -> None:
    """How many items are done, what goes on inside, and that a breaker has opened."""
    book = notebook(setup(), MUCH, "handle = kit.start(much)\nhandle")
    for index in range(3):
        book.run(index)
    monitor = book.output(2).locator(".monitor")
    monitor.locator(".doing", has_text="2/5").wait_for()
    monitor.locator(".doing", has_text="check › stamp").wait_for()
    monitor.locator(".lamp.open", has_text="call: open").wait_for()
    monitor.locator("#cluster_step_check.status_running").wait_for()
    book.shot("monitor_much", book.output(2))
    monitor.get_by_role("button", name="Cancel").click()
    (lab.root / "fetched").touch()
    (lab.root / "closed").touch()
    book.output(2).locator("img[alt*=cancelled]").wait_for()


def test_a_run_that_a_cell_waits_for_is_cancelled_by_an_interrupt(notebook: Callable[..., Any]) -> None:
    """The kernel is busy and cannot hear a button: interrupting it cancels the run, which is on record."""
    slow = "def slow() -> None:\n    print('step begun', flush=True)\n    time.sleep(60)\n"
    run = "kit.run(kit.workflow('Slow').add_step(slow, step_id='slow').build())"
    book = notebook(setup(), slow + run, "print(kit.last.status)")
    book.run(0)
    book.run(1, wait=False)
    book.output(1).get_by_text("step begun", exact=True).wait_for()
    book.interrupt()
    book.output(1).get_by_text("KeyboardInterrupt").first.wait_for()
    book.run(2)
    assert book.output(2).inner_text().strip() == "cancelled"


def test_a_page_that_is_loaded_anew_shows_the_run_on(notebook: Callable[..., Any], lab: Any) -> None:
    """The widget asks for all of it; when the run ends its card is what the notebook keeps."""
    book = notebook(setup(0.1), "handle = kit.start(flow)\nhandle")
    book.run(0)
    book.run(1)
    book.output(1).locator(".doing", has_text="part 4 of 4").wait_for()
    book.save()
    book.reload()
    monitor = book.output(1).locator(".monitor")
    monitor.locator(".doing", has_text="part 4 of 4").wait_for()
    monitor.locator("svg.orchkit_dag .status_running").wait_for()
    for name in ("fetched", "closed"):
        (lab.root / name).touch()
    book.output(1).locator("img[alt*=success]").wait_for()
    (saved,) = book.outputs(1)
    assert set(saved["data"]) == {"text/plain", "text/html"}
    book.restart()
    book.reload()
    book.output(1).locator("img[alt*=success]").wait_for()
    book.shot("monitor_loaded_anew", book.output(1))


def test_a_run_whose_kernel_ends_leaves_word(notebook: Callable[..., Any]) -> None:
    """Nobody is left to show it: the notebook keeps where it is on record, and no broken widget."""
    book = notebook(setup(), "handle = kit.start(flow)\nhandle")
    book.run(0)
    book.run(1)
    book.output(1).locator(".doing", has_text="part 4 of 4").wait_for()
    book.restart()
    book.output(1).get_by_text("The kernel that ran it has ended").wait_for()
    (saved,) = book.outputs(1)
    assert set(saved["data"]) == {"text/plain", "text/html"}
    assert "cut off" in "".join(saved["data"]["text/html"])
    book.shot("monitor_kernel_ended", book.output(1))
