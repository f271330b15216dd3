"""Files that are made to do harm get the same clear error as damaged ones; nothing of them is unpacked."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import BundleError
from orchkit.interop.bundle import manifest, names
from orchkit.interop.bundle.archive import Reader

Members = dict[str, bytes]
Make = Callable[[Path, Members], None]
END = 22


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., list[str]]:
    """``refusal(path)``: why a file is not imported; nothing appears in the store or beside it."""

    def refused(path: Path, **options: Any) -> list[str]:
        before = sorted(tmp_path.rglob("*"))
        with ok.open() as kit:
            with pytest.raises(BundleError) as caught:
                kit.import_bundle(path, **options)
            assert kit.store.log.last_seq() == 0
        assert sorted(tmp_path.rglob("*")) == before
        return [str(difference) for difference in caught.value.differences]

    return refused


def _zip(path: Path, members: Members, *more: tuple[zipfile.ZipInfo | str, bytes], **options: Any) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", **options) as opened:
        warnings.simplefilter("ignore", UserWarning)  # of duplicate names
        for name, data in [*members.items(), *more]:
            opened.writestr(name, data)


def _named(name: str) -> Make:
    def make(path: Path, members: Members) -> None:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        _zip(path, members, (info, b"x"))

    return make


def _link(path: Path, members: Members) -> None:
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    _zip(path, members, (info, b"/etc/passwd"))


def _twice(path: Path, members: Members) -> None:
    _zip(path, members, (names.EVENTS, b"other"))


def _packed(method: int) -> Make:
    def make(path: Path, members: Members) -> None:
        _zip(path, members, compression=method)

    return make


def _patched(signature: bytes, offset: int, value: bytes) -> Make:
    """Something else at a place in the first header of this kind."""

    def make(path: Path, members: Members) -> None:
        _zip(path, members)
        data = bytearray(path.read_bytes())
        place = data.index(signature) + offset
        data[place : place + len(value)] = value
        path.write_bytes(data)

    return make


def _bomb(path: Path, members: Members) -> None:
    info = zipfile.ZipInfo("bomb")
    info.compress_type = zipfile.ZIP_DEFLATED
    _zip(path, members, (info, bytes(5_000_000)))


def _around(before: bytes, after: bytes) -> Make:
    def make(path: Path, members: Members) -> None:
        _zip(path, members)
        path.write_bytes(before + path.read_bytes() + after)

    return make


def _comment(path: Path, members: Members) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in members.items():
            opened.writestr(name, data)
        opened.comment = b"hello"


def _hidden(path: Path, members: Members) -> None:
    """A member that only those see who read from the front."""
    _zip(path, {"first": b"1", **members})
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    size = 46 + len("first")
    end = bytearray(data[-END:])
    count, length = struct.unpack_from("<H", end, 8)[0] - 1, struct.unpack_from("<L", end, 12)[0] - size
    struct.pack_into("<HHL", end, 8, count, count, length)
    path.write_bytes(data[:start] + data[start + size : -END] + end)


def _shared(path: Path, members: Members) -> None:
    """Two members that are the same bytes, as in files that unpack to far more than they could hold."""
    _zip(path, members, ("one", b"x"), ("two", b"x"))
    data = bytearray(path.read_bytes())
    last = data.rindex(b"PK\x01\x02")
    previous = data.rindex(b"PK\x01\x02", 0, last)
    data[last + 42 : last + 46] = data[previous + 42 : previous + 46]
    path.write_bytes(data)


def _zip64(path: Path, members: Members) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in members.items():
            with opened.open(name, "w", force_zip64=True) as member:
                member.write(data)


def _many(path: Path, members: Members) -> None:
    _zip(path, members)
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, len(data) - END + 8, 65_500, 65_500)
    path.write_bytes(data)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
CASES: dict[str, tuple[Make, str]] = {
    "goes up": (_named("../outside.json"), "'../outside.json': has a name that leads out of the folder"),
    "goes up inside": (_named("blobs/../../x"), "'blobs/../../x': has a name that leads out of the folder"),
    "stays": (_named("./events.jsonl"), "'./events.jsonl': has a name that leads out of the folder"),
    "doubled": (_named("blobs//x"), "'blobs//x': has a name that leads out of the folder"),
    "absolute": (_named("/etc/cron.d/x"), "'/etc/cron.d/x': has an absolute name"),
    "drive": (_named("C:/x"), "'C:/x': has an absolute name"),
    "stream": (_named("events.jsonl:x"), "'events.jsonl:x': has an absolute name"),
    "backslashes": (_named("..\\x"), "has a name that is no path"),
    "line break": (_named("a\nb"), "has a name that is no path"),
    "direction": (_named("a\u202eb"), "has a name that is no path"),
    "folder": (_named("blobs/"), "'blobs/': is a folder"),
    "link": (_link, "link: is a link, or something else that is no file"),
    "twice": (_twice, "events.jsonl: is in it twice"),
    "bzip2": (_packed(zipfile.ZIP_BZIP2), "is compressed by an unusual method (12)"),
    "lzma": (_packed(zipfile.ZIP_LZMA), "is encrypted, or written in an unusual way"),
    "encrypted": (_patched(CENTRAL, 8, b"\x01\x00"), "is encrypted, or written in an unusual way"),
    "streamed": (_patched(CENTRAL, 8, b"\x08\x00"), "is encrypted, or written in an unusual way"),
    "bomb": (_bomb, "bomb: would unpack to more than 200 times its size"),
    "method differs": (_patched(LOCAL, 8, b"\x08\x00"), "is described in two ways that differ"),
    "size differs": (_patched(LOCAL, 22, b"\x01\x00\x00\x00"), "is described in two ways that differ"),
    "larger than said": (_patched(CENTRAL, 24, b"\x01\x00\x00\x00"), "is described in two ways that differ"),
    "elsewhere": (_patched(CENTRAL, 42, b"\x01\x00\x00\x00"), "has bytes that belong to no member"),
    "nowhere": (_patched(CENTRAL, 42, b"\xff\xff\xff\x7f"), "has bytes that belong to no member"),
    "before it": (_around(b"#!/bin/sh\n", b""), "is a zip file of another kind than orchkit writes"),
    "after it": (
        _around(b"", b"more"),
        "is no zip file, or not all of one, or something was added to its end",
    ),
    "another after it": (_around(b"", b"PK\x05\x06" + bytes(18)), "is a zip file of another kind"),
    "comment": (_comment, "is no zip file, or not all of one, or something was added to its end"),
    "hidden": (_hidden, "has bytes that belong to no member"),
    "shared bytes": (_shared, "has bytes that belong to no member"),
    "zip64": (_zip64, "is described in two ways that differ"),
    "too many": (_many, "the file: has 65,500 members"),
}


@pytest.mark.parametrize(("make", "words"), CASES.values(), ids=CASES.keys())
def test_a_hostile_zip_is_refused(
    exported: Path, files: Any, refusal: Any, tmp_path: Path, make: Make, words: str
) -> None:
    """Each for its own reason, before anything is unpacked."""
    path = tmp_path / "hostile.orchkit"
    make(path, files.read(exported))
    found = refusal(path)
    assert any(words in one for one in found), found


NO_ZIPS = {
    "empty": b"",
    "two letters": b"PK",
    "only a begin of the end": b"PK\x05\x06",
    "something else": b"DUCK" * 100,
    "only a header": b"PK\x03\x04" + bytes(100),
    "as long as the shortest": b"x" * 22,
}


@pytest.mark.parametrize("data", NO_ZIPS.values(), ids=NO_ZIPS.keys())
def test_what_is_no_zip_is_refused(refusal: Any, tmp_path: Path, data: bytes) -> None:
    """Whatever it is."""
    path = tmp_path / "some.file"
    path.write_bytes(data)
    (difference,) = refusal(path)
    assert "is no zip file, or not all of one" in difference


def test_a_zip_of_something_else(refusal: Any, tmp_path: Path) -> None:
    """It is said that it is no run; also of an empty one."""
    path = tmp_path / "photos.zip"
    for members in ({}, {"a.jpg": b"1"}):
        _zip(path, members)
        assert refusal(path) == ["the file: has no manifest.json: it is not a run"]


def test_files_that_cannot_be_opened(refusal: Any, tmp_path: Path) -> None:
    """One that is not there, and a folder."""
    assert refusal(tmp_path / "nothing") == ["the file: cannot be opened: No such file or directory"]
    assert refusal(tmp_path) == ["the file: cannot be opened: Is a directory"]


def test_a_file_that_ends_too_early_is_refused(exported: Path, refusal: Any) -> None:
    """Wherever it ends."""
    data = exported.read_bytes()
    for length in range(0, len(data), len(data) // 40):
        exported.write_bytes(data[:length])
        assert refusal(exported)


def test_what_it_unpacks_to_is_bounded(exported: Path, files: Any, refusal: Any, open_kit: Any) -> None:
    """By what its directory says, which is all that is ever read of it; who trusts it can allow more."""
    total = sum(map(len, files.read(exported).values()))
    (difference,) = refusal(exported, max_bytes=total - 1)
    assert difference == (
        f"the file: unpacks to {total:,} bytes, and {total - 1:,} are allowed "
        "(if you trust it, allow more with max_bytes)"
    )
    assert open_kit().import_bundle(exported, max_bytes=total).status == "partial"


def test_a_member_is_never_read_beyond_its_size(exported: Path, files: Any, tmp_path: Path) -> None:
    """Both headers lie about it: the reader notices instead of unpacking what is there."""
    path = files.write(tmp_path / "lying.orchkit", {"events.jsonl": b"x" * 5000})
    data = bytearray(path.read_bytes())
    for signature, offset in ((LOCAL, 22), (CENTRAL, 24)):
        place = data.index(signature) + offset
        data[place : place + 4] = struct.pack("<L", 10)
    path.write_bytes(data)
    with Reader(path, max_bytes=1000) as reader:
        assert reader.sizes == {"events.jsonl": 10}
        with pytest.raises(BundleError, match=r"events\.jsonl: (cannot be read|has)"):
            reader.read("events.jsonl")


def test_the_manifest_is_bounded_by_itself(
    exported: Path, refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read before anything is known of the rest."""
    monkeypatch.setattr(manifest, "MAX_BYTES", 100)
    assert refusal(exported) == ["manifest.json: is larger than 100 bytes"]


def test_a_file_that_changes_while_it_is_read(
    exported: Path, files: Any, tmp_path: Path, open_kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is what was verified: large values are looked at once more on their way."""
    kit = open_kit()
    read, seen = Reader.read, []

    def other(self: Reader, name: str) -> bytes:
        data = read(self, name)
        seen.append(name)
        return data.replace(b"[0,1,2", b"[0,1,3") if seen.count(name) > 1 else data

    monkeypatch.setattr(Reader, "read", other)
    with pytest.raises(BundleError, match="was changed while it was read"):
        kit.import_bundle(exported)
    assert kit.store.query("SELECT count(*) FROM event") == [(0,)]
    assert kit.store.query("SELECT count(*) FROM blob") == [(0,)]
