"""Decisions, evidence and runs as tables to look through: what they hold, how they are shown."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from orchkit.analysis.facts import Facts
from orchkit.errors import UnknownNameError
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.browse import MOST_ROWS, Column, Entry, Table, folded
from orchkit.views.cards import Html
from orchkit.views.recordtables import decision_table, evidence_table
from orchkit.views.run import Run
from orchkit.views.runs import Runs


class Page(HTMLParser):
    """The cells of the tables on a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def page_of(table: Table) -> Page:
    """What a notebook is given, without the script."""
    shown = table._repr_mimebundle_()["text/html"]
    return Page(re.sub(r"<script.*?</script>", "", shown, flags=re.DOTALL))


@pytest.fixture
def run(recording: Any, store: Store, clock: FakeClock) -> Run:
    """A run with two decisions and two pieces of evidence."""
    record = recording().start("letter").begin("decide", ms=5)
    record.add("attempt.started", "decide", 1)
    for number, (source, score) in enumerate((("ledger", 0.9), (None, None)), 1):
        more = {"source": source, "confidence_score": score, "evidence_id": f"ev_{number}"}
        record.add("evidence", "decide", 1, ms=10, type="invoice", data={"months": number}, **more)
    record.decided("decide", "policy.selected", "default", "no name fits", input_data={"retry": None})
    record.decided(
        "decide",
        "tone",
        "firm",
        "3 months",
        2,
        origin="user",
        alternatives=["firm", "kind"],
        evidence=["ev_1"],
    )
    record.finish("decide").end().store(store, clock)
    return Run(store, "run_1")


def test_the_decisions(run: Run) -> None:
    """Who made each when, why, instead of what, and what supports it; empty columns are left out."""
    rows = page_of(run.decision_table()).rows
    assert rows == [
        ["#", "after", "step", "attempt", "point", "decision", "made", "why", "instead of", "based on",
         "supported by"],
        ["1", "+25 ms", "decide", "", "policy.selected", "default", "by the engine", "no name fits", "",
         '{"retry": null}', ""],
        ["2", "+25 ms", "decide", "2", "tone", "firm", "by the steps", "3 months", "kind", "",
         "invoice from ledger, confidence 0.9"],
    ]  # fmt: skip


def test_the_evidence(run: Run) -> None:
    """What it is, how sure one can be, and which decision it supports."""
    rows = page_of(run.evidence_table()).rows
    assert rows == [
        ["#", "after", "step", "type", "source", "confidence", "data", "supports"],
        ["1", "+15 ms", "decide", "invoice", "ledger", "0.9", '{"months": 1}', "tone = firm"],
        ["2", "+25 ms", "decide", "invoice", "", "", '{"months": 2}', ""],
    ]


def test_the_runs(recording: Any, store: Store, clock: FakeClock) -> None:
    """The newest first, with their standing and marks; filters and a limit as for the DataFrame."""
    recording("run_a").start("one", user_id="u_1").end(ms=20).store(store, clock)
    recording("run_b").start("two").end("failed", "KeyError: k", ms=20).store(store, clock)
    recording("run_c").start("op", kind="operation").end(ms=20).store(store, clock)
    runs = Runs(store)
    rows = [[cell for cell in row if "UTC" not in cell] for row in page_of(runs.table()).rows]
    assert rows == [
        ["run", "name", "status", "marks", "started", "took", "error", "user"],
        ["run_c", "op", "✓ success", "operation", "20 ms", "", ""],
        ["run_b", "two", "✗ failed", "", "20 ms", "KeyError: k", ""],
        ["run_a", "one", "✓ success", "", "20 ms", "", "u_1"],
    ]
    assert [row[0] for row in page_of(runs.table(status="failed")).rows] == ["run", "run_b"]
    newest = runs.table(limit=1)
    assert len(newest) == 3
    assert "… and 2 more; all of them are in kit.runs.frame()" in newest._repr_mimebundle_()["text/html"]
    with pytest.raises(UnknownNameError, match="filter of runs"):
        runs.table(colour="red")


def test_nothing_to_show(recording: Any, store: Store, clock: FakeClock) -> None:
    """A run without decisions or evidence, and a store without runs, say so, without a script."""
    assert "nothing to show" in Runs(store).table()._repr_mimebundle_()["text/html"]
    recording().start("w").end().store(store, clock)
    for table in (Run(store, "run_1").decision_table(), Run(store, "run_1").evidence_table()):
        page = table._repr_mimebundle_()["text/html"]
        assert "nothing to show" in page
        assert "<script" not in page
    with pytest.raises(UnknownNameError):
        Run(store, "run_none").decision_table()


def test_without_scripts_the_table_is_all_there(run: Run) -> None:
    """What an untrusted notebook keeps is the whole table: nothing is hidden until a script shows it."""
    page = page_of(run.decision_table())
    assert page.tags <= {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "b", "code", "details",
                         "summary", "pre"}  # fmt: skip
    assert not any(name == "hidden" or "display:none" in value for name, value in page.attributes)


def test_the_script_is_the_same_for_every_table(run: Run) -> None:
    """Only the id differs: no text of a record is part of a script, and nothing is fetched."""
    pages = [one._repr_mimebundle_()["text/html"] for one in (run.decision_table(), run.evidence_table())]
    scripts = [re.search(r"<script type=\"module\">(.*)</script>", page, re.DOTALL) for page in pages]
    texts = [re.sub(r'wake\("[0-9a-f]{12}"\)', "wake()", found[1]) for found in scripts if found]
    assert len(texts) == 2
    assert texts[0] == texts[1]
    assert "http" not in texts[0]
    ids = [re.search(r'data-orchkit-table="([0-9a-f]+)"', page) for page in pages]
    assert ids[0] is not None
    assert ids[1] is not None
    assert ids[0][1] != ids[1][1]


def test_hostile_texts_are_inert(hostile_run: Any) -> None:
    """Whatever is in a record is text, in the page as in a terminal; it never raises."""
    facts = Facts(hostile_run.state)
    for table in (decision_table(facts), evidence_table(facts)):
        page = page_of(table)
        assert not page.tags & {"script", "img", "svg", "style"}
        assert not any(name.startswith("on") for name, _ in page.attributes)
        assert "\x1b" not in repr(table)
        assert "\u202e" not in repr(table)


def test_long_values_are_folded() -> None:
    """A short value stands there, of a longer one the begin; all of it opens, up to a limit."""
    assert folded({"a": 1}).text == '{"a": 1}'
    assert "<details" not in str(folded({"a": 1}).shown)
    long = str(folded({"rows": list(range(100))}).shown)
    assert "<details" in long
    assert "  99" in long
    assert "characters more" in str(folded("x" * 100_000).shown)
    assert "<b>" not in str(folded({"<b>": "<b>" * 40}).shown)


def test_many_rows() -> None:
    """The first thousands are shown, the rest is counted; a terminal gets the first twenty."""
    table = Table(
        "T", [Column("n")], [[Entry(str(n), sort=n)] for n in range(MOST_ROWS + 5)], whole="frame()"
    )
    page = table._repr_mimebundle_()["text/html"]
    assert page.count("<tr") == MOST_ROWS + 1
    assert "… and 5 more; all of them are in frame()" in page
    assert repr(table).split("\n")[-1] == "  … and 1,985 more"


def test_what_a_cell_is_sorted_and_chosen_by() -> None:
    """A number by its value, a chip by its word; both beside what is seen."""
    table = Table(
        "T",
        [Column("a"), Column("b", choice=True)],
        [[Entry("1 s", sort=1e6), Entry(Html("<b>x</b>"), value="x")]],
    )
    page = table._repr_mimebundle_()["text/html"]
    assert 'data-sort="1000000.0">1 s' in page
    assert 'data-value="x"><b>x</b>' in page
    assert re.search(r"<th[^>]* data-choice>b", page)


def test_as_a_widget(run: Run) -> None:
    """For layouts of widgets the same table, searched by the same module."""
    widget = run.evidence_table().widget()
    assert "data-orchkit-table" in widget.html
    assert "<script" not in widget.html
    assert "function mount" in str(widget._esm)
    widget.close()
