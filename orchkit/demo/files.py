"""A folder as records: every file with its size, kind, hash and the beginning of its text."""

from __future__ import annotations

import os
import stat
from codecs import getincrementaldecoder
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

from orchkit.errors import ParameterError, Problem
from orchkit.model.base import Record

_KINDS = {
    ".txt": "text", ".log": "text", ".md": "markdown", ".csv": "sheet", ".tsv": "sheet", ".json": "json",
    ".html": "html", ".htm": "html", ".eml": "mail", ".mbox": "mail", ".pdf": "pdf", ".png": "image",
    ".jpg": "image", ".jpeg": "image", ".gif": "image", ".docx": "document", ".odt": "document",
    ".xlsx": "workbook", ".ods": "workbook", ".zip": "archive", ".gz": "archive",
}  # fmt: skip
_BLOCK = 1 << 20


class FileRecord(Record):
    """One file."""

    path: str
    """Relative to the listed folder, with ``/``."""
    size: int
    """Bytes."""
    modified: datetime
    """UTC; after a checkout or an unpacking this says little."""
    kind: str
    """``text``, ``markdown``, ``sheet``, ``image``, …; by name, then by content."""
    sha256: str
    preview: str | None = None
    """The beginning of the text; None for a binary file."""


class FileList(Record):
    """The files of a folder that match a pattern, by path."""

    folder: str
    pattern: str
    files: tuple[FileRecord, ...] = ()
    unreadable: tuple[str, ...] = ()
    """What is there but could not be read, each as ``path: cause``."""


def list_folder(folder: str | Path, pattern: str = "*", *, preview_chars: int = 4000) -> FileList:
    """The regular files below a folder, but no hidden ones (a leading dot) and none behind linked folders.

    ``pattern`` is a shell pattern for the name (``*.md``) or for the path relative to the folder
    (``site/*``, where ``*`` also matches ``/``). Raises `ParameterError` when there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        cause = "is not a folder" if root.exists() else "does not exist"
        raise ParameterError("list_files", [Problem(str(root), cause)])
    found: list[FileRecord] = []
    unreadable: list[str] = []
    for path in _walk(root, unreadable):
        relative = path.relative_to(root).as_posix()
        if not (fnmatch(path.name, pattern) or fnmatch(relative, pattern)):
            continue
        try:
            found.append(_record(path, relative, preview_chars))
        except (OSError, ValueError) as error:
            unreadable.append(f"{relative}: {error}")
    found.sort(key=lambda record: record.path)
    return FileList(folder=str(root), pattern=pattern, files=tuple(found), unreadable=tuple(unreadable))


def _walk(root: Path, unreadable: list[str]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        unreadable.append(f"{error.filename}: {error.strerror}")

    for current, folders, names in os.walk(root, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(current, name) for name in names if not name.startswith("."))


def _record(path: Path, relative: str, preview_chars: int) -> FileRecord:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
        raise ValueError("is not a regular file")
    digest = sha256()
    with path.open("rb") as file:
        head = file.read(max(4096, 4 * preview_chars))
        digest.update(head)
        while block := file.read(_BLOCK):
            digest.update(block)
    text = _text(head)
    return FileRecord(
        path=relative,
        size=status.st_size,
        modified=datetime.fromtimestamp(status.st_mtime, UTC),
        kind=_KINDS.get(path.suffix.lower(), "binary" if text is None else "text"),
        sha256=digest.hexdigest(),
        preview=None if text is None else text[:preview_chars],
    )


def _text(head: bytes) -> str | None:
    """The head of a file as text, or None when it is binary; a character cut at the end is left out."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    if b"\x00" in head:
        return None
    try:
        return getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        text = head.decode("cp1252", "replace")
        # Real text in an old 8-bit encoding has no control characters to speak of; compressed data does.
        controls = sum(character < " " and character not in "\t\r\n\f" for character in text)
        return None if controls * 20 > len(text) else text
