"""The SQL of both stores, as package data."""

from __future__ import annotations

from importlib.resources import files


def script(name: str) -> str:
    """The text of one SQL file of this package."""
    return (files(__name__) / name).read_text(encoding="utf-8")


def migrations(prefix: str) -> list[tuple[int, str]]:
    """``(version, sql)`` of the files ``{prefix}_NNN.sql``, in order."""
    names = sorted(
        item.name
        for item in files(__name__).iterdir()
        if item.name.startswith(prefix) and item.name.endswith(".sql")
    )
    return [(int(name.removesuffix(".sql").rsplit("_", 1)[1]), script(name)) for name in names]


def statements(sql: str) -> list[str]:
    """The statements of a script (which has no semicolon inside a statement, comments aside)."""
    lines = [line.split("--", 1)[0] for line in sql.splitlines()]
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]
