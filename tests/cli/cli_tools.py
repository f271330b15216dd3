"""Tools of the definitions in these tests; copied into their folders under other names."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess

import orchkit as ok


def add(a: int, b: int = 0) -> int:
    """The sum."""
    return a + b


def shout(text: str) -> str:
    """Prints, and has a child process print."""
    print("printed by a tool")
    subprocess.run(["echo", "printed by a child"], check=True)
    return text.upper()


def fail(message: str = "no such luck") -> str:
    """Never succeeds."""
    raise ValueError(message)


def judge(amount: int) -> str:
    """Leaves a decision and the evidence for it."""
    ok.bundle_evidence("ledger", {"amount": amount}, source="ledger.csv")
    ok.trace_decision("size", "large" if amount > 5 else "small", "more than 5 is large")
    return "judged"


async def wait(seconds: float = 60.0) -> str:
    """Rests until it is cancelled."""
    await asyncio.sleep(seconds)
    return "rested"


async def cling() -> str:
    """Ends when it likes, not when it is told to."""
    for _ in range(600):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)
    return "at last"
