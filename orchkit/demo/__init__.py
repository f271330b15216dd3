"""A small office case (mail, files, a ledger) and tools over it, to try orchkit on."""

from __future__ import annotations

from pathlib import Path

__all__ = ["data_dir"]


def data_dir() -> Path:
    """The folder of the demonstration data: inside the installed package, else the repository's ``data/``.

    Raises `FileNotFoundError` when neither is there.
    """
    here = Path(__file__).resolve().parent
    candidates = (here / "data", here.parents[1] / "data")
    for folder in candidates:
        if (folder / "mailbox.mbox").is_file():
            return folder
    raise FileNotFoundError(f"no demonstration data in {' or '.join(map(str, candidates))}")
