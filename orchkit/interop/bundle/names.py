"""The names of a bundle's members."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
DEFINITION = "definition.json"
INPUTS = "inputs.json"
DECISIONS = "decisions.jsonl"
EVIDENCE = "evidence.jsonl"
ENVIRONMENT = "environment.json"

_LONGEST = 100
_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")
_BLOB = re.compile(r"blobs/([0-9a-f]{64})\.json")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def blob_name(digest: str) -> str:
    """The member that holds the large value of this hash."""
    return f"blobs/{digest}.json"


def digest_in(name: str) -> str | None:
    """The hash that the name of a member says its contents have; None for other members."""
    found = _BLOB.fullmatch(name)
    return found[1] if found else None


def code_names(tools: Iterable[str]) -> list[str]:
    """A member for the source of each tool; readable, safe in any file system, and each another one.

    Also where files are not told apart by the case of their names: unpacked, none replaces another.
    """
    taken: set[str] = set()
    return [_free(_plain(tool), taken) for tool in tools]


def _plain(tool: str) -> str:
    name = _UNUSUAL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), tool)
    if not name or name.startswith(".") or _WINDOWS.fullmatch(name):
        name = "_" + name
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{sha256(name.encode()).hexdigest()[:8]}"
    return name


def _free(plain: str, taken: set[str]) -> str:
    name, number = plain, 1
    while name.lower() in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name.lower())
    return f"code/{name}.py"


def cannot_be(name: str) -> str | None:
    """What is wrong with a name that no bundle has, because unpacking it could write anywhere; else None."""
    if not name or not name.isprintable() or "\\" in name:
        return "has a name that is no path"
    if name.startswith("/") or ":" in name:
        return "has an absolute name"
    if name.endswith("/"):
        return "is a folder"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "has a name that leads out of the folder where it would be unpacked"
    return None
