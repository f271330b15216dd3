"""On which kind of file system a folder is, and whether that is one a store can live on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# fmt: off
NETWORK = frozenset({
    "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "drvfs", "fuse.ceph", "fuse.glusterfs",
    "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs",
    "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "webdav", "wekafs",
})
# fmt: on
"""Types under which SQLite's write-ahead log and file locks are not to be relied on."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system that a folder is on."""

    type: str
    mounted_at: str

    @property
    def is_network(self) -> bool:
        """Whether several machines may see it, or another one serves it."""
        return self.type in NETWORK


def filesystem_of(folder: Path) -> FileSystem | None:
    """The file system of an existing folder; None where the system does not tell."""
    mounts = parse_proc_mounts(_proc_mounts()) if sys.platform == "linux" else parse_mount(_mount_output())
    return innermost(mounts, folder.resolve())


def on_network(folder: Path) -> bool:
    """Whether a folder is on a network file system, as far as the system tells."""
    found = filesystem_of(folder)
    return found is not None and found.is_network


def identity_of(path: Path | None) -> tuple[int, int] | None:
    """What tells a file from another one that is put in its place; None where no file is to be found."""
    try:
        found = None if path is None else os.stat(path)  # noqa: PTH116 - asked at each commit, twice as fast
    except OSError:
        return None
    return found and (found.st_dev, found.st_ino)


def innermost(mounts: list[FileSystem], folder: Path) -> FileSystem | None:
    """The mount that a folder is in: the deepest one, and of two at one place the later."""
    around = [mount for mount in mounts if folder.is_relative_to(mount.mounted_at)]
    return max(reversed(around), key=lambda mount: len(Path(mount.mounted_at).parts), default=None)


def parse_proc_mounts(text: str) -> list[FileSystem]:
    """Linux' ``/proc/self/mounts``: device, place, type, ...; blanks are octal escapes."""
    found = [line.split(" ") for line in text.splitlines()]
    return [FileSystem(fields[2], _unescaped(fields[1])) for fields in found if len(fields) > 2]


def _unescaped(place: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(code, character)
    return place


def parse_mount(text: str) -> list[FileSystem]:
    """The output of ``mount`` on macOS and the BSDs: ``device on /place (type, option, ...)``."""
    found = []
    for line in text.splitlines():
        _, on, rest = line.partition(" on ")
        place, bracket, options = rest.rpartition(" (")
        if on and bracket:
            found.append(FileSystem(options.split(",")[0].rstrip(")").strip(), place))
    return found


def _proc_mounts() -> str:
    return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")


def _mount_output() -> str:
    program = shutil.which("mount")
    if program is None:
        return ""
    return subprocess.run([program], capture_output=True, text=True, check=False).stdout  # noqa: S603 - no input
