"""The player in JupyterLab: led by the keyboard, in light and dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SETUP = """
import orchkit as ok

kit = ok.open()

def pick(amount: int) -> str:
    ok.trace_decision("carrier", "van", "few parcels", alternatives=["bike"])
    return "van"

def load(carrier: str) -> None:
    raise ValueError(f"the {carrier} is full")

flow = (kit.workflow("Loading")
    .add_step(pick, {"amount": 3})
    .add_step(load, {"carrier": "${steps.pick}"})
    .build())
result = kit.run(flow)
"""


def test_a_run_is_walked_through_by_keyboard(notebook: Callable[..., Any]) -> None:
    """Frame by frame, to the next decision, to the next failure, to the end; the notebook's own keys rest."""
    book = notebook(SETUP, "result.run.replay()")
    book.run(0)
    book.run(1)
    player = book.output(1).locator(".player")
    player.wait_for()
    caption = player.locator(".caption")
    cells = book.page.locator(".jp-Notebook .jp-Cell").count()
    player.focus()

    def press(key: str, told: str) -> None:
        book.page.keyboard.press(key)
        caption.filter(has_text=told).wait_for()

    press("Home", "Loading begins")
    press("ArrowRight", "pick begins")
    press("ArrowLeft", "Loading begins")
    press("End", "Loading failed")
    press("Home", "Loading begins")
    press("d", "policy.selected")
    press("d", "carrier → van")
    book.shot("player_decision", book.output(1))
    assert book.barriers(".orchkit-player") == []
    press("f", "attempt 1 failed")
    player.locator("svg.orchkit_dag #step_pick.status_success").wait_for()
    book.theme("Dark")
    book.page.wait_for_function("() => document.querySelector('.orchkit-player').dataset.theme === 'dark'")
    book.shot("player_dark", book.output(1))
    assert book.barriers(".orchkit-player") == []
    assert book.page.locator(".jp-Notebook .jp-Cell").count() == cells  # d d deletes one
