"""A run out of a file: verified to the last byte, then brought in whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from orchkit.errors import BundleError, Problem, StoreError
from orchkit.interop.bundle import lines as li
from orchkit.interop.bundle import manifest as mf
from orchkit.interop.bundle import names
from orchkit.interop.bundle.archive import MAX_BYTES, Reader
from orchkit.interop.bundle.contents import BadContentsError, Contents, document
from orchkit.interop.bundle.lines import Line
from orchkit.interop.bundle.manifest import Member, NoManifestError
from orchkit.interop.bundle.record import recorded
from orchkit.interop.bundle.sameness import what_is_new
from orchkit.model import event as ev
from orchkit.store import codec
from orchkit.store.arrivals import Arrivals
from orchkit.store.log import Row
from orchkit.store.store import Store

_TRIES = 10


def import_run(store: Store, path: str | Path, *, max_bytes: int = MAX_BYTES) -> str:
    """Bring a run into a store and return its id: see `orchkit.Kit.import_bundle`.

    Raises `BundleError` and `StoreError`; then the store is as it was.
    """
    path = Path(path).expanduser().absolute()
    with Reader(path, max_bytes=max_bytes) as reader:
        try:
            bundle = verified(reader)
            _bring(store, bundle, path.name)
        except BadContentsError as error:
            raise reader.refused(*error.problems) from None
        return bundle.contents.root.run_id


def read_manifest(path: str | Path) -> Mapping[str, Any]:
    """What a bundle says of itself; the rest of it is not looked at. Raises `BundleError`."""
    with Reader(Path(path), max_bytes=sys.maxsize) as reader:
        return _manifest(reader)


class Bundle(NamedTuple):
    """A bundle that is what it says."""

    reader: Reader
    manifest: Mapping[str, Any]
    contents: Contents

    def large_values(self) -> Iterator[tuple[str, str]]:
        """Hashes and texts, one by one."""
        for digest in self.contents.digests:
            name = names.blob_name(digest)
            data = self.reader.read(name)
            if sha256(data).hexdigest() != digest:
                raise self.reader.refused(Problem(name, "was changed while it was read"))
            yield digest, data.decode()


# --- verifying -----------------------------------------------------------------------------


def verified(reader: Reader) -> Bundle:
    """The bundle in a file. Raises `BundleError` naming all that differs, is missing or is too much."""
    manifest = _manifest(reader)
    members = {member.name: member for member in mf.members_in(manifest)}
    _raise(reader, _damages(reader, members))
    contents = _contents(reader)
    _raise(reader, _contradictions(reader, contents, manifest, members))
    return Bundle(reader, manifest, contents)


def _raise(reader: Reader, problems: Iterator[Problem]) -> None:
    found = tuple(problems)
    if found:
        raise reader.refused(*found)


def _manifest(reader: Reader) -> dict[str, Any]:
    if names.MANIFEST not in reader.sizes:
        raise reader.refused(Problem("the file", f"has no {names.MANIFEST}: it is not a run"))
    if reader.sizes[names.MANIFEST] > mf.MAX_BYTES:
        raise reader.refused(Problem(names.MANIFEST, f"is larger than {mf.MAX_BYTES:,} bytes"))
    try:
        return mf.parsed(reader.read(names.MANIFEST))
    except NoManifestError as error:
        raise reader.refused(Problem(names.MANIFEST, str(error), error.hint)) from None


def _damages(reader: Reader, members: Mapping[str, Member]) -> Iterator[Problem]:
    """Members that are not as the manifest says."""
    for name in reader.sizes:
        if name not in members and name != names.MANIFEST:
            yield Problem(name, f"is too much: {names.MANIFEST} does not name it")
    for name, member in members.items():
        if name not in reader.sizes:
            yield Problem(name, "is missing")
        elif reader.sizes[name] != member.size:
            yield Problem(name, f"differs: it has {reader.sizes[name]:,} bytes and had {member.size:,}")
        else:
            yield from _damage(reader, member)


def _damage(reader: Reader, member: Member) -> Iterator[Problem]:
    try:
        data = reader.read(member.name)
    except BundleError as error:
        yield from error.differences
        return
    digest = names.digest_in(member.name)
    if sha256(data).hexdigest() != member.sha256:
        yield Problem(member.name, "differs: it does not have its hash any more")
    elif digest is not None and digest != member.sha256:
        yield Problem(member.name, "does not have the hash that is its name")
    elif digest is not None:
        try:
            li.strict_json(data.decode())
        except (ValueError, RecursionError) as error:
            yield Problem(member.name, f"is not JSON: {error}")


def _contents(reader: Reader) -> Contents:
    try:
        text = reader.read(names.EVENTS).decode()
    except UnicodeDecodeError as error:
        raise reader.refused(Problem(names.EVENTS, f"is not a text: {error}")) from None
    lines: list[Line] = []
    problems: list[Problem] = []
    for one in li.read_all(text):
        if isinstance(one, Problem):
            problems.append(one)
        else:
            lines.append(one)
    if problems:
        raise reader.refused(*problems)
    return Contents(lines, lambda digest: reader.read(names.blob_name(digest)).decode())


def _contradictions(
    reader: Reader, contents: Contents, manifest: Mapping[str, Any], members: Mapping[str, Member]
) -> Iterator[Problem]:
    """Members that show people something else than what the events say."""
    derived = {name: Member.of(name, data) for name, data in contents.members().items()}
    order = [*derived, names.ENVIRONMENT, *map(names.blob_name, contents.digests)]
    extra = [name for name in members if name not in order]
    for name in extra:
        yield Problem(name, "is too much: nothing in the events names it")
    for name in order:
        if name not in members:
            yield Problem(name, "is missing")
        elif name in derived and members[name] != derived[name]:
            yield Problem(name, f"differs from what {names.EVENTS} says")
    if names.ENVIRONMENT in members:
        yield from _environment_problems(reader.read(names.ENVIRONMENT), contents)
    in_order = [members[name] for name in (*order, *extra) if name in members]
    expected = mf.made(contents.facts, in_order, manifest["export"])
    found = list(mf.differences(expected, manifest))
    yield from found
    if not found and list(expected) != list(manifest):
        yield Problem(names.MANIFEST, "is not written as orchkit writes it")


def _environment_problems(data: bytes, contents: Contents) -> Iterator[Problem]:
    try:
        found = li.strict_json(data.decode())
    except (ValueError, RecursionError) as error:
        yield Problem(names.ENVIRONMENT, f"is not JSON: {error}")
        return
    if not isinstance(found, dict) or list(found) != ["export", "runs"] or document(found) != data:
        yield Problem(names.ENVIRONMENT, "is not written as orchkit writes it")
    elif found["runs"] != contents.surroundings:
        yield Problem(names.ENVIRONMENT, f"differs from what {names.EVENTS} says")


# --- bringing in ---------------------------------------------------------------------------


def _bring(store: Store, bundle: Bundle, file: str) -> None:
    """Write what the store does not have yet, in one transaction; nothing when it has all of it."""
    arrivals = Arrivals(store.log)
    run_ids = list(bundle.contents.runs)
    for _ in range(_TRIES):
        seen = arrivals.versions(run_ids)
        news = what_is_new(bundle.contents.lines, recorded(store, run_ids))
        if not news:
            return
        now_us = store.clock.now_us()
        rows = [line.row for line in news] + [
            _imported(run_id, now_us, bundle.manifest, file)
            for run_id in dict.fromkeys(line.run_id for line in news)
        ]
        if arrivals.write(rows, bundle.large_values(), seen, now_us):
            return
    raise StoreError(f"{file} cannot be imported: somebody else writes the same run all the time")


def _imported(run_id: str, now_us: int, manifest: Mapping[str, Any], file: str) -> Row:
    """The event that says where a run came from."""
    about = manifest["export"]
    payload = {
        "digest": manifest["digest"],
        "file": file,
        "exported_at": about["exported_at"],
        "host": about["host"],
        "complete": manifest["complete"],
    }
    return now_us, ev.RUN_IMPORTED, run_id, None, None, codec.dumps(payload)
