"""Which file system a folder is on."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchkit.store.filesystem import (
    FileSystem,
    filesystem_of,
    innermost,
    parse_mount,
    parse_proc_mounts,
)

LINUX = """\
/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
//nas/share /mnt/my\\040share cifs rw 0 0
tmpfs /home/me/scratch tmpfs rw 0 0
overlay / overlay rw 0 0
broken
"""
MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled)
//guest@nas/Data on /Volumes/Data (1) (smbfs, nodev, nosuid)
map auto_home on /System/Volumes/Data/home (autofs, automounted)
nonsense
"""


@pytest.mark.parametrize(
    ("folder", "type_", "network"),
    [
        ("/var/lib", "overlay", False),
        ("/home/me", "nfs4", True),
        ("/home/me/scratch/deep", "tmpfs", False),
        ("/mnt/my share/x", "cifs", True),
        ("/mnt/my", "overlay", False),
        ("/homework", "overlay", False),
    ],
)
def test_the_deepest_mount_counts_and_of_two_the_later(folder: str, type_: str, network: bool) -> None:
    """A folder is on what was mounted last and nearest above it; whole names are compared."""
    found = innermost(parse_proc_mounts(LINUX), Path(folder))
    assert found is not None
    assert (found.type, found.is_network) == (type_, network)


def test_the_other_systems_list_is_understood() -> None:
    """`mount` of macOS: the place may hold brackets, the type comes first in the last ones."""
    mounts = parse_mount(MACOS)
    assert mounts[2] == FileSystem("smbfs", "/Volumes/Data (1)")
    assert [mount.type for mount in mounts] == ["apfs", "apfs", "smbfs", "autofs"]
    assert innermost(mounts, Path("/Volumes/Data (1)/runs")) == mounts[2]


def test_nothing_known_is_none() -> None:
    """A system that lists no mounts gives no answer instead of a wrong one."""
    assert innermost([], Path("/home")) is None


def test_this_machine_tells(tmp_path: Path) -> None:
    """The folder of this test is on something, mounted above it."""
    found = filesystem_of(tmp_path)
    assert found is not None
    assert tmp_path.resolve().is_relative_to(found.mounted_at)
