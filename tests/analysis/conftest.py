"""Hand-written runs, as states and in a store."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchkit.store.store import Store
from orchkit.testing import FakeClock


def _recording() -> Any:
    """The module beside this file; tests are collected by path and not importable as a package."""
    name = "orchkit_test_recording"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("recording.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def recording() -> Any:
    """The class `Recording`."""
    return _recording().Recording


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands at the time at which recordings begin."""
    return FakeClock(start_us=_recording().START_US)


@pytest.fixture
def store(clock: FakeClock) -> Iterator[Store]:
    """An empty store in memory."""
    with Store(clock=clock) as store:
        yield store
