"""Conditions: what they decide, what they refuse to be, and what they say when they fail."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.engine.conditions import MAX_LENGTH, compile_condition
from orchkit.engine.references import Scope
from orchkit.errors import ConditionError, ConditionSyntaxError


def _scope(**context: Any) -> Scope:
    steps = {"count": {"total": 3}, "rows": [1, 2, {"x": 4}]}
    return Scope(steps, {"flag": True, "mode": "full", "none": None, "empty": [], **context}, {"id": "run_1"})


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("${context.flag}", True),
        ("not ${context.flag}", False),
        ("${context.empty}", False),
        ("${context.none}", False),
        ("${steps.count.total} > 2", True),
        ("2 < ${steps.count.total} <= 3", True),
        ("${steps.count.total} == 3 and ${context.mode} == 'full'", True),
        ("${context.mode} in ['full', \"half\"]", True),
        ("${context.mode} not in ('full',) or false", False),
        ("${context.mode} in {'full'}", True),
        ("len(${steps.rows}) == 3", True),
        ("${steps.rows}[2]['x'] == 4", True),
        ("${context.none} is None and ${context.none} == null", True),
        ("${context.none} is not null", False),
        ("true and not false", True),
        ("True and not False", True),
        ("${steps.gone.total ?? 0} > 0", False),
        ("1 if ${context.flag} else 0", True),
        ("upper(${context.mode}) == 'FULL' and strip(' a ') == 'a'", True),
        ("max(${steps.count.total}, 7) == 7 and min([2, 1]) == 1", True),
        ("round(2.567, 1) == 2.6 and abs(-1) == 1 and sum([1, 2]) == 3", True),
        ("any([0, 1]) and not all([0, 1])", True),
        ("int('3') + float('0.5') == 3.5 and bool(1)", True),
        ("-${steps.count.total} + 7 // 2 - 1 * 2 / 2 % 2 == -1", True),
        ("2 ** 10 == 1024 and +1 == 1", True),
        ("${steps.count.total} > 2\n  and ${context.flag}\n", True),
        ("'$${literal}' == '$' + '{literal}'", True),
    ],
)
def test_what_a_condition_decides(expression: str, result: bool) -> None:
    """References, literals, comparisons, boolean and arithmetic operators and the few functions work."""
    assert compile_condition(expression).evaluate(_scope()).result is result


def test_operands_are_the_values_that_were_looked_at() -> None:
    """The outcome carries the value of each reference by its text; those behind a shortcut are absent."""
    condition = compile_condition("${context.flag} or ${steps.gone.x} > 1 or ${context.flag}")
    assert [reference.text for reference in condition.references] == [
        "${context.flag}",
        "${steps.gone.x}",
        "${context.flag}",
    ]
    outcome = condition.evaluate(_scope())
    assert (outcome.result, outcome.operands) == (True, {"${context.flag}": True})
    assert compile_condition("${steps.count.total} < 2").evaluate(_scope()).operands == {
        "${steps.count.total}": 3
    }


@pytest.mark.parametrize(
    ("expression", "cause"),
    [
        ("", "nothing to decide on"),
        ("  \n", "nothing to decide on"),
        ("${steps.a", "unclosed"),
        ("${step.a} > 1", "did you mean 'steps'"),
        ("flag", "'${context.flag}'"),
        ("${context.mode} == full", 'the text "full" in quotes'),
        ("tru", "did you mean 'true'"),
        ("'${context.mode}' == 'full'", "inside quotes"),
        ("${context.mode}.upper()", "no methods"),
        ("${context.mode}.real", "attribute access"),
        ("''.__class__", "attribute access"),
        ("[x for x in [1]]", "comprehension"),
        ("{x for x in [1]}", "comprehension"),
        ("any(x for x in [1])", "comprehension"),
        ("{'a': 1}", "dict"),
        ("(lambda: 1)()", "no methods"),
        ("lambda: 1", "lambda"),
        ("f'{1}'", "f-string"),
        ("(x := 1)", "assignment"),
        ("max(*[1])", "unpacking"),
        ("${steps.rows}[0:1]", "slice"),
        ("1 << 9", "LShift"),
        ("~1", "Invert"),
        ("b'a'", "bytes"),
        ("1j", "complex"),
        ("...", "ellipsis"),
        ("open('x')", "unknown function 'open'"),
        ("__import__('os')", "unknown function"),
        ("eval('1')", "unknown function"),
        ("${context.flag}(1)", "unknown function"),
        ("len", "not called"),
        ("len == 1", "not called"),
        ("max(1, key=abs)", "no keyword arguments"),
        ("int('z', 36)", "one argument"),
        ("sum([[1]], [])", "one argument"),
        ("len()", "one argument"),
        ("_reference_0", "cannot be used"),
        ("${context.a} && ${context.b}", "written 'and'"),
        ("${context.a} || ${context.b}", "written 'or'"),
        ("!${context.a}", "written 'not'"),
        ("${context.a} = 1", "written '=='"),
        ("1 2", "invalid syntax"),
        ("1; 2", "invalid syntax"),
        ("import os", "invalid syntax"),
        ("a\0b", "null bytes"),
        ("(" * 300, "nested"),
        ("-" * 3000 + "1", "nested more than"),
        ("1" + "+1" * 200, "nested more than"),
        ("1 or " * MAX_LENGTH + "1", "characters"),
    ],
)
def test_what_a_condition_may_not_contain(expression: str, cause: str) -> None:
    """Everything beyond the small language is refused when the condition is compiled, with the cause."""
    with pytest.raises(ConditionSyntaxError) as caught:
        compile_condition(expression)
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "cause", "operands"),
    [
        ("${steps.gone.x} > 1", "step 'gone' has no output", {}),
        ("${context.mode} > 1", "'>' not supported", {"${context.mode}": "full"}),
        ("len(${steps.count.total}) > 1", "has no len()", {"${steps.count.total}": 3}),
        ("${steps.rows}[9]", "IndexError", {"${steps.rows}": [1, 2, {"x": 4}]}),
        ("1 / 0", "ZeroDivisionError", {}),
        ("2 ** 100000 > 1", "bits", {}),
        ("9 ** 9 ** 9 ** 9", "bits", {}),
        ("10.0 ** 999 > 1", "OverflowError", {}),
        ("'%99999999s' % 1", "numbers only", {}),
        ("'a' * 99999999", "numbers only", {}),
        ("99999999 * [1]", "numbers only", {}),
        ("round(1, -99999999)", "100 digits", {}),
        ("{[]}", "unhashable", {}),
        ("${context.vague}", "cannot decide", None),
    ],
)
def test_a_condition_that_fails_names_its_operands(
    expression: str, cause: str, operands: dict[str, Any] | None
) -> None:
    """What goes wrong on the values, or would take too long, is a ConditionError with cause and operands."""

    class Vague:
        def __bool__(self) -> bool:
            raise ValueError("cannot decide")

    with pytest.raises(ConditionError) as caught:
        compile_condition(expression).evaluate(_scope(vague=Vague()))
    assert cause in str(caught.value)
    assert caught.value.expression == expression
    assert operands is None or caught.value.operands == operands


def test_looking_at_a_list_does_not_walk_it() -> None:
    """A long list is not searched for forbidden things: an expression has no way to call them."""

    class Rows(list[int]):
        walked = 0

        def __iter__(self) -> Any:
            Rows.walked += 1
            return super().__iter__()

    outcome = compile_condition("len(${context.rows}) > 2").evaluate(_scope(rows=Rows([1, 2, 3])))
    assert outcome.result
    assert Rows.walked == 0


def test_threads_do_not_see_each_others_values() -> None:
    """One condition evaluated by many threads at once decides each on its own scope."""
    condition = compile_condition("${context.n} == ${context.n} and ${context.n} % 2 == 0")
    barrier = threading.Barrier(4)
    wrong: list[int] = []

    def decide(n: int) -> None:
        barrier.wait()
        for _ in range(300):
            outcome = condition.evaluate(_scope(n=n))
            if outcome.result != (n % 2 == 0) or outcome.operands != {"${context.n}": n}:
                wrong.append(n)

    threads = [threading.Thread(target=decide, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(st.text(st.sampled_from("()[]{}${}ab1.,'\" +-*/=<>!orndit\n")))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """No text makes the compiler fail with anything but ConditionSyntaxError."""
    with suppress(ConditionSyntaxError):
        compile_condition(text)


_NAMES = {"${context.a}": "a", "${context.b}": "b"}
_LEAVES = st.sampled_from(["0", "1", "2.5", "-3", *_NAMES])
_EXPRESSIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "<", "<=", "==", "!=", "and", "or"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        inner.map(lambda text: f"(not {text})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda texts: f"max({', '.join(texts)}, 0)"),
    ),
    max_leaves=12,
)


@given(_EXPRESSIONS, st.integers(-3, 3), st.integers(-3, 3))
def test_conditions_mean_what_python_means(expression: str, a: int, b: int) -> None:
    """On numbers an expression decides as the same Python expression would."""
    python = expression
    for reference, name in _NAMES.items():
        python = python.replace(reference, name)
    expected = bool(eval(python, {"a": a, "b": b}))
    assert compile_condition(expression).evaluate(_scope(a=a, b=b)).result is expected
