"""The compiled form of a function: what stays the same wherever its source stands."""

from __future__ import annotations

import dis
import inspect
import sys
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
