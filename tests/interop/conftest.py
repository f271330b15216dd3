"""Stores to take runs from and to bring them to, and files to tamper with."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import orchkit as ok
from orchkit.interop.bundle import manifest as mf
from orchkit.interop.bundle.archive import Writer
from orchkit.interop.bundle.contents import document
from orchkit.interop.bundle.names import MANIFEST

Open = Callable[..., ok.Kit]
Members = dict[str, bytes]


@pytest.fixture
def open_kit(tmp_path: Path) -> Iterator[Open]:
    """``open_kit("a.duckdb")``; without a name in memory. All are closed at the end."""
    opened: list[ok.Kit] = []

    def open_(name: str | None = None, **options: Any) -> ok.Kit:
        opened.append(ok.open(None if name is None else tmp_path / name, **options))
        return opened[-1]

    yield open_
    for kit in opened:
        kit.close()


# --- a run with everything in it -----------------------------------------------------------


class Invoice(BaseModel):
    """A value of a class of one's own."""

    number: str
    total: Decimal
    due: date


@dataclass
class Parcel:
    """Another one."""

    weight: float
    sent: datetime
    label: bytes = b"\x00\xff"
    waits: timedelta = timedelta(minutes=5)
    tags: set[str] = field(default_factory=lambda: {"a", "b"})


def invoice(number: str) -> Invoice:
    """With evidence, and a decision on it."""
    found = ok.bundle_evidence("scan", {"text": f"Invoice {number} \u2028 é", "pages": [1, 2.50, 1e22]},
                               source="Document:1", confidence_score=0.75, metadata={"dpi": 300})  # fmt: skip
    ok.trace_decision("pay", "yes", "it is due", alternatives=["no"], evidence=found, duration_ms=1.5)
    return Invoice(number=number, total=Decimal("12.30"), due=date(2025, 3, 12))


def parcels(invoice: Invoice) -> list[Parcel]:
    """One is lost on the way now and then."""
    ok.report_progress(0.5, "half of them")
    return [Parcel(n / 2, datetime(2025, 3, n + 1, tzinfo=UTC)) for n in range(3)]


def weigh(parcel: Parcel) -> float:
    """For a map."""
    return parcel.weight * 2


def large(size: int) -> dict[str, Any]:
    """More than fits into an event."""
    return {"rows": list(range(size)), "text": "é" * 70_000}


def unlucky() -> None:
    """Fails each time."""
    raise ConnectionError("no such luck")


@pytest.fixture(scope="session")
def origin() -> Iterator[ok.Kit]:
    """Where the run with everything in it has run."""
    with ok.open() as kit:
        yield kit


@pytest.fixture(scope="session")
def rich(origin: ok.Kit) -> ok.Run:
    """A partial run: a map, a sub-workflow in a sub-workflow, large values, evidence, retries, types."""
    kit = origin
    register = kit.registry.methods.register_method
    for function in (invoice, parcels, weigh, large, unlucky):
        register(function, name=function.__name__)
    inner = kit.workflow("inner").add_step("large", {"size": "${context.size}"}).build()
    middle = (
        kit.workflow("middle").add_workflow(inner, {"size": "${context.size}"}).add_step("large", {"size": 3})
    )
    flow = (
        kit.workflow("rich")
        .with_execution_mode("dag")
        .with_error_handling("continue_on_failure")
        .add_step("invoice", {"number": "${context.number}"})
        .add_step("parcels", {"invoice": "${steps.invoice}"}, when="${steps.invoice.total} > 1")
        .add_map("weigh", "${steps.parcels}", {"parcel": "${item}"})
        .add_workflow(middle.build(), {"size": 30_000}, step_id="sub")
        .add_step("unlucky", retry={"max_attempts": 2, "delay": 0})
        .add_step("large", {"size": 1}, depends_on="unlucky")
        .build()
    )
    context = {"number": "2025-014", "when": datetime(2025, 3, 12, tzinfo=UTC)}
    return kit.run(flow, "u_7", context, request_id="req_1", casefile_id="case_1").run


# --- files ---------------------------------------------------------------------------------


def read_members(path: Path) -> Members:
    """Everything in it, in its order."""
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write_members(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip of these, as orchkit writes zips."""
    with path.open("wb") as file, Writer(file) as writer:
        for name, data in members.items():
            writer.add(name, data)
    return path


def forged(members: Mapping[str, bytes], **manifest: Any) -> Members:
    """With a manifest that fits what the members are now: what somebody would do who knows the format."""
    said = json.loads(members[MANIFEST]) | manifest
    said["members"] = [
        {"name": name, "size": len(data), "sha256": sha256(data).hexdigest()}
        for name, data in members.items()
        if name != MANIFEST
    ]
    said["digest"] = mf.digest_of(said)
    return {**{name: data for name, data in members.items() if name != MANIFEST}, MANIFEST: document(said)}


@dataclass(frozen=True)
class Files:
    """What tests do with files."""

    read: Callable[[Path], Members] = read_members
    write: Callable[[Path, Mapping[str, bytes]], Path] = write_members
    forged: Callable[..., Members] = forged


@pytest.fixture
def files() -> Files:
    """``files.read(path)``, ``files.write(path, members)``, ``files.forged(members)``."""
    return Files()


@pytest.fixture(scope="session")
def _exported(rich: ok.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rich.export(tmp_path_factory.mktemp("exported") / "run.orchkit")


@pytest.fixture
def exported(_exported: Path, tmp_path: Path) -> Path:
    """The run with everything in it, in a file of one's own."""
    return Path(shutil.copy(_exported, tmp_path))


TABLES = ("runs", "steps", "attempts", "decision_traces", "evidence_bundles", "lineage", "events")


def rows(kit: ok.Kit, run_ids: list[str]) -> dict[str, list[Any]]:
    """All that the views of a store say of some runs, without numbers that are of this store."""
    found = {}
    for table in TABLES:
        columns = [
            row[0] for row in kit.store.query(f"DESCRIBE {table}") if row[0] not in ("seq", "imported")
        ]
        order = "seq" if table in ("decision_traces", "evidence_bundles", "events") else "ALL"
        more = " AND kind <> 'run.imported' AND kind NOT LIKE 'claim.%'" if table == "events" else ""
        found[table] = kit.store.query(
            f"SELECT {', '.join(columns)} FROM {table} WHERE list_contains(?::VARCHAR[], run_id){more} "
            f"ORDER BY {order}",
            [run_ids],
        )
    return found


@pytest.fixture
def all_rows() -> Callable[[ok.Kit, list[str]], dict[str, list[Any]]]:
    """``all_rows(kit, run_ids)``: view name to rows."""
    return rows
