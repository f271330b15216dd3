"""The layout of our own: layers, no overlaps, cycles opened."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchkit.views.layers import BESIDE, BETWEEN, arrange, ranks

NODES = st.integers(min_value=1, max_value=14)
PAIRS = st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=30)


def _graph(
    count: int, pairs: list[tuple[int, int]], *, acyclic: bool
) -> tuple[list[str], list[tuple[str, str]]]:
    names = [f"n{index}" for index in range(count)]
    kept = {(a % count, b % count) for a, b in pairs if a % count != b % count}
    return names, [
        (names[min(p)], names[max(p)]) if acyclic else (names[p[0]], names[p[1]]) for p in sorted(kept)
    ]


@given(NODES, PAIRS)
def test_everything_is_below_what_leads_to_it(count: int, pairs: list[tuple[int, int]]) -> None:
    """In a graph without cycles every edge goes down, and no further than needed."""
    names, edges = _graph(count, pairs, acyclic=True)
    rank = ranks(names, edges)
    assert all(rank[source] < rank[target] for source, target in edges)
    for name in names:
        assert rank[name] == max((rank[source] + 1 for source, target in edges if target == name), default=0)


@given(NODES, PAIRS)
def test_cycles_are_opened(count: int, pairs: list[tuple[int, int]]) -> None:
    """With cycles every node still gets a layer, and the layout its routes."""
    names, edges = _graph(count, pairs, acyclic=False)
    result = arrange(dict.fromkeys(names, (100.0, 40.0)), edges)
    assert set(result.centres) == set(names)
    assert len(result.routes) == len(edges)


@given(NODES, PAIRS, st.lists(st.floats(20, 300), min_size=14, max_size=14))
def test_boxes_never_overlap_and_lie_inside(
    count: int, pairs: list[tuple[int, int]], widths: list[float]
) -> None:
    """Neighbours of a layer keep their distance, layers too, and all is within the reported size."""
    names, edges = _graph(count, pairs, acyclic=True)
    sizes = {name: (widths[index], 40.0) for index, name in enumerate(names)}
    result = arrange(sizes, edges)
    layers: dict[float, list[tuple[float, float]]] = {}
    for name, (x, y) in result.centres.items():
        half = sizes[name][0] / 2
        layers.setdefault(y, []).append((x - half, x + half))
        assert x - half >= -1e-6
        assert x + half <= result.size[0] + 1e-6
        assert 20 - 1e-6 <= y <= result.size[1] - 20 + 1e-6
    for boxes in layers.values():
        assert all(b[0] - a[1] >= BESIDE - 1e-6 for a, b in pairwise(sorted(boxes)))
    assert all(b - a >= 40 + BETWEEN - 1e-6 for a, b in pairwise(sorted(layers)))


def test_a_tree_is_drawn_without_crossings_and_symmetric() -> None:
    """The order of a layer follows its parents; a parent stands above the middle of its children."""
    edges = [("root", "a"), ("root", "b"), ("b", "b1"), ("b", "b2"), ("a", "a1"), ("a", "a2")]
    names = ["root", "a", "b", "b1", "a1", "b2", "a2"]
    x = {name: place[0] for name, place in arrange(dict.fromkeys(names, (80.0, 40.0)), edges).centres.items()}
    assert max(x["a1"], x["a2"]) < min(x["b1"], x["b2"]) or max(x["b1"], x["b2"]) < min(x["a1"], x["a2"])
    assert abs(x["root"] - (x["a"] + x["b"]) / 2) < 1


def test_a_long_edge_is_led_through_the_layers_between() -> None:
    """An edge over two layers has a way through both, beside the boxes that stand there."""
    edges = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")]
    result = arrange(dict.fromkeys("abcd", (100.0, 40.0)), edges)
    route = result.routes[3]
    assert len(route) == 4
    for x, y in route:
        for cx, cy in result.centres.values():
            assert not (abs(x - cx) < 50 and abs(y - cy) < 19)
