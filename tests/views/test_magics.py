"""``%load_ext orchkit`` in a real IPython shell: what the magics give, and how they fail."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import orchkit as ok
from orchkit.cli.cellstep import function_source
from orchkit.cli.failure import UsageError as NotUnderstood
from orchkit.views.browse import Table
from orchkit.views.run import Run


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Any]:
    """A shell of its own, with the extension loaded and nothing else in it."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = InteractiveShell(history_load_length=0)
    shell.history_manager.enabled = False
    shell.run_line_magic("load_ext", "orchkit")
    yield shell
    shell.history_manager.end_session()
    for name in ("kit", "other"):
        kit = shell.user_ns.get(name)
        if isinstance(kit, ok.Kit):
            kit.close()
    InteractiveShell.clear_instance()


@pytest.fixture
def kit(shell: Any) -> ok.Kit:
    """The kit of the notebook, as its variable ``kit``."""
    shell.user_ns["kit"] = ok.open()
    kit: ok.Kit = shell.user_ns["kit"]
    return kit


def run_one(kit: ok.Kit, name: str, **parameters: Any) -> ok.WorkflowResult:
    """Run a workflow of one step."""
    flow = ok.WorkflowBuilder("w", registry=kit.registry).add_step(name, parameters).build()
    return kit.run(flow)


def test_the_newest_run_and_the_runs(shell: Any, kit: ok.Kit) -> None:
    """The objects themselves, so that the notebook shows them; a status restricts the list."""
    shell.run_cell_magic("step", "double(x: int) -> int", "2 * x\n")
    result = run_one(kit, "double", x=21)
    last = shell.run_line_magic("orchkit", "last")
    assert isinstance(last, Run)
    assert last.id == result.run_id
    table = shell.run_line_magic("orchkit", "runs")
    assert isinstance(table, Table)
    assert len(table) == 1
    assert len(shell.run_line_magic("orchkit", "runs failed")) == 0


def test_help_and_doctor(shell: Any, kit: ok.Kit, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone it says what there is; the doctor is that of the command line."""
    shell.run_line_magic("orchkit", "")
    assert "%%orchkit_sql [NAME]" in capsys.readouterr().out
    shell.run_line_magic("orchkit", "doctor")
    assert "Installation" in capsys.readouterr().out


def test_a_query(shell: Any, kit: ok.Kit) -> None:
    """The DataFrame is the value of the cell, or gets the name on its first line."""
    shell.run_cell_magic("step", "one() -> int", "1\n")
    run_one(kit, "one")
    assert shell.run_cell_magic("orchkit_sql", "", "select name, status from runs")["status"].tolist() == [
        "success"
    ]
    assert shell.run_cell_magic("orchkit_sql", "found", "select name from runs") is None
    assert shell.user_ns["found"]["name"].tolist() == ["w"]


@pytest.mark.parametrize(
    ("magic", "line", "cell", "told"),
    [
        ("orchkit", "bogus", None, "there is no %orchkit bogus"),
        ("orchkit", "last now", None, "there is no %orchkit last now"),
        ("orchkit", "runs purple", None, None),
        ("orchkit_sql", "two words", "select 1", "is no name"),
        ("orchkit_sql", "", "  \n", "the cell has no query"),
        ("orchkit_sql", "", "select * from nowhere", "nowhere"),
        ("step", "", "1", "write %%step NAME"),
        ("step", "f(", "1", "is no signature"),
        ("step", "f(x) -> int: pass; y = 1 #", "1", "signature"),
        ("step", "2f()", "1", "is no signature"),
        ("step", "f()", " \n\n", "has no body"),
    ],
)
def test_what_was_written_wrongly(
    shell: Any, kit: ok.Kit, magic: str, line: str, cell: str | None, told: str | None
) -> None:
    """Each mistake is one line that says what to write, without a traceback."""
    call = (
        (lambda: shell.run_line_magic(magic, line))
        if cell is None
        else (lambda: shell.run_cell_magic(magic, line, cell))
    )
    if told is None:
        assert len(call()) == 0
        return
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        call()


def test_which_kit(shell: Any) -> None:
    """Without a kit it says how to open one, of several it takes the one named kit, else asks."""
    with pytest.raises(UsageError, match=r'kit = ok.open\("runs.duckdb"\)'):
        shell.run_line_magic("orchkit", "runs")
    shell.user_ns["other"] = ok.open()
    assert len(shell.run_line_magic("orchkit", "runs")) == 0
    with ok.open() as third:
        shell.user_ns["third"] = third
        with pytest.raises(UsageError, match=r"several kits \(other, third\)"):
            shell.run_line_magic("orchkit", "runs")
    assert len(shell.run_line_magic("orchkit", "runs")) == 0  # that one is closed


# --- a cell as a step ----------------------------------------------------------------------


def test_a_cell_becomes_a_method(shell: Any, kit: ok.Kit, capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters with types and defaults, the names of the notebook, and the value of the last line."""
    shell.user_ns["rate"] = 2
    shell.run_cell_magic(
        "step", "total(price: float, count: int = 3) -> float", "amount = price * count\namount * rate\n"
    )
    assert capsys.readouterr().out == "step total(price: float, count: int = 3) -> float\n"
    assert shell.user_ns["total"](1.5) == 9
    result = run_one(kit, "total", price=2.0)
    assert result.steps["total"].output == 12
    method = kit.registry.methods.get_method("total")
    assert list(inspect.signature(method.function).parameters) == ["price", "count"]  # type: ignore[arg-type]


def test_an_edited_cell_replaces_its_method_and_is_recorded_as_other_code(shell: Any, kit: ok.Kit) -> None:
    """Running it again is registering it again; the record has the source of each, and tells them apart."""
    shell.run_cell_magic("step", "tone() -> str", '"kind"')
    first = run_one(kit, "tone")
    shell.execution_count += 1
    shell.run_cell_magic("step", "tone() -> str", '"firm"')
    second = run_one(kit, "tone")
    assert (first.steps["tone"].output, second.steps["tone"].output) == ("kind", "firm")
    found = kit.compare(first, second)
    assert found.first is not None
    assert found.first.cause == "code"
    assert '+    return "firm"' in found.code_changes()["tone"]


def test_a_cell_that_awaits(shell: Any, kit: ok.Kit) -> None:
    """It becomes a coroutine function by itself; ``async`` may also be said."""
    shell.run_cell_magic("step", "wait() -> int", "import asyncio\nawait asyncio.sleep(0)\n7")
    shell.run_cell_magic("step", "async other() -> int", "8")
    assert asyncio.run(shell.user_ns["wait"]()) == 7
    assert asyncio.run(shell.user_ns["other"]()) == 8
    assert run_one(kit, "wait").steps["wait"].output == 7


def test_without_a_kit_it_is_for_every_kit(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the decorator does, it registers in the default registry."""
    from orchkit.registry.registration import default_registry

    shell.run_cell_magic("step", "magic_default() -> int", "1")
    assert "magic_default" in default_registry.methods
    default_registry.methods.unregister("magic_default")


def test_an_error_in_the_body_names_its_line(shell: Any, kit: ok.Kit) -> None:
    """The first line of the cell is that of the magic: line numbers are those that the notebook shows."""
    shell.run_cell_magic("step", "bad(x)", "y = x\n\nraise ValueError(y)")
    with pytest.raises(ValueError, match="5") as caught:
        shell.user_ns["bad"](5)
    assert caught.traceback[-1].lineno + 1 == 4
    with pytest.raises(UsageError, match=r"line 3 of the cell is no Python: .*y = = 2"):
        shell.run_cell_magic("step", "bad()", "x = 1\ny = = 2")


@pytest.mark.parametrize(
    ("line", "cell", "value"),
    [
        ("f", "1", 1),
        ("f()", "x = 1", None),
        ("f():", "return 3\n", 3),
        ("f()", "if True:\n    return 4\n5", 4),
        ("f()", 'x = """a\nb"""\nx', "a\nb"),
        ("f()", 'n = 1\nf"""a\n{n}\nb"""', "a\n1\nb"),
        ("f()", "x = 1; x + 1", 2),
        ("f()", "'ä'; 'ö' + 'ü'", "öü"),
        ("f()", "(1 +\n2)", 3),
        ("f()", "sum([\n1,\n2])  # comment", 3),
        ("f()", "def g():\n    return 1\ng()", 1),
        ("f()", "# only\n# comments\n9", 9),
        ("f(a=(1, 2), *, b: str = ':') -> tuple[int, ...]", "a + (b,)", (1, 2, ":")),
        ("f()", "x = 1 + \\\n    2\nx", 3),
        ("f()", "'text'", "text"),
    ],
)
def test_what_a_cell_returns(line: str, cell: str, value: Any) -> None:
    """The last expression, unless something is returned by name; strings over lines stay as they are."""
    name, source = function_source(line, cell)
    space: dict[str, Any] = {}
    exec(compile(source, "cell", "exec", dont_inherit=True), space)
    assert space[name]() == value


def test_a_generator_is_left_as_it_is() -> None:
    """Where something is yielded the last expression is not returned."""
    _, source = function_source("f()", "yield 1\n2")
    assert "return" not in source


def test_only_comments_are_no_body() -> None:
    """What has no statement is told as what Python says of it."""
    with pytest.raises(NotUnderstood, match="is no Python"):
        function_source("f()", "# nothing")
