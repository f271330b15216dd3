"""Going on with runs on the command line; idempotency keys as a table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import orchkit as ok
from orchkit.store.process import this_process

Orchkit = Callable[..., Result]
Flow = Callable[..., str]

FLOW = """
name: sums
imports: [$T]
steps:
  - {id: one, tool: "$T:add", params: {a: 1, b: 2}}
  - {id: two, tool: "$T:perish", params: {n: "${steps.one}"}}
  - id: inner
    workflow: {name: inner, steps: [{id: x, tool: "$T:add", params: {a: "${context.n}"}}]}
    params: {n: "${steps.two}"}
"""
PERISH = """

def perish(n: int) -> int:
    \"\"\"Kills its process while a file is there.\"\"\"
    import os, signal
    from pathlib import Path
    with Path("calls.txt").open("a") as calls:
        calls.write("x")
    if Path("perish").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return n + 1
"""


@pytest.fixture
def killed(folder: Path, tools: str, flow: Flow, environment: dict[str, str]) -> Path:
    """A folder in whose store a run was killed in the second of its three steps."""
    module = folder / f"{tools}.py"
    module.write_text(module.read_text(encoding="utf-8") + PERISH, encoding="utf-8")
    (folder / "perish").touch()
    command = [sys.executable, "-m", "orchkit.cli", "run", flow(FLOW), "--user", "u_1"]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    (folder / "perish").unlink()
    return folder


def test_a_killed_run_goes_on(killed: Path, orchkit: Orchkit) -> None:
    """What was completed is not repeated; the story says what ran again; the list has its mark."""
    hint = orchkit("runs").stdout.splitlines()[-1]
    assert hint.startswith("1 run cut off: orchkit resume run_")
    answer = orchkit(*hint.removeprefix("1 run cut off: orchkit ").removesuffix(" goes on").split())
    assert answer.exit_code == 0
    told = " ".join(answer.stdout.split())
    assert "resumed once: all 3 steps succeeded." in told
    assert "kept: one again, in doubt whether it took effect: two (attempt 1)" in told
    assert [line.split()[2] for line in answer.stderr.splitlines()] == ["two", "inner", "inner"]
    assert (killed / "calls.txt").read_text() == "xx"
    lines = orchkit("runs").stdout.splitlines()
    assert lines[-1].split()[-1] == "resumed"
    shown = orchkit("show", "last").stdout
    assert shown.startswith("sums  ✓ success  resumed\n")
    assert "attempt 1 had begun when its process ended" in " ".join(shown.split())


def test_what_succeeded_is_not_run_again(killed: Path, orchkit: Orchkit) -> None:
    """Resuming it once more gives the recorded result, and says so; so does the JSON."""
    first = json.loads(orchkit("resume", "last", "--json").stdout)
    assert (first["status"], first["replayed"]) == ("success", False)
    assert [(step["step_id"], step["attempts"], step["output"]) for step in first["steps"]] == [
        ("one", 1, 3), ("two", 2, 4), ("inner", 0, {"x": 4}),
    ]  # fmt: skip
    again = orchkit("resume", "last")
    assert again.exit_code == 0
    assert "it had succeeded already: nothing was run" in again.stderr
    assert json.loads(orchkit("resume", "last", "--json").stdout)["replayed"]
    assert (killed / "calls.txt").read_text() == "xx"


def _edit(folder: Path, tools: str) -> None:
    module = folder / f"{tools}.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(text.replace("return a + b", "return a + b + 100"), encoding="utf-8")


@pytest.mark.parametrize(("choice", "output"), [("rerun", 104), ("keep", 4)])
def test_edited_code(killed: Path, tools: str, orchkit: Orchkit, choice: str, output: int) -> None:
    """Runs again with all that comes after it, or its results are kept."""
    _edit(killed, tools)
    answer = json.loads(orchkit("resume", "last", "--on-change", choice, "--json").stdout)
    assert [step["output"] for step in answer["steps"]][1] == output
    story = " ".join(orchkit("show", "last").stdout.split())
    assert "the code of add was edited" in story or f"the code of {tools}:add was edited" in story


def test_edited_code_as_an_error(killed: Path, tools: str, orchkit: Orchkit) -> None:
    """Names what was edited; nothing has run."""
    _edit(killed, tools)
    answer = orchkit("resume", "last", "--on-change", "error")
    assert answer.exit_code == 1
    assert "was edited" in answer.stderr
    assert (killed / "calls.txt").read_text() == "x"
    assert "cut off" in orchkit("runs").stdout


def test_tools_that_the_definition_does_not_name(
    folder: Path, environment: dict[str, str], orchkit: Orchkit
) -> None:
    """Are found in the modules that ``--module`` names; without it, that is the hint."""
    code = (
        "import os, signal, orchkit as ok\n"
        "@ok.method\ndef greet(): return 'hello'\n"
        "@ok.method\ndef part():\n"
        "    if os.path.exists('perish'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'bye'\n"
    )
    (folder / "words_of_mine.py").write_text(code, encoding="utf-8")
    (folder / "perish").touch()
    start = "import words_of_mine as w, orchkit as ok; flow = ok.WorkflowBuilder('talk')"
    start += "; ok.open('runs.duckdb').run(flow.add_step(w.greet).add_step(w.part).build())"
    done = subprocess.run([sys.executable, "-c", start], cwd=folder, env=environment, check=False)
    assert done.returncode == -9
    (folder / "perish").unlink()
    refused = orchkit("resume", "last")
    assert refused.exit_code != 0
    assert "say with --module NAME where its tools are" in refused.stderr
    assert "unknown tool or method 'greet'" in refused.stderr
    missing = orchkit("resume", "last", "--module", "words_of_nobody")
    assert "words_of_nobody" in missing.stderr
    assert orchkit("resume", "last", "--module", "words_of_mine").exit_code == 0
    assert json.loads(orchkit("runs", "--json").stdout)[0]["status"] == "success"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("zzz",), "unknown run 'zzz'"),
        (("run_alive",), "run_alive"),
        (("run_op",), "not of a workflow"),
        (("last", "--on-change", "perhaps"), "perhaps"),
    ],
)
def test_what_cannot_be_resumed(
    folder: Path, orchkit: Orchkit, arguments: tuple[str, ...], said: str
) -> None:
    """An unknown run, one that goes on, one that is no workflow, a choice that is none."""
    with ok.open("runs.duckdb") as kit:
        for name, kind in (("alive", "workflow"), ("op", "operation")):
            facts = {"kind": kind, "name": name, **this_process().facts}
            definition = {"name": name, "steps": []}
            kit.store.record("run.started", {**facts, "definition": definition}, run_id=f"run_{name}")
        kit.store.open_runs.begin("run_alive", "workflow", "alive")
        kit.store.commit()
        answer = orchkit("resume", *arguments)
        assert answer.exit_code != 0
        assert said in answer.stderr
        kit.store.open_runs.end("run_alive")


# --- keys ----------------------------------------------------------------------------------


@pytest.fixture
def keyed(folder: Path) -> Path:
    """A store with keys that were completed, replayed, failed, cut off and expired."""
    with ok.open("runs.duckdb") as kit:
        store = kit.store
        now = store.clock.now_us()
        hour = 3_600_000_000
        for key, status, expires in (
            ("done", "COMPLETED", hour), ("bad", "FAILED", hour), ("old", "COMPLETED", -hour),
            ("lost", None, hour),
        ):  # fmt: skip
            run = {"kind": "orchestrator", "name": "sums", **this_process().facts, "pid": 2**22 + 1}
            store.record("run.started", run, run_id=f"run_{key}")
            claim = {"key": key, "name": "sums", "run_id": f"run_{key}"}
            acquired = {**claim, "fingerprint": "f", "execution": 1, "expires_us": now + expires}
            store.record("claim.acquired", acquired)
            if status is not None:
                error = "ValueError: no" if status == "FAILED" else None
                store.record("claim.settled", {**claim, "status": status, "error": error})
        for _ in range(2):
            store.record("claim.replayed", {"key": "done", "name": "sums", "run_id": "run_done"})
    return folder


def test_keys_are_listed(keyed: Path, orchkit: Orchkit) -> None:
    """The newest first, with what came of each, how often it was asked, and why it failed."""
    lines = orchkit("keys").stdout.splitlines()
    assert lines[0].split() == ["key", "status", "age", "replays", "run", "of"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert list(rows) == ["lost", "old", "bad", "done"]
    for key, said in (
        ("done", "completed"), ("bad", "failed"), ("old", "expired"), ("lost", "cut off"),
    ):  # fmt: skip
        assert f" {said} " in rows[key]
    assert rows["bad"].rstrip().endswith("sums: ValueError: no")
    assert rows["done"].split()[-3:] == ["2", "run_done", "sums"]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["--status", "completed"], ["old", "done"]),
        (["--status", "failed", "--status", "processing"], ["lost", "bad"]),
        (["--name", "sums", "--limit", "1"], ["lost"]),
        (["--name", "others"], []),
    ],
)
def test_keys_are_filtered(keyed: Path, orchkit: Orchkit, options: list[str], keys: list[str]) -> None:
    """By how they stand and by what they are of; the JSON has the columns of the view."""
    rows = json.loads(orchkit("keys", *options, "--json").stdout)
    assert [row["request_id"] for row in rows] == keys
    assert [row["cut_off"] for row in rows] == [key == "lost" for key in keys]
    text = orchkit("keys", *options).stdout
    assert ("no such keys" in text) is (not keys)
    assert ("the newest 1 key; --limit shows more" in text) is ("--limit" in options)
    if rows:
        assert set(rows[0]) >= {"orchestrator_name", "fingerprint", "expires_at", "replays", "run_id"}


def test_without_keys_the_list_says_so(folder: Path, orchkit: Orchkit) -> None:
    """And without a store it is an error."""
    assert orchkit("keys").exit_code == 2
    ok.open("runs.duckdb").close()
    assert orchkit("keys").stdout == "no keys yet\n"
