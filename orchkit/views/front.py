"""The front end as one text: its ES modules put together, with its style and what statuses look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from orchkit.views.marks import icon
from orchkit.views.palette import BY_GRAVITY, BY_PROGRESS, DARK, STATUS, Look
from orchkit.views.text import status_class

STATIC = Path(__file__).with_name("static")

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([a-z]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:class|function|const|let|async) )", re.MULTILINE)
_EXPORTED = re.compile(r"^export (?:async )?(?:class|function|const|let) (\w+)", re.MULTILINE)
_COMMON = ("common.css", "dag.css")
_HOOKS = ("initialize", "render")


@cache
def module(name: str, *styles: str) -> str:
    """One ES module that needs no other: ``static/NAME.js`` and what it imports, in scopes of their own.

    It exports what NAME.js exports; ``render`` and ``initialize``, which are for anywidget, where it looks
    for them.
    ``styles`` are the style sheets it brings along beside the common ones. Modules import as
    ``import { one, other } from "./file.js";``, each on one line, and export where they declare.
    """
    parts: dict[str, str] = {}
    exported = _gather(name, (*_COMMON, *styles), parts)
    hooks, others = ([one for one in exported if (one in _HOOKS) is hook] for hook in (True, False))
    last = [f"export const {{ {', '.join(others)} }} = ${name};"] if others else []
    if hooks:
        last.append(f"export default {{ {', '.join(f'{one}: ${name}.{one}' for one in hooks)} }};")
    return "\n".join([*parts.values(), *last, ""])


def _gather(name: str, styles: tuple[str, ...], parts: dict[str, str]) -> list[str]:
    """Add a module after those that it imports; the names that it exports."""
    text = _source(name, styles)
    exported = _EXPORTED.findall(text)
    if name in parts:
        return exported
    for _, imported in _IMPORT.findall(text):
        _gather(imported, styles, parts)
    body = _EXPORT.sub("", _IMPORT.sub(r"const \1 = $\2;\n", text))
    parts[name] = f"const ${name} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"
    return exported


def _source(name: str, styles: tuple[str, ...]) -> str:
    if name == "style":
        return f"export const CSS = {json.dumps(style(*styles))};\n"
    if name == "look":
        return f"export const LOOK = {json.dumps(look())};\n"
    return (STATIC / f"{name}.js").read_text(encoding="utf-8")


@cache
def style(*files: str) -> str:
    """The style sheets, after the colours that they name."""
    return "\n".join([_colours(), *((STATIC / file).read_text(encoding="utf-8") for file in files)])


def look() -> Mapping[str, object]:
    """What a front end has to know of how statuses look, and in which order they are counted."""
    return {
        "signs": {status: one.sign for status, one in STATUS.items()},
        "icons": {status: icon(status, 0, 0) for status in STATUS} | {"in doubt": icon("cut off", 0, 0)},
        "by_progress": BY_PROGRESS,
        "by_gravity": BY_GRAVITY,
    }


def _colours() -> str:
    """A variable for each colour of each status, and for ``.status_x`` those of x under a common name."""
    rules = [_variables(":host", STATUS), _variables(':host([data-theme="dark"])', DARK)]
    for status in (*STATUS, "in doubt"):
        of = _variable("cut off" if status == "in doubt" else status)
        rules.append(
            f".{status_class(status)}{{--s:var({of});--s-fill:var({of}-fill);--s-text:var({of}-text)}}"
        )
    return "\n".join(rules)


def _variables(selector: str, looks: Mapping[str, Look]) -> str:
    found = (
        f"{_variable(status)}:{one.colour};{_variable(status)}-fill:{one.fill};"
        f"{_variable(status)}-text:{one.text}"
        for status, one in looks.items()
    )
    return f"{selector}{{{';'.join(found)}}}"


def _variable(status: str) -> str:
    return f"--s-{status.replace(' ', '-')}"
