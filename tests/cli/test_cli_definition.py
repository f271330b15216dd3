"""Reading a definition file, and what is said about its faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchkit.cli.definition import FaultyFileError, read_definition
from orchkit.cli.failure import UsageError, exit_code
from orchkit.cli.modules import import_modules
from orchkit.errors import WorkflowValidationError
from orchkit.model.lines import Lines
from orchkit.model.workflow import Workflow

GOOD = """
name: good
steps:
  - id: one
    tool: add
    params: {a: 1}
"""


def _faults(folder: Path, text: str, name: str = "flow.yaml") -> list[str]:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(FaultyFileError) as caught:
        read_definition(folder / name)
    assert caught.value.subject == name
    assert exit_code(caught.value) == 2
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["flow.yaml", "flow.yml", "flow.json"])
def test_yaml_and_json_are_read(tmp_path: Path, name: str) -> None:
    """The ending of the file says which of the two it is."""
    workflow = Workflow.from_yaml(GOOD)
    text = workflow.to_json() if name.endswith("json") else GOOD
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_definition(tmp_path / name).step("one").parameters == {"a": 1}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("execution_mod: dag", "line 3: there is no field 'execution_mod' (did you mean 'execution_mode'?)"),
        (
            "execution_mode: tree",
            "line 3: execution_mode is 'tree': it should be 'sequential', 'parallel' or 'dag'",
        ),
        ("timeout: -1", "line 3: timeout is -1: it should be greater than 0"),
        (
            "xyz: 1",
            f"line 3: there is no field 'xyz' (there are {', '.join(Workflow.model_fields)})",
        ),
    ],
)
def test_a_fault_of_the_workflow_names_its_line(tmp_path: Path, line: str, fault: str) -> None:
    """A wrong field of the workflow is named with its line and, if it is a slip, with what was meant."""
    assert _faults(tmp_path, f"name: x\nsteps: []\n{line}\n") == [fault]


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("parms: {}", "line 5, step 'one': there is no field 'parms' (did you mean 'params'?)"),
        (
            "retry: {max_attempts: 0}",
            "line 5, step 'one': retry.max_attempts is 0: it should be greater than or equal to 1",
        ),
        (
            "retry: {atempts: 2}",
            "line 5, step 'one': there is no field 'retry.atempts' (did you mean 'max_attempts'?)",
        ),
        ("compensate: {params: {}}", "line 5, step 'one': compensate.tool_name is missing"),
        (
            "workflow: {name: y, steps: [{id: two, tol: z}]}",
            "line 5, step 'two': there is no field 'tol' (did you mean 'tool'?)",
        ),
    ],
)
def test_a_fault_of_a_step_names_the_step(tmp_path: Path, field: str, fault: str) -> None:
    """A wrong field of a step, or of what is in it, is named with the step's id and the line."""
    assert _faults(tmp_path, f"name: x\nsteps:\n  - id: one\n    tool: add\n    {field}\n") == [fault]


def test_a_step_without_an_id_is_named_by_its_number(tmp_path: Path) -> None:
    """There is always something by which to find the step."""
    text = "name: x\nsteps:\n  - id: one\n  - tool: add\n"
    assert _faults(tmp_path, text) == ["line 4, step number 2: step_id is missing"]


def test_all_faults_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """One reading is enough to mend the whole file, from top to bottom."""
    text = "name: x\nsteps:\n  - id: 1\n    tol: a\n  - id: two\n    when: 3\nmode: dag\n"
    lines = [fault.partition(":")[0] for fault in _faults(tmp_path, text)]
    assert lines == ["line 3, step '1'", "line 4, step '1'", "line 6, step 'two'", "line 7"]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("f.yaml", "name: [", "line 1, column 8: this is not YAML: expected the node content, but"),
        ("f.yaml", "a: b: c", "line 1, column 5: this is not YAML: mapping values are not allowed here"),
        ("f.json", '{"name": 1,}', "line 1: this is not JSON: trailing comma at line 1 column 12"),
        ("f.yaml", "", "line 1: a definition is a mapping of fields, not nothing"),
        ("f.yaml", "- a\n", "line 1: a definition is a mapping of fields, not a list"),
        ("f.yaml", "steps: []\n", "line 1: name is missing"),
        (
            "f.yaml",
            "name: x\nsteps: [{id: a, timeout: many}]\n",
            "line 2, step 'a': timeout.attempt is 'many': no such span of time: write seconds",
        ),
    ],
)
def test_what_is_no_definition_at_all(tmp_path: Path, name: str, text: str, fault: str) -> None:
    """Broken syntax, an empty file and a list are said to be just that."""
    assert _faults(tmp_path, text, name)[0].startswith(fault)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Not there, a folder, not text: a usage error with the path and the reason."""
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff\xfe")
    for name, reason in (
        ("none.yaml", "No such file"),
        (".", "Is a directory"),
        ("binary.yaml", "not UTF-8 text"),
    ):
        with pytest.raises(UsageError, match=reason):
            read_definition(tmp_path / name)


def test_lines_of_places_that_are_not_there() -> None:
    """Where the file ends too early, the line of what is around counts; without any text, the first."""
    lines = Lines("a:\n  b:\n    - c\n")
    assert [lines.line(place) for place in ((), ("a",), ("a", "b", 0), ("a", "b", 7, "d"), ("z",))] == [
        1,
        1,
        3,
        2,
        1,
    ]
    assert Lines("").line(("a",)) == Lines("[").line(("a",)) == 1


# --- imports -------------------------------------------------------------------------------


def _flow(*imports: str, sub: tuple[str, ...] = ()) -> Workflow:
    inner = {"name": "inner", "imports": sub, "steps": []}
    return Workflow.from_dict({"name": "x", "imports": imports, "steps": [{"id": "a", "workflow": inner}]})


def test_modules_are_found_in_the_current_folder(folder: Path) -> None:
    """The imports of a definition and of its sub-workflows are taken from where the user stands."""
    for name in ("cli_outer", "cli_inner"):
        (folder / f"{name}.py").write_text(f"open('{name}.txt', 'w').close()", encoding="utf-8")
    import_modules(_flow("cli_outer", sub=("cli_inner",)))
    assert (folder / "cli_outer.txt").exists()
    assert (folder / "cli_inner.txt").exists()


def test_every_module_that_cannot_be_imported_is_named(folder: Path) -> None:
    """Missing, misspelt inside, failing in a function: each with the reason and the place."""
    (folder / "cli_syntax.py").write_text("def f(:\n", encoding="utf-8")
    (folder / "cli_raises.py").write_text("x = 1\n\ndef f():\n    return 1 / 0\n\nf()\n", encoding="utf-8")
    (folder / "cli_needs.py").write_text("import no_such_thing\n", encoding="utf-8")
    with pytest.raises(WorkflowValidationError) as caught:
        import_modules(_flow("no_such_module.at_all", "cli_syntax", "cli_raises", sub=("cli_needs",)))
    missing, syntax, raises, needs = map(str, caught.value.problems)
    assert missing == (
        "imports 'no_such_module.at_all': ModuleNotFoundError: No module named 'no_such_module' "
        f"(looked for in {folder} and in this Python)"
    )
    assert "SyntaxError: invalid syntax (cli_syntax.py, line 1)" in syntax
    assert raises == "imports 'cli_raises': ZeroDivisionError: division by zero (cli_raises.py, line 4)"
    assert needs.endswith("No module named 'no_such_thing' (cli_needs.py, line 1)")
