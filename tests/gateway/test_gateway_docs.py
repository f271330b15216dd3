"""``/docs``: the description of a gateway as a page that needs nothing from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from orchkit.gateway.docspage import Page, page


class Read(HTMLParser):
    """What stands in a page: its tags with their attributes, its ids, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.ids = {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_operation_is_on_the_page(door: Any) -> None:
    """Each with its path, its parameters and the texts of its description."""
    answer, document = door.get("/docs"), door.get("/openapi.json").json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    read = Read(answer.text)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"{method}-{path}" in read.ids
            assert operation["summary"] in read.text
            assert all(one["name"] in read.text for one in operation.get("parameters", ()))
    assert "Two steps, one after the other" in read.text
    assert '"workflow_definition": {' in read.text


def test_it_loads_nothing(door: Any) -> None:
    """No script, no picture, no address of anybody else; and the browser is told to see to it."""
    answer = door.get("/docs")
    read = Read(answer.text)
    assert not {tag for tag, _ in read.tags} & {"script", "link", "img", "iframe", "object", "base", "form"}
    addresses = {value for _, attributes in read.tags for name, value in attributes.items() if name == "href"}
    assert {one for one in addresses if one and not one.startswith("#schema-")} == {"openapi.json"}
    assert not any(
        name in ("src", "style") or name.startswith("on") for _, some in read.tags for name in some
    )
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src")
    assert "prefers-color-scheme: dark" in answer.text


def test_its_links_lead_to_schemas_on_it(door: Any) -> None:
    """Each reference to a schema is a link to where that stands on the page."""
    read = Read(door.get("/docs").text)
    links = {some["href"] for tag, some in read.tags if tag == "a" and str(some.get("href")).startswith("#")}
    assert {str(link)[1:] for link in links} <= read.ids


def test_it_is_there_only_where_it_is_wanted(opened: Any, service: Any) -> None:
    """Without ``docs`` neither the page nor the document; with tokens both need one."""
    door = opened({"s": service.url}, {"/s": "s"}, docs=False)
    assert {door.get(path).status_code for path in ("/docs", "/openapi.json")} == {404}
    door = opened({"s": service.url}, {"/s": "s"}, auth={"tokens": ["secret"]})
    assert {door.get(path).status_code for path in ("/docs", "/openapi.json")} == {401}
    found = door.get("/docs", headers={"Authorization": "Bearer secret"})
    assert "Needs a bearer token." in found.text


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_texts_of_others_stay_texts() -> None:
    """Whatever stands in a description, a name or an example, no tag comes of it."""
    parameter = {"name": HOSTILE, "in": "query", "description": HOSTILE, "schema": {"enum": [HOSTILE]}}
    content = {HOSTILE: {"example": {HOSTILE: HOSTILE}, "schema": {"$ref": f"#/x/{HOSTILE}"}}}
    operation = {
        "summary": HOSTILE,
        "description": f"`{HOSTILE}`",
        "tags": [HOSTILE],
        "parameters": [parameter],
        "requestBody": {"content": content},
        "responses": {HOSTILE: {"description": HOSTILE, "content": content}},
    }
    read = Read(
        page(
            {
                "info": {"title": HOSTILE, "version": HOSTILE, "description": HOSTILE},
                "paths": {f"/{HOSTILE}": {"get": operation}},
                "components": {"schemas": {HOSTILE: {"title": HOSTILE}}},
            }
        )
    )
    assert not {tag for tag, _ in read.tags} & {"script", "img"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "examples": ["x", "y"]}, "x"),
        ({"type": "integer", "default": 50}, 50),
        ({"enum": ["a", "b"]}, "a"),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, 0.0),
        ({"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A"}}}, {"a": {"b": "text"}}),
        ({}, {}),
    ],
)
def test_examples_are_made_where_none_is_given(schema: dict[str, Any], value: Any) -> None:
    """From the examples, defaults and types of a schema, through references."""
    known = {"A": {"type": "object", "properties": {"b": {"type": "string"}}}}
    assert Page({"components": {"schemas": known}}).sample(schema) == value


def test_a_schema_that_refers_to_itself_has_an_example_that_ends() -> None:
    """The example stops somewhere."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    found = Page({"components": {"schemas": {"Node": node}}}).sample(node)
    assert 1 < repr(found).count("next") < 10
