"""The demonstration data are what their README says."""

from __future__ import annotations

import mailbox
import re
from decimal import Decimal
from pathlib import Path

from orchkit.demo import data_dir
from orchkit.demo.mail import Message
from orchkit.demo.sheets import read_table
from orchkit.demo.terms import ContractTerms


def test_the_mailbox_is_an_mbox_for_others_too(case_dir: Path, messages: list[Message]) -> None:
    """Python's own reader finds the same messages in the same order."""
    box = mailbox.mbox(case_dir / "mailbox.mbox", create=False)
    try:
        ids = [str(message["Message-ID"]).strip("<>") for message in box]
    finally:
        box.close()
    assert ids == [message.message_id for message in messages]
    assert len(set(ids)) == 25


def test_every_address_is_under_a_reserved_example_domain(case_dir: Path) -> None:
    """Nobody real can be meant, or be written to by accident."""
    text = (case_dir / "mailbox.mbox").read_text(encoding="utf-8")
    domains = set(re.findall(r"[\w.+-]+@([\w.-]+\w)", text))
    assert domains
    assert all(re.fullmatch(r"(?:[\w-]+\.)*example\.(?:com|org)", domain) for domain in domains), domains


def test_the_ledger_holds_a_row_without_amount_and_a_broken_one(case_dir: Path) -> None:
    """The two faults that the demonstration is to cope with are really there, and only they."""
    sheet = read_table(case_dir / "ledger.csv")
    assert len(sheet.rows) + len(sheet.problems) == 30
    assert [row.values["item"] for row in sheet.rows if row.values["amount"] is None] == [
        "Storage of the panels"
    ]
    assert [problem.line for problem in sheet.problems] == [15]


def test_the_tables_repeat_what_the_contract_says(case_dir: Path, terms: ContractTerms) -> None:
    """The machine-readable terms and the text of the contract do not contradict each other."""
    text = (case_dir / "files" / "contract" / "contract.md").read_text(encoding="utf-8")
    assert f"{terms.total:,} {terms.currency}" in text
    assert f"by {terms.advance_due}" in text
    for rate in (terms.advance_share, terms.penalty_per_day, terms.penalty_cap, terms.late_interest_per_year):
        assert f"{(rate * 100).normalize():f} %" in text
    assert f"within {terms.notice_days} calendar days" in text


def test_the_buyer_pays_every_lot_once(case_dir: Path, terms: ContractTerms) -> None:
    """Advance, balances and retention in the ledger add up to the price: the books are consistent."""
    paid = Decimal()
    for row in read_table(case_dir / "ledger.csv").rows:
        amount = row.values["amount"]
        if str(row.values["item"]).startswith(("Advance", "Balance", "Retention")):
            assert isinstance(amount, Decimal)
            paid += amount
    assert paid == terms.total


def test_the_readme_names_every_file(case_dir: Path) -> None:
    """A file that the README does not explain would puzzle the reader."""
    readme = (case_dir / "README.md").read_text(encoding="utf-8")
    for path in case_dir.rglob("*.*"):
        if path.is_file() and path.name != "README.md":
            assert path.name in readme


def test_data_dir_is_the_folder_with_the_mailbox() -> None:
    """In the repository the data come from its top-level folder."""
    assert (data_dir() / "mailbox.mbox").is_file()
