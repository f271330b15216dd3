"""Runs as one HTML file that needs nothing: no network, no Python, no other file."""

from __future__ import annotations

import base64
import hashlib
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from errno import ENOENT
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from orchkit.analysis.film import Film
from orchkit.analysis.redaction import Redact
from orchkit.analysis.words import clean, moment, plural
from orchkit.views.cards import Html
from orchkit.views.filming import film_of_run, film_text, footage_of
from orchkit.views.front import STATIC, module
from orchkit.views.frozen import frozen

if TYPE_CHECKING:
    from orchkit.views.run import Run

_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_START = """
const films = JSON.parse(document.getElementById("orchkit-films").textContent);
globalThis.orchkitPlayer = start(document.getElementById("orchkit"), films);
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="orchkit">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1 class="unseen">{title}</h1>
<div id="orchkit">
{still}
</div>
</main>
<footer>{foot}</footer>
<script type="application/json" id="orchkit-films">{films}</script>
<script type="module">{script}</script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page and how many runs are on it."""

    html: str
    runs: int


def page_of(runs: Iterable[Run], redact: Redact | None = None, *, made_us: int | None = None) -> Page:
    """The page that replays these runs; ``redact`` as in `orchkit.analysis.redaction.to_show`.

    Raises `UnknownNameError` for a run that the store does not have, ValueError when there is none, and what
    the redactor raises.
    """
    films: list[Film] = []
    stills: list[Html] = []
    for run in runs:
        footage = footage_of(run, redact)
        films.append(film_of_run(footage))
        stills.append(frozen(footage, films[-1]))
    if not films:
        raise ValueError("there is no run to report on")
    return Page(_page(films, stills, made_us), len(films))


def _page(films: Sequence[Film], stills: Sequence[Html], made_us: int | None) -> str:
    script = module("page", "player.css") + _START
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    names = [clean(film["run"]["name"] or film["run"]["run_id"]) for film in films]
    title = names[0] if len(names) == 1 else plural(len(names), "run")
    foot = [f"{plural(len(films), 'run')} of orchkit", "this file needs no network"]
    foot += [f"made {moment(made_us)}"] if made_us is not None else []
    return _PAGE.format(
        policy=_POLICY.format(script=f"sha256-{digest}"),
        title=escape(f"{title} · orchkit"),
        style=(STATIC / "page.css").read_text(encoding="utf-8"),
        still="\n".join(stills),
        foot=escape(" · ".join(foot)),
        films=film_text(films),
        script=script,
    )


def write_page(page: Page, path: str | Path) -> Path:
    """Write a page to an ``.html`` file, all of it or nothing; returns its path and says its size.

    Raises:
        ValueError: The name has another ending, or it is a folder.
        FileNotFoundError: The folder that it should be in does not exist.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it, such as {path / 'report.html'}")
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"cannot write a report as {path.name!r}: name it *.html")
    if not path.parent.is_dir():
        missing = path.parent.absolute()
        raise FileNotFoundError(ENOENT, f"the folder {missing} does not exist: create it first", str(path))
    data = page.html.encode("utf-8", "replace")
    _replace(path, data)
    _tell(f"{path}: {_size(len(data))}, {plural(page.runs, 'run')}")
    return path


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 999_500 else f"{count / 1000:.0f} kB"


def _tell(text: str) -> None:
    """Say it where a notebook shows it, else to the log."""
    notebook = sys.modules.get("IPython")
    if notebook is not None and notebook.get_ipython() is not None:
        sys.stdout.write(f"{text}\n")
    else:
        logging.getLogger("orchkit").info(text)


def _replace(path: Path, data: bytes) -> None:
    """Readers see the old file or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
