"""Everything that shows itself does so with hostile texts and with nothing to draw with; it never raises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

import orchkit as ok
from orchkit.analysis import whatif
from orchkit.registry.registry import Registry
from orchkit.views import bundle, render

HOSTILE = {
    "markup": '"><img src=x onerror=alert(1)></script><script>alert(1)</script> $$x$$',
    "right to left": "שלום \u202egnp.exe\u2066 عالم",
    "emoji and wide": "👩‍👩‍👧‍👦 日本語のステップ z\u0300\u0301",
    "very long": "x" * 3000 + "\n" + "word " * 500,
}
ELSEWHERE = {
    "gatewaycards.of_gateway": "tests/gateway/test_gateway_server.py",
    "healthcards.of_monitor": "tests/views/test_healthcards.py",
    "healthcards.of_service": "tests/views/test_healthcards.py",
    "whatifcards.of_suggestion": "tests/analysis/test_whatif_suggest.py",
}
"""What has to be made in a way of its own, and where that is tested."""


class Elements(HTMLParser):
    """The elements of some HTML, and their event handlers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.handlers: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys(), scope="module")
def shown(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """One of everything, with such a text wherever a user can write one."""
    text: str = request.param

    def body(x: str) -> dict[str, str]:
        """A step that says it everywhere."""
        evidence = ok.bundle_evidence(text, {text: text}, source=text, metadata={text: text})
        ok.trace_decision(text, text, text, alternatives=[text], input_data={text: text}, evidence=evidence)
        ok.report_progress(0.5, text)
        return {text: text, "x": x}

    def fail(x: Any) -> None:
        """A step that fails with it."""
        raise ValueError(text)

    with ok.open(registry=Registry()) as kit:
        kit.registry.methods.register_method(body, name="body")
        kit.registry.methods.register_method(fail, name="fail")
        policy = ok.ReliabilityPolicy(
            retry={"max_attempts": 2, "strategy": "immediate"}, fallback={"value": text}
        )
        flow = kit.workflow(text, description=text)
        flow.add_step("body", {"x": text}, step_id=text, description=text)
        flow.add_step("fail", {"x": 1}, step_id="b", depends_on=text, retry=2)
        built = flow.build()
        a, b = (kit.run(built, text, context={text: n}) for n in (1, 2))
        handle = kit.start(built)
        handle.result()
        run = a.run
        yield [
            kit, kit.runs, kit.registry, kit.store.cache(), kit.runs.table(), built, a, run, handle, policy,
            policy.explain(), kit.compare(a, b), kit.verify(a.run_id), run.dag(), run.dag(at=3),
            run.timeline(), run.decision_table(), run.evidence_table(), run.replay(), handle.monitor(),
            run.explain(), run.step(text), whatif.replay(kit, {"retry": {"max_attempts": 3}}),
            ok.simulate(built, runs=2, outputs={"body": {"x": text}, "fail": text}, kit=kit),
        ]  # fmt: skip


def test_everything_shows_itself(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As text and as HTML, without a renderer; no text of a user becomes an element."""
    monkeypatch.setattr(render, "RENDERERS", ())
    for one in shown:
        name = type(one).__name__
        told = repr(one)
        data = one._repr_mimebundle_() if hasattr(one, "_repr_mimebundle_") else {"text/plain": told}
        html = data.get("text/html", "")
        assert told.strip(), name
        assert data["text/plain"].strip(), name
        assert "cannot be shown" not in html, name
        outside = re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)  # our own, with their data
        assert Elements(outside).handlers == [], name
        assert "script" not in Elements(outside).found, name
        assert not {"\u202e", "\u2066", "\x1b"} & set(data["text/plain"] + outside), name


def test_nothing_that_is_drawn_is_forgotten(shown: list[Any]) -> None:
    """Whoever adds something with a picture of its own adds it here."""
    drawn = {draw for kind, draw in bundle._DRAWERS if not any(isinstance(one, kind) for one in shown)}
    drawn |= {
        draw
        for names, draw in bundle._DRAWERS_BY_NAMES
        if not any(all(hasattr(one, name) for name in names) for one in shown)
    }
    missing = {f"{draw.__module__.rpartition('.')[2]}.{draw.__name__}" for draw in drawn}
    assert missing - ELSEWHERE.keys() == set()
