"""The card of watched services in JupyterLab: it changes by itself, and stays in the saved notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SETUP = """
import orchkit as ok
from orchkit.demo.services import WELL, ExampleServices

services = ExampleServices(WELL)
kit = ok.open()
odd = {"<img src=x onerror=alert(1)>": lambda: {"status": "warn"}}
kit.health.watch({**services.health_urls, **odd}, interval=0.3)
kit.health
"""


def test_the_card_follows_the_services_and_stays(notebook: Callable[..., Any]) -> None:
    """Healthy, then down, then stopped; afterwards a picture that needs neither kernel nor widget."""
    book = notebook(SETUP, "services['backend'].be('down')", "kit.close(); services.stop()")
    book.run(0)
    output = book.output(0)
    output.get_by_text("Services").first.wait_for()
    output.locator("tr", has_text="writer").get_by_text("healthy").wait_for()
    book.shot("health_light", output)
    book.run(1)
    row = output.locator("tr", has_text="backend")
    row.get_by_text("unhealthy").wait_for()
    row.get_by_text("open").first.wait_for()
    book.theme("Dark")
    book.shot("health_dark", output)
    book.theme("Light")
    assert book.barriers(".jp-OutputArea-output") == []
    book.run(2)
    output.get_by_text("stopped").wait_for()
    book.save()
    kept = book.outputs(0)[-1]["data"]
    assert "stopped" in "".join(kept["text/html"])
    assert "<img src=x" not in "".join(kept["text/html"])
    assert "application/vnd.jupyter.widget-view+json" not in kept


def test_a_kernel_that_ends_leaves_the_card_as_it_stood(notebook: Callable[..., Any]) -> None:
    """Nothing is lost of what was seen last, and nothing asks for a widget that is gone."""
    book = notebook(SETUP, "services['writer'].be('failing')")
    book.run(0)
    book.run(1)
    book.output(0).locator("tr", has_text="writer").get_by_text("unhealthy").wait_for()
    book.restart()
    book.save()
    kept = book.outputs(0)[-1]["data"]
    assert "HTTP 500" in "".join(kept["text/html"])
    assert "when the kernel that watched them ended" in "".join(kept["text/html"])
    assert "application/vnd.jupyter.widget-view+json" not in kept
