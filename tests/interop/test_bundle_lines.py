"""Events as lines: what was written is read, and what could be taken for something else is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orchkit as ok
from orchkit.errors import Problem
from orchkit.interop.bundle import lines
from orchkit.interop.bundle.contents import Contents
from orchkit.interop.bundle.names import cannot_be, code_names
from orchkit.store import codec

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
ROWS = st.tuples(
    st.integers(0, lines.LATEST_US - 1),
    st.sampled_from(["step.finished", "x.y", "decision"]),
    st.sampled_from(["run_1", "run_é"]),
    st.none() | TEXTS,
    st.none() | st.integers(0, 2**31 - 1),
    st.dictionaries(TEXTS.filter(lambda name: name not in ("started_us", "duration_us")), VALUES, max_size=4),
)


@given(ROWS, st.booleans())
def test_what_is_written_is_read(row: tuple[Any, ...], indented: bool) -> None:
    """Any event, to the letter; one line each, whatever texts are in it."""
    *head, payload = row
    text = json.dumps(payload, indent=1) if indented else codec.dumps(payload)
    line = lines.line_of((*head, text))  # type: ignore[arg-type]
    assert line[:5] == tuple(head)
    assert line.text == text.replace("\n", " ")
    (again,) = lines.read_all(lines.written(line) + "\n")
    assert again[:6] == line[:6]
    assert repr(again.payload) == repr(line.payload) == repr(codec.loads(text))


@given(ROWS, st.data())
def test_what_was_changed_is_another_event_or_none(row: tuple[Any, ...], data: st.DataObject) -> None:
    """There is one way to write an event: no other text is read as the same one."""
    *head, payload = row
    line = lines.line_of((*head, codec.dumps(payload)))  # type: ignore[arg-type]
    text = lines.written(line)
    place = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 3))
    other = text[:place] + data.draw(st.text(' {}[],:"\\\n0a', max_size=3)) + text[place + length :]
    found = list(lines.read_all(other + "\n"))
    if other == text or len(found) != 1 or isinstance(found[0], Problem):
        return
    assert found[0][:6] != line[:6]
    assert lines.written(found[0]) == other


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(st.lists(VALUES, max_size=8))
def test_any_evidence_still_has_its_hash(tmp_path: Path, values: list[Any]) -> None:
    """Whatever was put on record, numbers in all their forms: nothing honest is refused."""
    with ok.open() as kit, ok.open() as other:

        def work() -> None:
            for value in values:
                ok.bundle_evidence("value", value)

        kit.registry.methods.register_method(work, name="work")
        run = kit.run(kit.workflow("evidence").add_step("work").build()).run
        there = other.import_bundle(run.export(tmp_path / "run.orchkit", overwrite=True))
        assert there.evidence().content_hash.tolist() == run.evidence().content_hash.tolist()
        assert repr(there.evidence().evidence_data.tolist()) == repr(run.evidence().evidence_data.tolist())


@given(st.lists(st.text(max_size=120), max_size=8))
def test_any_tool_has_a_file_of_its_own(tools: list[str]) -> None:
    """Of a name that is one anywhere, whatever the tool is called."""
    found = code_names(tools)
    assert len({name.lower() for name in found}) == len(tools)
    for name in found:
        assert cannot_be(name) is None
        assert name.isascii()
        assert name.count("/") == 1


@pytest.mark.parametrize(
    "code", [None, {}, [], "x", {"t": None}, {"t": {}}, {"t": {"source": None}}, {"t": [1]}]
)
def test_runs_without_code_on_record(code: Any) -> None:
    """As those of before it was recorded: they have no members for it."""
    payload = json.dumps({"name": "x", "code": code})
    line = lines.line_of((1, "run.started", "run_1", None, None, payload))
    contents = Contents([line], lambda digest: pytest.fail(f"asked for {digest}"))
    assert contents.tools == []
    assert not any(name.startswith("code/") for name in contents.members())


def test_code_that_was_edited_before_a_resume() -> None:
    """Both are there: what began the run, and what went on with it; the definition is the last one."""
    texts = {"a" * 64: json.dumps("def f(): ..."), "b" * 64: json.dumps("def f(): pass")}

    def of(kind: str, digest: str, name: str) -> lines.Line:
        payload = {"name": "x", "code": {"f": {"source": digest}}, "definition": {"name": name, "steps": []}}
        more = {"pid": 1, "host": "h"} if kind == "run.resumed" else {}
        return lines.line_of((1, kind, "run_1", None, None, json.dumps(payload | more)))

    contents = Contents(
        [of("run.started", "a" * 64, "old"), of("run.resumed", "b" * 64, "new")], texts.__getitem__
    )
    members = contents.members()
    assert members["code/f.py"] == b"def f(): ..."
    assert members["code/f-2.py"] == b"def f(): pass"
    assert json.loads(members["definition.json"])["name"] == "new"
    assert contents.digests == sorted(texts)
