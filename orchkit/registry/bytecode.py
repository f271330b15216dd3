"""The compiled form of a function: what stays the same wherever its source stands."""

from __future__ import annotations
import __future__

import ast
import copy
import dis
import inspect
import sys
from itertools import pairwise
from types import CodeType
from typing import Any

from orchkit.registry.syntax import constant_text

_KIND = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
"""The flags that say what calling it does; the others say where it stands or how it was compiled."""


def compiled_form(code: CodeType) -> tuple[Any, ...]:
    """Instructions, names and constants as nested tuples of text and numbers.

    Without file name, line numbers and docstring. The same in every process of one Python version; another
    version has other instructions.
    """
    constants = code.co_consts
    if _has_docstring(code):
        constants = (None, *constants[1:])
    return (
        code.co_name,
        code.co_flags & _KIND,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_code.hex(),
        code.co_exceptiontable.hex(),
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        tuple(map(_constant, constants)),
    )


def _has_docstring(code: CodeType) -> bool:
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & inspect.CO_HAS_DOCSTRING)
    # Before 3.14 the first constant of a function is its docstring or None; <lambda> and the like have none.
    function = bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")
    return function and bool(code.co_consts) and isinstance(code.co_consts[0], str)


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return compiled_form(value)
    if isinstance(value, tuple):
        return ("tuple", *map(_constant, value))
    if isinstance(value, frozenset):  # its order is another in every process
        return ("frozenset", *sorted(map(_constant, value), key=repr))
    return constant_text(value)


def rebound_names(code: CodeType) -> set[str]:
    """The variables of enclosing functions that it assigns (``nonlocal``): its state, not its settings."""
    names = {
        step.argval for step in dis.get_instructions(code) if step.opname in ("STORE_DEREF", "DELETE_DEREF")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= rebound_names(constant)
    return names & set(code.co_freevars)


def compiled_alike(node: ast.AST, code: CodeType) -> bool:
    """Whether a def or lambda, just parsed, compiles to the code of a running function.

    Decorators, defaults and annotations are no part of that code. Raises what ``compile`` raises.
    """
    made = _compile(node, code)
    return made is not None and compiled_form(made) == compiled_form(code)


def _compile(node: ast.AST, like: CodeType) -> CodeType | None:
    """The code of a node, compiled between the enclosing function and class that the running one has.

    They decide which names are variables of the outside, and how private names are spelt.
    """
    owner = _owner(like.co_qualname)
    indent = "  " if owner else " "
    frame = f"def {_FRAME}({', '.join(like.co_freevars)}):\n"
    frame += f" class {owner}:\n" if owner else ""
    tree = ast.parse(f"{frame}{indent}pass")
    body: Any = tree.body[0]
    if owner:
        body = body.body[0]
    body.body = [_bare(node)]
    future = like.co_flags & __future__.annotations.compiler_flag
    found: CodeType | None = compile(tree, like.co_filename, "exec", flags=future, dont_inherit=True)
    for name in (_FRAME, *([owner] if owner else []), like.co_name):
        inside = () if found is None else found.co_consts
        found = next((c for c in inside if isinstance(c, CodeType) and c.co_name == name), None)
    return found


_FRAME = "__orchkit_frame__"


def _bare(node: ast.AST) -> ast.stmt:
    """A copy of the node as a statement, without what is evaluated outside its body."""
    made: Any = copy.copy(node)
    made.args = _bare_arguments(made.args)
    if isinstance(node, ast.Lambda):
        return ast.copy_location(ast.Expr(made), node)
    made.decorator_list, made.returns = [], None
    if hasattr(made, "type_params"):  # since Python 3.12
        made.type_params = []
    return made  # type: ignore[no-any-return]


def _bare_arguments(arguments: ast.arguments) -> ast.arguments:
    return ast.arguments(
        posonlyargs=[_bare_argument(each) for each in arguments.posonlyargs],
        args=[_bare_argument(each) for each in arguments.args],
        vararg=arguments.vararg and _bare_argument(arguments.vararg),
        kwonlyargs=[_bare_argument(each) for each in arguments.kwonlyargs],
        kw_defaults=[None] * len(arguments.kwonlyargs),
        kwarg=arguments.kwarg and _bare_argument(arguments.kwarg),
        defaults=[],
    )


def _bare_argument(argument: ast.arg) -> ast.arg:
    return ast.copy_location(ast.arg(argument.arg, None), argument)


def _owner(qualname: str) -> str | None:
    """The class in whose body something of this name stands, directly or in a function of it."""
    parts = qualname.split(".")
    inner = [part for part, after in pairwise(parts) if after != "<locals>"]
    classes = [part for part in inner if part != "<locals>"]
    return classes[-1] if classes else None
