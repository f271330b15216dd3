"""Where output goes: tables to stdout, notes to stderr, JSON to stdout alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from rich.console import Console

WIDE = 10_000
"""Columns of a page that nobody looks at through a window."""


def stdout(*, cropped: bool = True) -> Console:
    """The console for results.

    With ``cropped=False`` nothing is cut to the width of a screen when there is none (a pipe, a file).
    """
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not cropped and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def stderr() -> Console:
    """The console for progress, notes and errors."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """One JSON document on stdout; what JSON does not know becomes text, NaN becomes null."""
    from pydantic_core import to_jsonable_python

    plain = to_jsonable_python(value, fallback=str, inf_nan_mode="null", bytes_mode="base64")
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(plain, indent=2, ensure_ascii=not utf8) + "\n")


@contextmanager
def nothing_else_on_stdout(wanted: bool = True) -> Iterator[None]:
    """Send what tools print to stderr, also what their child processes print, so that stdout is pure JSON."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    with redirect_stdout(sys.stderr), _descriptor_1_to_2():
        yield


@contextmanager
def _descriptor_1_to_2() -> Iterator[None]:
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
