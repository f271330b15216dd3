"""How a verification shows itself."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from orchkit.engine.verify import Checked, Verification
from orchkit.errors import Difference
from orchkit.views.bundle import bundle


def checked(step_id: str, **more: Any) -> Checked:
    """A step that gave what is on record, but for ``more``."""
    facts = {"item": None, "attempt": 1, "name": "t", "matches": True, "expected": 6, "actual": 6}
    return Checked(**{"run_id": "run_1", "step_id": step_id, **facts, **more})


def words(found: Verification) -> str:
    """What its card says."""
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", bundle(found)["text/html"]).split()))


def test_all_match() -> None:
    """Said at once; what was run again is folded away, what was not is named."""
    found = Verification("run_1", [checked("a"), checked("m[0]", item=0)], ["send", "m[1]"])
    shown = words(found)
    assert shown.startswith("✓ matches Verification run run_1 2 steps run again 2 not pure")
    assert "2 steps gave what is on record" in shown
    assert "Not run again, because their methods are not declared pure=True: send and m[1]" in shown
    html = bundle(found)["text/html"]
    assert html.index("<details") < html.index(">a")
    assert bundle(found)["text/plain"] == repr(found)


def test_what_differs_stands_first() -> None:
    """What is on record, what came now and where they differ; or how it failed, and edited code."""
    differences = (Difference("output.n", 6, 7), Difference("output.m", [1], None))
    wrong = checked("b", matches=False, actual={"n": 7}, differences=differences)
    failed = checked(
        "c", matches=False, actual=None, error="pkg.Error: no", code_changed=True, run_id="run_2"
    )
    found = Verification("run_1", [checked("a"), wrong, failed], [])
    shown = words(found)
    assert shown.startswith("✗ differs Verification run run_1 3 steps run again 2 different")
    assert 'b t 1 6 {"n": 7} output.n: recorded 6, now 7 output.m: recorded [1], now None' in shown
    assert "c edited since run_2 t 1 6 Error: no" in shown
    assert "1 step gave what is on record" in shown
    assert bundle(found)["text/plain"].split("\n")[1:] == [
        "  ✗ b: output.n: recorded 6, now 7; output.m: recorded [1], now None",
        "  ✗ c: Error: no",
    ]


@pytest.mark.parametrize(
    ("skipped", "said"),
    [([], "No completed step of this run calls a method."), (["a"], "not declared pure=True: a")],
)
def test_nothing_could_be_verified(skipped: list[str], said: str) -> None:
    """That is neither a match nor a difference."""
    shown = words(Verification("run_1", [], skipped))
    assert "nothing to verify Verification" in shown
    assert said in shown


def test_of_very_many_the_first_are_shown() -> None:
    """Rows and differences, and how many there are beyond."""
    differences = tuple(Difference(f"output[{n}]", n, n + 1) for n in range(20))
    many = [checked(f"s{n}", matches=False, differences=differences) for n in range(300)]
    shown = words(Verification("run_1", many, [f"p{n}" for n in range(100)]))
    assert "… and 14 more" in shown
    assert "… and 200 more" in shown
    assert "and 89 more" in shown


def test_hostile_texts(hostile: str) -> None:
    """Whatever stands in a record, the card is harmless."""
    wrong = checked(
        hostile, matches=False, name=hostile, expected=hostile, actual={hostile: 1}, error=hostile,
        differences=(Difference(hostile, hostile, None),),
    )  # fmt: skip
    html = bundle(Verification(hostile, [wrong, checked(hostile)], [hostile]))["text/html"]
    assert not re.search(r"<(script|svg|style|img)\b", html)
    assert html.count("<table") == html.count("</table>") == 2
