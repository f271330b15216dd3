"""A file in which anything was changed is refused, by naming what; nothing of it is brought in."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orchkit as ok
from orchkit.errors import BundleError
from orchkit.interop.bundle import names
from orchkit.interop.bundle.contents import document
from orchkit.interop.bundle.manifest import digest_of

Open = Callable[..., ok.Kit]
Change = Callable[[bytes], bytes]


@pytest.fixture
def refusal(open_kit: Open, tmp_path: Path, files: Any) -> Callable[[Any], list[str]]:
    """``refusal(members)``: where a file of these differs, as the error says; the store stays empty."""
    kit = open_kit()

    def refused(members: dict[str, bytes]) -> list[str]:
        path = files.write(tmp_path / "tampered.orchkit", members)
        with pytest.raises(BundleError) as caught:
            kit.import_bundle(path)
        assert caught.value.path == str(path)
        assert str(path) in str(caught.value)
        assert kit.store.query("SELECT count(*) FROM event") == [(0,)]
        assert kit.store.query("SELECT count(*) FROM blob") == [(0,)]
        return [str(difference) for difference in caught.value.differences]

    return refused


# --- by accident, or by hand ---------------------------------------------------------------


def test_each_member_that_is_changed_is_named(exported: Path, files: Any, refusal: Any) -> None:
    """And no other, whichever it is: one letter is enough, with or without a change of size."""
    members = files.read(exported)
    assert len(members) > 12
    for name, data in members.items():
        if name == names.MANIFEST:
            continue
        place = len(data) // 2
        other = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert refusal({**members, name: other}) == [f"{name}: differs: it does not have its hash any more"]
        sizes = f"it has {len(data) + 1:,} bytes and had {len(data):,}"
        assert refusal({**members, name: data + b" "}) == [f"{name}: differs: {sizes}"]


def test_each_member_that_is_missing_is_named(exported: Path, files: Any, refusal: Any) -> None:
    """Without a manifest it is not a run at all."""
    members = files.read(exported)
    for name in members:
        rest = {other: data for other, data in members.items() if other != name}
        expected = f"{name}: is missing" if name != names.MANIFEST else "the file: has no manifest.json"
        (difference,) = refusal(rest)
        assert difference.startswith(expected)


@pytest.mark.parametrize("name", ["notes.txt", "code/other.py", f"blobs/{'0' * 64}.json"])
def test_what_was_added_is_named(exported: Path, files: Any, refusal: Any, name: str) -> None:
    """Also when the manifest names it: nothing in the events does."""
    members = {**files.read(exported), name: b"1"}
    assert refusal(members) == [f"{name}: is too much: manifest.json does not name it"]
    assert refusal(files.forged(members)) == [
        f"{name}: does not have the hash that is its name"
        if name.startswith("blobs")
        else f"{name}: is too much: nothing in the events names it"
    ]


def test_all_differences_are_named_at_once(exported: Path, files: Any, refusal: Any) -> None:
    """Changed, missing and added."""
    members = files.read(exported)
    del members[names.INPUTS]
    members |= {names.DECISIONS: b"{}\n", "more.txt": b""}
    found = refusal(members)
    assert [one.partition(":")[0] for one in found] == ["more.txt", names.INPUTS, names.DECISIONS]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda data: data.replace(b'"status": "partial"', b'"status": "success"'),
            "does not have the digest",
        ),
        (lambda data: data.replace(b'"rich"', b'"Rich"', 1), "does not have the digest"),
        (lambda data: data.replace(b"\n", b"\r\n"), "is not written as orchkit writes it"),
        (lambda data: data.replace(b"{", b'{"version": 1, ', 1), "is not JSON: a name stands twice"),
        (
            lambda data: data.replace(b'"version": 1', b'"version": 2'),
            "is of version 2 of the format (upgrade",
        ),
        (lambda data: data.replace(b'"version": 1', b'"version": "1"'), "has an impossible version, '1'"),
        (
            lambda data: data.replace(b'"format": "orchkit run"', b'"format": "x"'),
            "is not the manifest of a run",
        ),
        (lambda data: data[:-20], "is not JSON"),
        (lambda data: b"", "is not JSON"),
        (lambda data: b"[" * 100_000, "is not JSON"),
        (lambda data: b"\xff", "is not JSON"),
        (lambda data: b"[1]", "is not the manifest of a run"),
    ],
)
def test_the_manifest_is_held_to_what_it_says(
    exported: Path, files: Any, refusal: Any, change: Change, words: str
) -> None:
    """A newer version is said to be one, before anything else about it is said to be wrong."""
    members = files.read(exported)
    (difference,) = refusal({**members, names.MANIFEST: change(members[names.MANIFEST])})
    assert difference.startswith(f"{names.MANIFEST}: ")
    assert words in difference


@pytest.mark.parametrize(
    "members",
    [None, {}, [1], [{"name": "a"}], [{"name": "a", "size": 1, "sha256": "x"}],
     [{"name": 1, "size": 1, "sha256": "0" * 64}], [{"name": "a", "size": True, "sha256": "0" * 64}],
     [{"name": "a", "size": 1, "sha256": "0" * 64}] * 2,
     [{"name": "manifest.json", "size": 1, "sha256": "0" * 64}]],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_names_no_proper_members(
    exported: Path, files: Any, refusal: Any, members: Any
) -> None:
    """Whatever stands there, the answer is the same clear error."""
    said = json.loads(files.read(exported)[names.MANIFEST]) | {"members": members}
    data = document(said | {"digest": digest_of(said)})
    assert refusal({names.MANIFEST: data}) == ["manifest.json: does not name its members properly"]


# --- by somebody who knows the format and makes all hashes fit -----------------------------


@pytest.mark.parametrize(
    "name",
    [names.DEFINITION, names.INPUTS, names.DECISIONS, names.EVIDENCE, "code/weigh.py"],
)
def test_people_are_not_shown_something_else(exported: Path, files: Any, refusal: Any, name: str) -> None:
    """What is for people follows from the events, and is worked out anew."""
    members = files.read(exported)
    assert b"e" in members[name]
    changed = {**members, name: members[name].replace(b"e", b"E", 1)}
    assert refusal(files.forged(changed)) == [f"{name}: differs from what events.jsonl says"]
    del changed[name]
    assert refusal(files.forged(changed)) == [f"{name}: is missing"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found["runs"].popitem(), "differs from what events.jsonl says"),
        (lambda found: found.pop("runs"), "is not written as orchkit writes it"),
        (lambda found: found.update(more=1), "is not written as orchkit writes it"),
    ],
)
def test_nor_about_where_it_ran(exported: Path, files: Any, refusal: Any, change: Any, words: str) -> None:
    """What the runs say themselves is there as they say it."""
    members = files.read(exported)
    found = json.loads(members[names.ENVIRONMENT])
    change(found)
    data = f"{json.dumps(found, indent=2, ensure_ascii=False)}\n".encode()
    assert refusal(files.forged({**members, names.ENVIRONMENT: data})) == [f"{names.ENVIRONMENT}: {words}"]


@pytest.mark.parametrize(
    "said",
    [{"name": "poor"}, {"status": "success"}, {"complete": False}, {"events": 1}, {"runs": []},
     {"run_id": "run_0"}, {"refers_to": ["run_1"]}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_nor_by_the_manifest(exported: Path, files: Any, refusal: Any, said: dict[str, Any]) -> None:
    """Its facts about the runs follow from the events."""
    members = files.forged(files.read(exported), **said)
    assert refusal(members) == [f"manifest.json {next(iter(said))}: does not follow from the events"]


@pytest.mark.parametrize("export", [None, {}, {"host": 1}, "x" * 1000])
def test_nor_about_the_export(exported: Path, files: Any, refusal: Any, export: Any) -> None:
    """When and where are texts of a length that can be shown, or nothing."""
    manifest = json.loads(files.read(exported)[names.MANIFEST])
    if export:
        export = manifest["export"] | (export if isinstance(export, dict) else {"host": export})
    (difference,) = refusal(files.forged(files.read(exported), export=export))
    assert difference == "manifest.json: does not say properly when and where the run was exported"


def _line(**fields: Any) -> bytes:
    parts = {
        "ts": 1,
        "kind": "x.y",
        "run_id": "run_1",
        "step_id": None,
        "attempt": None,
        "payload": {},
    } | fields
    return json.dumps(parts, separators=(",", ":")).encode() + b"\n"


START = _line(kind="run.started", payload={"name": "x"})
DEEP = b'{"a":' * 300 + b"1" + b"}" * 300


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (b"", "events.jsonl: has no events"),
        (b"\xff\n", "events.jsonl: is not a text"),
        (START[:-1], "line 1: does not end"),
        (START + b"\n", "line 2: is not an event"),
        (START.replace(b'"ts":1', b'"ts": 1'), "line 1: is not written as orchkit writes events"),
        (START.replace(b'"ts":1', b'"ts":1,"ts":1'), "line 1: is not written as orchkit writes events"),
        (START.replace(b'"step_id":null,', b""), "line 1: is not an event"),
        (START.replace(b'{"name":"x"}', b'{"name":"x","name":"y"}'), "a name stands twice"),
        (START.replace(b'{"name":"x"}', b'{"a":{"name":"x","name":"y"}}'), "a name stands twice"),
        (START.replace(b'{"name":"x"}', b'{"name":"x"},"ts":2'), "has a payload that is not JSON"),
        (START.replace(b'{"name":"x"}', DEEP), "has a payload that is not JSON"),
        (START.replace(b'{"name":"x"}', b'{"name":"\\ud800"}'), "has a payload that is not JSON"),
        (START.replace(b'{"name":"x"}', b'{"name":' + b"9" * 5000 + b"}"), "has a payload that is not JSON"),
        (_line(payload=[1]), "line 1: has a payload that is not an object"),
        (_line(ts="1"), "line 1: has an impossible time"),
        (_line(ts=-1), "line 1: has an impossible time"),
        (_line(ts=2**63 - 1), "line 1: has an impossible time"),
        (_line(ts=True), "line 1: has an impossible time"),
        (_line(kind=""), "line 1: has an impossible kind"),
        (_line(kind="a\u0000b"), "line 1: has an impossible kind"),
        (_line(run_id=None), "line 1: has an impossible run_id"),
        (_line(run_id="x" * 1000), "line 1: has an impossible run_id"),
        (_line(step_id=1), "line 1: has an impossible step_id"),
        (_line(attempt=-1), "line 1: has an impossible attempt"),
        (_line(attempt=2**31), "line 1: has an impossible attempt"),
        (_line(kind="step.finished", payload={"started_us": 2**62}), "line 1: has an impossible started_us"),
        (_line(kind="step.finished", payload={"started_us": "1"}), "line 1: has an impossible started_us"),
        (_line(kind="claim.settled"), "line 1: is of kind 'claim.settled', which is no part of a run"),
        (_line(kind="session.closed"), "line 1: is of kind 'session.closed', which is no part of a run"),
        (_line(kind="run.imported"), "line 1: is of kind 'run.imported', which is no part of a run"),
        (_line(kind="step.finished"), "line 1: run_1 has an event before its begin"),
        (START + START, "line 2: run_1 begins once more"),
        (START + _line(kind="run.started", run_id="run_2"), "line 2: run_2 is no part of run_1"),
        (START + _line(kind="run.finished"), "line 2: cannot be an event 'run.finished': KeyError: 'status'"),
        (_line(kind="run.started", payload={"definition": [1]}), "line 1: cannot be an event 'run.started'"),
        (START + _line(kind="evidence", payload={"evidence_id": "e", "data": 1, "hash": "0"}),
         "line 2: evidence e does not have the hash it names"),
        (_line(kind="run.started", payload={"code": {"t": {"source": "0" * 64}}}), "blobs/000"),
        (_line(kind="run.started", payload={"context": {"$blob": "0" * 64, "bytes": 1}}), "blobs/000"),
        (START + _line(payload={"x": {"$blob": "../../x", "bytes": 1}}), "blobs/../../x.json: is missing"),
    ],
)  # fmt: skip
def test_events_that_no_run_has(exported: Path, files: Any, refusal: Any, events: bytes, words: str) -> None:
    """They are refused before they could be misread, or break the tables of the store."""
    members = files.read(exported)
    kept = {name: members[name] for name in (names.INPUTS, names.ENVIRONMENT, names.MANIFEST)}
    found = refusal(files.forged({**kept, names.EVENTS: events}))
    assert any(words in one for one in found), found


def test_a_large_value_is_json_in_which_no_name_stands_twice(
    exported: Path, files: Any, refusal: Any
) -> None:
    """As everything else that is brought in."""
    for text in ("{", '{"a": 1, "a": 2}', "\ud800"):
        data = text.encode("utf-8", "surrogatepass")
        name = names.blob_name(sha256(data).hexdigest())
        members = files.forged({**files.read(exported), name: data})
        (difference,) = refusal(members)
        assert difference.startswith(f"{name}: is not JSON: ")


# --- by a broken disk ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path, list[Any]]:
    """A file of a small run, a place for damaged ones, and the rows of the run."""
    folder = tmp_path_factory.mktemp("small")
    with ok.open() as kit:
        kit.registry.methods.register_method(lambda n: {"n": n, "text": "x" * 70_000}, name="work")
        run = kit.run(kit.workflow("small").add_step("work", {"n": 1}).build()).run
        data = run.export(folder / "run.orchkit").read_bytes()
        return data, folder / "damaged.orchkit", _rows(kit)


def _rows(kit: ok.Kit) -> list[Any]:
    columns, others = "ts, kind, run_id, step_id, attempt, payload", "kind <> 'run.imported'"
    events = kit.store.query(f"SELECT {columns} FROM event WHERE {others} ORDER BY seq")
    return events + sorted(kit.store.query("SELECT * FROM blob"))


def _refused_or_the_same(data: bytes, path: Path, rows: list[Any]) -> bool:
    """Whether it was refused; else what was imported is what was exported."""
    path.write_bytes(data)
    with ok.open() as kit:
        try:
            kit.import_bundle(path)
        except BundleError:
            assert kit.store.log.last_seq() == 0
            return True
        assert _rows(kit) == rows
        return False


@settings(max_examples=300)
@given(st.data())
def test_flipped_bits_are_noticed_or_do_not_matter(small: Any, data: st.DataObject) -> None:
    """Anywhere in the file, also in what makes it a zip: refused, or imported as it was, and nothing else."""
    whole, path, rows = small
    damaged = bytearray(whole)
    for place, mask in data.draw(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), min_size=1, max_size=4)
    ):
        damaged[place] ^= mask
    if damaged != whole:
        _refused_or_the_same(bytes(damaged), path, rows)


@settings(max_examples=100)
@given(st.data())
def test_lost_and_added_bytes_are_noticed(small: Any, data: st.DataObject) -> None:
    """Of a zip file of this kind no byte can go and none can come."""
    whole, path, rows = small
    place = data.draw(st.integers(0, len(whole)))
    if data.draw(st.booleans()):
        added = data.draw(st.binary(min_size=1, max_size=30))
        assert _refused_or_the_same(whole[:place] + added + whole[place:], path, rows)
    else:
        lost = data.draw(st.integers(1, len(whole)))
        damaged = whole[:place] + whole[place + lost :]
        assert damaged == whole or _refused_or_the_same(damaged, path, rows)


def test_a_whole_file_is_accepted(small: Any) -> None:
    """The tests above refuse damage, not everything."""
    whole, path, rows = small
    assert not _refused_or_the_same(whole, path, rows)
