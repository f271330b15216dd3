"""The numbers of a delivery contract, read from two small tables beside its text."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

from pydantic import Field, ValidationError

from orchkit.demo.sheets import Sheet, read_table
from orchkit.errors import ParameterError, Problem
from orchkit.model.base import Record


class Lot(Record):
    """One thing to be delivered: what it is worth and when it is due."""

    lot: str
    item: str
    value: Decimal = Field(gt=0)
    due: date


class ContractTerms(Record):
    """What was agreed; rates are fractions (0.005 is half a percent), periods calendar days."""

    contract: str
    buyer_domain: str
    """Mail from this domain speaks for the buyer."""
    supplier_domain: str
    currency: str
    advance_share: Decimal = Field(ge=0, le=1)
    """Of the values of all lots."""
    advance_due: date
    late_interest_per_year: Decimal = Field(ge=0)
    notice_days: int = Field(ge=0)
    """A hindrance counts if it is notified at most this many days after its beginning."""
    penalty_per_day: Decimal = Field(ge=0)
    """Of the value of the late lot."""
    penalty_cap: Decimal = Field(ge=0)
    lots: tuple[Lot, ...]

    @property
    def total(self) -> Decimal:
        """The value of all lots."""
        return sum((lot.value for lot in self.lots), Decimal())

    def role_of(self, address: str) -> str:
        """``buyer``, ``supplier`` or ``other`` for a mail address."""
        domain = address.rpartition("@")[2]
        roles = {self.buyer_domain: "buyer", self.supplier_domain: "supplier"}
        return roles.get(domain, "other")


def read_contract(folder: str | Path) -> ContractTerms:
    """The terms from ``terms.csv`` (key, value) and ``schedule.csv`` (lot, item, value, due) of a folder.

    Raises `ParameterError` naming every row and key that is missing or cannot be read.
    """
    root = Path(folder)
    keys = read_table(root / "terms.csv", types={"value": "text"})
    schedule = read_table(root / "schedule.csv", types={"lot": "text", "value": "decimal", "due": "date"})
    problems = [*_row_problems(keys), *_row_problems(schedule)]
    if problems:
        raise ParameterError("read_terms", problems)
    try:
        lots = tuple(Lot.model_validate(row.values) for row in schedule.rows)
        values = {str(row.values["key"]): row.values["value"] for row in keys.rows}
        return ContractTerms.model_validate({**values, "lots": lots})
    except ValidationError as error:
        found = [
            Problem(f"{root}: {'.'.join(map(str, item['loc']))}", item["msg"]) for item in error.errors()
        ]
        raise ParameterError("read_terms", found) from None


def _row_problems(sheet: Sheet) -> list[Problem]:
    return [Problem(f"{sheet.path}, line {problem.line}", problem.cause) for problem in sheet.problems]
