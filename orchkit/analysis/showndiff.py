"""In what two runs differ, told without what must not be seen: that it differs is said all the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby

from orchkit.analysis.aligned import DecisionPair, Side
from orchkit.analysis.diff import TAKEN_OUT, Cause, Change, Diff, chosen
from orchkit.analysis.known import Path

_Kind = tuple[Path, Cause]


class ShownDiff(Diff):
    """The differences of ``whole``, in words and values of ``a`` and ``b``: its sides, fit to be shown.

    Where a redactor made two values alike a difference would be gone, and where it made two of one there
    would be one too many; so what differs is asked of the record, and what is shown of it of the other.
    """

    def __init__(self, whole: Diff, a: Side, b: Side) -> None:
        super().__init__(a, b)
        self._whole, self._shown = whole, Diff(a, b)

    @cached_property
    def changes(self) -> Sequence[Change]:
        """Every place in which they differ; `TAKEN_OUT` where that is all that may be said."""
        return list(self._told())

    def _told(self) -> Iterator[Change]:
        shown: dict[_Kind, list[Change]] = {}
        for one in self._shown.changes:
            shown.setdefault((one.path, one.cause), []).append(one)
        for kind, several in groupby(self._whole.changes, lambda one: (one.path, one.cause)):
            if kind[1] == "decision":
                yield from map(self._decided, several)
            else:
                yield from shown.get(kind) or [Change(*kind, "", TAKEN_OUT, TAKEN_OUT)]

    def _decided(self, one: Change) -> Change:
        assert one.decision is not None
        pair = self._pairs[_key(one.decision)]
        return Change(one.path, one.cause, one.place, chosen(pair.a), chosen(pair.b), pair)

    @cached_property
    def _pairs(self) -> Mapping[tuple[Path, str, int, bool], DecisionPair]:
        return {_key(pair): pair for pair in self.decisions}

    def is_hidden(self, pair: DecisionPair) -> bool:
        """Whether it was based on something else that was taken out."""
        found = next(one for one in self._whole.decisions if _key(one) == _key(pair))
        return bool(found.a and found.b) and _inputs(found.a) != _inputs(found.b)


def _key(pair: DecisionPair) -> tuple[Path, str, int, bool]:
    return (pair.path, pair.point, pair.occurrence, pair.effort)


def _inputs(decision: object) -> object:
    return getattr(decision, "payload", {}).get("input_data")
