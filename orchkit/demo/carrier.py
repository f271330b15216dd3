"""A carrier's enquiry service that is down at first: what retries are for."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from orchkit.demo.files import list_folder
from orchkit.errors import UnknownNameError
from orchkit.model.base import Record

_FIELD = re.compile(r"^(Lot|Left the yard|Received): *(\S.*?)\s*$", re.MULTILINE)


class Consignment(Record):
    """When a lot was on the road."""

    lot: str
    left: date
    received: date
    source: str
    """Path of the delivery note in the asked folder."""

    @property
    def days_on_the_road(self) -> int:
        """Days between leaving the supplier's yard and receipt."""
        return (self.received - self.left).days


def find_consignment(folder: str | Path, lot: str, *, attempt: int | None, outages: int) -> Consignment:
    """The consignment of a lot, as its delivery note in ``folder`` has it.

    Raises `ConnectionError` on the attempts 1 to ``outages`` (never outside a run, where ``attempt`` is
    None), and `UnknownNameError` when no complete note speaks of the lot.
    """
    if attempt is not None and attempt <= outages:
        raise ConnectionError(f"the carrier's service does not answer (outage {attempt} of {outages})")
    known: list[str] = []
    for file in list_folder(folder, "delivery-note-*").files:
        fields = dict(_FIELD.findall(file.preview or ""))
        if fields.get("Lot") == lot and len(fields) == 3:
            left, received = (date.fromisoformat(fields[name]) for name in ("Left the yard", "Received"))
            return Consignment(lot=lot, left=left, received=received, source=file.path)
        known.append(fields.get("Lot", ""))
    raise UnknownNameError("consignment of lot", lot, known)
