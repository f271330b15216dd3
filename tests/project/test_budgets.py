"""Small files and small functions: the budgets that no linter counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchkit

PACKAGE = Path(orchkit.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 500
MAX_BODY_LINES = 50
USUAL_BODY_LINES = 20


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


def _bodies(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a file with the number of lines of its body; the docstring does not count."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            body = node.body[1:] if has_docstring else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            yield f"{_name(path)}:{node.lineno} {node.name}", lines


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_holds_one_noun(path: Path) -> None:
    """No file is longer than 500 lines, and each begins by saying in a docstring what it is."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert ast.get_docstring(ast.parse(text))


def test_no_function_is_long() -> None:
    """No function body is longer than 50 lines."""
    long = {name: lines for path in FILES for name, lines in _bodies(path) if lines > MAX_BODY_LINES}
    assert not long


def test_most_functions_are_short() -> None:
    """Nine of ten function bodies have at most 20 lines."""
    lines = [count for path in FILES for _, count in _bodies(path)]
    assert sum(count <= USUAL_BODY_LINES for count in lines) >= 0.9 * len(lines)
