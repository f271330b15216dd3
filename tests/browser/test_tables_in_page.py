"""A table in a real browser: searched, chosen from, sorted; and left as it is where no script may run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchkit.views.browse import Column, Entry, Table

NAMES = ("Ärger", "Birke", "Cedar <b>", "birch")


@pytest.fixture
def shown(page: Any, tmp_path: Path) -> Any:
    """A page with one table, and what went wrong on it."""
    rows = [
        [Entry(f"{9 * number} s", sort=9 * number), name, "firm" if number % 2 else "kind"]
        for number, name in enumerate(NAMES)
    ]
    table = Table("Trees", [Column("took", right=True), Column("name"), Column("tone", choice=True)], rows)
    file = tmp_path / "table.html"
    file.write_text(
        f"<!doctype html><meta charset='utf-8'><body>{table._repr_mimebundle_()['text/html']}",
        encoding="utf-8",
    )
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector("input[type=search]")
    yield page
    assert page.problems == []


def names(page: Any) -> list[str]:
    """What is seen of the second column."""
    return [str(text) for text in page.locator("tbody tr:visible td:nth-child(2)").all_text_contents()]


def test_searching(shown: Any) -> None:
    """Every word must be there, whatever its case and accents; Escape shows all again."""
    field = shown.get_by_role("searchbox", name="Search in Trees")
    field.fill("arger")
    assert names(shown) == ["Ärger"]
    assert shown.get_by_role("status").text_content() == "1 of 4 shown"
    field.fill("BIR firm")
    assert names(shown) == ["Birke", "birch"]
    field.fill("<b>")
    assert names(shown) == ["Cedar <b>"]
    field.press("Escape")
    assert names(shown) == list(NAMES)


def test_choosing(shown: Any) -> None:
    """A column with few values can be restricted to one of them, together with a search."""
    shown.get_by_label("Only this tone").select_option(label="kind (2)")
    assert names(shown) == ["Ärger", "Cedar <b>"]
    shown.get_by_role("searchbox").fill("cedar")
    assert names(shown) == ["Cedar <b>"]


def test_sorting_by_keyboard(shown: Any) -> None:
    """A head is a button: numbers sort by size, a second time downwards, and screen readers are told."""
    head = shown.get_by_role("button", name="took")
    head.press("Enter")
    head.press("Enter")
    assert names(shown) == list(reversed(NAMES))
    assert shown.locator("th").first.get_attribute("aria-sort") == "descending"
    shown.get_by_role("button", name="name").press("Enter")
    assert names(shown)[0] == "Ärger"
    assert shown.locator("th").first.get_attribute("aria-sort") is None


def test_where_no_script_may_run(browser: Any, tmp_path: Path) -> None:
    """The table is there all the same, every row of it."""
    table = Table("Trees", [Column("name", choice=True)], [[name] for name in NAMES])
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(table._repr_mimebundle_()["text/html"])
    assert page.locator("tbody tr:visible").count() == len(NAMES)
    assert page.locator("input").count() == 0
    context.close()
