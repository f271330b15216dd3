"""``orchkit sweep``: runs whose time is over leave the record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import orchkit as ok
from orchkit.cli.failure import UsageError
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.place import reading
from orchkit.cli.screen import print_json, stdout
from orchkit.cli.show import find_run
from orchkit.store.sweepreport import SweepReport


def sweep(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    place: Annotated[
        Path | None,
        typer.Argument(metavar="[STORE]", help="The store, instead of --store.", show_default=False),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Runs that ended so long ago: 30d, 12h, 90m; else of any age."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|RUN",
            help="Not the newest N; or not this run: an id, the begin of one, last. Repeatable.",
        ),
    ] = None,
    checks_older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Also health checks that are so old; else none.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove old runs with everything about them.

    Expired idempotency keys go in any case, and the files get smaller. Without --older-than and --keep no
    run goes. Runs that go on, and those that an idempotency key still needs for its answer, always stay.
    """
    with reading(place or store) as kit:
        report = kit.store.sweep(
            older_than=older_than,
            keep=_kept(kit, keep or []),
            checks_older_than=checks_older_than,
            dry_run=dry_run,
        )
    if as_json:
        print_json(_document(report))
        return
    console = stdout()
    for line in str(report).splitlines():
        console.print(f"{line[0].upper()}{line[1:]}.")


def _kept(kit: ok.Kit, keep: list[str]) -> int | list[str]:
    """How many of the newest, or which. Raises `UsageError`, `UnknownNameError`."""
    numbers = [text for text in keep if text.isdecimal()]
    if not numbers:
        return [find_run(kit, text).id for text in keep]
    if len(keep) > 1:
        raise UsageError(
            f"--keep {numbers[0]} is how many runs stay: give it alone, or name the runs to keep"
        )
    return int(numbers[0])


def _document(report: SweepReport) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "removed": report.counts,
        "kept_though_due": report.kept,
        "bytes_before": report.bytes_before,
        "bytes_after": report.bytes_after,
        "not_compacted": report.not_compacted,
    }
