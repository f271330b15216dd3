"""The picture of a workflow or a run as an object: shows itself, and saves itself to a file."""

from __future__ import annotations

from errno import ENOENT
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchkit.views.cards import image, muted
from orchkit.views.diagram import Diagram
from orchkit.views.dot import dot_of
from orchkit.views.listing import listing
from orchkit.views.render import Picture, render

if TYPE_CHECKING:
    import graphviz


class Dag:
    """A drawn diagram; drawing happens at the first look and never raises."""

    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram

    @cached_property
    def picture(self) -> Picture:
        """The SVG and which renderer drew it."""
        return render(self.diagram)

    @property
    def svg(self) -> str:
        """An SVG file that needs nothing from outside."""
        return self.picture.svg

    @property
    def dot(self) -> str:
        """The same in Graphviz's language."""
        return dot_of(self.diagram)

    @property
    def source(self) -> graphviz.Source:
        """The same as an object of the ``graphviz`` package, for its formats and engines."""
        import graphviz

        return graphviz.Source(self.dot)

    def save(self, path: str | Path) -> Path:
        """Write an ``.svg`` or ``.dot`` file; returns its path.

        Raises:
            ValueError: The name has another ending, or it is a folder.
            FileNotFoundError: The folder that it should be in does not exist.
        """
        path = Path(path)
        if path.is_dir():
            raise ValueError(f"{path} is a folder: name a file in it, such as {path / 'dag.svg'}")
        texts = {".svg": lambda: self.svg, ".dot": lambda: self.dot, ".gv": lambda: self.dot}
        if path.suffix not in texts:
            raise ValueError(f"cannot save a picture as {path.name!r}: name it *.svg or *.dot")
        if not path.parent.is_dir():
            missing = path.parent.absolute()
            raise FileNotFoundError(
                ENOENT, f"the folder {missing} does not exist: create it first, then save", str(path)
            )
        path.write_text(texts[path.suffix](), encoding="utf-8")
        return path

    def __repr__(self) -> str:
        return listing(self.diagram)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        picture = self.picture
        drawn = f"{picture.caption} · drawn by {picture.renderer}"
        html = f'<div class="orchkit tex2jax_ignore mathjax_ignore">{image(picture)}{muted(drawn)}</div>'
        return {"text/plain": repr(self), "text/html": html}
