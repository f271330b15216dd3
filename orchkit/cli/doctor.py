"""``orchkit doctor``: what is installed, what is missing, how the store is."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from orchkit.analysis.words import plural
from orchkit.cli.failure import FAILED
from orchkit.cli.installation import EXTRAS, installed, python_path, versions
from orchkit.cli.options import DEFAULT_STORE, DebugOption, JsonOption, StoreOption
from orchkit.cli.screen import print_json, stdout
from orchkit.cli.storefacts import StoreFacts, facts_of
from orchkit.views.render import available_renderers

if TYPE_CHECKING:
    from rich.console import Console


def doctor(
    store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Say what is installed, what is missing, and how the store is. Changes nothing, makes no store.

    Exit code 1 when the store cannot be used.
    """
    facts = facts_of(store)
    if as_json:
        print_json(_document(facts))
    else:
        console = stdout()
        _print_installation(console)
        _print_extras(console)
        _print_renderers(console)
        _print_store(console, facts)
    if facts.problems:
        raise typer.Exit(FAILED)


def _document(facts: StoreFacts) -> dict[str, Any]:
    renderers = available_renderers()
    return {
        "python": python_path(),
        "platform": platform.platform(),
        "versions": versions(),
        "extras": {
            extra.name: {
                "adds": extra.adds,
                "packages": {package: installed(package) for package in extra.packages},
            }
            for extra in EXTRAS
        },
        "renderer": next((name for name, missing in renderers.items() if missing is None), None),
        "renderers": renderers,
        "store": {
            "path": str(facts.path),
            "exists": facts.exists,
            "history_bytes": facts.history_bytes,
            "log_bytes": facts.log_bytes,
            "history_schema": facts.history_schema,
            "log_schema": facts.log_schema,
            "waiting_events": facts.waiting_events,
            "holder": _holder_document(facts),
            "filesystem": facts.filesystem and facts.filesystem.type,
            "network_filesystem": facts.filesystem and facts.filesystem.is_network,
            "free_bytes": facts.free_bytes,
        },
        "problems": facts.problems,
        "warnings": facts.warnings,
    }


def _holder_document(facts: StoreFacts) -> dict[str, Any] | None:
    if facts.holder is None:
        return None
    return {"pid": facts.holder.pid, "host": facts.holder.host, "alive": facts.holder_alive}


# --- for people ------------------------------------------------------------------------------


def _section(console: Console, title: str, rows: list[tuple[str, str | Text]]) -> None:
    console.print(Text(title, style="bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, fact in rows:
        table.add_row(f"  {name}", fact)
    console.print(table)
    console.print()


def _print_installation(console: Console) -> None:
    found = versions()
    here = [
        f"{name} {number}" for name, number in found.items() if number and name not in ("python", "orchkit")
    ]
    missing = [name for name, number in found.items() if number is None]
    rows: list[tuple[str, str | Text]] = [
        ("orchkit", str(found["orchkit"])),
        ("Python", f"{found['python']}, {python_path()}"),
        ("system", platform.platform()),
        ("packages", ", ".join(here)),
    ]
    if missing:
        rows.append(("missing", Text(", ".join(missing), style="red")))
    _section(console, "Installation", rows)


def _print_extras(console: Console) -> None:
    rows: list[tuple[str, str | Text]] = []
    for extra in EXTRAS:
        found = [(package, installed(package)) for package in extra.packages]
        if all(number for _, number in found):
            here = ", ".join(f"{package} {number}" for package, number in found)
            rows.append((extra.name, Text.assemble(("✓ ", "green"), f"{extra.adds} ({here})")))
        else:
            rows.append(
                (
                    extra.name,
                    Text.assemble(("– ", "dim"), f'{extra.adds}: pip install "orchkit[{extra.name}]"'),
                )
            )
    _section(console, "Extras", rows)


def _print_renderers(console: Console) -> None:
    rows: list[tuple[str, str | Text]] = []
    chosen = False
    for name, missing in available_renderers().items():
        if missing is not None:
            rows.append((name, Text.assemble(("– ", "dim"), missing)))
        else:
            rows.append(
                (name, Text.assemble(("✓ ", "green"), "available" if chosen else "draws the pictures"))
            )
            chosen = True
    _section(console, "Pictures", rows)


def _print_store(console: Console, facts: StoreFacts) -> None:
    rows: list[tuple[str, str | Text]] = [("path", str(facts.path))]
    if not facts.exists:
        rows.append(("state", "does not exist yet; the first run makes it"))
    if facts.history_bytes is not None:
        rows.append(("history", f"{_size(facts.history_bytes)}{_schema(facts.history_schema)}"))
    if facts.log_bytes is not None:
        rows.append(("log", f"{_size(facts.log_bytes)}{_schema(facts.log_schema)}"))
    if facts.waiting_events is not None:
        rows.append(
            ("waiting", f"{plural(facts.waiting_events, 'event')} in the log, not yet in the history")
        )
    if facts.log_schema is not None:
        rows.append(("opened by", _opened_by(facts)))
    if facts.filesystem is not None:
        rows.append(
            (
                "disk",
                f"{facts.filesystem.type} at {facts.filesystem.mounted_at}, {_size(facts.free_bytes)} free",
            )
        )
    rows += [("problem", Text(problem, style="bold red")) for problem in facts.problems]
    rows += [("warning", Text(warning, style="yellow")) for warning in facts.warnings]
    _section(console, "Store", rows)


def _schema(number: int | None) -> str:
    return "" if number is None else f", schema version {number}"


def _opened_by(facts: StoreFacts) -> str:
    if facts.holder is None:
        return "nobody"
    return (
        str(facts.holder) if facts.holder_alive else f"{facts.holder}, which is gone; the next one takes over"
    )


def _size(count: int | None) -> str:
    size = float(count or 0)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
