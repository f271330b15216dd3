"""The demonstration case, read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchkit.demo import data_dir
from orchkit.demo.files import list_folder
from orchkit.demo.mail import Message, read_mailbox
from orchkit.demo.sheets import read_table
from orchkit.demo.terms import ContractTerms, read_contract
from orchkit.demo.timeline import Timeline, build_timeline


@pytest.fixture(scope="session")
def case_dir() -> Path:
    """The folder of the data."""
    return data_dir()


@pytest.fixture(scope="session")
def messages(case_dir: Path) -> list[Message]:
    """The messages of the mailbox."""
    return read_mailbox(case_dir / "mailbox.mbox")


@pytest.fixture(scope="session")
def terms(case_dir: Path) -> ContractTerms:
    """The terms of the contract."""
    return read_contract(case_dir / "files" / "contract")


@pytest.fixture(scope="session")
def timeline(case_dir: Path, messages: list[Message]) -> Timeline:
    """Everything in order."""
    sheet = read_table(case_dir / "ledger.csv")
    files = list_folder(case_dir / "files").files
    return build_timeline(messages, files, sheet.rows, sheet.problems)
