"""Which process this is, and whether another one still exists."""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Standing(Enum):
    """What can be said of a process from here."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """On another machine, or in another container: only a lease can tell."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one that was given the same number."""

    pid: int
    host: str
    born: str | None = None
    """``boot/namespace/start``, all three as Linux names them; None where the system does not say."""

    @property
    def facts(self) -> dict[str, int | str | None]:
        """The same for the payload of an event."""
        return {"pid": self.pid, "host": self.host, "born": self.born}

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Process:
    """The process we are in."""
    return _described(os.getpid())


@functools.lru_cache(maxsize=4)
def _described(pid: int) -> Process:
    return Process(pid, socket.gethostname(), _born_of(_stat(pid)))


def standing(process: Process) -> Standing:
    """Whether a process still exists.

    A zombie does not, nor one whose number belongs to another process now, nor one from before the last
    reboot. In a container that was restarted numbers repeat at once, so the number alone says little.
    """
    here = this_process()
    if process.born is not None and here.born is not None:
        boot, namespace, _ = process.born.split("/")
        our_boot, our_namespace, _ = here.born.split("/")
        if (boot, namespace) == (our_boot, our_namespace):
            return _standing_here(process)  # whatever the machine was called then
        return Standing.GONE if process.host == here.host and boot != our_boot else Standing.UNKNOWN
    if process.host != here.host or os.name == "nt" or (process.born is None) != (here.born is None):
        return Standing.UNKNOWN  # on Windows asking would end it
    return Standing.ALIVE if process_alive(process.pid) else Standing.GONE


def _standing_here(process: Process) -> Standing:
    fields = _stat(process.pid)
    if not fields and process_alive(process.pid):
        return Standing.UNKNOWN  # it belongs to somebody else, and this machine hides such processes
    return Standing.ALIVE if _born_of(fields) == process.born else Standing.GONE


def process_alive(pid: int) -> bool:
    """Whether a process of this machine has this number (on Windows always, because asking would end it)."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    fields = _stat(pid)
    return not fields or fields[0] not in ("Z", "X")


def _stat(pid: int) -> list[str]:
    """The fields of Linux's ``/proc/PID/stat`` from the third on; empty elsewhere, and when it is gone."""
    if not _own_proc():
        return []
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The second field is the name, in parentheses, and may contain anything.
    return text.rpartition(")")[2].split()


def _born_of(fields: list[str]) -> str | None:
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    origin = _origin()
    return origin and f"{origin}/{fields[19]}"  # field 22: when it started, in clock ticks since boot


@functools.lru_cache(maxsize=1)
def _own_proc() -> bool:
    """Whether ``/proc`` numbers processes as we do; not so in a namespace that was given none of its own."""
    try:
        return str(Path("/proc/self").readlink()) == str(os.getpid())
    except OSError:
        return False


@functools.lru_cache(maxsize=1)
def _origin() -> str | None:
    """The boot of this machine and the namespace in which its numbers mean what they say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None
    return f"{boot}/{namespace}"
