"""A notebook cell as the body of a function: ``%%step total(price: float, count: int = 1) -> float``."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from orchkit.cli.failure import UsageError

USAGE = "write %%step NAME(PARAMETERS), such as %%step total(price: float, count: int = 1) -> float"

_HEAD = re.compile(r"(?P<async>async\s+)?(?P<name>[^\W\d]\w*)\s*(?P<rest>\(.*)?", re.DOTALL)
_OPENING = frozenset(
    code for name in ("FSTRING_START", "TSTRING_START") if (code := getattr(tokenize, name, None)) is not None
)
_CLOSING = frozenset(
    code for name in ("FSTRING_END", "TSTRING_END") if (code := getattr(tokenize, name, None)) is not None
)
_AWAITING = (ast.Await, ast.AsyncFor, ast.AsyncWith)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def function_source(line: str, cell: str) -> tuple[str, str]:
    """The name and the source of the function that a cell is the body of.

    The value of a last expression is returned, as a cell shows it. Line numbers are those of the cell: the
    first line, which named the step, becomes the head. A body that awaits makes a coroutine function.

    Raises:
        UsageError: The line is no signature, the cell is empty, or its body is no Python: it names the line.
    """
    head, name, is_async = _head(line)
    if not cell.strip():
        raise UsageError(f"the cell of %%step {name} has no body")
    source = f"{head}\n{_indented(cell)}"
    source = _returning(source, _function(source))
    if not is_async and any(isinstance(node, _AWAITING) for node in _own(_function(source))):
        source = f"async {source}"
    return name, source


def _head(line: str) -> tuple[str, str, bool]:
    found = _HEAD.fullmatch(line.strip().removesuffix(":").rstrip())
    if found is None:
        raise UsageError(f"{line.strip()!r} is no signature: {USAGE}" if line.strip() else USAGE)
    head = f"{'async ' if found['async'] else ''}def {found['name']}{found['rest'] or '()'}:"
    try:
        tree = ast.parse(f"{head} pass")
    except SyntaxError as error:
        raise UsageError(f"{line.strip()!r} is no signature ({error.msg}): {USAGE}") from error
    if len(tree.body) != 1 or len(getattr(tree.body[0], "body", ())) != 1 or "\n" in head:
        raise UsageError(f"{line.strip()!r} is more than a signature: {USAGE}")
    return head, found["name"], found["async"] is not None


def _function(source: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    try:
        function = ast.parse(source).body[0]
    except SyntaxError as error:
        line = f" ({error.text.strip()})" if error.text else ""
        raise UsageError(f"line {error.lineno} of the cell is no Python: {error.msg}{line}") from error
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    return function


def _indented(cell: str) -> str:
    """Every line further to the right, but for those that begin inside of a string."""
    inside = set(_inside_strings(cell))
    lines = enumerate(cell.split("\n"), 1)
    return "\n".join(
        line if number in inside or not line.strip() else f"    {line}" for number, line in lines
    )


def _inside_strings(cell: str) -> Iterator[int]:
    """The numbers of those lines."""
    begun: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(cell).readline):
            if token.type in _OPENING:
                begun.append(token.start[0])
            elif token.type in _CLOSING:
                yield from range(begun.pop() + 1, token.end[0] + 1)
            elif token.type == tokenize.STRING:
                yield from range(token.start[0] + 1, token.end[0] + 1)
    except (tokenize.TokenError, SyntaxError):  # told by who parses it
        return


def _returning(source: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """With ``return`` before a last expression, where nothing else is returned or yielded."""
    last = function.body[-1]
    if not isinstance(last, ast.Expr):
        return source
    if any(isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) for node in _own(function)):
        return source
    lines = source.split("\n")
    line = lines[last.lineno - 1].encode()
    lines[last.lineno - 1] = (line[: last.col_offset] + b"return " + line[last.col_offset :]).decode()
    return "\n".join(lines)


def _own(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """What is in its body, but not in functions and classes inside of it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo += ast.iter_child_nodes(node)
