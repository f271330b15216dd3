"""Boxes in layers: everything below what leads to it, few crossings, straight lines where possible.

The method of K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical system
structures" (1981): layers by longest chain, stand-ins where an edge passes through a layer, order by
barycentres; positions by least squares within the order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Pair = tuple[str, str]
Size = tuple[float, float]
Point = tuple[float, float]

BESIDE = 26.0
"""Room in px between neighbours of one layer."""
BETWEEN = 46.0
"""Room in px between layers."""
_SWEEPS = 8
_STAND_IN = 6.0
_MOST_STAND_INS = 6000


@dataclass(slots=True)
class Arrangement:
    """Where the boxes stand, and which way the edges go."""

    size: Size = (0.0, 0.0)
    centres: dict[str, Point] = field(default_factory=dict)
    routes: list[list[Point]] = field(default_factory=list)
    """For each edge the points inside the layers that it passes through."""


def arrange(sizes: Mapping[str, Size], edges: Sequence[Pair], hidden: Sequence[Pair] = ()) -> Arrangement:
    """Place boxes of these sizes; ``hidden`` edges only keep things below each other."""
    rank = ranks(list(sizes), [*edges, *hidden])
    layers, chains, widths = _layered(sizes, edges, hidden, rank)
    neighbours = _neighbours(chains)
    place = {name: float(index) for layer in layers for index, name in enumerate(layer)}
    for sweep in range(_SWEEPS):
        _reorder(layers, neighbours, place, downward=sweep % 2 == 0)
    x = _columns(layers, neighbours, widths)
    return _arrangement(layers, chains, sizes, x)


def ranks(names: Sequence[str], edges: Sequence[Pair]) -> dict[str, int]:
    """The layer of each: below everything that leads to it; an edge that closes a cycle does not count."""
    waiting = Counter(target for _, target in edges)
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
    rank = dict.fromkeys(names, 0)
    todo = dict.fromkeys(names)
    ready = deque(name for name in names if not waiting[name])
    while todo:
        # nothing is ready: a cycle is left, it is opened at its first member
        name = ready.popleft() if ready else next(iter(todo))
        if name not in todo:
            continue
        del todo[name]
        for target in after.get(name, ()):
            if target in todo:
                rank[target] = max(rank[target], rank[name] + 1)
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
    return rank


def _layered(
    sizes: Mapping[str, Size], edges: Sequence[Pair], hidden: Sequence[Pair], rank: Mapping[str, int]
) -> tuple[list[list[str]], list[list[str]], dict[str, float]]:
    """The layers with stand-ins, the chain of names along each edge, and how broad each name is."""
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for name in sizes:
        layers[rank[name]].append(name)
    widths = {name: size[0] for name, size in sizes.items()}
    chains: list[list[str]] = []
    room = _MOST_STAND_INS
    for number, (source, target) in enumerate((*edges, *hidden)):
        between = range(rank[source] + 1, rank[target])
        chain = [source]
        if len(between) <= room:
            for level in between:
                stand_in = f"\0{number}:{level}"
                layers[level].append(stand_in)
                widths[stand_in] = _STAND_IN
                chain.append(stand_in)
            room -= len(between)
        chains.append([*chain, target])
    return layers, chains, widths


@dataclass(slots=True)
class _Neighbours:
    above: dict[str, list[str]] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)


def _neighbours(chains: Sequence[Sequence[str]]) -> _Neighbours:
    found = _Neighbours()
    for chain in chains:
        for upper, lower in pairwise(chain):
            found.below.setdefault(upper, []).append(lower)
            found.above.setdefault(lower, []).append(upper)
    return found


def _reorder(
    layers: list[list[str]], neighbours: _Neighbours, place: dict[str, float], *, downward: bool
) -> None:
    """One sweep: each layer ordered by the mean place of the neighbours in the layers before it."""
    before = neighbours.above if downward else neighbours.below
    for layer in layers if downward else reversed(layers):
        means = {name: _mean([place[one] for one in before.get(name, ())], place[name]) for name in layer}
        layer.sort(key=lambda name: (means[name], place[name]))
        # places from 0 to 1, so that broad and narrow layers can be compared
        scale = max(1, len(layer) - 1)
        for index, name in enumerate(layer):
            place[name] = index / scale if len(layer) > 1 else 0.5


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


# --- positions -----------------------------------------------------------------------------


def _columns(
    layers: Sequence[Sequence[str]], neighbours: _Neighbours, widths: Mapping[str, float]
) -> dict[str, float]:
    """The centre of each name across the layers."""
    x: dict[str, float] = {}
    for layer in layers:
        total = sum(widths[name] + BESIDE for name in layer)
        left = -total / 2
        for name in layer:
            x[name] = left + (widths[name] + BESIDE) / 2
            left += widths[name] + BESIDE
    for sweep in range(_SWEEPS):
        downward = sweep % 2 == 0
        before = neighbours.above if downward else neighbours.below
        for layer in layers if downward else reversed(layers):
            wanted = [_mean([x[one] for one in before.get(name, ())], x[name]) for name in layer]
            weights = [3.0 if name[0] == "\0" else 1.0 for name in layer]
            x.update(zip(layer, _apart(wanted, weights, [widths[name] for name in layer]), strict=True))
    return x


def _apart(wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The positions nearest to the wanted ones (least squares) that keep the order and do not overlap.

    Without the room that the boxes take this is isotonic regression: pool adjacent violators.
    """
    offsets = [0.0]
    for one, other in pairwise(widths):
        offsets.append(offsets[-1] + (one + other) / 2 + BESIDE)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, count
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        block = (want - offset, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, other, count = blocks.pop()
            total = other + block[1]
            block = ((mean * other + block[0] * block[1]) / total, total, count + block[2])
        blocks.append(block)
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def _arrangement(
    layers: Sequence[Sequence[str]],
    chains: Sequence[Sequence[str]],
    sizes: Mapping[str, Size],
    x: Mapping[str, float],
) -> Arrangement:
    left = min((x[name] - sizes[name][0] / 2 for name in sizes), default=0.0)
    right = max((x[name] + sizes[name][0] / 2 for name in sizes), default=0.0)
    low = min(x.values(), default=0.0)
    left, right = min(left, low), max(right, max(x.values(), default=0.0))
    result = Arrangement()
    spans: dict[str, tuple[float, float]] = {}
    top = 0.0
    for layer in layers:
        high = max((sizes[name][1] for name in layer if name in sizes), default=0.0)
        for name in layer:
            spans[name] = (top, top + high)
            if name in sizes:
                result.centres[name] = (x[name] - left, top + high / 2)
        top += high + BETWEEN
    for chain in chains:
        points = [(x[name] - left, y) for name in chain[1:-1] for y in spans[name]]
        result.routes.append(points)
    result.size = (right - left, max(0.0, top - BETWEEN))
    return result
