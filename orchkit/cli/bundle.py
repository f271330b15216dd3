"""``orchkit export`` and ``orchkit import``: a run as one file, from one store to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

import orchkit as ok
from orchkit.analysis.words import plural
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading, recording
from orchkit.cli.screen import print_json, stdout
from orchkit.cli.show import find_run
from orchkit.cli.words import one_line
from orchkit.interop.bundle import MAX_BYTES, read_manifest

_MB = 1_000_000
_FILE = "A run in a file, such as run.orchkit."


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An id, the begin of one, or: last.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_FILE)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a run into one file, to keep or to send.

    Definition, code, inputs, events and evidence, with a hash of each part: a zip that anybody can look into,
    and that `orchkit import` brings into another store.
    """
    with reading(store) as kit:
        path = find_run(kit, run).export(file, overwrite=overwrite)
    manifest = read_manifest(path)
    if as_json:
        print_json({"file": str(path), "size": path.stat().st_size, **_short(manifest)})
        return
    size = f"{path.stat().st_size / _MB:,.2f} MB"
    events, complete = plural(manifest["events"], "event"), manifest["complete"]
    state = manifest["status"] if complete else f"{manifest['status']}: not complete"
    _tell(
        f"Exported {manifest['run_id']} ({one_line(manifest['name'])}, {state}, {events}) to {file}, {size}."
    )
    _tell(f"Digest {manifest['digest']}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_FILE)],
    max_mb: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many MB it may unpack to.", show_default=True)
    ] = MAX_BYTES // _MB,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring a run out of a file into the store.

    Every byte of the file has to be as it was written, and what the store says of this run already has to be
    the same: else it is refused, and the store stays as it is.
    """
    manifest = read_manifest(file)  # before a store is made for it
    with recording(store) as kit:
        before = _count(kit, manifest)
        run = kit.import_bundle(file, max_bytes=max_mb * _MB)
        news = _count(kit, manifest) > before
    if as_json:
        print_json({"store": str(store.absolute()), "imported": news, **_short(manifest)})
        return
    done = "Imported" if news else "Nothing to import: the store has"
    _tell(f"{done} {run.id} ({one_line(manifest['name'])}, {manifest['status']}) in {store}.")


def _count(kit: ok.Kit, manifest: Mapping[str, Any]) -> int:
    query = "SELECT count(*) FROM events WHERE run_id = ?"
    return int(kit.store.query(query, [manifest["run_id"]])[0][0])


def _short(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: manifest[name] for name in manifest if name != "members"}


def _tell(text: str) -> None:
    stdout().print(Text(text), soft_wrap=True)
