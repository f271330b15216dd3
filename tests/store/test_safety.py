"""What must not happen to a record: queries that change it, files that are none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from orchkit.errors import StoreError
from orchkit.store.store import Store


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE event",
        "DELETE FROM event RETURNING 1",
        "SELECT 1; DROP TABLE event",
        "EXPLAIN ANALYZE DELETE FROM event",
        "COMMIT; DROP TABLE event",
        "CREATE VIEW mine AS SELECT 1",
        "UPDATE event SET kind = 'x'",
        "INSERT INTO event SELECT * FROM event",
    ],
)
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_query_cannot_change_the_record(tmp_path: Path, query: str, on_disk: bool) -> None:
    """It is refused with the reason, and the record is as it was."""
    with Store(tmp_path / "runs.duckdb" if on_disk else None) as store:
        store.record("run.started", {"kind": "workflow", "name": "w"}, run_id="run_1")
        for ask in (store.sql, store.query):
            with pytest.raises(StoreError, match="only read here"):
                ask(query)
        assert store.query("SELECT kind FROM events") == [("run.started",)]


@pytest.mark.parametrize(
    "query", ["FROM runs", "DESCRIBE runs", "SUMMARIZE runs", "EXPLAIN FROM runs", "SELECT 1"]
)
def test_what_only_reads_is_answered(query: str) -> None:
    """All ways of asking work, also after a refused query."""
    with Store() as store:
        store.record("run.started", {"kind": "workflow", "name": "w"}, run_id="run_1")
        with pytest.raises(StoreError):
            store.query("DROP TABLE event")
        assert len(store.sql(query))


def test_results_can_be_written_to_files(tmp_path: Path) -> None:
    """COPY of a query into a file changes nothing in the record."""
    with Store() as store:
        store.record("run.started", {"kind": "workflow", "name": "w"}, run_id="run_1")
        store.query(f"COPY (SELECT name FROM runs) TO '{tmp_path / 'out.csv'}'")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "name\nw\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", "a\n1\n"),
        ("r.json", '[{"a": 1}]'),
        ("r.duckdb", "hello"),
        ("empty.duckdb", ""),
        ("r.parquet", "PAR1"),
    ],
)
def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path, name: str, content: str) -> None:
    """It is left as it is, nothing is written beside it, and the error says what to do."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match="is no DuckDB database: name another file"):
        Store(path)
    assert path.read_text(encoding="utf-8") == content
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_database_of_another_kind_is_refused_without_the_network(tmp_path: Path) -> None:
    """DuckDB would look for an extension to read a SQLite file."""
    path = tmp_path / "r.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="is no DuckDB database"):
        Store(path)
