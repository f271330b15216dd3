"""Hand-written runs, as states and in a store."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchkit.model.workflow import Workflow
from orchkit.store.store import Store
from orchkit.testing import FakeClock


def _recording() -> Any:
    """The module of the neighbouring folder; tests are collected by path and not importable as a package."""
    name = "orchkit_test_recording"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, Path(__file__).parents[1] / "analysis" / "recording.py"
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def recording() -> Any:
    """The class `Recording`."""
    return _recording().Recording


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands at the time at which recordings begin."""
    return FakeClock(start_us=_recording().START_US)


@pytest.fixture
def store(clock: FakeClock) -> Iterator[Store]:
    """An empty store in memory."""
    with Store(clock=clock) as store:
        yield store


HOSTILE = {
    "quotes": "a\"b'c`d",
    "backslashes": "\\N \\G \\l a\\",
    "newlines": "line\nbreak\r\n\ttab",
    "script": "<script>alert(1)</script>",
    "event handler": '"><img src=x onerror=alert(1)>',
    "entities": "&amp; &lt; &#x41; & <b>",
    "comment": "--> ]]> <!-- <![CDATA[",
    "style": "</style></title><svg onload=alert(1)>",
    "long": "x" * 5000,
    "emoji": "👩‍👩‍👧‍👦 family 🎉",
    "right to left": "שלום עולם مرحبا",
    "direction override": "\u202egnp.exe\u2066",
    "control": "\x00\x07\x1b[31m\x7f",
    "half a pair": "\ud83d lone",
    "wide": "日本語のステップ",
    "accents": "z\u0300\u0301\u0302a\u0303",
    "reference": "${steps.a} $x^2$ $$y$$",
    "sql": "'; DROP TABLE runs; --",
    "template": "%s {0} {{x}}",
    "dot keyword": "graph",
    "dot edge": "a -> b [label=x]; }",
    "space": " ",
    "empty": "",
}
"""Texts that have broken somebody's output at some time."""


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request: pytest.FixtureRequest) -> str:
    """One of the hostile texts."""
    return str(request.param)


@pytest.fixture
def storable(hostile: str) -> str:
    """One of those that can be written in UTF-8."""
    return hostile.encode("utf-8", "replace").decode()


@pytest.fixture
def hostile_workflow(hostile: str) -> Workflow:
    """A workflow with the text in every place that a user can write to."""
    inner = {"name": hostile, "steps": [{"id": "inner", "tool": hostile}]}
    step = {"tool": hostile, "node_type": hostile or "task", "when": hostile or None, "description": hostile}
    steps = [
        {"id": hostile, **step, "compensate": hostile, "params": {hostile: hostile}},
        {
            "id": "after",
            **step,
            "depends_on": [hostile],
            "params": {"x": f'${{steps["{hostile}"].{hostile}}}'},
        },
        {"id": "map", "tool": hostile, "over": [hostile]},
        {"id": "sub", "workflow": inner, "depends_on": ["after"]},
    ]
    definition = {"name": hostile, "description": hostile, "execution_mode": "dag", "steps": steps}
    return Workflow.from_dict(definition)


@pytest.fixture
def hostile_run(hostile: str, hostile_workflow: Workflow, recording: Any) -> Any:
    """A run of it, with the text in everything that user code can give."""
    run = recording().start(hostile_workflow, user_id=hostile, session_id=hostile, casefile_id=hostile)
    run.ran(hostile, hostile, output={hostile: [hostile]})
    run.decided(hostile, hostile, hostile, hostile, origin="user", alternatives=[hostile], input_data=hostile)
    run.add("evidence", hostile, 1, type=hostile, source=hostile, data=hostile, confidence_score=1)
    run.begin("after", hostile).add("progress", "after", fraction=0.5, message=hostile)
    run.attempt("after", 1, "failed", error=hostile, error_type=hostile).attempt("after", 2, "failed")
    run.finish("after", "failed", hostile, 2, error=hostile, reason=hostile)
    run.skipped("map", hostile).ran(f"compensate:{hostile}", hostile)
    return run.end("failed", hostile)
