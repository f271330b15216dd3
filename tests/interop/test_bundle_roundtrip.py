"""A run that was exported and imported says all that it said before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

import orchkit as ok
from orchkit.errors import BundleError, UnknownNameError
from orchkit.interop.bundle import archive, names, read_manifest
from orchkit.interop.bundle.archive import MAX_RATIO
from orchkit.store.store import Store

Open = Callable[..., ok.Kit]
Rows = Callable[[ok.Kit, list[str]], dict[str, list[Any]]]

IMPORT = """
import sys
import orchkit as ok
with ok.open(sys.argv[1]) as kit:
    run = kit.import_bundle(sys.argv[2])
    step = run.step("parcels")
    parcel = step.output[0]
    print(run.status, step.status, type(parcel).__name__, parcel["weight"], parcel["sent"].isoformat())
    print(sorted(name for name in sys.modules if "conftest" in name))
"""


def test_every_view_says_the_same(
    origin: ok.Kit, rich: ok.Run, exported: Path, open_kit: Open, all_rows: Rows
) -> None:
    """Ids, times, values, errors, numbers of decisions: of the run and of those of its sub-workflows."""
    other = open_kit()
    run = other.import_bundle(exported)
    run_ids = [one["run_id"] for one in read_manifest(exported)["runs"]]
    assert run.id == rich.id == run_ids[0]
    assert len(run_ids) == 3
    before, after = all_rows(origin, run_ids), all_rows(other, run_ids)
    assert {table: len(rows) for table, rows in before.items() if not rows} == {"lineage": 0}
    assert after == before
    assert run.to_dict()["definition"] == rich.to_dict()["definition"]
    assert run.explain() == rich.explain()
    assert list(other.runs) == [run]


def test_values_come_back_as_the_types_they_were(rich: ok.Run, exported: Path, open_kit: Open) -> None:
    """Where their classes can be found: models, dataclasses, decimals, sets, times, bytes; and large ones."""
    run = open_kit().import_bundle(exported)
    for step_id in ("invoice", "parcels", "weigh", "weigh[1]", "sub"):
        here, there = run.step(step_id), rich.step(step_id)
        assert (here.output, here.input) == (there.output, there.input)
        assert type(here.output) is type(there.output)
    assert type(run.step("parcels").output[0]).__name__ == "Parcel"
    assert run.step("unlucky").attempts[1].error == "ConnectionError: no such luck"
    assert len(run.step("sub").output["inner"]["large"]["rows"]) == 30_000


def test_values_can_be_read_where_their_classes_are_not(
    exported: Path, tmp_path: Path, repository: Path
) -> None:
    """In a process that has none of the modules, they are plain; nothing is imported to read them."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(tmp_path / "other.duckdb"), str(exported)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["partial success dict 0.0 2025-03-01T00:00:00+00:00", "[]"]


def test_the_same_run_gives_the_same_bytes(rich: ok.Run, exported: Path, tmp_path: Path, files: Any) -> None:
    """Apart from what is said about the export itself."""
    again = files.read(rich.export(tmp_path / "again.orchkit"))
    first = files.read(exported)
    assert list(first) == list(again)
    differing = {name for name in first if first[name] != again[name]}
    assert differing <= {names.MANIFEST, names.ENVIRONMENT}
    one, other = json.loads(first[names.MANIFEST]), json.loads(again[names.MANIFEST])
    one["export"]["exported_at"] = other["export"]["exported_at"]
    assert {name for name in one if one[name] != other[name]} <= {"digest"}


def test_what_was_imported_can_be_exported_on(
    exported: Path, open_kit: Open, tmp_path: Path, files: Any
) -> None:
    """The same members once more; the manifest names the bundle that it came in."""
    run = open_kit().import_bundle(exported)
    first, second = files.read(exported), files.read(run.export(tmp_path / "second.orchkit"))
    del first[names.MANIFEST], first[names.ENVIRONMENT]
    manifest = json.loads(second.pop(names.MANIFEST))
    del second[names.ENVIRONMENT]
    assert second == first
    assert manifest["export"]["imported_from"] == read_manifest(exported)["digest"]
    third = open_kit().import_bundle(tmp_path / "second.orchkit").export(tmp_path / "third.orchkit")
    assert read_manifest(third)["export"]["imported_from"] == manifest["digest"]


def test_people_can_look_into_it(rich: ok.Run, exported: Path, files: Any) -> None:
    """Definition, inputs, code, decisions and evidence as texts; where it ran and was exported."""
    members = files.read(exported)
    assert json.loads(members[names.DEFINITION])["name"] == "rich"
    inputs = json.loads(members[names.INPUTS])
    assert (inputs["user_id"], inputs["context"]["number"]) == ("u_7", "2025-014")
    assert {step["step_id"] for step in inputs["steps"]} >= {"invoice", "weigh[2]", "sub"}
    decisions = [json.loads(line) for line in members[names.DECISIONS].splitlines()]
    mine = [one for one in decisions if one["decision"]["origin"] == "user"]
    assert [(one["step_id"], one["attempt"], one["decision"]["decision"]) for one in mine] == [
        ("invoice", 1, "yes")
    ]
    (evidence,) = map(json.loads, members[names.EVIDENCE].splitlines())
    assert evidence["evidence"]["data"]["text"] == "Invoice 2025-014 \u2028 é"
    environment = json.loads(members[names.ENVIRONMENT])
    assert environment["export"]["orchkit"] == ok.__version__
    assert environment["export"]["distributions"]["pydantic"]
    assert environment["runs"][rich.id]["pid"] == os.getpid()
    assert members["code/weigh.py"].startswith(b"def weigh(parcel")


def test_a_run_below_another_goes_alone(
    origin: ok.Kit, exported: Path, open_kit: Open, tmp_path: Path
) -> None:
    """It names the run that it is part of; when that is imported too, both are there once."""
    sub_id = read_manifest(exported)["runs"][1]["run_id"]
    path = origin.runs[sub_id].export(tmp_path / "sub.orchkit")
    manifest = read_manifest(path)
    assert (manifest["run_id"], manifest["refers_to"]) == (sub_id, [read_manifest(exported)["run_id"]])
    other = open_kit()
    other.import_bundle(path)
    assert len(other.runs) == 0  # those of sub-workflows are not counted
    other.import_bundle(exported)
    for one in read_manifest(exported)["runs"]:
        events = other.runs[one["run_id"]].events()
        assert (events.kind != "run.imported").sum() == one["events"]
    assert len(other.runs) == 1


def test_other_kinds_of_runs(open_kit: Open, tmp_path: Path, all_rows: Rows) -> None:
    """An operation has no definition, and its session and its key stay with the store that they are of."""
    kit, other = open_kit(), open_kit()
    kit.registry.methods.register_method(lambda n: n + 1, name="add")
    session = kit.sessions.create_session("u_1")
    directives = ok.ExecutionDirective(idempotency_key="k_1")
    request = ok.Request("add", {"n": 1}, "u_1", session.session_id, directives=directives)
    response = _dispatched(kit, request)
    path = kit.runs[response.metadata["run_id"]].export(tmp_path / "run.orchkit")
    with zipfile.ZipFile(path) as opened:
        assert names.DEFINITION not in opened.namelist()
    run = other.import_bundle(path)
    assert (run.state.kind, run.status) == ("operation", "success")
    assert all_rows(other, [run.id]) == all_rows(kit, [run.id])
    for table in ("sessions", "idempotency_keys"):
        assert len(kit.sql(f"FROM {table}")) == 1
        assert len(other.sql(f"FROM {table}")) == 0


def _dispatched(kit: ok.Kit, request: ok.Request) -> ok.Response:
    import asyncio

    return asyncio.run(kit.dispatch(request))


class Login(BaseModel):
    """With something that nobody must see."""

    user: str
    password: SecretStr


def log_in(login: Login) -> Login:
    """Gives back what it was given."""
    ok.bundle_evidence("login", login)
    ok.trace_decision("log in", "yes", input_data=login)
    return login


def test_secrets_are_not_in_it(open_kit: Open, tmp_path: Path) -> None:
    """Values of type SecretStr are not on the record, so they are in no member of the file."""
    kit = open_kit()
    kit.registry.methods.register_method(log_in, name="log_in")
    flow = kit.workflow("secret").add_step("log_in", {"login": "${context.login}"}).build()
    login = Login(user="u_1", password=SecretStr("tell-nobody-42"))
    run = kit.run(flow, context={"login": login}).run
    path = run.export(tmp_path / "run.orchkit")
    with zipfile.ZipFile(path) as opened:
        everything = b"".join(opened.read(name) for name in opened.namelist())
    assert b"u_1" in everything
    assert b"tell-nobody-42" not in everything
    assert b"tell-nobody-42" not in path.read_bytes()


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        (["a.b", "a.B", "a.b"], ["code/a.b.py", "code/a.B-2.py", "code/a.b-3.py"]),
        (["../../etc/x", ".hidden"], ["code/_..%2F..%2Fetc%2Fx.py", "code/_.hidden.py"]),
        (
            ["con", "NUL.x", "größe", ""],
            ["code/_con.py", "code/_NUL.x.py", "code/gr%C3%B6%C3%9Fe.py", "code/_.py"],
        ),
    ],
)
def test_code_has_names_that_can_be_unpacked_anywhere(tools: list[str], expected: list[str]) -> None:
    """Readable, never outside, never two files that some file system takes for one."""
    assert names.code_names(tools) == expected
    assert not any(map(names.cannot_be, expected))
    (long,) = names.code_names(["x" * 1000])
    assert len(long) < 130


def test_a_value_that_compresses_very_well_is_not_taken_for_a_bomb(open_kit: Open, tmp_path: Path) -> None:
    """Whoever reads bundles refuses what unpacks to hundreds of times its size, so none is written."""
    kit = open_kit()
    kit.registry.methods.register_method(lambda: "0" * 5_000_000, name="zeros")
    run = kit.run(kit.workflow("zeros").add_step("zeros").build()).run
    path = run.export(tmp_path / "run.orchkit")
    with zipfile.ZipFile(path) as opened:
        assert all(info.file_size <= MAX_RATIO * info.compress_size for info in opened.infolist())
    assert open_kit().import_bundle(path).step("zeros").output == "0" * 5_000_000


def test_ten_thousand_events(open_kit: Open, tmp_path: Path) -> None:
    """Go out and come in; how long it takes is for the benchmarks."""
    kit, other = open_kit(), open_kit()
    store: Store = kit.store
    store.append("run.started", '{"kind": "workflow", "name": "long"}', run_id="run_1")
    for number in range(10_000):
        store.append(
            "progress", f'{{"fraction": {number / 10_000}}}', run_id="run_1", step_id=f"s{number % 99}"
        )
    store.append("run.finished", '{"status": "success"}', run_id="run_1")
    store.commit()
    run = other.import_bundle(kit.runs["run_1"].export(tmp_path / "run.orchkit"))
    assert len(run.events()) == 10_003
    assert run.state.position == 10_003


def test_what_cannot_be_written_is_said(origin: ok.Kit, rich: ok.Run, exported: Path, tmp_path: Path) -> None:
    """A file that is there, a folder that is not, a run that is not; and nothing is left behind."""
    before = exported.read_bytes()
    with pytest.raises(BundleError, match=r"the path: exists \(name another, or overwrite it\)"):
        rich.export(exported)
    assert exported.read_bytes() == before
    with pytest.raises(BundleError, match="the path: is a folder"):
        rich.export(tmp_path)
    with pytest.raises(BundleError, match="cannot be written: No such file"):
        rich.export(tmp_path / "nowhere" / "run.orchkit")
    with pytest.raises(UnknownNameError, match="run_0"):
        ok.Run(origin.store, "run_0").export(tmp_path / "other.orchkit")
    assert rich.export(exported, overwrite=True) == exported
    left = {path.name for path in tmp_path.iterdir() if "duckdb" not in path.name}
    assert left == {"run.orchkit"}


def test_a_run_that_is_too_large_is_not_begun(
    rich: ok.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is written that could not be read."""
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
    with pytest.raises(BundleError, match="the run: is larger than a bundle can be"):
        rich.export(tmp_path / "run.orchkit")
    assert not list(tmp_path.iterdir())


def test_a_damaged_record_is_not_certified(open_kit: Open, tmp_path: Path) -> None:
    """Evidence that does not have its hash any more, and large values that are gone, are named."""
    kit = open_kit()
    append = kit.store.append
    append("run.started", '{"kind": "workflow", "name": "x"}', run_id="run_1")
    append("evidence", '{"evidence_id": "evd_1", "type": "t", "data": [1], "hash": "0"}', run_id="run_1")
    append("run.started", '{"kind": "workflow", "name": "x"}', run_id="run_2")
    append("step.finished", json.dumps({"status": "success", "output": {"$blob": "a" * 64, "bytes": 9}}),
           run_id="run_2", step_id="s")  # fmt: skip
    append("step.finished", '{"status": "success"}', run_id="run_3", step_id="s")
    append("run.started", '{"kind": "workflow", "parent_run_id": "run_1"}', run_id="run_3")
    kit.store.commit()
    for run_id, words in {
        "run_1": "run_3 has an event before its begin",
        "run_2": f"blobs/{'a' * 64}.json: is named by the events, and the store does not have it",
    }.items():
        with pytest.raises(BundleError, match=words):
            kit.runs[run_id].export(tmp_path / "run.orchkit")
    assert not list(tmp_path.iterdir())
