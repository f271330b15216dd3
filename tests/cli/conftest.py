"""A folder of one's own with tools in it, and the command line in this process or in another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchkit.cli.app import app

TOOLS = Path(__file__).with_name("cli_tools.py").read_text(encoding="utf-8")

_numbers = count()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHKIT_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def tools(folder: Path) -> str:
    """The name of a module of tools in the folder; another one for each test."""
    name = f"tools_{next(_numbers)}"
    (folder / f"{name}.py").write_text(TOOLS, encoding="utf-8")
    return name


@pytest.fixture
def flow(folder: Path, tools: str) -> Callable[..., str]:
    """``flow("a: add", ...)``: writes a definition; ``$T`` in it stands for the tools."""

    def write(text: str, name: str = "flow.yaml") -> str:
        (folder / name).write_text(text.replace("$T", tools), encoding="utf-8")
        return name

    return write


@pytest.fixture
def orchkit() -> Callable[..., Result]:
    """``orchkit("runs", "--json")`` in this process."""
    return lambda *arguments: CliRunner().invoke(app, list(arguments), prog_name="orchkit")


@pytest.fixture
def environment(repository: Path) -> dict[str, str]:
    """That of a new process which finds orchkit and takes warnings for errors."""
    paths = [str(repository), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "error", "COLUMNS": "80"}
    return {**{name: value for name, value in os.environ.items() if name != "ORCHKIT_STORE"}, **settings}


@pytest.fixture
def start(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start("run", "flow.yaml")``: the command line in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchkit.cli", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
