"""What can be said about a store without opening it as one: reading only, and making nothing."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchkit.cli.place import log_of
from orchkit.store.filesystem import FileSystem, filesystem_of
from orchkit.store.lease import Holder
from orchkit.store.process import process_alive
from orchkit.store.schema import migrations

LITTLE_SPACE = 200 * 1024 * 1024
"""Bytes of free space below which `doctor` warns."""


@dataclass(slots=True)
class StoreFacts:
    """A store as it lies on the disk."""

    path: Path
    exists: bool = False
    history_bytes: int | None = None
    log_bytes: int | None = None
    """Its write-ahead file included."""
    log_schema: int | None = None
    history_schema: int | None = None
    waiting_events: int | None = None
    """Events that are in the log and not yet in the history."""
    holder: Holder | None = None
    """Who has the history open."""
    holder_alive: bool = False
    filesystem: FileSystem | None = None
    free_bytes: int | None = None
    problems: list[str] = field(default_factory=list)
    """What makes it unusable."""
    warnings: list[str] = field(default_factory=list)
    """What may lead to trouble."""


def facts_of(path: Path) -> StoreFacts:
    """Look at a store, or at the place where it would be."""
    path = path.expanduser().absolute()
    facts = StoreFacts(path)
    log = log_of(path)
    facts.exists = path.is_file() or log.is_file()
    if path.is_dir():
        facts.problems.append(f"{path} is a folder; a store is a file, such as {path / 'runs.duckdb'}")
    if path.parent.is_dir():
        facts.filesystem = filesystem_of(path.parent)
        facts.free_bytes = shutil.disk_usage(path.parent).free
    else:
        facts.problems.append(f"the folder {path.parent} does not exist")
    if log.is_file():
        _look_at_log(facts, log)
    if path.is_file():
        _look_at_history(facts)
    _judge(facts)
    return facts


# --- the log -------------------------------------------------------------------------------


def _look_at_log(facts: StoreFacts, log: Path) -> None:
    parts = [log, log.with_name(f"{log.name}-wal")]
    facts.log_bytes = sum(part.stat().st_size for part in parts if part.is_file())
    try:
        with _log(log) as connection:
            facts.log_schema = _number(connection, "PRAGMA user_version")
            facts.waiting_events = _number(connection, "SELECT count(*) FROM event")
            row = connection.execute(
                "SELECT owner, pid, host, expires_us FROM lease WHERE name = 'history'"
            ).fetchone()
    except sqlite3.Error as error:
        facts.problems.append(f"the log {log} cannot be read: {error}")
        return
    if row is not None:
        facts.holder = Holder(*row)
        facts.holder_alive = _is_alive(facts.holder)


@contextmanager
def _log(path: Path) -> Iterator[sqlite3.Connection]:
    # Not mode=ro: such a connection may not tidy up the files beside the log that it needs for itself.
    uri = f"{path.as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=2.0)) as connection:
        yield connection


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _is_alive(holder: Holder) -> bool:
    """As far as one can tell: of processes of other machines only that their lease is not over."""
    import socket

    in_time = holder.expires_us > time.time_ns() // 1000
    return in_time and (holder.host != socket.gethostname() or process_alive(holder.pid))


# --- the history ---------------------------------------------------------------------------


def _look_at_history(facts: StoreFacts) -> None:
    import duckdb

    wal = facts.path.with_name(f"{facts.path.name}.wal")
    facts.history_bytes = sum(part.stat().st_size for part in (facts.path, wal) if part.is_file())
    if facts.holder is not None and facts.holder_alive:
        return  # it is theirs now; looking inside would have to wait
    try:
        with closing(duckdb.connect(str(facts.path), read_only=True)) as connection:
            rows = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
    except duckdb.Error as error:
        text = str(error).splitlines()[0]
        _, locked, holder = text.partition("Conflicting lock is held in ")
        if locked:
            facts.warnings.append(f"another program has the history open: {holder.split('. ')[0]}")
        else:
            facts.problems.append(f"the history cannot be read: {text}")
        return
    facts.history_schema = int(rows[0][0]) if rows else None


# --- what to make of it ----------------------------------------------------------------------


def _judge(facts: StoreFacts) -> None:
    for part, found in (("log", facts.log_schema), ("history", facts.history_schema)):
        newest = migrations(part)[-1][0]
        if found is not None and found > newest:
            facts.problems.append(
                f"the {part} has schema version {found}, this orchkit reads up to {newest}: upgrade it"
            )
    if facts.filesystem is not None and facts.filesystem.is_network:
        facts.warnings.append(
            f"{facts.filesystem.type} is a network file system: file locks and SQLite's write-ahead log "
            "are not to be relied on there; keep the store on a local disk"
        )
    if facts.free_bytes is not None and facts.free_bytes < LITTLE_SPACE:
        facts.warnings.append(f"only {facts.free_bytes / 1e6:.0f} MB are free on the disk of the store")
