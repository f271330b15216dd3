"""A folder's files come out as records, whatever is in it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from orchkit.demo.files import FileList, list_folder
from orchkit.errors import ParameterError


def test_the_demonstration_folder(case_dir: Path) -> None:
    """All eight files with hash, size and the beginning of their text, by path."""
    listed = list_folder(case_dir / "files")
    assert [file.path for file in listed.files] == [
        "contract/contract.md",
        "contract/schedule.csv",
        "contract/terms.csv",
        "site/delivery-note-a.txt",
        "site/delivery-note-b.txt",
        "site/delivery-note-c.txt",
        "site/minutes-2025-03-20.md",
        "site/photos.csv",
    ]
    for file in listed.files:
        content = (case_dir / "files" / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(content), sha256(content).hexdigest())
        assert content.decode().startswith(file.preview or "none")
    assert not listed.unreadable


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("*", 8), ("*.txt", 3), ("contract/*", 3), ("delivery-note-?.txt", 3), ("*.pdf", 0)],
)
def test_patterns_look_at_the_name_and_at_the_path(case_dir: Path, pattern: str, count: int) -> None:
    """A pattern without a slash finds files in every sub-folder."""
    assert len(list_folder(case_dir / "files", pattern).files) == count


@pytest.mark.parametrize(
    ("name", "content", "kind", "preview"),
    [
        ("a.txt", b"plain", "text", "plain"),
        ("bom.txt", b"\xef\xbb\xbfwith mark", "text", "with mark"),
        ("old.txt", "grün".encode("cp1252"), "text", "grün"),
        ("wide.txt", "grün".encode("utf-16"), "text", "grün"),
        ("no_suffix", b"still text", "text", "still text"),
        ("no_suffix.bin", b"\x00\x01\x02", "binary", None),
        ("noise", bytes(range(1, 32)) * 9 + b"\x81\x8d", "binary", None),
        ("photo.jpg", b"\xff\xd8\xff\x00", "image", None),
        ("empty", b"", "text", ""),
    ],
)
def test_kind_and_preview(tmp_path: Path, name: str, content: bytes, kind: str, preview: str | None) -> None:
    """The name says the kind, the content whether there is text, in whichever encoding."""
    (tmp_path / name).write_bytes(content)
    (file,) = list_folder(tmp_path).files
    assert (file.kind, file.preview) == (kind, preview)


def test_a_long_text_is_cut_between_characters(tmp_path: Path) -> None:
    """The preview has exactly the characters asked for, though the bytes are cut anywhere."""
    (tmp_path / "long.txt").write_text("€" * 9000, encoding="utf-8")
    for wanted in (0, 1, 1365, 4000):
        (file,) = list_folder(tmp_path, preview_chars=wanted).files
        assert file.preview == "€" * wanted


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    """Nobody means .git when they list a folder."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").touch()
    (tmp_path / ".hidden").touch()
    assert list_folder(tmp_path).files == ()


def test_what_cannot_be_read_is_named_and_nothing_waits(tmp_path: Path) -> None:
    """A dead link and a pipe are reported; opening the pipe would hang for ever."""
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good.txt").write_text("x")
    listed = list_folder(tmp_path)
    assert [file.path for file in listed.files] == ["good.txt"]
    assert [line.partition(":")[0] for line in sorted(listed.unreadable)] == ["dead", "pipe"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """An empty list would look like an empty folder."""
    with pytest.raises(ParameterError, match="gone: does not exist"):
        list_folder(tmp_path / "gone")


def test_the_list_survives_storage(case_dir: Path) -> None:
    """Records come back from JSON equal to what they were."""
    listed = list_folder(case_dir / "files")
    assert FileList.model_validate(listed.model_dump(mode="json")) == listed
