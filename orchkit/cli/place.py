"""The store on the disk: whether it is there, and opening it to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orchkit as ok
from orchkit.cli.failure import UsageError, note
from orchkit.cli.waiting import telling_who_we_wait_for
from orchkit.errors import StoreBusyError
from orchkit.store.store import Store


def log_of(path: Path) -> Path:
    """The log beside a history file."""
    return path.with_name(path.name + "-log")


def is_store(path: Path) -> bool:
    """Whether anything was ever recorded there; a store that was never read from is a log alone."""
    return path.is_file() or log_of(path).is_file()


def _open(path: Path) -> ok.Kit:
    """Without what `orchkit.open` says of runs that were cut off: in words for Python, whatever is asked."""
    return ok.Kit(Store(path))


@contextmanager
def recording(path: Path) -> Iterator[ok.Kit]:
    """Open a store, or make it; closing it waits for whoever has the history, but not for ever."""
    kit = _open(path)
    try:
        yield kit
    finally:
        with telling_who_we_wait_for(kit.store):
            try:
                kit.close()
            except StoreBusyError as error:
                note(f"{error}; the record is safe in {log_of(path)} and moves on when the store is opened")


@contextmanager
def reading(path: Path) -> Iterator[ok.Kit]:
    """Open an existing store. Raises `UsageError` when there is none: reading never makes one."""
    if not is_store(path):
        raise UsageError(
            f"there is no store at {path}: record something with `orchkit run`, "
            "or say where it is with --store PATH or ORCHKIT_STORE"
        )
    kit = _open(path)
    with telling_who_we_wait_for(kit.store):
        try:
            yield kit
        finally:
            kit.close()
