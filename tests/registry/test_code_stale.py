"""Source on disk that is not what is running is not taken for it."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchkit.registry import MethodDefinition, code_of

SOURCE = '''"""A module."""

import math


def work(a: int, b: int = 1, *, c: str = "x") -> float:
    return math.sqrt(a) + b + 1000


class Shop:
    rate = 2

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def price(self, cents: int) -> int:
        return cents * self.rate
'''


class Edited:
    """A module on disk that can be edited after it was imported."""

    def __init__(self, file: Path) -> None:
        self.file, self.ticks = file, 0
        self.write(SOURCE)
        self.module: ModuleType = importlib.import_module(file.stem)

    def write(self, text: str) -> None:
        """Save it; each time a second later than before, as with an editor."""
        self.file.write_text(text, encoding="utf-8")
        self.ticks += 1
        os.utime(self.file, (1_700_000_000 + self.ticks,) * 2)

    def edit(self, old: str, new: str) -> None:
        """Replace a text that is there once."""
        text = self.file.read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.write(text.replace(old, new))


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edited]:
    """The module of `SOURCE`, imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Edited(tmp_path / "edited_module.py")
    del sys.modules["edited_module"]


LEAVES_IT: list[tuple[str, str]] = [
    ("import math\n", "import math\n\n\ndef above(x):\n    return x\n"),
    ("    return math.sqrt", "    # a comment\n    return math.sqrt"),
    ("    rate = 2", "    rate = 3"),
    ("    return cents * self.rate", "    return cents"),
]
CHANGES_IT: list[tuple[str, str]] = [
    ("1000", "1001"),
    ("b: int = 1", "b: int = 2"),
    ('"x"', '"y"'),
    ("def work(", "def job("),
    ("    return math.sqrt", "    return ((math.sqrt"),
    (SOURCE, "# nothing\n"),
]


@pytest.mark.parametrize("primed", [False, True], ids=["first read now", "read before"])
@pytest.mark.parametrize(("old", "new"), LEAVES_IT)
def test_edits_elsewhere_in_the_file_change_nothing(edited: Edited, old: str, new: str, primed: bool) -> None:
    """The running function is found in the file as it is now, wherever it stands there."""
    before = code_of(edited.module.work)
    if primed:
        linecache.getlines(str(edited.file))
    edited.edit(old, new)
    after = code_of(edited.module.work)
    assert after.hash == before.hash
    assert "math.sqrt(a) + b + 1000" in str(after.source)


@pytest.mark.parametrize(("old", "new"), CHANGES_IT)
def test_a_function_edited_on_disk_is_still_the_one_that_runs(edited: Edited, old: str, new: str) -> None:
    """Until it is imported anew its compiled code counts, and no source is shown."""
    before = code_of(edited.module.work)
    edited.edit(old, new)
    first, second = code_of(edited.module.work), code_of(edited.module.work)
    assert first.source is None
    assert first.hash == second.hash != before.hash
    assert edited.module.work(4) == 1003.0


@pytest.mark.parametrize(("old", "new"), CHANGES_IT[:3])
def test_a_module_that_is_reloaded_has_its_new_code(edited: Edited, old: str, new: str) -> None:
    """After the reload the text on disk is what runs; the old text again gives the old hash."""
    before = code_of(edited.module.work)
    edited.edit(old, new)
    stale = code_of(edited.module.work)
    importlib.reload(edited.module)
    after = code_of(edited.module.work)
    assert after.source is not None
    assert len({before.hash, stale.hash, after.hash}) == 3
    edited.edit(new, old)
    importlib.reload(edited.module)
    assert code_of(edited.module.work) == before


def test_code_is_read_once_and_kept(edited: Edited) -> None:
    """What a definition once said about its code it goes on saying: later edits are not what runs."""
    definition = MethodDefinition("work", edited.module.work, version="7")
    kept = definition.code
    edited.edit("1000", "1001")
    assert definition.code is kept
    assert (kept.version, kept.place) == ("7", definition.origin)


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("    return cents * self.rate", "    return cents", False),
        ("    rate = 2", "    rate = 3", False),
        ("    def price", "    def cost(self):\n        return 1\n\n    def price", False),
        ("    def price", "    # what it costs\n    def price", True),
        ("import math\n", "import math\n\nX = 1\n", True),
    ],
)
def test_a_class_edited_on_disk_is_still_the_one_that_runs(
    edited: Edited, old: str, new: str, seen: bool
) -> None:
    """Every method and every plain attribute is compared."""
    before = code_of(edited.module.Shop)
    assert str(before.source).startswith("class Shop:")
    edited.edit(old, new)
    after = code_of(edited.module.Shop)
    assert (after.source is not None) is seen
    assert (after.hash == before.hash) is seen
    importlib.reload(edited.module)
    assert code_of(edited.module.Shop).source is not None


def test_a_file_that_is_gone_leaves_the_compiled_code(edited: Edited) -> None:
    """Without its file a function has no source, but still one hash."""
    edited.file.unlink()
    first = code_of(edited.module.work)
    assert first.source is None
    assert first == code_of(edited.module.work)


def test_code_made_by_exec_tells_edits_from_looks() -> None:
    """Without source the compiled code counts: not its lines, comments or docstrings."""

    def made(text: str) -> str:
        scope: dict[str, Any] = {}
        exec(text, scope)
        return code_of(scope["work"]).hash

    text = (
        "def work(x, y=(1, 2)):\n    'Doc.'\n    def inner(): return x in {'a', 'b', 1}\n    return inner\n"
    )
    looks = text.replace("'Doc.'", "'Another.'  # noted").replace("    return inner", "\n\n    return inner")
    assert made(text) == made(looks)
    edits = [
        ("(1, 2)", "(1, 3)"),
        ("'b'", "'c'"),
        ("1}", "True}"),
        ("y=", "*, y="),
        ("def work", "async def work"),
    ]
    assert len({made(text), *(made(text.replace(old, new)) for old, new in edits)}) == len(edits) + 1
