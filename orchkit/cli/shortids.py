"""Run ids on a screen: as short as they are unambiguous in their store."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

SHORTEST = len("run_") + 8
"""Ids begin with the time: shorter ones would be ambiguous tomorrow."""


def shortest_ids(shown: Iterable[str], all_ids: Iterable[str]) -> dict[str, str]:
    """For each id that is shown, the shortest prefix that no other id has."""
    wanted = set(shown)
    ordered = sorted({*all_ids, *wanted})
    needed = dict.fromkeys(wanted, SHORTEST)
    for one, other in pairwise(ordered):  # of all ids, a neighbour shares the longest prefix
        shared = _shared(one, other) + 1
        for run_id in (one, other):
            if run_id in wanted:
                needed[run_id] = max(needed[run_id], shared)
    longest = max(needed.values(), default=SHORTEST)
    return {run_id: run_id[:longest] for run_id in wanted}


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at the begin."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
