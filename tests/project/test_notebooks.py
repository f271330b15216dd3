"""The notebooks as people meet them who run nothing: converted to HTML, and as GitHub shows them."""

from __future__ import annotations

import json
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURE_TYPES = ("image/png", "image/jpeg", "image/svg+xml")

_GONE_WITH_CONTENT = {
    "script",
    "style",
    "svg",
    "iframe",
    "object",
    "embed",
    "form",
    "math",
    "template",
    "canvas",
}
_GONE = {"link", "meta", "base", "input", "button", "select", "textarea"}
_KEPT_ATTRIBUTES = {"src", "alt", "href", "width", "height", "colspan", "rowspan", "open", "align", "scope"}


class Cleaned(HTMLParser):
    """Some HTML as a page shows it that trusts nobody: no scripts, styles, drawings, handlers or frames."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pictures, self.tables, self.text = 0, 0, ""
        self._gone: list[str] = []
        self._rows = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _GONE_WITH_CONTENT:
            self._gone.append(tag)
        if self._gone or tag in _GONE:
            return
        kept = {name: value or "" for name, value in attrs if name in _KEPT_ATTRIBUTES}
        if tag == "img" and kept.get("src", "").startswith("data:image/") and kept.get("alt", "").strip():
            self.pictures += 1
        elif tag == "table":
            self.tables += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in self._gone:
            while self._gone.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self._gone:
            self.text += data


def _outputs(notebook: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Where each output stands, and its data by type."""
    return [
        (f"cell {number}, output {place}", {kind: "".join(text) for kind, text in output["data"].items()})
        for number, cell in enumerate(notebook["cells"])
        for place, output in enumerate(cell.get("outputs", ()))
        if "data" in output and WIDGET not in output["data"]
    ]


def _pictures(data: dict[str, str]) -> bool:
    return any(kind in data for kind in PICTURE_TYPES) or any(
        sign in data.get("text/html", "") for sign in ("<img", "<svg", "<canvas")
    )


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    """One of the notebooks."""
    return Path(request.param)


@pytest.fixture
def notebook(path: Path) -> dict[str, Any]:
    """What is in it."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_every_cell_was_run(notebook: dict[str, Any]) -> None:
    """What is stored are the outputs of one run from the first cell to the last, without an error."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert [one for cell in cells for one in cell["outputs"] if one["output_type"] == "error"] == []


def test_no_output_needs_a_kernel(notebook: dict[str, Any]) -> None:
    """A widget would be an error message to whoever opens the notebook."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", ()))
    assert [list(one["data"]) for one in outputs if WIDGET in one.get("data", ())] == []


def test_what_github_shows_has_every_picture_and_table(notebook: dict[str, Any]) -> None:
    """Without scripts, styles and drawings there is still an image, with a text for who cannot see it."""
    for where, data in _outputs(notebook):
        html = data.get("text/html", "")
        cleaned = Cleaned(html)
        if _pictures(data):
            assert cleaned.pictures or "image/png" in data, where
        if "<table" in html:
            assert cleaned.tables, where
        if html:
            assert cleaned.text.strip() or cleaned.pictures, where


def test_it_converts_to_html(path: Path, notebook: dict[str, Any]) -> None:
    """`nbconvert --to html` keeps the pictures and the tables of all outputs."""
    nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of nbconvert are its own
        page, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.read(path, as_version=4))
    found = [Cleaned(data.get("text/html", "")) for _, data in _outputs(notebook)]
    whole = Cleaned(page[page.index("<body") :])
    plain = sum("image/png" in data and "text/html" not in data for _, data in _outputs(notebook))
    assert whole.pictures >= sum(one.pictures for one in found)
    assert page.count("data:image/png;base64,") >= plain
    assert whole.tables == sum(one.tables for one in found)


def test_no_notebook_names_this_machine(path: Path) -> None:
    """Neither the folders of whoever ran it, nor the place where the project lies."""
    text = path.read_text(encoding="utf-8")
    assert [one for one in ("/home/", "/root/", "/Users/", str(path.parents[1])) if one in text] == []
