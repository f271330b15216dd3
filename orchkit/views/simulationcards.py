"""How a simulation shows itself."""

from __future__ import annotations

from typing import Any

from orchkit.analysis.words import clean, duration, plural
from orchkit.views.cards import Cell, card, muted, status_chip, table


def of_simulation(simulation: Any) -> dict[str, str]:
    """How the runs ended, how long they took, how many calls they made, and the ones that took longest."""
    frame, found = simulation.frame(), simulation.summary()
    counts = frame.status.value_counts()
    facts: list[tuple[str, Cell]] = [
        ("", plural(len(frame), "run")),
        ("succeeded", f"{found.success_rate:.1%} ({found.low:.1%} to {found.high:.1%})"),
        ("median", duration(found.p50_s * 1000)),
        ("95 %", duration(found.p95_s * 1000)),
        ("99 %", duration(found.p99_s * 1000)),
        ("attempts per run", f"{found.attempts_per_run:.2f}"),
        ("seed", str(simulation.seed)),
    ]
    rows: list[list[Cell]] = [
        [status_chip(str(status)), f"{count:,}", f"{count / len(frame):.1%}"]
        for status, count in counts.items()
    ]
    if (failure := simulation.failure) is not None:
        facts.append(("failed", failure))
    body = table(rows, ("ended", "runs", "share"))
    more = muted("In virtual time: the record is in .kit, one row per run in .frame().")
    shown = card(f"Simulation of {simulation.name}", facts, body, more)
    return {"text/plain": clean(repr(simulation)), "text/html": shown}
