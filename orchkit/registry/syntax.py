"""The normal form of a piece of syntax: what stays the same when only its looks are edited."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

_LOOKS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_REGISTRATION = "orchkit.registry.registration"
_REGISTERING = frozenset({"method", "register_method", "register_tool"})


def normal_form(node: ast.AST) -> str:
    """The tree as text, without positions, comments, formatting and docstrings.

    Our own writer instead of ``ast.unparse``: that one quotes f-strings differently in Python 3.11 and
    3.12, and takes twice the time.
    """
    out: list[str] = []
    _write(node, out)
    return "".join(out)


def _write(item: Any, out: list[str]) -> None:
    if isinstance(item, ast.Constant):
        out.append(constant_text(item.value))
    elif isinstance(item, ast.AST):
        out.append(f"{type(item).__name__}(")
        for name, value in _fields(item):
            out.append(f"{name}=")
            _write(value, out)
        out.append(")")
    elif isinstance(item, list):
        out.append("[")
        for each in item:
            _write(each, out)
            out.append(",")
        out.append("]")
    else:
        out.append(ascii(item))


def _fields(node: ast.AST) -> Iterable[tuple[str, Any]]:
    """Empty fields are left out, so that one which a later Python adds changes nothing."""
    for name in node._fields:
        value = getattr(node, name, None)
        if name in _LOOKS or value is None or value == []:
            continue
        if name == "body" and isinstance(node, _DOCUMENTED):
            value = without_docstring(value)
        elif isinstance(node, ast.JoinedStr):
            value = _joined(value)
        yield name, value


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements after the docstring; ``pass`` when there are none."""
    first = body[0].value if isinstance(body[0], ast.Expr) else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return body[1:] or [ast.Pass()]
    return body


def _joined(parts: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with adjacent texts in one: Pythons differ in where they cut."""
    merged: list[ast.expr] = []
    for part in parts:
        if not isinstance(part, ast.Constant):
            merged.append(part)
        elif merged and isinstance(merged[-1], ast.Constant):
            merged[-1] = ast.Constant(str(merged[-1].value) + str(part.value))
        elif part.value:
            merged.append(part)
    return merged


def constant_text(value: Any) -> str:
    """A constant of the language with its type; the same in every process and every Python."""
    # Hexadecimal: Python refuses to write very long decimals. ASCII: what is printable differs.
    written = hex(value) if type(value) is int else ascii(value)
    return f"{type(value).__name__}:{written}"


# --- our own decorators ------------------------------------------------------------------------


def without_registrations(node: ast.AST, scope: Mapping[str, Any]) -> ast.AST:
    """A def or class without orchkit's registration decorators; ``scope`` holds its global names."""
    if not isinstance(node, _DOCUMENTED):
        return node
    made = copy.copy(node)
    made.decorator_list = [each for each in node.decorator_list if not _registers(each, scope)]
    return made


def _registers(decorator: ast.expr, scope: Mapping[str, Any]) -> bool:
    path = _dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
    if not path:
        return False
    found = scope.get(path[0])
    for name in path[1:]:
        # Attributes of modules only: asking other objects may run anything.
        found = getattr(found, name, None) if isinstance(found, ModuleType) else None
    if callable(found):
        return getattr(found, "__module__", None) == _REGISTRATION
    # A local name, or one that has been given another meaning since.
    return path[-1] in _REGISTERING


def _dotted(node: ast.expr) -> list[str]:
    """``["ok", "method"]`` for ``ok.method``; empty for anything but a dotted name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []
