"""Comparison, timeline, tables and player in JupyterLab: light and dark, by keyboard, after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

SETUP = """
%load_ext orchkit
import orchkit as ok

kit = ok.open()
"""
DECIDE = """%%step decide(months: int) -> str
tone = "firm" if months > 2 else "friendly"
piece = ok.bundle_evidence("invoice", {"months": months}, source="ledger", confidence_score=0.9)
ok.trace_decision("tone", tone, f"{months} months open", alternatives=["firm", "friendly"],
                  input_data={"months_open": months})
tone
"""
WRITE = """%%step write(tone: str) -> str
f"Dear customer ({tone})"
"""
RUN = """
flow = (kit.workflow("letter")
    .add_step("decide", {"months": "${context.months}"})
    .add_step("write", {"tone": "${steps.decide}"})
    .build())
a, b = (kit.run(flow, context={"months": months}) for months in (1, 3))
"""
SHOW = ("kit.compare(a, b)", "b.run.timeline()", "b.run.decision_table()", "%orchkit runs", "b.run.replay()")


@pytest.fixture(scope="module")
def shown(opened: Callable[..., Any]) -> Iterator[Any]:
    """A notebook in which two runs of a letter were made, and are shown in several ways."""
    with opened("views", SETUP, DECIDE, WRITE, RUN, *SHOW) as book:
        for index in range(4 + len(SHOW)):
            book.run(index)
        yield book


def test_all_of_it_is_shown_in_both_themes(shown: Any) -> None:
    """The parting is named, the pictures have loaded, and nothing keeps anybody out."""
    compared, timeline, decisions, runs = (shown.output(index) for index in range(4, 8))
    compared.get_by_text("B chose firm instead of friendly").wait_for()
    timeline.get_by_text("letter: 2 steps in").first.wait_for()
    decisions.get_by_role("searchbox", name="Search in Decisions of letter").wait_for()
    runs.get_by_role("searchbox", name="Search in Runs").wait_for()
    wide = "images => images.every(image => image.complete && image.naturalWidth > 100)"
    assert shown.page.locator(".jp-Notebook .jp-OutputArea img").evaluate_all(wide)
    for theme in ("Light", "Dark"):
        shown.theme(theme)
        for name, one in zip(
            ("compare", "timeline", "decisions", "runs"), (compared, timeline, decisions, runs), strict=True
        ):
            one.scroll_into_view_if_needed()
            shown.shot(f"{name}_{theme.lower()}", one)
        assert shown.barriers(".jp-Notebook .orchkit") == []


def test_a_table_is_searched_by_keyboard(shown: Any) -> None:
    """Keys belong to the field, not to the notebook; the count is told."""
    decisions = shown.output(6)
    field = decisions.get_by_role("searchbox")
    field.click()
    field.press_sequentially("tone")
    assert decisions.locator("tbody tr:visible").count() == 1
    assert decisions.get_by_role("status").text_content() == "1 of 3 shown"
    assert shown.page.locator(".jp-Notebook .jp-Cell").count() == 4 + len(SHOW)


def test_a_saved_notebook_still_shows_it(shown: Any) -> None:
    """After a restart and a reload all is there, no cell was run; tables are searched, runs replayed."""
    shown.output(6).get_by_role("searchbox").wait_for()
    shown.save()
    shown.restart()
    shown.reload()
    shown.output(4).get_by_text("B chose firm instead of friendly").wait_for()
    decisions = shown.output(6)
    decisions.scroll_into_view_if_needed()
    field = decisions.get_by_role("searchbox")
    field.fill("tone")
    assert decisions.locator("tbody tr:visible").count() == 1
    player = shown.output(8).locator(".player")
    player.focus()
    shown.page.keyboard.press("End")
    player.locator(".caption", has_text="letter succeeded").wait_for()
    shown.shot("player_reloaded", shown.output(8))
