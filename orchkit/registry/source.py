"""The source of a running function or class: found, and checked to be what is really running."""

from __future__ import annotations
import __future__

import ast
import linecache
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from inspect import unwrap
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from orchkit.registry.bytecode import compiled_form
from orchkit.registry.syntax import normal_form, without_registrations

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_ABSENT = object()
_Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_Method = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of source."""

    text: str
    """As written, dedented."""
    form: str
    """Its normal form, without orchkit's registration decorators."""


class _Piece(NamedTuple):
    """A def, lambda or class of a file, and what it compiles to."""

    code: CodeType
    node: _Node


def source_of_function(function: FunctionType) -> Source | None:
    """The source of a function or lambda; None when there is none, or when it is not what is running.

    A file may have been edited since it was imported, and a cell's name used again: what the source compiles
    to is compared with the running code, wherever in the file it stands now, and plain defaults with the
    running ones. Decorators and annotations cannot be compared.
    """
    return _quietly(lambda: _find_function(function))


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


def _quietly(find: Callable[[], Source | None]) -> Source | None:
    """Without the warnings that compiling gives: they were shown when the code was compiled first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return find()
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


# --- files -------------------------------------------------------------------------------------


def _lines(filename: str, scope: dict[str, Any]) -> list[str]:
    linecache.checkcache(filename)
    return linecache.getlines(filename, scope)


@lru_cache(maxsize=4)
def _pieces(text: str, filename: str, future: int) -> Mapping[str, Sequence[_Piece]]:
    """What a file defines, by qualified name.

    The file as a whole: on its own a function may compile to something else, since the imports of the module
    and the names of enclosing functions and classes decide how it reaches a name.
    """
    tree = ast.parse(text)
    flags = future | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # a notebook cell may await
    module: CodeType = compile(tree, filename, "exec", flags=flags, dont_inherit=True)
    nodes: dict[tuple[str, int], list[_Node]] = {}
    for node in ast.walk(tree):
        if isinstance(node, _Node):
            name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
            nodes.setdefault((name, _first_line(node)), []).append(node)
    found: dict[str, list[_Piece]] = {}
    for code in _codes(module):
        candidates = nodes.get((code.co_name, code.co_firstlineno), [])
        written = candidates[0] if len(candidates) == 1 else _around(code, candidates)
        if written is not None:
            found.setdefault(code.co_qualname, []).append(_Piece(code, written))
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    """All code inside, at any depth."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _first_line(node: _Node) -> int:
    """The line of the first decorator, where Python says that the code begins."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(each.lineno for each in decorators)])


def _around(code: CodeType, nodes: Sequence[_Node]) -> _Node | None:
    """Of several lambdas in a line the one from which the instructions come."""
    places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
    lambdas = [node for node in nodes if isinstance(node, ast.Lambda)]
    if not places:
        return None
    begin = min((place[0], place[2]) for place in places)
    end = max((place[1], place[3]) for place in places)
    inside = [
        node.body
        for node in lambdas
        if (node.body.lineno, node.body.col_offset) <= begin
        and end <= (node.body.end_lineno, node.body.end_col_offset)
    ]
    # The innermost: of bodies around one place the one that begins last.
    body = max(inside, key=lambda each: (each.lineno, each.col_offset), default=None)
    return next((node for node in lambdas if node.body is body), None)


# --- functions ---------------------------------------------------------------------------------


def _find_function(function: FunctionType) -> Source | None:
    code = function.__code__
    lines = _lines(code.co_filename, function.__globals__)
    if not lines:
        return None
    future = code.co_flags & __future__.annotations.compiler_flag
    named = _pieces("".join(lines), code.co_filename, future).get(code.co_qualname, ())
    running = compiled_form(code)
    alike = [
        piece
        for piece in named
        if compiled_form(piece.code) == running and _defaults_agree(piece.node, function)
    ]
    return _one_of(alike, code.co_firstlineno, lines, function.__globals__)


def _one_of(pieces: Sequence[_Piece], line: int, lines: list[str], scope: Mapping[str, Any]) -> Source | None:
    """The piece that begins in the line, else the only one; None when it could be several."""
    there = [piece for piece in pieces if piece.code.co_firstlineno == line]
    forms = {normal_form(without_registrations(piece.node, scope)): piece.node for piece in there or pieces}
    if len(forms) != 1:
        return None
    [(form, node)] = forms.items()
    return Source(_text(node, lines), form)


def _defaults_agree(node: _Node, function: FunctionType) -> bool:
    """Whether defaults that are written as plain values have these values."""
    if isinstance(node, ast.ClassDef):
        return False
    arguments, values = node.args, function.__defaults__ or ()
    if len(values) != len(arguments.defaults):
        return False
    by_name = function.__kwdefaults__ or {}
    pairs: list[tuple[ast.expr | None, Any]] = [*zip(arguments.defaults, values, strict=True)]
    names = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    pairs += [(default, by_name.get(argument.arg)) for argument, default in names]
    return all(default is None or _has_value(default, value) for default, value in pairs)


def _has_value(node: ast.expr, value: Any) -> bool:
    """False only for a plain value that is another one."""
    try:
        written = ast.literal_eval(node)
    except (ValueError, TypeError):
        return True
    return not isinstance(written, _SCALARS) or (type(written) is type(value) and bool(written == value))


# --- classes -----------------------------------------------------------------------------------


def _find_class(kind: type) -> Source | None:
    module = sys.modules.get(kind.__module__)
    scope: dict[str, Any] = {} if module is None else vars(module)
    prefix = f"{kind.__qualname__}."
    codes = [function.__code__ for _, function in own_functions(kind)]
    # Those that are written there, not generated or taken from elsewhere.
    codes = [code for code in codes if code.co_qualname == prefix + code.co_name]
    file = codes[0].co_filename if codes else scope.get("__file__")
    lines = _lines(file, scope) if isinstance(file, str) else []
    if not lines:
        return None
    future = codes[0].co_flags & __future__.annotations.compiler_flag if codes else 0
    named = _pieces("".join(lines), str(file), future).get(kind.__qualname__, ())
    alike = [piece for piece in named if _class_agrees(piece, kind, codes)]
    if codes and len(alike) > 1:
        line = codes[0].co_firstlineno
        alike = [piece for piece in alike if piece.node.lineno <= line <= (piece.node.end_lineno or 0)]
    return _one_of(alike, 0, lines, scope)


def _class_agrees(piece: _Piece, kind: type, methods: Sequence[CodeType]) -> bool:
    if not isinstance(piece.node, ast.ClassDef):
        return False
    written: dict[str, list[Any]] = {}
    for code in piece.code.co_consts:
        if isinstance(code, CodeType):
            written.setdefault(code.co_name, []).append(compiled_form(code))
    for method in methods:
        if compiled_form(method) not in written.get(method.co_name, ()):
            return False
    return all(_statement_agrees(each, kind) for each in piece.node.body)


def _statement_agrees(statement: ast.stmt, kind: type) -> bool:
    """False for a method that the running class does not have, or a plain value that is another one."""
    if isinstance(statement, _Method):
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


def _text(node: _Node, lines: list[str]) -> str:
    """As written: whole lines without their margin, of a lambda only what belongs to it."""
    part = lines[_first_line(node) - 1 : node.end_lineno]
    if isinstance(node, ast.Lambda):
        encoded = [line.encode() for line in part]  # columns count bytes
        encoded[-1] = encoded[-1][: node.end_col_offset]
        encoded[0] = encoded[0][node.col_offset :]
        return b"".join(encoded).decode()
    margin = part[0][: len(part[0]) - len(part[0].lstrip())]
    return "".join(line.removeprefix(margin) for line in part).rstrip("\n")
