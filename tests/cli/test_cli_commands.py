"""The commands, one after the other, in this process."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import orchkit as ok
from orchkit import __version__
from orchkit.cli import demo
from orchkit.cli.app import app

Orchkit = Callable[..., Result]
Flow = Callable[..., str]

GOOD = """
name: sums
execution_mode: dag
steps:
  - {id: one, tool: "$T:add", params: {a: "${context.a}", b: "${context.more.b}"}}
  - {id: two, tool: "$T:judge", params: {amount: "${steps.one}"}}
"""
BAD = """
name: broken
execution_mode: dag
error_handling: $HANDLING
steps:
  - {id: good, tool: "$T:add", params: {a: 1}}
  - {id: bad, tool: "$T:fail", retry: {max_attempts: 2, delay: 0}, depends_on: [good]}
  - {id: after, tool: "$T:add", params: {a: 1}, depends_on: [bad]}
"""
PRINTING = 'name: loud\nimports: [$T]\nsteps: [{id: a, tool: "$T:shout", params: {text: hello}}]\n'


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two runs, one that went well and then one that failed."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copy(Path(__file__).with_name("cli_tools.py"), folder / "tools_archive.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [str(folder), *sys.path])
        for name, text in (("good", GOOD), ("bad", BAD.replace("$HANDLING", "stop_on_failure"))):
            Path(name).write_text(text.replace("$T", "tools_archive"), encoding="utf-8")
            arguments = ["run", name, "--set", "a=2", "--set", "more.b=5", "--store", "runs.duckdb"]
            CliRunner().invoke(app, arguments)
    return folder


@pytest.fixture
def recorded(archive: Path, folder: Path) -> dict[str, Any]:
    """A copy of it in the current folder; the facts of the run that failed."""
    for part in archive.glob("runs.duckdb*"):
        shutil.copy(part, folder)
    with ok.open("runs.duckdb") as kit:
        return kit.last.to_dict()


# --- run -------------------------------------------------------------------------------------


def test_a_run_that_goes_well(flow: Flow, orchkit: Orchkit) -> None:
    """Exit code 0, a table of the steps with their outputs, the story, and where the record is."""
    answer = orchkit("run", flow(GOOD), "--set", "a=2", "--set", "more.b=5")
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["step", "one", "two"]
    assert lines[1].split()[-1] == "7"
    assert "all 2 steps succeeded" in answer.stdout or "both steps succeeded" in answer.stdout
    assert lines[-1].startswith("Recorded as run_")
    assert lines[-1].endswith(" in runs.duckdb.")
    assert [line.split()[1:3] for line in answer.stderr.splitlines()] == [
        ["success", "one"],
        ["success", "two"],
    ]


@pytest.mark.parametrize(
    ("handling", "status"), [("stop_on_failure", "failed"), ("continue_on_failure", "partial")]
)
def test_a_run_that_does_not(flow: Flow, orchkit: Orchkit, handling: str, status: str) -> None:
    """Exit code 1; which step failed on which attempt and why, and what that led to."""
    answer = orchkit("run", flow(BAD.replace("$HANDLING", handling)), "--json")
    assert answer.exit_code == 1
    result = json.loads(answer.stdout)
    assert (result["name"], result["status"]) == ("broken", status)
    assert {step["step_id"]: (step["status"], step["attempts"]) for step in result["steps"]} == {
        "good": ("success", 1),
        "bad": ("failed", 2),
        "after": ("skipped", 0),
    }
    assert result["steps"][1]["error"] == "ValueError: no such luck"
    assert "… retry" in answer.stderr
    assert "attempt 1 of 2 failed" in answer.stderr


def test_the_json_of_a_run(flow: Flow, orchkit: Orchkit, folder: Path) -> None:
    """Ids, times, durations and outputs for machines; the same run is in the store."""
    answer = orchkit("run", flow(GOOD), "--set", "a=2", "--set", "more.b=5", "--user", "u_7", "--json")
    result = json.loads(answer.stdout)
    assert set(result) == {
        "run_id", "name", "status", "error", "started_at", "finished_at", "duration_ms", "user_id", "store",
        "replayed", "steps",
    }  # fmt: skip
    assert (result["user_id"], result["store"]) == ("u_7", str(folder / "runs.duckdb"))
    assert [step["output"] for step in result["steps"]] == [7, "judged"]
    with ok.open("runs.duckdb") as kit:
        assert kit.last.id == result["run_id"]
        assert kit.last.state.user_id == "u_7"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability_ends_on_the_record(flow: Flow, orchkit: Orchkit, durability: str) -> None:
    """What is held back until the end is shown then, and recorded like the rest."""
    answer = orchkit(
        "run", flow(GOOD), "--set", "a=1", "--set", "more.b=1", "--durability", durability, "--json"
    )
    assert [step["output"] for step in json.loads(answer.stdout)["steps"]] == [2, "judged"]
    row = json.loads(orchkit("runs", "--json").stdout)[0]
    assert (row["durability"], row["status"]) == (durability, "success")


def test_what_tools_print_does_not_spoil_the_json(flow: Flow, orchkit: Orchkit) -> None:
    """With ``--json``, stdout is one JSON document and nothing else."""
    answer = orchkit("run", flow(PRINTING), "--json")
    assert json.loads(answer.stdout)["steps"][0]["output"] == "HELLO"
    assert "printed by a tool" in answer.stderr
    assert "printed by a tool" in orchkit("run", flow(PRINTING)).stdout


def test_a_definition_that_cannot_run(flow: Flow, orchkit: Orchkit) -> None:
    """Exit code 2 and every problem on a line of its own; nothing has run."""
    text = 'name: x\nsteps:\n  - {id: a, tool: "$T:ad"}\n  - {id: b, tool: "$T:add", params: {c: 1}}\n'
    answer = orchkit("run", flow(text))
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: workflow 'x': ")
    assert "  step 'a': " in answer.stderr
    assert "  step 'b': " in answer.stderr
    assert "Traceback" not in answer.stderr
    assert json.loads(orchkit("runs", "--json").stdout) == []


REGISTERED = """
import orchkit as ok


@ok.register_tool("{name}")
def {name}() -> str:
    "Greets."
    return "hello"
"""


@pytest.mark.parametrize("nested", [False, True])
def test_modules_can_be_imported_for_a_file(flow: Flow, orchkit: Orchkit, folder: Path, nested: bool) -> None:
    """A tool that nobody has registered is told with how to name its module; with ``--import`` it runs."""
    name = f"greet_{folder.name}"
    (folder / f"m_{name}.py").write_text(REGISTERED.format(name=name), encoding="utf-8")
    step = f"{{id: a, tool: {name}}}"
    if nested:
        step = f"{{id: s, workflow: {{name: y, steps: [{step}]}}}}"
    file = flow(f"name: x\nsteps:\n  - {step}\n")
    refused = orchkit("run", file)
    assert refused.exit_code == 2
    assert f"step 'a': unknown tool or method '{name}'" in refused.stderr
    assert "`imports` of the file, or with --import" in refused.stderr
    answer = orchkit("run", file, "--import", f"m_{name}", "--json")
    assert answer.exit_code == 0, answer.stderr
    assert '"hello"' in answer.stdout


def test_a_module_that_cannot_be_imported_is_named(flow: Flow, orchkit: Orchkit) -> None:
    """Exit code 2 with its name, whoever has asked for it."""
    answer = orchkit("run", flow(GOOD), "--import", "no_such_module")
    assert answer.exit_code == 2
    assert "imports 'no_such_module': ModuleNotFoundError" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument"),
        (["run", "none.yaml"], "cannot read none.yaml: No such file or directory"),
        (["run", "flow.yaml", "--set", "a"], "--set 'a' is not key=value"),
        (["run", "flow.yaml", "--durability", "maybe"], "--durability"),
        (["runs", "--status", "lucky"], "--status"),
        (["runs", "--limit", "0"], "--limit"),
        (["sql"], "Missing argument"),
        (["sql", "select 1", "--csv", "--json"], "choose one of --csv and --json"),
        (["frobnicate"], "No such command"),
        (["runs", "--nope"], "No such option"),
    ],
)
def test_what_is_not_understood(flow: Flow, orchkit: Orchkit, arguments: list[str], said: str) -> None:
    """Exit code 2, the reason on stderr, no store made."""
    flow(GOOD)
    answer = orchkit(*arguments)
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert said in answer.stderr
    assert not list(Path().glob("runs.duckdb*"))


def test_debug_shows_the_traceback(folder: Path, orchkit: Orchkit) -> None:
    """The exit code is the same; where it came from is said too."""
    plain, debug = orchkit("run", "none.yaml"), orchkit("run", "none.yaml", "--debug")
    assert (plain.exit_code, debug.exit_code) == (2, 2)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert "FileNotFoundError" in debug.stderr


# --- the store -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["runs"], ["show", "last"], ["sql", "select 1"]])
def test_reading_makes_no_store(folder: Path, orchkit: Orchkit, command: list[str]) -> None:
    """Without a store: exit code 2, what to do about it, and a folder as empty as before."""
    answer = orchkit(*command, "--store", "none.duckdb")
    assert answer.exit_code == 2
    assert "there is no store at none.duckdb" in answer.stderr
    assert list(folder.iterdir()) == []


def test_where_the_store_is(flow: Flow, orchkit: Orchkit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins over the environment, and that over the current folder."""
    file = flow(PRINTING)
    monkeypatch.setenv("ORCHKIT_STORE", "env.duckdb")
    assert json.loads(orchkit("run", file, "--json").stdout)["store"].endswith("env.duckdb")
    answer = orchkit("run", file, "--json", "--store", "option.duckdb")
    assert json.loads(answer.stdout)["store"].endswith("option.duckdb")
    monkeypatch.delenv("ORCHKIT_STORE")
    assert orchkit("runs").exit_code == 2


def test_a_store_that_cannot_be_made(flow: Flow, orchkit: Orchkit) -> None:
    """A folder that is not there is an error in one line."""
    answer = orchkit("run", flow(PRINTING), "--store", "none/runs.duckdb")
    assert answer.exit_code == 1
    assert "does not exist" in answer.stderr
    assert "Traceback" not in answer.stderr


# --- runs ------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first(recorded: dict[str, Any], orchkit: Orchkit) -> None:
    """A table within 80 columns whose short ids can be given to `show`."""
    lines = orchkit("runs").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["name", "broken", "sums"]
    assert all(len(line) <= 80 for line in lines)
    short = lines[1].split()[0]
    assert recorded["run_id"].startswith(short)
    assert recorded["run_id"] in orchkit("show", short).stdout


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], ["broken", "sums"]),
        (["--status", "failed"], ["broken"]),
        (["--status", "failed", "--status", "success"], ["broken", "sums"]),
        (["--status", "running"], []),
        (["--name", "sums"], ["sums"]),
        (["--casefile", "cf_1"], []),
        (["--limit", "1"], ["broken"]),
    ],
)
def test_runs_can_be_filtered(
    recorded: dict[str, Any], orchkit: Orchkit, filters: list[str], names: list[str]
) -> None:
    """By status, name and case file, for machines as for people."""
    assert [row["name"] for row in json.loads(orchkit("runs", *filters, "--json").stdout)] == names
    shown = orchkit("runs", *filters)
    assert shown.exit_code == 0
    assert ("the newest 1 run;" in shown.stdout) == ("--limit" in filters)
    assert ("no such runs" in shown.stdout) == (not names)


def test_sub_workflows_are_not_listed_but_can_be_shown(flow: Flow, orchkit: Orchkit) -> None:
    """One run that was started is one line, and `last` is what was started last; the rest has ids too."""
    text = 'name: outer\nsteps: [{id: s, workflow: {name: inner, steps: [{id: a, tool: "$T:fail"}]}}]\n'
    orchkit("run", flow(text))
    assert [row["name"] for row in json.loads(orchkit("runs", "--json").stdout)] == ["outer"]
    assert json.loads(orchkit("show", "last", "--json").stdout)["run"]["name"] == "outer"
    query = "select run_id from runs where name = 'inner'"
    (inner,) = json.loads(orchkit("sql", query, "--json").stdout)
    shown = orchkit("show", inner["run_id"]).stdout
    assert "part of" in shown
    assert "step s of run_" in shown


# --- show ------------------------------------------------------------------------------------


def test_a_run_is_shown_with_its_reasons(recorded: dict[str, Any], orchkit: Orchkit) -> None:
    """Facts, story, steps and decisions, the whole id, within 80 columns."""
    text = orchkit("show", "last").stdout
    assert text.startswith("broken  ✗ failed\n")
    assert recorded["run_id"] in text
    assert "ValueError: no such luck" in text
    assert "give_up" in text
    assert "all 2 attempts are used up" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_step_is_shown_in_full(recorded: dict[str, Any], orchkit: Orchkit) -> None:
    """Its story, attempts, decisions, input, output and evidence."""
    bad = orchkit("show", "last", "--step", "bad").stdout
    assert bad.startswith("bad  ✗ failed\n")
    assert bad.count("✗ failed") == 3
    runs = json.loads(orchkit("runs", "--json").stdout)
    judged = orchkit("show", runs[1]["run_id"], "--step", "two").stdout
    assert 'input\n  {\n    "amount": 7\n  }' in "\n".join(line.rstrip() for line in judged.splitlines())
    assert "size   " in judged
    assert "more than 5 is large" in judged
    assert "evidence: ledger from ledger.csv" in judged


def test_the_json_of_a_record(recorded: dict[str, Any], orchkit: Orchkit) -> None:
    """The facts and the tables; with ``--step`` the rows of that step alone."""
    whole = json.loads(orchkit("show", recorded["run_id"], "--json").stdout)
    assert set(whole) == {
        "run", "explanation", "steps", "lineage", "shared", "attempts", "decisions", "evidence",
    }  # fmt: skip
    assert whole["run"]["run_id"] == recorded["run_id"]
    assert [len(whole[name]) for name in ("steps", "attempts")] == [3, 3]
    step = json.loads(orchkit("show", "last", "--step", "bad", "--json").stdout)
    assert [row["attempt"] for row in step["attempts"]] == [1, 2]
    assert {row["step_id"] for row in step["decisions"]} == {"bad"}
    assert step["explanation"].startswith("bad ")


def test_a_picture_is_drawn_into_a_file(recorded: dict[str, Any], orchkit: Orchkit, folder: Path) -> None:
    """`--svg` writes it beside showing the run; what cannot be written is exit code 2."""
    assert orchkit("show", "last", "--svg", "run.svg").exit_code == 0
    assert "<svg" in (folder / "run.svg").read_text(encoding="utf-8")
    for name, reason in (("none/run.svg", "cannot write none/run.svg"), ("run.png", "*.svg")):
        answer = orchkit("show", "last", "--svg", name)
        assert answer.exit_code == 2
        assert reason in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["zzz"], "unknown run 'zzz'"),
        (["run_0"], "begin with 'run_0'"),
        (["last", "--step", "god"], "unknown step 'god'; did you mean 'good'?"),
    ],
)
def test_what_is_not_on_record(
    recorded: dict[str, Any], orchkit: Orchkit, arguments: list[str], said: str
) -> None:
    """An id that fits no run or several, and a step that is not there: exit code 2, and what is near."""
    answer = orchkit("show", *arguments)
    assert answer.exit_code == 2
    assert said in " ".join(answer.stderr.split())


def test_an_empty_store_has_no_last_run(folder: Path, orchkit: Orchkit) -> None:
    """A store in which nothing has run yet is not an error to list, but there is nothing to show."""
    ok.open("runs.duckdb").close()
    assert orchkit("runs").stdout == "no runs yet\n"
    assert orchkit("runs", "--json").stdout == "[]\n"
    answer = orchkit("show", "last")
    assert (answer.exit_code, "there are no runs" in answer.stderr) == (2, True)


# --- sql -------------------------------------------------------------------------------------


def test_a_query_as_table_csv_and_json(recorded: dict[str, Any], orchkit: Orchkit) -> None:
    """The same rows three times; in JSON, recorded JSON is not a text but what it says."""
    query = (
        "select s.step_id, s.attempts, s.output, s.error, r.started_at "
        "from steps s join runs r using (run_id) where r.name = 'sums' order by s.step_id"
    )
    rows = json.loads(orchkit("sql", query, "--json").stdout)
    assert [(row["step_id"], row["attempts"], row["output"], row["error"]) for row in rows] == [
        ("one", 1, 7, None),
        ("two", 1, "judged", None),
    ]
    assert rows[0]["started_at"].endswith(("Z", "+00:00"))
    table = list(csv.DictReader(io.StringIO(orchkit("sql", query, "--csv").stdout)))
    assert [(row["step_id"], row["attempts"], row["output"], row["error"]) for row in table] == [
        ("one", "1", "7", ""),
        ("two", "1", '"judged"', ""),
    ]
    shown = orchkit("sql", "select step_id, attempts from steps order by 1 limit 2").stdout
    assert [line.split() for line in shown.splitlines()] == [
        ["step_id", "attempts"],
        ["after", "0"],
        ["bad", "2"],
        ["2", "rows"],
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("sum(i)", 3),
        ("sum(i) filter (i > 5)", None),
        ("list(i order by i)", [0, 1, 2]),
        ("[]", []),
        ("{'a': 1, 'b': [null]}", {"a": 1, "b": [None]}),
        ("'NaN'::double", None),
        ("1.50::decimal(5, 2)", 1.5),
        ("timestamptz '2025-01-02 03:04:05Z'", "2025-01-02T03:04:05Z"),
        ("date '2025-01-02'", "2025-01-02T00:00:00"),
        ("'abc'::blob", "YWJj"),
        ("""'{"a": [1]}'::json""", {"a": [1]}),
        ("""'{"a": [1]}'""", '{"a": [1]}'),
        ("true", True),
    ],
)
def test_values_of_all_types_as_json(
    recorded: dict[str, Any], orchkit: Orchkit, expression: str, value: Any
) -> None:
    """Whole numbers stay whole, lists and structures stay such, and what JSON cannot hold is null."""
    query = f"select {expression} as v from range(3) as t(i)"
    answer = orchkit("sql", query, "--json")
    assert json.loads(answer.stdout)[0] == {"v": value}
    assert orchkit("sql", query).exit_code == 0


@pytest.mark.parametrize(
    "query", ["describe runs", "from runs", "with r as (from runs) from r", "values (1)"]
)
def test_whatever_reads_is_a_query(recorded: dict[str, Any], orchkit: Orchkit, query: str) -> None:
    """All of DuckDB's ways to read, also with a semicolon or a comment behind."""
    for tail in ("", ";", " -- and a comment"):
        assert json.loads(orchkit("sql", query + tail, "--json").stdout)


def test_a_plan_can_be_looked_at(recorded: dict[str, Any], orchkit: Orchkit) -> None:
    """The boxes of an EXPLAIN stay boxes."""
    plan = orchkit("sql", "explain select count(*) from runs").stdout
    assert len(plan.splitlines()) > 3


@pytest.mark.parametrize(
    ("query", "said", "code"),
    [
        ("drop table event", "only reads", 2),
        ("delete from event", "only reads", 2),
        ("copy runs to 'x.csv'", "only reads", 2),
        ("attach 'x.duckdb' as x", "only reads", 2),
        ("select 1; select 2", "one statement at a time", 2),
        ("", "one statement at a time", 2),
        ("selec 1", "syntax error", 1),
        ("select nothing from runs", "nothing", 1),
    ],
)
def test_a_query_only_reads(
    recorded: dict[str, Any], orchkit: Orchkit, query: str, said: str, code: int
) -> None:
    """What would change the record or write files is refused; SQL that is wrong says where."""
    answer = orchkit("sql", query)
    assert (answer.exit_code, answer.stdout) == (code, "")
    assert said in answer.stderr
    assert len(json.loads(orchkit("runs", "--json").stdout)) == 2


def test_a_long_result_is_shown_in_part(recorded: dict[str, Any], orchkit: Orchkit) -> None:
    """A screen gets the first rows and the count; CSV gets all."""
    query = "select * from range(1000)"
    assert "the first 200 of 1,000 rows" in orchkit("sql", query).stdout
    assert len(orchkit("sql", query, "--csv").stdout.splitlines()) == 1001


# --- demo, doctor, version -------------------------------------------------------------------


def test_a_demonstration_that_cannot_be_loaded(
    folder: Path, orchkit: Orchkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing part is said in a line, with exit code 2."""
    monkeypatch.setattr(demo, "SCENARIO", "orchkit.demo.none")
    answer = orchkit("demo")
    assert answer.exit_code == 2
    assert answer.stderr.startswith("error: the demonstration cannot be loaded: ")


def test_the_demonstration(folder: Path, orchkit: Orchkit) -> None:
    """It shows what was decided, leaves a report and a picture, and what it says to type next works."""
    answer = orchkit("demo", "--store", "my demo.duckdb", "--out", "shown")
    assert answer.exit_code == 0, answer.output
    assert "complex_analysis  ✓ success" in answer.stdout
    assert "conclusion" in answer.stdout
    assert (folder / "shown" / "report.md").read_text(encoding="utf-8").startswith("# ")
    assert "<svg" in (folder / "shown" / "complex_analysis.svg").read_text(encoding="utf-8")
    suggested = [line.partition("orchkit ")[2] for line in answer.stdout.splitlines() if "orchkit " in line]
    assert len(suggested) == 3
    for command in suggested:
        assert orchkit(*shlex.split(command)).exit_code == 0, command
    again = orchkit("demo", "--store", "my demo.duckdb", "--out", "shown")
    assert again.exit_code == 0
    assert again.stdout.count("not repeated: same definition and input as run_") == 3


def test_doctor_as_json(recorded: dict[str, Any], orchkit: Orchkit, folder: Path) -> None:
    """Versions, extras, renderers and the store, as one document."""
    document = json.loads(orchkit("doctor", "--json").stdout)
    assert document["versions"]["orchkit"] == __version__
    assert document["python"] == sys.executable
    assert document["renderer"] in document["renderers"]
    assert document["renderers"][document["renderer"]] is None
    assert document["store"]["path"] == str(folder / "runs.duckdb")
    assert (document["store"]["exists"], document["store"]["holder"], document["problems"]) == (
        True,
        None,
        [],
    )


def test_the_version(orchkit: Orchkit) -> None:
    """One line, for people and scripts."""
    assert orchkit("--version").stdout == f"orchkit {__version__}\n"


def test_help_names_every_command(orchkit: Orchkit) -> None:
    """All commands with a line each that fits the screen."""
    text = orchkit("--help").stdout
    for command in ("run", "runs", "show", "sql", "sweep", "export", "import", "demo", "doctor"):
        assert f"\n  {command} " in text
        assert orchkit(command, "--help").exit_code == 0
    assert "..." not in text.partition("Commands:")[2]
