"""A registry of small tools that the definition tests call by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from orchkit.registry.registry import Registry


class Casefile(BaseModel):
    casefile_id: str
    priority: int = 0


class Messages(BaseModel):
    messages_stored: int
    ids: list[str] = []


@dataclass
class Row:
    name: str
    amount: float


def create_casefile(title: str, description: str = "", metadata: dict[str, Any] | None = None) -> Casefile:
    """A casefile of this title."""
    return Casefile(casefile_id=f"case {title}")


def create_session(casefile_id: str) -> dict[str, str]:
    """A session on a casefile."""
    return {"session_id": f"session of {casefile_id}"}


def delete_casefile(casefile_id: str) -> None:
    """Undo `create_casefile`."""


def store_gmail_messages(casefile_id: str, query: str) -> Messages:
    """Messages that were stored."""
    return Messages(messages_stored=2, ids=["m_1", "m_2"])


def search_gmail(query: str, limit: int = 10) -> list[str]:
    """A list of texts."""
    return [query] * limit


def list_drive_files(folder: str = "/") -> list[Row]:
    """A list of dataclasses."""
    return [Row(folder, 1.0)]


def batch_get_sheets(sheet_ids: list[str]) -> dict[str, list[Row]]:
    """A dict of lists."""
    return {sheet_id: [] for sheet_id in sheet_ids}


def count(n: int) -> int:
    """A number in, a number out."""
    return n


def anything(**values: Any) -> Any:
    """Takes any parameters, says nothing of its result."""
    return values


TOOLS = (
    *(create_casefile, create_session, delete_casefile, store_gmail_messages),
    *(search_gmail, list_drive_files, batch_get_sheets, count, anything),
)


@pytest.fixture
def registry() -> Registry:
    """The tools above, registered under their names."""
    registry = Registry()
    for tool in TOOLS:
        registry.methods.register_method(tool)
    return registry
