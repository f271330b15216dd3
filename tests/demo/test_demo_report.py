"""The report says the conclusion first and can be checked from its sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchkit.demo.assessment import assess_delay
from orchkit.demo.conclusion import conclude
from orchkit.demo.mail import Message
from orchkit.demo.report import render_report, write_report
from orchkit.demo.terms import ContractTerms
from orchkit.demo.threads import group_threads, summarise
from orchkit.demo.timeline import Timeline, TimelineEvent


@pytest.fixture
def text(timeline: Timeline, terms: ContractTerms, messages: list[Message]) -> str:
    """The report of the demonstration."""
    assessment = assess_delay(timeline, terms)
    return render_report(
        "Late delivery", timeline, assessment, conclude(assessment), map(summarise, group_threads(messages))
    )


def test_the_report_of_the_demonstration(text: str) -> None:
    """The sum, the three lots, each finding with its reason, the mail and what could not be read."""
    assert text.startswith(
        "# Late delivery\n\n## Conclusion\n\n**The supplier owes the buyer 1,741.91 EUR.**\n"
    )
    assert "258.09 are paid out" in text
    assert (
        "| A | oak shelving | 18,400.00 | 2025-03-14 | 2025-03-19 | 2025-04-02 | 14 | 1,288.00 | 0.8 |"
        in text
    )
    assert "- hindrance:A: refused (notice was due by 2025-03-13 and sent on 2025-03-24, too late)" in text
    assert "`mail:j014-30@example.org`" in text
    assert "| [case 2025-014] Lot B – Lesetische für Säle 1–3: new date | 4 |" in text
    assert "- sheet line 15: has 7 cells where the header has 6" in text


def test_tables_keep_their_shape(text: str, timeline: Timeline, terms: ContractTerms) -> None:
    """Every row has as many cells as its header, also when a cell has a bar or a line break in it."""
    awkward = TimelineEvent(
        time=timeline.events[0].time,
        kind="document",
        actor="a|b",
        summary="one\ntwo | three",
        source="file:x",
    )
    assessment = assess_delay(timeline, terms)
    shown = render_report("T", Timeline(events=(awkward,)), assessment, conclude(assessment))
    for page in (text, shown):
        bars = None
        for line in page.splitlines():
            count = line.replace("\\|", "").count("|")
            if line.startswith("|"):
                assert count == (bars or count)
                bars = count
            else:
                assert not count
                bars = None


def test_what_is_to_clarify_is_listed_and_nothing_claimed(terms: ContractTerms) -> None:
    """Without sources the report asks for them instead of claiming."""
    empty = Timeline()
    assessment = assess_delay(empty, terms)
    shown = render_report("T", empty, assessment, conclude(assessment))
    assert "**There is something to clarify before anything is claimed.**" in shown
    assert "- lot A (oak shelving): nothing shows when it was received" in shown
    assert "owes" not in shown


def test_writing_replaces_the_page_as_a_whole(tmp_path: Path) -> None:
    """Folders are made, an old page is replaced, and no half-written file stays behind."""
    target = tmp_path / "new" / "report.md"
    write_report(target, "first")
    assert write_report(target, "second – größer") == target
    assert target.read_text(encoding="utf-8") == "second – größer"
    assert [path.name for path in target.parent.iterdir()] == ["report.md"]
