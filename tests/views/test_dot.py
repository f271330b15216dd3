"""DOT text: explicit ids and classes, every text quoted."""

from __future__ import annotations

import re

import pytest

from orchkit.model.workflow import Workflow
from orchkit.views.dot import dot_of, quoted
from orchkit.views.picture import diagram_of

STRING = r'"(?:[^"\\]|\\.)*"'


@pytest.mark.parametrize(
    ("text", "dot"),
    [
        ("plain", '"plain"'),
        ('a"b', r'"a\"b"'),
        ("a\\", r'"a\\"'),
        (r"\N", r'"\\N"'),
        ("a\nb", '"a b"'),
        ("&lt;<b>", '"&amp;lt;<b>"'),
        (1.5, '"1.5"'),
    ],
)
def test_a_dot_string_stands_for_exactly_its_text(text: object, dot: str) -> None:
    """Quotes, backslashes and ampersands mean themselves."""
    assert quoted(text) == dot


def test_every_statement_is_a_list_of_quoted_attributes(hostile_workflow: Workflow) -> None:
    """Whatever the texts, the DOT text is lines of quoted strings and nothing else."""
    text = dot_of(diagram_of(hostile_workflow))
    attributes = rf"\[(?:\w+={STRING}(?: |(?=\])))*\]"
    line = re.compile(
        rf"digraph {STRING} \{{|\}}|subgraph {STRING} \{{"
        rf"|(?:  )?(?:graph|node|edge) {attributes};|  {STRING}(?: -> {STRING})? {attributes};"
    )
    assert text.isprintable() is False
    for row in text.rstrip("\n").split("\n"):
        assert line.fullmatch(row), row
    text.encode()


def test_nodes_edges_and_clusters_have_ids_and_classes() -> None:
    """Whoever draws the DOT text gets the same ids and classes."""
    flow = Workflow.from_dict(
        {
            "name": "w",
            "execution_mode": "dag",
            "steps": [
                {"id": "a", "tool": "t"},
                {
                    "id": "s",
                    "workflow": {"name": "i", "steps": [{"id": "x", "tool": "t"}]},
                    "depends_on": ["a"],
                },
            ],
        }
    )
    diagram = diagram_of(flow)
    for bare in (False, True):
        text = dot_of(diagram, bare=bare)
        for part in (*diagram.nodes, *diagram.edges, *diagram.clusters):
            assert f'id="{part.id}" class="{" ".join(part.classes)}"' in text
        assert f'subgraph "{diagram.clusters[0].id}" {{' in text
        assert 'lhead="cluster_step_s"' in text


def test_bare_text_holds_nothing_of_the_user() -> None:
    """What is given to a layout program has sizes and ids, no texts that it could trip over."""
    secret = "some <text> of the user"
    flow = Workflow.from_dict({"name": "w", "steps": [{"id": "a", "tool": secret, "when": secret}]})
    assert secret in dot_of(diagram_of(flow))
    assert secret not in dot_of(diagram_of(flow), bare=True)


def test_long_texts_are_cut() -> None:
    """A name of a million characters does not make a DOT text of a million characters."""
    flow = Workflow.from_dict({"name": "w", "steps": [{"id": "x" * 1_000_000, "tool": "y" * 1_000_000}]})
    text = dot_of(diagram_of(flow))
    assert "…" in text
    assert len(text) < 5000
