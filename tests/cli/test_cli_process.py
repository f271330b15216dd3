"""The command line as a process: signals, streams, terminals, other processes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok

Start = Callable[..., "subprocess.Popen[str]"]
Flow = Callable[..., str]

DECORATED = """
import orchkit as ok

@ok.register_tool(name="greet", category="demo")
@ok.method
def greet(name: str) -> str:
    print("hello")
    return f"hello {name}"

@ok.method
def fail() -> None:
    raise ValueError("no such luck")
"""
GREETING = """
name: greeting
imports: [my_tools]
steps:
  - {id: first, tool: greet, params: {name: "${context.name}"}}
  - {id: second, tool: "$T:shout", params: {text: "${steps.first}"}}
"""
WAITING = """
name: waiting
execution_mode: dag
steps:
  - {id: begun, tool: "$T:add", params: {a: 1}}
  - {id: wait, tool: "$T:$WAIT", depends_on: [begun]}
  - {id: never, tool: "$T:add", params: {a: 1}, depends_on: [wait]}
"""


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def _until(found: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that another process does."""
    for _ in range(600):
        if found():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("it did not happen within 30 s")


def _is_waiting(folder: Path) -> bool:
    """Whether the step ``wait`` has begun; read from the log, so that nobody is disturbed."""
    log = folder / "runs.duckdb-log"
    if not log.exists():
        return False
    with closing(sqlite3.connect(f"{log.as_uri()}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchall()
        begun = "SELECT 1 FROM event WHERE kind = 'attempt.started' AND step_id = 'wait'"
        return bool(tables and connection.execute(begun).fetchall())


def test_a_definition_with_tools_of_its_own(start: Start, flow: Flow, folder: Path) -> None:
    """Decorated tools of a module in the current folder, and functions by their path; exit codes 0, 1, 2."""
    (folder / "my_tools.py").write_text(DECORATED, encoding="utf-8")
    good = start("run", flow(GREETING), "--set", "name=you", "--json")
    failing = "name: x\nimports: [my_tools]\nsteps: [{id: a, tool: fail}]\n"
    bad = start("run", flow(failing, "bad.yaml"), "--store", "other.duckdb")
    unknown = start("run", flow(failing.replace("fail", "fall"), "unknown.yaml"), "--store", "third.duckdb")
    code, out, err = _end(good)
    assert code == 0, err
    assert [step["output"] for step in json.loads(out)["steps"]] == ["hello you", "HELLO YOU"]
    assert "hello\n" in err
    assert "printed by a child\n" in err
    assert _end(bad)[0] == 1
    code, out, err = _end(unknown)
    assert (code, out) == (2, "")
    assert "unknown tool or method 'fall'; did you mean 'fail'?" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_run(
    start: Start, flow: Flow, folder: Path, number: signal.Signals, code: int
) -> None:
    """What runs is cancelled, the rest skipped, all of it on the record, and the exit code says why."""
    process = start("run", flow(WAITING.replace("$WAIT", "wait")))
    _until(lambda: _is_waiting(folder), process)
    process.send_signal(number)
    ended, out, err = _end(process)
    assert ended == code, err
    assert "cancelling the run" in err
    assert "waiting was cancelled" in out
    with ok.open(folder / "runs.duckdb") as kit:
        run = kit.last
        assert run.status == "cancelled"
        assert {step.step_id: step.status for step in run.state.steps.values()} == {
            "begun": "success",
            "wait": "cancelled",
            "never": "skipped",
        }


def test_a_second_signal_does_not_wait(start: Start, flow: Flow, folder: Path) -> None:
    """A step that does not let itself be cancelled can be left behind."""
    process = start("run", flow(WAITING.replace("$WAIT", "cling")))
    _until(lambda: _is_waiting(folder), process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "cancelling the run" not in (line := process.stderr.readline()):
        assert line, "it ended after the first signal"
    process.send_signal(signal.SIGINT)
    code, _, err = _end(process)
    assert code == 130
    assert "left run_" in err
    assert "Traceback" not in err


def test_doctor_and_readers_beside_another_process(start: Start, folder: Path) -> None:
    """`doctor` names who has the history and does not wait; a reader says for whom it waits, then reads."""
    with ok.open(folder / "runs.duckdb") as kit:
        with kit.store.history.borrow():
            reader = start("runs", "--json")
            doctor = start("doctor", "--json")
            code, out, err = _end(doctor)
            assert code == 0, err
            holder = json.loads(out)["store"]["holder"]
            assert (holder["pid"], holder["alive"]) == (os.getpid(), True)
            assert reader.stderr is not None
            assert reader.stderr.readline().startswith(f"waiting for process {os.getpid()} on ")
        code, out, err = _end(reader)
    assert (code, json.loads(out)) == (0, []), err


def test_a_plain_shell_has_the_history(start: Start, folder: Path, environment: dict[str, str]) -> None:
    """A program that knows nothing of leases is waited for, too."""
    ok.open(folder / "runs.duckdb").close()
    with ok.open(folder / "runs.duckdb") as kit:
        kit.store.query("SELECT 1")
    code = "import duckdb; c = duckdb.connect('runs.duckdb'); print('mine', flush=True); input()"
    shell = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "mine\n"
        assert f"(PID {shell.pid})" in json.loads(_end(start("doctor", "--json"))[1])["warnings"][0]
        reader = start("runs", "--json")
        assert reader.stderr is not None
        assert reader.stderr.readline().startswith("waiting for ")
    finally:
        shell.communicate("\n", timeout=120)
    assert _end(reader)[0] == 0


def test_help_is_quick(environment: dict[str, str]) -> None:
    """Asking for help loads neither the database nor what shows tables and pictures."""
    code = (
        "import json, sys\nfrom orchkit.cli import main\nsys.argv = ['orchkit', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    heavy = {
        "duckdb",
        "pandas",
        "numpy",
        "networkx",
        "graphviz",
        "matplotlib",
        "IPython",
        "ipywidgets",
        "yaml",
    }
    assert not loaded & heavy


def test_the_console_script(repository: Path) -> None:
    """What the package installs as ``orchkit`` is there."""
    import tomllib

    project: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["project"]["scripts"]["orchkit"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_a_broken_pipe_is_no_error(folder: Path, environment: dict[str, str]) -> None:
    """``orchkit sql ... | head``: whoever reads may stop reading."""
    ok.open(folder / "runs.duckdb").close()
    command = f"{sys.executable} -m orchkit.cli sql 'select * from range(200000)' --csv | head -1"
    answer = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert (answer.stdout, answer.stderr) == ("range\n", "")


def _on_a_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Everything that a command writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, env={**environment, "TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    written = b""
    while select.select([master], [], [], 30)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not piece:
            break
        written += piece
    os.close(master)
    assert process.wait(30) == 0
    return written.decode()


def test_the_picture_on_a_terminal(flow: Flow, folder: Path, environment: dict[str, str]) -> None:
    """While it waits to try again, the screen says how long still; what tools print stands above."""
    (folder / "flaky.py").write_text(
        "tries = []\n\ndef flaky() -> str:\n    tries.append(1)\n    print('a try')\n"
        "    if len(tries) < 2:\n        raise OSError('gone')\n    return 'here'\n",
        encoding="utf-8",
    )
    retry = "{max_attempts: 3, delay: 0.5, strategy: fixed, jitter: none}"
    text = f'name: patience\nsteps: [{{id: a, tool: "flaky:flaky", retry: {retry}}}]\n'
    written = _on_a_terminal([sys.executable, "-m", "orchkit.cli", "run", flow(text)], folder, environment)
    assert "0/1 step" in written
    assert "retry in 0." in written
    assert "attempt 1 of 3 failed: OSError: gone" in written
    assert written.count("a try") == 2
    assert "patience succeeded" in written
