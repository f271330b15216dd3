"""A run into a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import Any

from orchkit.errors import BundleError, Problem, UnknownNameError
from orchkit.interop.bundle import environment, manifest, names
from orchkit.interop.bundle.archive import Writer, new_file
from orchkit.interop.bundle.contents import BadContentsError, Contents, document
from orchkit.interop.bundle.manifest import Member
from orchkit.interop.bundle.record import Source, large_values, tree_of


def export_run(store: Source, run_id: str, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a run and those of its sub-workflows into one file: see `orchkit.Run.export`.

    Raises `UnknownNameError` and `BundleError`.
    """
    path = Path(path).expanduser().absolute()
    try:
        with new_file(path, overwrite=overwrite) as file, Writer(file) as writer:
            lines, imported_from = tree_of(store, run_id)
            if not lines:
                raise UnknownNameError("run", run_id)
            contents = Contents(lines, lambda digest: next(large_values(store, [digest]))[1])
            members = []
            for name, data in _members(store, contents):
                writer.add(name, data)
                members.append(Member.of(name, data))
            made = manifest.made(contents.facts, members, _about(store, imported_from))
            writer.add(names.MANIFEST, document(made))
    except BadContentsError as error:
        raise BundleError(str(path), error.problems) from None
    return path


def _members(store: Source, contents: Contents) -> Iterator[tuple[str, bytes]]:
    yield from contents.members().items()
    surroundings = {"export": environment.here(), "runs": contents.surroundings}
    yield names.ENVIRONMENT, document(surroundings)
    for digest, text in large_values(store, contents.digests):
        name, data = names.blob_name(digest), text.encode()
        if Member.of(name, data).sha256 != digest:
            raise BadContentsError([Problem(name, "does not have its hash in the store any more")])
        yield name, data


def _about(store: Source, imported_from: str | None) -> dict[str, Any]:
    now = datetime.fromtimestamp(store.clock.now_us() // 1_000_000, UTC)
    return {
        "exported_at": now.isoformat(),
        "host": gethostname(),
        "orchkit": environment.version(),
        "imported_from": imported_from,
    }
