"""The source of a running function or class: found, and checked to be what is really running."""

from __future__ import annotations

import ast
import linecache
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import unwrap
from types import CodeType, FunctionType
from typing import Any

from orchkit.registry.bytecode import compiled_alike
from orchkit.registry.syntax import drop_registrations, normal_form

_TRIES = 100
"""Places at which the end of a function is looked for."""
_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_ABSENT = object()
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of source."""

    text: str
    """As written, dedented."""
    form: str
    """Its normal form, without orchkit's registration decorators."""


def source_of_function(function: FunctionType) -> Source | None:
    """The source of a function or lambda; None when there is none, or when it is not what is running.

    A file may have been edited since it was imported: the body is compiled and compared with the running
    code, plain defaults with the running ones. Decorators and annotations cannot be compared.
    """
    find = _find_lambda if function.__code__.co_name == "<lambda>" else _find_def
    return _quietly(lambda: find(function))


def source_of_class(kind: type) -> Source | None:
    """The source of a class; None as in `source_of_function`, every method being compared."""
    return _quietly(lambda: _find_class(kind))


def own_functions(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions in a class body by name: static, class and property ones too, without their wrappers."""
    for name, value in vars(kind).items():
        for part in _parts(value):
            function = unwrap(part) if callable(part) else part
            if isinstance(function, FunctionType):
                yield name, function


def _parts(value: Any) -> tuple[Any, ...]:
    if isinstance(value, property):
        return (value.fget, value.fset, value.fdel)
    if isinstance(value, staticmethod | classmethod):
        return (value.__func__,)
    return (value.func,) if isinstance(value, cached_property) else (value,)


def _lines(filename: str, scope: dict[str, Any]) -> list[str]:
    linecache.checkcache(filename)
    return linecache.getlines(filename, scope)


def _quietly(find: Callable[[], Source | None]) -> Source | None:
    """Without the warnings that compiling gives: they have been shown when the code was compiled first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return find()
        except _UNREADABLE:
            return None


# --- functions ---------------------------------------------------------------------------------


def _find_def(function: FunctionType) -> Source | None:
    code = function.__code__
    lines = _lines(code.co_filename, function.__globals__)
    start = code.co_firstlineno - 1
    if start >= len(lines):
        return None
    margin = _margin(lines[start])
    node = _parse_block(lines, start, code, margin)
    if node is None:
        return None
    end = start + (node.end_lineno or 1) - (1 if margin else 0)
    form = _form(node, function.__globals__)
    if not _defaults_agree(node.args, function) or not compiled_alike(node, code):
        return None
    return Source(_dedented(lines[start:end], margin), form)


def _parse_block(lines: list[str], start: int, code: CodeType, margin: str) -> _Function | None:
    """The def that begins at a line. Parsing only the function keeps large modules cheap."""
    opening = "if 1:\n" if margin else ""  # not dedented: that would change texts that span lines
    # Where the compiled code ends; an edited file may end before.
    last = max((line for _, _, line in code.co_lines() if line is not None), default=0)
    for tries, end in enumerate(_ends(lines, max(start + 1, last), len(margin))):
        if tries == _TRIES:
            return None
        try:
            body: list[Any] = ast.parse(opening + "".join(lines[start:end])).body
        except SyntaxError:  # the middle of a signature or of a text
            continue
        found = body[0].body if margin and len(body) == 1 else body
        return found[0] if len(found) == 1 and isinstance(found[0], _Function) else None
    return None


def _ends(lines: list[str], first: int, margin: int) -> Iterator[int]:
    """The lines before which a block may end: those that are indented no deeper than it begins."""
    for place in range(first, len(lines)):
        text = lines[place].lstrip()
        if text and not text.startswith("#") and len(lines[place]) - len(text) <= margin:
            yield place
    yield len(lines)


def _find_lambda(function: FunctionType) -> Source | None:
    """The lambda that begins in the line of the code; None when there are several that it could be."""
    code = function.__code__
    text = "".join(_lines(code.co_filename, function.__globals__))
    found: dict[str, ast.Lambda] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno:
            form = normal_form(node)
            if _defaults_agree(node.args, function) and compiled_alike(node, code):
                found[form] = node
    if len(found) != 1:
        return None
    [(form, node)] = found.items()
    return Source(ast.get_source_segment(text, node) or "", form)


def _defaults_agree(arguments: ast.arguments, function: FunctionType) -> bool:
    """Whether defaults that are written as plain values have these values."""
    values = function.__defaults__ or ()
    if len(values) != len(arguments.defaults):
        return False
    by_name = function.__kwdefaults__ or {}
    pairs: list[tuple[ast.expr | None, Any]] = [*zip(arguments.defaults, values, strict=True)]
    names = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    pairs += [(node, by_name.get(argument.arg)) for argument, node in names]
    return all(node is None or _has_value(node, value) for node, value in pairs)


def _has_value(node: ast.expr, value: Any) -> bool:
    """False only for a plain value that is another one."""
    try:
        written = ast.literal_eval(node)
    except ValueError:
        return True
    return not isinstance(written, _SCALARS) or (type(written) is type(value) and bool(written == value))


# --- classes -----------------------------------------------------------------------------------


def _find_class(kind: type) -> Source | None:
    module = sys.modules.get(kind.__module__)
    scope: dict[str, Any] = {} if module is None else vars(module)
    methods = [function for _, function in own_functions(kind) if _written_in(kind, function)]
    file = methods[0].__code__.co_filename if methods else scope.get("__file__")
    lines = _lines(file, scope) if isinstance(file, str) else []
    line = methods[0].__code__.co_firstlineno if methods else None
    nodes = [node for node in ast.walk(ast.parse("".join(lines))) if isinstance(node, ast.ClassDef)]
    named = [node for node in nodes if node.name == kind.__name__ and _around(node, line)]
    # A class without methods of its own says nowhere in which line it stands.
    if not named or (line is None and len(named) > 1):
        return None
    node = named[-1]
    start = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
    if not _class_agrees(node, kind, methods):
        return None
    return Source(_dedented(lines[start : node.end_lineno], _margin(lines[start])), _form(node, scope))


def _written_in(kind: type, function: FunctionType) -> bool:
    """Whether it was written there, and not generated or taken from elsewhere."""
    code = function.__code__
    generated = code.co_filename.startswith("<") and code.co_filename not in linecache.cache
    return code.co_qualname == f"{kind.__qualname__}.{code.co_name}" and not generated


def _around(node: ast.ClassDef, line: int | None) -> bool:
    return line is None or node.lineno <= line <= (node.end_lineno or 0)


def _class_agrees(node: ast.ClassDef, kind: type, methods: Sequence[FunctionType]) -> bool:
    defs: dict[str, list[_Function]] = {}
    for each in ast.walk(node):
        if isinstance(each, _Function):
            defs.setdefault(each.name, []).append(each)
    for function in methods:
        # The parts of a property have one name; which of them this is, the code says.
        code = function.__code__
        if not any(compiled_alike(each, code) for each in defs.get(code.co_name, ())):
            return False
    return all(_statement_agrees(each, kind) for each in node.body)


def _statement_agrees(statement: ast.stmt, kind: type) -> bool:
    """False for a method that the running class does not have, or a plain value that is another one."""
    if isinstance(statement, _Function):
        name = statement.name
        private = name.startswith("__") and not name.endswith("__")
        return (f"_{kind.__name__.lstrip('_')}{name}" if private else name) in vars(kind)
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return True
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    found = [vars(kind).get(each.id, _ABSENT) for each in targets if isinstance(each, ast.Name)]
    written = statement.value
    return all(_has_value(written, value) for value in found if type(value) in _SCALARS)


# --- text --------------------------------------------------------------------------------------


def _form(node: ast.AST, scope: Mapping[str, Any]) -> str:
    drop_registrations(node, scope)
    return normal_form(node)


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _dedented(lines: list[str], margin: str) -> str:
    return "".join(line.removeprefix(margin) for line in lines).rstrip("\n")
