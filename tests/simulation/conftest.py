"""A kit with methods that must never run: whoever calls one fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

import orchkit as ok


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory with the tools ``fetch``, ``send``, ``undo`` and ``spare``, which refuse to run."""
    with ok.open() as kit:
        register = kit.registry.methods.register_method

        async def fetch(n: int = 0) -> list[int]:
            _refuse("fetch")

        def send(n: int = 0) -> dict[str, Any]:
            _refuse("send")

        def undo(n: int = 0) -> None:
            _refuse("undo")

        async def spare(n: int = 0) -> dict[str, Any]:
            _refuse("spare")

        for method in (fetch, send, undo, spare):
            register(method, idempotent=True)
        yield kit


def _refuse(name: str) -> NoReturn:
    pytest.fail(f"{name} was called")


@pytest.fixture
def one_step(kit: ok.Kit) -> ok.Workflow:
    """A workflow of one step, ``send``."""
    return kit.workflow("one step").add_step("send", {"n": 1}, step_id="send").build()
