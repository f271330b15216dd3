"""Resuming with other code: what was edited, and all that comes after it, runs again; or nothing does."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchkit.errors import CodeChangedError, WorkflowValidationError

SOURCE = '''
calls = []


def first(x: int) -> int:
    """Add one."""
    calls.append("first")
    return x + 1  # one


def second(x: int, times: int = 2) -> int:
    calls.append("second")
    return x * times


def third(x: int) -> int:
    calls.append("third")
    return x - 1


def wait(x: int = 0) -> int:
    calls.append("wait")
    return x
'''
NAMES = ("first", "second", "third", "wait")


class Module:
    """The file with the tools; edited between one life of a run and the next."""

    def __init__(self, lab: Any, path: Path) -> None:
        self.lab, self.path = lab, path
        self.versions: dict[str, str] = {}
        self.calls: list[str] = []
        self.text = SOURCE
        self.load()

    def load(self) -> None:
        """Import it as it is now, and register its functions."""
        self.path.write_text(self.text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("tools_under_edit", self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Not through a cached .pyc: edits within one second would go unnoticed.
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)
        self.calls = module.calls
        for name in NAMES:
            if name in self.lab.registry.methods:
                self.lab.registry.methods.unregister(name)
            if hasattr(module, name):
                function = getattr(module, name)
                self.lab.registry.methods.register_method(function, version=self.versions.get(name))

    def edit(self, old: str, new: str) -> None:
        """Replace a text and import the file again."""
        assert old in self.text
        self.text = self.text.replace(old, new)
        self.load()


@pytest.fixture
def module(lab: Any, tmp_path: Path) -> Module:
    """The file."""
    return Module(lab, tmp_path / "tools_under_edit.py")


def flow(lab: Any) -> Any:
    """``a → b → c``, beside it ``d``; then ``last``."""
    built = lab.flow()
    built.add_step("first", {"x": 1}, step_id="a")
    built.add_step("second", {"x": "${steps.a}"}, step_id="b")
    built.add_step("third", {"x": "${steps.b}"}, step_id="c")
    built.add_step("third", {"x": 10}, step_id="d")
    return built.add_step("wait", {"x": "${steps.c}"}, step_id="last", depends_on=["d"])


@pytest.fixture
def cut_off(lab: Any, module: Module) -> Any:
    """``(rest, run_id)``: cut off in the last step."""
    run_id = lab.execute(flow(lab)).run_id
    return lab.cut_after("attempt.started", "last"), run_id


def bump(module: Module) -> None:
    """Pin a version, which says that something changed that the function does not show."""
    module.versions["second"] = "2"
    module.load()


EDITS: dict[str, tuple[Callable[[Module], Any], list[str], str]] = {
    "body": (lambda m: m.edit("x * times", "x * times + 1"), ["b", "c"], "b: the code of second was edited"),
    "default": (
        lambda m: m.edit("times: int = 2", "times: int = 3"),
        ["b", "c"],
        "b: the code of second was edited",
    ),
    "version": (bump, ["b", "c"], "b: version None of second became 2"),
    "twice used": (lambda m: m.edit("x - 1", "x - 2"), ["c", "d"], "c: the code of third was edited"),
    "first": (lambda m: m.edit("x + 1", "x + 2"), ["a", "b", "c"], "a: the code of first was edited"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_was_edited_and_what_comes_after_it_runs_again(cut_off: Any, module: Module, edit: str) -> None:
    """Nothing else does; the record says what changed, and what runs again."""
    rest, run_id = cut_off
    change, again, words = EDITS[edit]
    change(module)
    module.calls.clear()
    result = rest.go_on(run_id)
    assert result.success
    tools = {"a": "first", "b": "second", "c": "third", "d": "third"}
    assert sorted(module.calls) == sorted([*(tools[step_id] for step_id in again), "wait"])
    assert result.outputs == rest.execute(flow(rest)).outputs
    payload = rest.events(run_id, "run.resumed")[0].payload
    assert payload["again"] == [*again, "last"]
    step_id, _, what = words.partition(": ")
    assert payload["changed"][step_id] == what
    for step_id in tools:
        assert len(rest.attempts(run_id, step_id)) == 1 + (step_id in again)


@pytest.mark.parametrize("edit", EDITS)
def test_with_keep_the_results_stay(cut_off: Any, module: Module, edit: str) -> None:
    """Only what was not completed runs; the record says what changed all the same."""
    rest, run_id = cut_off
    EDITS[edit][0](module)
    module.calls.clear()
    assert rest.go_on(run_id, "keep").outputs == {"a": 2, "b": 4, "c": 3, "d": 9, "last": 3}
    assert module.calls == ["wait"]
    assert rest.events(run_id, "run.resumed")[0].payload["changed"]


@pytest.mark.parametrize("edit", EDITS)
def test_with_error_all_changes_are_told(cut_off: Any, module: Module, edit: str) -> None:
    """Nothing runs and nothing is written."""
    rest, run_id = cut_off
    EDITS[edit][0](module)
    module.calls.clear()
    events = len(rest.events())
    with pytest.raises(CodeChangedError) as caught:
        rest.go_on(run_id, "error")
    assert EDITS[edit][2] in caught.value.changes
    assert EDITS[edit][2] in str(caught.value)
    assert len(rest.events()) == events
    assert module.calls == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.edit("# one", "# one more"),
        lambda m: m.edit("Add one.", "Add 1."),
        lambda m: m.edit("\n\ndef first", "\n\n\n\nOTHER = 1\n\ndef first"),
        lambda m: m.edit("x * times", "(x * times)"),
    ],
    ids=["comment", "docstring", "position", "brackets"],
)
@pytest.mark.parametrize("on_change", ["rerun", "error"])
def test_what_only_looks_different_is_no_change(
    cut_off: Any, module: Module, edit: Any, on_change: Any
) -> None:
    """Comments, docstrings, layout and the place in the file do not count."""
    rest, run_id = cut_off
    edit(module)
    module.calls.clear()
    assert rest.go_on(run_id, on_change).success
    assert module.calls == ["wait"]


def test_what_has_not_run_yet_may_be_edited(cut_off: Any, module: Module) -> None:
    """Of a step that had not begun nothing is known that could be another now."""
    rest, run_id = cut_off
    module.edit("return x - 1", "return x - 5")
    early = rest.cut_after("step.finished", "b")  # neither c nor d had ended, d had begun
    module.calls.clear()
    with pytest.raises(CodeChangedError) as caught:
        early.go_on(run_id, "error")
    assert caught.value.changes == ("d: the code of third was edited",) or len(caught.value.changes) <= 2
    module.edit('calls.append("wait")', "calls.append('wait'); x = x * 1")
    assert rest.cut_after("step.finished", "c").go_on(run_id).success


def test_an_edit_is_not_forgotten_when_the_run_is_cut_off_again(cut_off: Any, module: Module) -> None:
    """The record names the new code from then on; what was made by the old one is not kept for that."""
    rest, run_id = cut_off
    module.edit("x * times", "x * times + 1")
    undisturbed = rest.go_on(run_id)
    start = next(n for n, e in enumerate(rest.events(), 1) if e.kind == "run.resumed")
    for count in range(start, len(rest.events()) - 1):
        again = rest.cut(count)
        done = {e.step_id for e in again.events(run_id, "step.finished")[4:]}
        module.calls.clear()
        assert (
            again.go_on(run_id).outputs == undisturbed.outputs == {"a": 2, "b": 5, "c": 4, "d": 9, "last": 4}
        )
        expected = [
            name
            for step_id, name in (("b", "second"), ("c", "third"), ("last", "wait"))
            if step_id not in done
        ]
        assert module.calls == expected, count


def test_an_edit_of_the_next_life_counts_too(cut_off: Any, module: Module) -> None:
    """Edited, resumed and cut off, edited again."""
    rest, run_id = cut_off
    module.edit("x * times", "x * times + 1")
    rest.go_on(run_id)
    again = rest.cut_after("step.finished", "b", 2)
    module.edit("x * times + 1", "x * times + 2")
    module.calls.clear()
    assert again.go_on(run_id).outputs["b"] == 6
    assert module.calls == ["second", "third", "wait"]
    third = again.cut_after("step.finished", "b", 3)
    module.calls.clear()
    assert third.go_on(run_id).outputs["b"] == 6
    assert module.calls == ["third", "wait"]


def test_what_was_kept_once_is_not_asked_again(cut_off: Any, module: Module) -> None:
    """Whoever kept a result of other code has accepted it."""
    rest, run_id = cut_off
    module.edit("x * times", "x * times + 1")
    rest.go_on(run_id, "keep")
    again = rest.cut_after("attempt.started", "last", 2)
    module.calls.clear()
    assert again.go_on(run_id, "error").outputs["b"] == 4
    assert module.calls == ["wait"]


def test_a_failed_step_that_was_edited_is_tried_again(lab: Any, module: Module) -> None:
    """Though its run was cut off, and not ended: that is what it was edited for."""
    module.edit("return x * times", "raise ValueError('broken')")
    built = flow(lab).with_error_handling("continue_on_failure")
    run_id = lab.execute(built).run_id
    rest = lab.cut_after("step.finished", "b")
    module.edit("raise ValueError('broken')", "return x * times")
    module.calls.clear()
    assert rest.go_on(run_id).outputs["last"] == 3


# --- the definition ------------------------------------------------------------------------


def edited(lab: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """The workflow with a change in its steps, which are given by id."""
    workflow = flow(lab).build()
    definition = workflow.to_dict()
    steps = {step["step_id"]: step for step in definition["steps"]}
    change(steps)
    definition["steps"] = list(steps.values())
    return workflow.from_dict(definition)


@pytest.mark.parametrize(
    ("change", "again", "words"),
    [
        (
            lambda s: s["b"]["parameters"].update(times=5),
            ["b", "c", "last"],
            "b: its definition changed: parameters",
        ),
        (
            lambda s: s["b"].update(tool_name="first"),
            ["b", "c", "last"],
            "b: its definition changed: tool_name",
        ),
        (lambda s: s["d"].update(when="${steps.a} > 0"), ["d", "last"], "d: its definition changed: when"),
    ],
)
def test_an_edited_definition_counts_like_an_edited_function(
    cut_off: Any, module: Module, change: Any, again: list[str], words: str
) -> None:
    """The steps that are defined otherwise, and what comes after; from then on it is the recorded one."""
    rest, run_id = cut_off
    workflow = edited(rest, change)
    with pytest.raises(CodeChangedError) as caught:
        rest.go_on(run_id, "error", workflow)
    assert words in caught.value.changes
    twin = rest.cut(len(rest.events()))
    result = rest.go_on(run_id, workflow=workflow)
    assert rest.events(run_id, "run.resumed")[0].payload["again"] == again
    assert result.outputs == rest.execute(workflow).outputs
    start = next(n for n, e in enumerate(rest.events(), 1) if e.kind == "run.resumed")
    assert rest.cut(start).go_on(run_id).outputs == result.outputs
    module.calls.clear()
    assert twin.go_on(run_id, "keep", workflow).outputs["last"] == 3
    assert module.calls == ["wait"]


def test_how_a_step_is_tried_may_be_edited(cut_off: Any, module: Module) -> None:
    """Retries, timeouts and descriptions change nothing about what a step gives; from now on they hold."""
    rest, run_id = cut_off

    def change(steps: dict[str, Any]) -> None:
        steps["b"]["retry_policy"] = {"max_attempts": 3}
        steps["c"]["timeout"] = {"attempt": 5}
        steps["d"]["description"] = "edited"

    module.calls.clear()
    result = rest.go_on(run_id, "error", edited(rest, change))
    assert result.outputs["last"] == 3
    assert module.calls == ["wait"]


def test_steps_may_be_added_and_removed(cut_off: Any, module: Module) -> None:
    """A new step runs, one that is gone is not asked for; what refers to others now runs again."""
    rest, run_id = cut_off

    def change(steps: dict[str, Any]) -> None:
        del steps["d"]
        steps["last"]["depends_on"] = []
        steps["new"] = {"step_id": "new", "tool_name": "first", "parameters": {"x": "${steps.b}"}}
        steps["c"]["parameters"]["x"] = "${steps.new}"

    module.calls.clear()
    result = rest.go_on(run_id, workflow=edited(rest, change))
    assert result.outputs == {"a": 2, "b": 4, "new": 5, "c": 4, "last": 4}
    assert module.calls == ["first", "third", "wait"]


def test_a_tool_that_is_gone_is_said_before_anything_is_done(cut_off: Any, module: Module) -> None:
    """Also when all that used it is completed."""
    rest, run_id = cut_off
    module.edit("def first", "def renamed")
    module.calls.clear()
    events = len(rest.events())
    with pytest.raises(WorkflowValidationError, match="first"):
        rest.resume(run_id)
    assert len(rest.events()) == events
    assert module.calls == []


# --- maps and sub-workflows ----------------------------------------------------------------


def test_all_items_of_an_edited_map_run_again(lab: Any, module: Module) -> None:
    """Those that are kept have been made by the function as it is."""
    built = lab.flow(mode="sequential")
    built.add_map("first", [1, 2, 3], {"x": "${item}"}, step_id="m", max_concurrency=1)
    run_id = lab.execute(built.add_step("wait", step_id="last")).run_id
    rest = lab.cut_after("attempt.started", "m[2]")
    module.edit("x + 1", "x + 2")
    for current in (rest.cut_after("attempt.started", "m[2]"), rest):
        module.calls.clear()
        assert current.go_on(run_id).outputs["m"] == [3, 4, 5]
        assert module.calls == ["first", "first", "first", "wait"]
    again = rest.cut_after("step.finished", "m[0]", 2)
    module.calls.clear()
    assert again.go_on(run_id).outputs["m"] == [3, 4, 5]
    assert module.calls == ["first", "first", "wait"]


@pytest.fixture
def nested(lab: Any, module: Module) -> Any:
    """``a → sub(x → deep(p → q) → y) → last``, cut off in the last step; ``(rest, run_id)``."""
    deep = lab.flow("deep").add_step("first", {"x": "${context.n}"}, step_id="p")
    deep.add_step("second", {"x": "${steps.p}"}, step_id="q")
    inner = lab.flow("inner").add_step("third", {"x": "${context.n}"}, step_id="x")
    inner.add_workflow(deep.build(), {"n": "${steps.x}"}, step_id="deep")
    inner.add_step("third", {"x": "${steps.deep.q}"}, step_id="y")
    outer = lab.flow("outer").add_step("third", {"x": 1}, step_id="a")
    outer.add_workflow(inner.build(), {"n": "${steps.a}"}, step_id="sub")
    outer.add_step("wait", {"x": "${steps.sub.y}"}, step_id="last")
    run_id = lab.execute(outer).run_id
    return lab.cut_after("attempt.started", "last"), run_id


def test_an_edit_deep_inside_runs_only_what_comes_after_it_again(nested: Any, module: Module) -> None:
    """In the runs of the sub-workflows that are there; above them, what comes after the sub-workflow."""
    rest, run_id = nested
    runs = {e.run_id for e in rest.events(None, "run.started")}
    module.edit("x * times", "x * times + 1")
    with pytest.raises(CodeChangedError) as caught:
        rest.go_on(run_id, "error")
    assert caught.value.changes == ("sub / deep / q: the code of second was edited",)
    module.calls.clear()
    assert rest.go_on(run_id).success
    assert module.calls == ["second", "third", "wait"]
    assert {e.run_id for e in rest.events(None, "run.started")} == runs
    start = next(n for n, e in enumerate(rest.events(), 1) if e.kind == "run.resumed")
    for count in range(start, len(rest.events()) - 1):
        again = rest.cut(count)
        module.calls.clear()
        result = again.go_on(run_id)
        assert result.steps["sub"].output == {"x": -1, "deep": {"p": 0, "q": 1}, "y": 0}, count
        assert module.calls in (["second", "third", "wait"], ["third", "wait"], ["wait"])
        assert {e.run_id for e in again.events(None, "run.started")} == runs


def test_an_edit_above_a_sub_workflow_begins_it_anew(nested: Any, module: Module) -> None:
    """Its input is another one: nothing of its run is kept, and another run takes its place."""
    rest, run_id = nested
    module.edit("x * times", "x * times + 1")
    definition = rest.states()[run_id].definition
    workflow = flow(rest).build().from_dict(dict(definition))
    steps = definition["steps"]
    changed = {**steps[0], "parameters": {"x": 5}}
    workflow = workflow.from_dict({**definition, "steps": [changed, *steps[1:]]})
    module.calls.clear()
    assert rest.go_on(run_id, workflow=workflow).success
    assert module.calls == ["third", "third", "first", "second", "third", "wait"]
    assert len(rest.events(None, "run.started")) == 5


def test_with_keep_a_sub_workflow_goes_on_though_its_step_is_defined_otherwise(
    lab: Any, module: Module
) -> None:
    """What it has done is kept, too."""
    inner = lab.flow("inner", "sequential").add_step("first", {"x": 1}, step_id="x")
    inner.add_step("second", {"x": "${steps.x}"}, step_id="y")
    workflow = lab.flow("outer").add_workflow(inner.build(), {"n": 1}, step_id="sub").build()
    run_id = lab.execute(workflow).run_id
    rest = lab.cut_after("attempt.started", "y")
    definition = workflow.to_dict()
    definition["steps"][0]["parameters"]["n"] = 2
    changed = workflow.from_dict(definition)
    module.calls.clear()
    assert rest.cut_after("attempt.started", "y").go_on(run_id, "keep", changed).success
    assert module.calls == ["second"]
    module.calls.clear()
    assert rest.go_on(run_id, workflow=changed).success
    assert module.calls == ["first", "second"]


# --- over real processes -------------------------------------------------------------------


PROGRAM = """
import os, sys
import orchkit as ok
import tools_of_a_process as tools

kit = ok.open("runs.duckdb")
flow = kit.workflow("flow").add_step("first", {"x": 1}).add_step("second", {"x": "${steps.first}"}).build()
ran = kit.run(flow) if len(sys.argv) < 2 else kit.engine.resume(sys.argv[1]).result(60)
print(ran.outputs)
kit.close()
"""
TOOLS = """
import os
import orchkit as ok

@ok.method
def first(x: int, more: int = {more}) -> int:
    print("first")  # {comment}
    return x + more

@ok.method
def second(x: int) -> int:
    if os.environ.get("DIE"):
        os.kill(os.getpid(), 9)
    return x * 10
"""


SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
for cell in json.loads(sys.stdin.read()):
    shell.run_cell(cell, store_history=True).raise_error()
"""
CELL = """
import os, orchkit as ok

@ok.method
def first(x: int) -> int:
    print("first")
    return x + 1

@ok.method
def second(x: int) -> int:
    if os.environ.get("DIE"):
        os.kill(os.getpid(), 9)
    return x * 10
"""
START = """
kit = ok.open("runs.duckdb")
flow = kit.workflow("flow").add_step("first", {"x": 1}).add_step("second", {"x": "${steps.first}"}).build()
kit.run(flow)
"""
GO_ON = """
kit = ok.open("runs.duckdb")
print(kit.engine.resume(kit.runs[-1].id).result(60).outputs)
kit.close()
"""


def test_a_cell_that_is_run_in_the_next_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Any
) -> None:
    """At another place of the notebook and with another comment it is the same; edited it is not."""
    require("IPython")

    def run(*cells: str, folder: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", SHELL],
            input=json.dumps(cells),
            cwd=tmp_path / folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return done.stdout.splitlines()

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("DIE", "1")
    (tmp_path / "same").mkdir()
    run(CELL, START, folder="same")
    shutil.copytree(tmp_path / "same", tmp_path / "edited")
    monkeypatch.delenv("DIE")
    moved = "1 + 1;", "\n\n# another comment\n" + CELL.replace("x + 1", "x + 1  # one")
    assert run(*moved, GO_ON, folder="same") == ["{'first': 2, 'second': 20}"]
    edited = CELL.replace("x + 1", "x + 2")
    assert run(edited, GO_ON, folder="edited") == ["first", "{'first': 3, 'second': 30}"]


def test_a_module_that_is_edited_between_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment changes nothing; a default argument does."""
    from orchkit.store.store import Store

    (tmp_path / "program.py").write_text(PROGRAM)

    def run(*args: str, **tools: Any) -> str:
        (tmp_path / "tools_of_a_process.py").write_text(TOOLS.format(**tools))
        done = subprocess.run(
            [sys.executable, "-B", "program.py", *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return done.stdout

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("DIE", "1")
    run(more=1, comment="one")
    run(more=1, comment="two")
    with Store(tmp_path / "runs.duckdb") as store:
        runs = [row[0] for row in store.query("SELECT run_id FROM runs ORDER BY started_at")]
    monkeypatch.delenv("DIE")
    assert run(runs[0], more=1, comment="three").splitlines() == ["{'first': 2, 'second': 20}"]
    assert run(runs[1], more=5, comment="three").splitlines() == ["first", "{'first': 6, 'second': 60}"]
