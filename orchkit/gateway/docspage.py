"""``/docs``: the OpenAPI document as one page to read, which loads nothing from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

PATH: Final = "/docs"
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
_HEADERS: Final = {
    # Some of its texts were written by others: whatever they are, nothing is run or fetched.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}
_DEEPEST: Final = 6
_SAMPLES: Final[Mapping[str, Any]] = {
    "string": "text",
    "integer": 0,
    "number": 0.0,
    "boolean": True,
    "null": None,
}
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --box: #f4f6f8;
  --line: #d0d7de; --link: #0a58ca }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a6b0bb; --paper: #14171b;
  --box: #1e2329; --line: #3a424c; --link: #8ab8ff } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
h3 { font-size: 1rem; margin: 1rem 0 .3rem }
a { color: var(--link) } small, .soft { color: var(--soft) }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 4px; padding: .6rem;
  overflow: auto; max-height: 30rem }
details { border: 1px solid var(--line); border-radius: 4px; margin: .4rem 0; padding: 0 .8rem }
details details { border: 0; padding: 0 }
summary { cursor: pointer; padding: .45rem 0; overflow-wrap: anywhere }
.method { display: inline-block; min-width: 4.2rem; font-weight: 700 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; border-top: 1px solid var(--line);
  padding: .3rem .8rem .3rem 0 }
"""


def install(app: FastAPI) -> None:
    """Serve the page; it is made when it is asked for first."""
    made: dict[str, str] = {}

    async def docs(_: Request) -> HTMLResponse:
        if "page" not in made:
            made["page"] = page(app.openapi())
        return HTMLResponse(made["page"], headers=_HEADERS)

    app.add_route(PATH, docs, methods=["GET"], include_in_schema=False)


def page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    return Page(document).html()


class Page:
    """An OpenAPI document as HTML, without scripts and without anything from elsewhere."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})

    def html(self) -> str:
        """All of it."""
        info = self._document["info"]
        title = escape(str(info["title"]))
        body = [
            f"<h1>{title} <small>{escape(str(info.get('version', '')))}</small></h1>",
            _prose(info.get("description")),
            '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>',
            *self._groups(),
            *self._shapes(),
        ]
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style></head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
        )

    def _groups(self) -> Iterator[str]:
        """Operations under their tags, in the order of the document."""
        found: dict[str, list[str]] = {}
        for path, operations in self._document.get("paths", {}).items():
            for method in _METHODS:
                if method in operations:
                    tag = str((operations[method].get("tags") or ["gateway"])[0])
                    found.setdefault(tag, []).append(self._operation(path, method, operations[method]))
        for tag, texts in found.items():
            yield f"<h2>{escape(tag.capitalize())}</h2>"
            yield from texts

    def _operation(self, path: str, method: str, operation: Mapping[str, Any]) -> str:
        token = "<p class=soft>Needs a bearer token.</p>" if operation.get("security") else ""
        title = f"<code>{escape(path)}</code> {escape(str(operation.get('summary', '')))}"
        parts = [
            f'<details id="{escape(f"{method}-{path}")}">',
            f"<summary><span class=method>{method.upper()}</span> {title}</summary>",
            _prose(operation.get("description")),
            token,
            self._parameters(operation.get("parameters", ())),
            self._body(operation.get("requestBody")),
            self._answers(operation.get("responses", {})),
            "</details>",
        ]
        return "\n".join(part for part in parts if part)

    def _parameters(self, parameters: Any) -> str:
        if not parameters:
            return ""
        head = "<tr><th>Name</th><th>In</th><th>Type</th><th>Meaning</th></tr>"
        return f"<h3>Parameters</h3><table>{head}{''.join(map(self._parameter, parameters))}</table>"

    def _parameter(self, parameter: Mapping[str, Any]) -> str:
        schema = parameter.get("schema", {})
        needed = ", needed" if parameter.get("required") else ""
        meaning = [_inline(parameter.get("description") or schema.get("description") or "")]
        example = parameter.get("example", next(iter(schema.get("examples") or ()), None))
        meaning += [f"Such as <code>{escape(str(example))}</code>."] if example is not None else []
        name, place = escape(parameter["name"]), escape(parameter["in"])
        cells = (f"{place}{needed}", self._type(schema), " ".join(meaning))
        return f"<tr><th scope=row><code>{name}</code></th>{''.join(f'<td>{one}</td>' for one in cells)}</tr>"

    def _type(self, schema: Mapping[str, Any]) -> str:
        """In few words: ``integer, at least 1, by default 50``."""
        words = [self._kind(schema)]
        words += [f"at least {schema['minimum']}"] if "minimum" in schema else []
        words += [f"pattern <code>{escape(schema['pattern'])}</code>"] if "pattern" in schema else []
        if schema.get("default") is not None:
            words.append(f"by default <code>{escape(json.dumps(schema['default']))}</code>")
        return ", ".join(words)

    def _kind(self, schema: Mapping[str, Any]) -> str:
        if "$ref" in schema:
            return self._link(schema["$ref"])
        if "enum" in schema:
            return " | ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
        if schema.get("type") == "array" and schema.get("items"):
            return f"list of {self._type(schema['items'])}"
        kinds = [self._type(one) for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        return " or ".join(kinds) or escape(str(schema.get("type", "anything")))

    def _link(self, reference: str) -> str:
        name = escape(reference.rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'

    def _body(self, body: Mapping[str, Any] | None) -> str:
        if body is None:
            return ""
        needed = "" if body.get("required") else " <small>may be left out</small>"
        return (
            f"<h3>Body{needed}</h3>{_prose(body.get('description'))}{self._content(body.get('content', {}))}"
        )

    def _answers(self, answers: Mapping[str, Any]) -> str:
        texts = []
        for status, answer in answers.items():
            title = f"<strong>{escape(str(status))}</strong> {_inline(answer.get('description', ''))}"
            content = self._content(answer.get("content", {}))
            texts.append(f"<details><summary>{title}</summary>{content}</details>")
        return f"<h3>Answers</h3>{''.join(texts)}" if texts else ""

    def _content(self, content: Mapping[str, Any]) -> str:
        texts = []
        for media_type, one in content.items():
            schema = one.get("schema") or {}
            texts.append(f"<p><code>{escape(media_type)}</code></p>")
            for title, value in self._examples(one, schema):
                texts.append(f"<p class=soft>{escape(title)}</p>" * bool(title) + _code(value))
            texts.append(_folded("Schema", schema) if schema else "")
        return "".join(texts)

    def _examples(self, content: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Those that are given, with their titles; else one that is made."""
        if "example" in content:
            yield "", content["example"]
        for name, named in content.get("examples", {}).items():
            yield named.get("summary", name), named.get("value")
        if schema and "example" not in content and not content.get("examples"):
            yield "", self.sample(schema)

    def _shapes(self) -> Iterator[str]:
        if self._schemas:
            yield "<h2>Schemas</h2>"
        for known, schema in self._schemas.items():
            name = escape(known)
            title = f"<summary><code>{name}</code></summary>"
            yield f'<details id="schema-{name}">{title}{_code(schema)}</details>'

    def sample(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """A value of this schema: its example, or one made of its parts."""
        for found in (schema.get("examples"), schema.get("enum")):
            if found:
                return found[0]
        for name in ("example", "const", "default"):
            if name in schema:
                return schema[name]
        if depth > _DEEPEST:
            return {}
        return self._made(schema, depth + 1)

    def _made(self, schema: Mapping[str, Any], depth: int) -> Any:
        if "$ref" in schema:
            return self.sample(self._schemas.get(schema["$ref"].rpartition("/")[2], {}), depth)
        choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if choices:
            return self.sample(choices[0], depth)
        kind = schema.get("type")
        if kind == "array":
            return [self.sample(schema.get("items", {}), depth)]
        if kind == "object" or "properties" in schema:
            return {name: self.sample(one, depth) for name, one in schema.get("properties", {}).items()}
        return _SAMPLES.get(str(kind), {})


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return f'<pre tabindex="0">{escape(text)}</pre>'


def _folded(title: str, value: Any) -> str:
    return f"<details><summary class=soft>{title}</summary>{_code(value)}</details>"


def _prose(text: str | None) -> str:
    """Paragraphs."""
    return "".join(f"<p>{_inline(part)}</p>" for part in re.split(r"\n\s*\n", text or "") if part.strip())


def _inline(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text))
