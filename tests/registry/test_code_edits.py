"""Which edits of a module give a method another code, and which do not."""

from __future__ import annotations

import ast
import copy
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.registry import changes, code_of
from orchkit.registry.syntax import normal_form

BASE = '''
import functools

import orchkit as ok

RATE = 3
FIRST = 1


def traced(times):
    def wrap(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return [function(*args, **kwargs) for _ in range(times)][-1]

        return inner

    return wrap


def helper(x):
    return x + 1


@ok.method(domain="orders")
@traced(2)
def work(a: int, b: int = FIRST, *, tail: str = "x") -> str:
    """What it does."""
    total = a * b + 1000  # in cents
    if total in {"one", "two", "three"}:
        total = helper(total)

    def inner(value=RATE):
        """What the inner does."""
        return f"{value:>{b}}" + 'text'

    return inner() + f"{total!r}" + tail
'''

SAME = {
    "a comment is added": ("    if total in", "    # look here\n    if total in"),
    "a comment is removed": ("  # in cents", ""),
    "blank lines are added": ("    if total in", "\n\n    if total in"),
    "the docstring is edited": ("What it does.", "Something else.\n\n    In two paragraphs."),
    "the docstring is removed": ('    """What it does."""\n', ""),
    "an inner docstring is removed": ('        """What the inner does."""\n', ""),
    "quotes are others": ("'text'", '"text"'),
    "a number is spelt in another way": ("1000", "1_000"),
    "a text is written in two parts": ("'text'", "'te' 'xt'"),
    "an f-string is written in two parts": ('f"{total!r}"', 'f"{total!r}" ""'),
    "an expression spans lines": ("total = a * b + 1000", "total = (\n        a * b\n        + 1000\n    )"),
    "there are more parentheses": ("a * b + 1000", "((a * b) + (1000))"),
    "the signature spans lines": ("(a: int, b: int", "(\n    a: int,\n    b: int"),
    "the text is indented deeper": ("        total = helper(total)", "            total = helper(total)"),
    "it stands further down": ("RATE = 3", "RATE = 3\n\n\ndef other():\n    return 1\n"),
    "another function is edited": ("return x + 1", "return x + 2"),
    "a global variable that only the body reads is another": ("RATE = 3", "RATE = 4"),
    "its registration has other options": ('domain="orders"', 'domain="people", name="labour", pure=True'),
    "its registration is removed": ('@ok.method(domain="orders")\n', ""),
    "it is registered as a tool too": ("@ok.method", '@ok.register_tool("Work")\n@ok.method'),
    "it is registered under an alias": (
        '@ok.method(domain="orders")',
        "from orchkit import method as step\n@step",
    ),
}
OTHER = {
    "a number in the body": ("1000", "1001"),
    "the type of a number": ("1000", "1000.0"),
    "a text in the body": ("'text'", "'test'"),
    "an operator": ("a * b", "a + b"),
    "the order of a sum": ("a * b + 1000", "1000 + a * b"),
    "a member of a set": ('"three"}', '"four"}'),
    "the condition": ("if total in", "if total not in"),
    "the inner function": ("+ 'text'", "* 2"),
    "an inner default": ("value=RATE", "value=4"),
    "the format of an f-string": ("{value:>{b}}", "{value:<{b}}"),
    "the conversion of an f-string": ("{total!r}", "{total!s}"),
    "a default": ("b: int = FIRST", "b: int = 2"),
    "the value of a default": ("FIRST = 1", "FIRST = 2"),
    "the type of a default": ("FIRST = 1", "FIRST = True"),
    "a keyword default": ('tail: str = "x"', 'tail: str = "y"'),
    "a parameter's kind": ("b: int = FIRST, *, tail", "b: int = FIRST, tail"),
    "an annotation": ("a: int", "a: float"),
    "the argument of another decorator": ("@traced(2)", "@traced(3)"),
    "a decorator less": ("@traced(2)\n", ""),
    "a decorator more": ("@traced(2)", "@traced(2)\n@traced(2)"),
    "the wrapper of the same module": ("[-1]", "[0]"),
    "whether it is async": ("def work(", "async def work("),
    "a statement more": ("    if total in", "    print()\n    if total in"),
    "two statements in another order": (
        "    total = a * b + 1000  # in cents\n",
        "    b = b\n    total = a * b + 1000\n",
    ),
}

SCRIPT = """
import importlib, json, sys
from orchkit.registry import Registry, code_of, registration

found = {}
for name in sys.argv[1:]:
    registration.default_registry = Registry()  # the versions may register the same name
    found[name] = code_of(importlib.import_module(name).work).hash
print(json.dumps(found))
"""


def versions() -> dict[str, str]:
    """The base and each edit of it, by module name."""
    found = {"base": BASE}
    for kind, edits in (("same", SAME), ("other", OTHER)):
        for number, (what, (old, new)) in enumerate(edits.items()):
            assert BASE.count(old) == 1, what
            found[f"{kind}{number}"] = BASE.replace(old, new)
    return found


def hashes(folder: Path, *modules: str, seed: str = "0") -> dict[str, str]:
    """The code of ``work`` in each module, as a new process sees it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *modules],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of all versions."""
    folder = tmp_path_factory.mktemp("versions")
    sources = versions()
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return hashes(folder, *sources)


@pytest.mark.parametrize("number", range(len(SAME)), ids=[*SAME])
def test_the_looks_of_a_function_are_no_part_of_its_code(seen: dict[str, str], number: int) -> None:
    """Comments, docstrings, formatting, position and our own decorators may be edited freely."""
    assert seen[f"same{number}"] == seen["base"]


@pytest.mark.parametrize("number", range(len(OTHER)), ids=[*OTHER])
def test_what_a_function_does_is_its_code(seen: dict[str, str], number: int) -> None:
    """Body, signature, defaults by value, other decorators and their wrappers: each edit shows."""
    assert seen[f"other{number}"] != seen["base"]


def test_every_edit_is_told_from_every_other(seen: dict[str, str]) -> None:
    """No two versions that do something else have one hash."""
    others = [seen[f"other{number}"] for number in range(len(OTHER))]
    assert len({*others, seen["base"]}) == len(OTHER) + 1


def test_two_processes_see_the_same_code(tmp_path: Path) -> None:
    """Neither the process nor the order of its sets counts; an edit on disk shows in the next."""
    file = tmp_path / "steps.py"
    file.write_text(BASE, encoding="utf-8")
    first = hashes(tmp_path, "steps", seed="1")
    assert hashes(tmp_path, "steps", seed="2") == first
    assert len(first["steps"]) == 64
    file.write_text(BASE.replace("1000", "1001"), encoding="utf-8")
    assert hashes(tmp_path, "steps") != first


NOISE = st.lists(
    st.tuples(
        st.integers(0, BASE.count("\n") - 1),
        st.sampled_from(["", "    ", "# note", "      # deeper", "\t# tab", "#" * 40]),
    )
)


@given(NOISE)
def test_comments_and_blank_lines_anywhere_change_nothing(noise: list[tuple[int, str]]) -> None:
    """Whatever is put between the lines, the normal form stays."""
    lines = BASE.splitlines()
    for place, text in sorted(noise, reverse=True):
        lines.insert(place, text)
    assert normal_form(ast.parse("\n".join(lines))) == normal_form(ast.parse(BASE))


LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)


def as_default(value: Any) -> Callable[..., Any]:
    """A function with this default."""

    def work(x: int, y: Any = value) -> None: ...

    return work


def as_keyword(value: Any) -> Callable[..., Any]:
    """A function with this keyword default."""

    def work(x: int, *, y: Any = value) -> None: ...

    return work


def as_free_variable(value: Any) -> Callable[..., Any]:
    """A function that reads it from around."""

    def work(x: int) -> Any:
        return value

    return work


def as_frozen_argument(value: Any) -> partial[Any]:
    """A partial with it."""
    return functools.partial(as_default(0), y=value)


MAKERS: list[Callable[[Any], Any]] = [as_default, as_keyword, as_free_variable, as_frozen_argument]


@pytest.mark.parametrize("make", MAKERS)
@given(first=LITERALS, second=LITERALS)
def test_plain_values_count_by_value_and_type(make: Callable[[Any], Any], first: Any, second: Any) -> None:
    """Defaults, frozen arguments and free variables give one hash exactly when they are equal in full."""
    equal = repr(first) == repr(second)
    assert (code_of(make(first)).hash == code_of(make(second)).hash) is equal
    assert code_of(make(first)) == code_of(make(copy.deepcopy(first)))


def test_changes_are_shown_as_a_short_diff() -> None:
    """Lines that went and came, with little around them."""
    old = "def f(a):\n    b = 1\n    return a + b"
    assert changes(old, old.replace("1", "2")).splitlines() == [
        "--- before",
        "+++ now",
        "@@ -1,3 +1,3 @@",
        " def f(a):",
        "-    b = 1",
        "+    b = 2",
        "     return a + b",
    ]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("a", "a", ""),
        (None, None, ""),
        (None, "a", "there is no source of the old code to compare with"),
        ("a", None, "there is no source of the new code to compare with"),
    ],
)
def test_changes_says_when_there_is_nothing_to_show(old: str | None, new: str | None, text: str) -> None:
    """Equal sources give nothing; a missing one is said."""
    assert changes(old, new) == text


def test_a_long_diff_is_cut() -> None:
    """No more lines than asked for, and how many more there are."""
    shown = changes("", "\n".join(map(str, range(100))), limit=10).splitlines()
    assert len(shown) == 11
    assert shown[-1] == "… and 93 more lines"
