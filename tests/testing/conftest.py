"""What the tests of the testing tools share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchkit.testing import MemoryStore


@pytest.fixture
def memory() -> Iterator[MemoryStore]:
    """A store in memory, closed at the end."""
    with MemoryStore() as store:
        yield store
