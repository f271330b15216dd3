"""What all tests share: outside data and tools, asked for in one way."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# A machine that is busy with something else is no reason for an example to fail.
settings.register_profile("orchkit", deadline=None)
settings.load_profile("orchkit")

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts: some tests need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _missing(what: str) -> NoReturn:
    """Skip with the reason; where everything has to be there (``CI=true``), fail instead."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{what}, and CI=true allows no skips", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root folder of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded real inputs: beside the repository, or where ORCHKIT_SHARED_DATA says."""
    folder = Path(os.environ.get("ORCHKIT_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        _missing(f"no recorded inputs at {folder} (ORCHKIT_SHARED_DATA names another place)")
    return folder


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """``require("dot")`` gives the path of a program, or the name of a Python package that is installed."""

    def check(tool: str) -> str:
        found = shutil.which(tool) or (tool if tool.isidentifier() and find_spec(tool) else None)
        return found or _missing(f"{tool} is not installed")

    return check
