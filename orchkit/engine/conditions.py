"""Conditions: ``when="${steps.count.total} > 3 and not ${context.dry_run}"``, compiled once.

The expression language is the one of `simpleeval`, narrowed to what a condition needs: references,
literals, comparisons, ``and``/``or``/``not``, arithmetic, ``in``, indexing, ``a if b else c`` and a few pure
functions. Everything else (attributes, methods, comprehensions, lambdas, f-strings) is refused when the
condition is compiled, so that nothing but these operators ever meets a value.
"""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import simpleeval

from orchkit.engine.references import Reference, Resolver, Scope, parse, resolver_of
from orchkit.errors import ConditionError, ConditionSyntaxError, OrchkitError, ReferenceSyntaxError

MAX_LENGTH: Final = 4000
"""Characters of an expression."""
MAX_DEPTH: Final = 50
"""Nesting of an expression."""
MAX_BITS: Final = 10_000
"""Size of the integer that ``**`` may give."""

_PLACEHOLDER = "_reference_"


@dataclass(frozen=True, slots=True)
class ConditionOutcome:
    """What a condition said, and on which values."""

    result: bool
    operands: dict[str, Any]
    """The values of the references that were looked at, by their text; ``and``/``or`` stop early."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled ``when=`` expression."""

    expression: str
    references: tuple[Reference, ...]
    _tree: ast.expr
    _names: dict[str, tuple[str, Resolver]]

    def evaluate(self, scope: Scope) -> ConditionOutcome:
        """Decide on the values of a scope.

        Raises `ConditionError`, naming the operands, when a reference is missing or an operation fails.
        """
        names = _Names(self._names, scope)
        evaluator = _evaluators.current
        evaluator.names = names
        try:
            result = bool(evaluator.eval(self.expression, self._tree))
        except Exception as error:  # operators meet values of any type: whatever they raise is the finding
            cause = str(error) if isinstance(error, OrchkitError) else f"{type(error).__name__}: {error}"
            raise ConditionError(self.expression, names.operands, cause) from error
        finally:
            evaluator.names = {}
        return ConditionOutcome(result, names.operands)


def compile_condition(expression: str) -> Condition:
    """Check and compile an expression. Raises `ConditionSyntaxError`."""
    if len(expression) > MAX_LENGTH:
        raise ConditionSyntaxError(f"{expression[:60]}…", f"more than {MAX_LENGTH} characters")
    try:
        parts = parse(expression)
    except ReferenceSyntaxError as error:
        raise ConditionSyntaxError(expression, f"{error.cause} (position {error.position})") from None
    references = tuple(part for part in parts if isinstance(part, Reference))
    tree = _parse(expression, _with_placeholders(expression, parts))
    names = {f"{_PLACEHOLDER}{n}": (ref.text, resolver_of(ref)) for n, ref in enumerate(references)}
    _check_depth(expression, tree)
    _check_nodes(expression, tree, names)
    return Condition(expression, references, tree, names)


class _Names:
    """The names of an expression, resolved when the evaluator asks for them."""

    __slots__ = ("_resolvers", "_scope", "operands")

    def __init__(self, resolvers: dict[str, tuple[str, Resolver]], scope: Scope) -> None:
        self._resolvers, self._scope = resolvers, scope
        self.operands: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        text, resolve = self._resolvers[name]
        if text not in self.operands:
            self.operands[text] = resolve(self._scope)
        return self.operands[text]


# --- what an expression may contain --------------------------------------------------------


def _with_placeholders(expression: str, parts: Iterable[str | Reference]) -> str:
    """The expression with a name in the place of each reference."""
    source, count = "", 0
    for part in parts:
        if isinstance(part, Reference):
            source += f" {_PLACEHOLDER}{count} "
            count += 1
        elif _PLACEHOLDER in part:
            raise ConditionSyntaxError(expression, f"{_PLACEHOLDER!r} cannot be used")
        else:
            source += part
    return " ".join(source.split("\n")).strip()


def _parse(expression: str, source: str) -> ast.expr:
    if not source:
        raise ConditionSyntaxError(expression, "nothing to decide on")
    try:
        return ast.parse(source, mode="eval").body
    except (RecursionError, MemoryError):
        raise _too_deep(expression) from None
    except (SyntaxError, ValueError) as error:
        cause = error.msg if isinstance(error, SyntaxError) else str(error)
        foreign = [f"it is written {word!r} here" for sign, word in _FOREIGN if re.search(sign, source)]
        raise ConditionSyntaxError(expression, "; ".join([cause, *foreign])) from None


def _check_depth(expression: str, tree: ast.expr) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise _too_deep(expression)


def _too_deep(expression: str) -> ConditionSyntaxError:
    return ConditionSyntaxError(expression, f"nested more than {MAX_DEPTH} levels deep")


def _check_nodes(expression: str, tree: ast.expr, names: Collection[str]) -> None:
    called = set()
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            kind = _READABLE.get(type(node), type(node).__name__)
            raise ConditionSyntaxError(expression, f"{kind} cannot be used")
        if isinstance(node, ast.Call):
            _check_call(expression, node)
            called.add(node.func)
        elif isinstance(node, ast.Name) and node not in called:  # a parent is walked before its children
            _check_name(expression, node.id, names)
        elif isinstance(node, ast.Constant):
            _check_constant(expression, node.value)


def _check_call(expression: str, call: ast.Call) -> None:
    if not isinstance(call.func, ast.Name):
        raise ConditionSyntaxError(expression, "only named functions can be called, no methods,")
    if call.func.id not in _FUNCTIONS:
        known = ", ".join(_FUNCTIONS)
        raise ConditionSyntaxError(expression, f"unknown function {call.func.id!r} (there are {known})")
    if call.keywords:
        raise ConditionSyntaxError(expression, f"{call.func.id} takes no keyword arguments")
    # int(text, base) and sum(lists, []) are slow for some arguments: only the plain forms are offered
    if len(call.args) != 1 and call.func.id not in _SEVERAL_ARGUMENTS:
        raise ConditionSyntaxError(expression, f"{call.func.id} takes one argument")


def _check_name(expression: str, name: str, names: Collection[str]) -> None:
    if name in names or name in _CONSTANTS:
        return
    if name in _FUNCTIONS:
        raise ConditionSyntaxError(expression, f"function {name!r} is not called")
    near = get_close_matches(name, _CONSTANTS, n=1)
    hint = f"did you mean {near[0]!r}, " if near else ""
    cause = f"unknown name {name!r} ({hint}'${{context.{name}}}' or the text \"{name}\" in quotes?)"
    raise ConditionSyntaxError(expression, cause)


def _check_constant(expression: str, value: Any) -> None:
    if not isinstance(value, str | int | float | None):
        raise ConditionSyntaxError(expression, f"a literal of type {type(value).__name__} cannot be used")
    if isinstance(value, str) and _PLACEHOLDER in value:
        raise ConditionSyntaxError(expression, "a reference inside quotes would stay plain text")


_ALLOWED: Final = (
    *(ast.Constant, ast.Name, ast.Load, ast.Call, ast.IfExp, ast.Subscript, ast.List, ast.Tuple, ast.Set),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
    *(ast.In, ast.NotIn, ast.Is, ast.IsNot),
)
_READABLE: Final[dict[type[ast.AST], str]] = {
    ast.Attribute: "attribute access with '.' outside of a reference",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Lambda: "a lambda",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "unpacking with '*'",
    ast.Dict: "a dict",
    ast.Slice: "a slice",
}
_FOREIGN: Final = ((r"&&", "and"), (r"\|\|", "or"), (r"!(?!=)", "not"), (r"(?<![=!<>])=(?!=)|===", "=="))
_CONSTANTS: Final = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}


# --- operators and functions: pure, and bounded in what they can build ---------------------


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > MAX_BITS:
        raise OverflowError(f"the result of ** would have more than {MAX_BITS} bits")
    return base**exponent


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes | list | tuple) or isinstance(right, str | bytes | list | tuple):
        raise TypeError("* works on numbers only")  # on a text or list it repeats, at any length
    return left * right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes):
        raise TypeError("% works on numbers only")  # on a text it formats, at any width
    return left % right


def _round(value: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > 100:
        raise OverflowError("round() takes up to 100 digits")
    return round(value, digits)


_OPERATORS: Final = simpleeval.DEFAULT_OPERATORS | {ast.Pow: _power, ast.Mult: _multiply, ast.Mod: _modulo}
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "abs": abs,
    "all": all,
    "any": any,
    "bool": bool,
    "float": float,
    "int": int,
    "len": len,
    "lower": str.lower,
    "max": max,
    "min": min,
    "round": _round,
    "strip": str.strip,
    "sum": sum,
    "upper": str.upper,
}
_SEVERAL_ARGUMENTS: Final = ("max", "min", "round")


def _unchecked(item: Any) -> None:
    """No search of the operands for forbidden functions: an expression has no way to call a value.

    The search walks every list at every use, so that ``len(rows) > 0`` would cost a walk over all rows.
    """


class _Evaluators(threading.local):
    """One evaluator per thread: it holds the names of the evaluation that is under way."""

    def __init__(self) -> None:
        self.current = simpleeval.EvalWithCompoundTypes(_OPERATORS, {}, {})
        self.current.functions = _FUNCTIONS
        self.current._check_disallowed_items = _unchecked
        self.current.nodes = {kind: run for kind, run in self.current.nodes.items() if kind in _ALLOWED}


_evaluators = _Evaluators()
