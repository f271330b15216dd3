"""The contract's tables are read strictly: a wrong number here would make everything wrong."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from orchkit.demo.terms import ContractTerms, read_contract
from orchkit.errors import ParameterError


def test_the_demonstration_contract(terms: ContractTerms) -> None:
    """Rates stay exact decimals; the total is that of the three lots."""
    assert terms.penalty_per_day == Decimal("0.005")
    assert terms.total == Decimal("35200.00")
    assert [lot.lot for lot in terms.lots] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("address", "role"),
    [
        ("client@example.com", "buyer"),
        ("sales@example.org", "supplier"),
        ("dispatch@freight.example.org", "other"),
        ("", "other"),
    ],
)
def test_roles_go_by_the_whole_domain(terms: ContractTerms, address: str, role: str) -> None:
    """The carrier under a sub-domain does not speak for the supplier."""
    assert terms.role_of(address) == role


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("terms.csv", "notice_days,3\n", "", "notice_days: Field required"),
        ("terms.csv", "notice_days,3", "notice_days,-1", "notice_days"),
        ("terms.csv", "notice_days,3", "notice_days,3\nunknown,1", "unknown: no such field"),
        ("terms.csv", "0.10", "a tenth", "penalty_cap"),
        ("schedule.csv", "18400.00", "about 18000", "line 2: value 'about 18000' is no decimal"),
        ("schedule.csv", "2025-03-28", "March", "line 3: due 'March' is no date"),
        ("schedule.csv", "18400.00", "", "value"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    case_dir: Path, tmp_path: Path, file: str, old: str, new: str, complaint: str
) -> None:
    """The error names the file, and the line or the key."""
    folder = shutil.copytree(case_dir / "files" / "contract", tmp_path / "contract")
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ParameterError, match=complaint):
        read_contract(folder)
