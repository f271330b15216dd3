"""The report in a real browser without a network: opened, replayed by keyboard, jumped about in, measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok

SHOTS = Path(__file__).with_name("shots")
OPENS_MS, STEPS_MS = 2000, 50
PATIENCE = 4
"""How many times longer it may take on a machine that is busy with something else."""
HOSTILE = '"><img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>'
RTL = "שלום \u202egnp.exe עולם 👩‍👩‍👧‍👦"


async def load(source: str) -> dict[str, Any]:
    """A step with evidence, a decision and progress."""
    ok.report_progress(0.5, "half")
    found = ok.bundle_evidence("listing", {"rows": [1, 2]}, source=f"api:{source}", confidence_score=0.9)
    ok.trace_decision(
        "pages", "all", "it is short", alternatives=["first", "all"], input_data={"limit": 10}, evidence=found
    )
    await asyncio.sleep(0.02)
    return {"rows": [1, 2, 3], "total": 300}


class Flaky:
    """Fails the first two times."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, n: int) -> int:
        self.calls += 1
        if self.calls < 3:
            raise ConnectionError(f"503 on call {self.calls}")
        return n


async def double(n: int) -> int:
    """A step that takes a moment."""
    await asyncio.sleep(0.005)
    return 2 * n


async def charge(amount: int) -> int:
    """A step that fails for good."""
    raise ValueError(f"the card was declined for {amount}")


@pytest.fixture(scope="module")
def kit() -> Iterator[ok.Kit]:
    """A kit with the methods above."""
    with ok.open(durability="exit") as kit:
        for method in (load, double, charge):
            kit.registry.methods.register_method(method)
        kit.registry.methods.register_method(Flaky().__call__, name="flaky")
        yield kit


@pytest.fixture(scope="module")
def settlement(kit: ok.Kit) -> ok.Run:
    """A run with a sub-workflow, retries, a map, a condition, a failure and a compensation."""
    retry = {"strategy": "fixed", "max_attempts": 4, "delay": 0.03}
    inner = kit.workflow("import").add_step("load", {"source": "orders"})
    inner.add_step("flaky", {"n": "${steps.load.total}"}, step_id="clean", retry=retry)
    flow = kit.workflow("settlement").with_execution_mode("dag")
    flow.add_workflow(inner.build(), step_id="import")
    flow.add_step(
        "double",
        {"n": "${steps.import.clean}"},
        step_id="reserve",
        compensate={"tool": "double", "parameters": {"n": 1}},
    )
    flow.add_map("double", [1, 2, 3, 4], {"n": "${item}"}, step_id="lines", depends_on="reserve")
    flow.add_step("double", {"n": 1}, step_id="big", when="${steps.import.clean} > 1000")
    flow.add_step("charge", {"amount": "${steps.import.clean}"}, depends_on="lines")
    flow.add_step("double", {"n": "${steps.charge}"}, step_id="notify")
    run: ok.Run = kit.run(flow.build(), context={"region": "EU"}).run
    return run


NODES = """
() => Object.fromEntries([...orchkitPlayer().shadow.querySelectorAll(".dag svg g.node")]
  .filter((node) => !node.classList.contains("unborn"))
  .map((node) => [node.id, [...node.classList].find((name) => name.startsWith("status_"))]))
"""


class Sheet:
    """A report open in a browser that is offline."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on(
            "console", lambda one: self.wrong.append(one.text) if one.type in ("error", "warning") else None
        )
        page.on("dialog", lambda dialog: (self.wrong.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: Path, fragment: str = "") -> float:
        """How long it took until the first event was shown, in ms of the page's own clock."""
        self.page.goto(path.as_uri() + fragment)
        self.page.wait_for_selector(".player .caption .says")
        self.page.locator("section.player").focus()
        return float(self.page.evaluate("performance.now()"))

    def press(self, *keys: str) -> Sheet:
        for key in keys:
            self.page.keyboard.press(key)
        return self

    @property
    def position(self) -> int:
        return int(self.page.locator(".position").inner_text().split(" / ")[0].replace(",", ""))

    @property
    def caption(self) -> str:
        return str(self.page.locator(".caption .says").inner_text())

    @property
    def standing(self) -> str:
        return str(self.page.locator(".head .status").inner_text())

    def node(self, step: str) -> str:
        """The classes of a node in the picture."""
        found = self.page.evaluate("(step) => orchkitPlayer().film.dag.nodes[step]", step)
        return str(self.page.locator(f'.dag svg g[id="{found}"]').get_attribute("class"))

    def standings(self) -> dict[str, str]:
        """How each node of the picture stands, by its id; what is not there yet left out."""
        found: dict[str, str] = self.page.evaluate(NODES)
        return found

    def shot(self, name: str) -> None:
        """Keep a picture of the page for people to look at."""
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)


@pytest.fixture
def sheet(browser: Any) -> Iterator[Callable[..., Sheet]]:
    """``sheet(width, scheme)`` is an empty page without a network; nothing may go wrong in it."""
    opened: list[tuple[Any, Sheet]] = []

    def make(width: int = 1400, scheme: str = "light") -> Sheet:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        context.set_default_timeout(30_000)
        opened.append((context, Sheet(context.new_page())))
        return opened[-1][1]

    yield make
    for context, sheet in opened:
        context.close()
        assert sheet.wrong == []
        assert all(url.startswith(("file:", "data:")) for url in sheet.asked)


@pytest.fixture(scope="module")
def report(settlement: ok.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of that run."""
    return settlement.to_html(tmp_path_factory.mktemp("report") / "settlement.html")


# --- by keyboard ---------------------------------------------------------------------------


def test_it_replays_to_the_end_by_keyboard(
    report: Path, sheet: Callable[..., Sheet], settlement: ok.Run
) -> None:
    """From the first event, one key per event, the picture becomes that of the run as it ended."""
    one = sheet()
    one.open(report)
    frames = settlement.replay().film["frames"]
    assert (one.position, one.caption, one.standing) == (1, "settlement begins", "running")
    assert "status_pending" in one.node("charge")
    for place, frame in enumerate(frames[1:], 2):
        one.press("ArrowRight")
        assert (one.position, one.caption) == (place, frame["text"])
    assert one.standing == "failed"
    for step, state in settlement.state.steps.items():
        if state.parent is None:
            assert f"status_{state.status}" in one.node(step)
    one.press("ArrowRight")
    assert one.position == len(frames)
    assert one.press("Home").position == 1
    assert "status_pending" in one.node("charge")
    assert one.press("End").position == len(frames)
    assert one.press("Shift+ArrowLeft").position == len(frames) - 10


def test_each_frame_is_the_picture_of_that_moment(
    report: Path, sheet: Callable[..., Sheet], settlement: ok.Run
) -> None:
    """What the player shows after an event is what `Run.dag` draws of it, sub-workflows included."""
    one = sheet()
    one.open(report)
    for place in range(len(settlement.events())):
        one.page.evaluate("(place) => orchkitPlayer().go(place)", place)
        drawn = settlement.dag(at=place).diagram.nodes
        assert one.standings() == {node.id: f"status_{node.status}" for node in drawn}, place


def test_it_finds_decisions_and_failures(
    report: Path, sheet: Callable[..., Sheet], settlement: ok.Run
) -> None:
    """Keys d and f go to the next one, with Shift to the one before; where there is none, that is said."""
    one = sheet()
    one.open(report)
    frames = settlement.replay().film["frames"]
    marked = {
        mark: [n for n, frame in enumerate(frames, 1) if frame.get("mark") == mark]
        for mark in ("decision", "failure")
    }
    for mark, key in (("decision", "d"), ("failure", "f")):
        one.press("Home")
        for place in marked[mark]:
            assert one.press(key).position == place
        assert one.press(key).position == marked[mark][-1]
        assert one.page.locator(".nudge").inner_text() == f"There is no further {mark}."
        assert one.press(f"Shift+{key.upper()}").position == marked[mark][-2]


def test_it_jumps_to_a_step(report: Path, sheet: Callable[..., Sheet]) -> None:
    """/ and a part of a name goes to where the step begins, and looks at it until Esc."""
    one = sheet()
    one.open(report)
    one.press("/").page.keyboard.type("rese")
    one.press("Enter")
    assert one.caption == "reserve begins"
    one.press("ArrowRight", "End")
    assert one.page.locator(".inspector .id").inner_text() == "reserve"
    assert "picked" in one.node("reserve")
    one.press("Escape")
    assert one.page.locator(".inspector .id").inner_text() == "settlement"
    one.press("/").page.keyboard.type("no such step")
    one.press("Enter")
    assert one.page.locator(".jump").get_attribute("aria-invalid") == "true"


def test_it_plays_to_the_end(report: Path, sheet: Callable[..., Sheet]) -> None:
    """The space bar plays and pauses, at a speed that can be chosen; at the end it stands still."""
    one = sheet()
    one.open(report)
    one.page.locator("select").select_option("8")
    one.page.locator("section.player").focus()
    one.press(" ")
    one.page.wait_for_function("() => orchkitPlayer().frame > 3")
    one.press(" ")
    held = one.position
    assert not one.page.evaluate("orchkitPlayer().playing")
    assert one.position == held
    one.press(" ")
    one.page.wait_for_function("() => orchkitPlayer().frame === orchkitPlayer().film.last")
    assert not one.page.evaluate("orchkitPlayer().playing")
    assert one.standing == "failed"


# --- what changes together -----------------------------------------------------------------


def test_the_inspector_shows_what_belongs_to_the_event(report: Path, sheet: Callable[..., Sheet]) -> None:
    """A decision with its operands and alternatives, a failure with what it changed, attempts and values."""
    one = sheet()
    one.open(report)
    inspector = one.page.locator(".inspector")
    one.press("/").page.keyboard.type("big")
    one.press("Enter")
    card = inspector.locator(".card.decision").inner_text()
    assert "condition → false" in card
    assert "${steps.import.clean}" in card
    assert "300" in card
    one.press("Escape", "End", "Home", "f")
    changed = inspector.locator(".changes").inner_text()
    assert "charge, attempt 1" in changed
    assert "running" in changed
    assert "failed" in changed
    assert "the card was declined for 300" in changed
    assert "amount" in inspector.inner_text()


def test_a_sub_workflow_can_be_entered_and_left(report: Path, sheet: Callable[..., Sheet]) -> None:
    """Its run is a replay of its own at the same moment, with evidence, retries and the way back."""
    one = sheet()
    one.open(report)
    one.press("End", "Home", "/").page.keyboard.type("import")
    one.press("Enter", "Enter")
    assert one.page.locator(".crumbs").inner_text().startswith("settlement")
    assert one.page.locator(".head .title").inner_text() == "import"
    one.press("Home", "f", "f")
    assert "503 on call 2" in one.caption
    assert "try 2" in one.page.locator('.dag svg g.node:has-text("clean")').text_content()
    one.page.evaluate("() => { const p = orchkitPlayer(); p.go(p.film.evidence[0].frame); }")
    evidence = one.page.locator(".card.evidence").inner_text()
    assert "listing from api:orders" in evidence
    assert "confidence 0.9" in evidence
    one.press("End", "Escape")
    assert one.page.locator(".head .title").inner_text() == "settlement"
    assert "status_running" in one.node("import")  # its run had ended then, and the step had not
    assert one.press("ArrowRight").caption.startswith("import succeeded after ")


def test_the_timeline_can_be_dragged(report: Path, sheet: Callable[..., Sheet]) -> None:
    """Attempts are bars, waits hatched; the playhead follows the pointer, and the picture with it."""
    one = sheet()
    one.open(report)
    assert one.page.locator(".lane .bar.status_failed").count() >= 1
    plot = one.page.locator(".plot").bounding_box()
    one.page.mouse.move(plot["x"] + plot["width"] / 2, plot["y"] + 12)
    one.page.mouse.down()
    one.page.mouse.move(plot["x"] + plot["width"] * 0.7, plot["y"] + 12, steps=5)
    middle = one.position
    one.page.mouse.move(plot["x"] + plot["width"] - 2, plot["y"] + 12, steps=5)
    one.page.mouse.up()
    assert 1 < middle < one.position
    assert one.standing == "failed"
    one.page.evaluate("() => orchkitPlayer().enter('import')")
    waits = one.page.locator(".lane .wait")
    waits.nth(1).wait_for(state="attached")
    assert waits.count() == 2


def test_several_runs_are_chosen_from_a_list(
    kit: ok.Kit, settlement: ok.Run, sheet: Callable[..., Sheet], tmp_path: Path
) -> None:
    """The address says which run and which event, so that a place can be pointed at."""
    other = kit.run(kit.workflow("other").add_step("double", {"n": 1}).build()).run
    path = kit.report(tmp_path / "report.html", [settlement, other])
    one = sheet()
    one.open(path, f"#run={other.id}&frame=3")
    assert (one.position, one.page.locator(".head .title").inner_text()) == (3, "other")
    one.page.locator(".runs button", has_text="settlement").click()
    one.page.wait_for_function("() => orchkitPlayer().film.head.name === 'settlement'")
    assert one.position == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [560, 900, 1400])
def test_it_fits_on_any_page(report: Path, sheet: Callable[..., Sheet], width: int, scheme: str) -> None:
    """No page scrolls sideways, and its colours are those of the system."""
    one = sheet(width, scheme)
    one.open(report)
    one.press("f")
    assert one.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert one.page.locator(".orchkit-player").get_attribute("data-theme") == scheme
    one.shot(f"report_{scheme}_{width}")


# --- what must not happen ------------------------------------------------------------------


def test_hostile_texts_do_nothing(kit: ok.Kit, sheet: Callable[..., Sheet], tmp_path: Path) -> None:
    """Markup, texts that turn their direction and very long ones are shown and not obeyed."""

    async def echo(text: str) -> dict[str, str]:
        ok.trace_decision(text, text, text, alternatives=[text, RTL], input_data={text: RTL})
        ok.bundle_evidence(text, {text: text}, source=text, metadata={"m": text})
        ok.report_progress(0.5, text)
        return {text: text, "long": "x" * 100_000, RTL: RTL}

    kit.registry.methods.register_method(echo, name="echo")
    flow = kit.workflow(HOSTILE).add_step("echo", {"text": HOSTILE}, step_id=HOSTILE, description=HOSTILE)
    flow.add_step("charge", {"amount": 1}, step_id=RTL)
    path = kit.run(flow.build()).run.to_html(tmp_path / "hostile.html")
    one = sheet()
    one.open(path)
    for _ in range(14):
        one.press("ArrowRight")
    one.page.locator(".tab").nth(1).click()
    one.page.locator(".inspector details:not([open]) > summary").evaluate_all(
        "all => all.forEach(one => one.click())"
    )
    assert one.page.evaluate("window.hacked") is None
    assert one.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_policy_of_the_page_forbids_to_fetch(report: Path, sheet: Callable[..., Sheet]) -> None:
    """Even a script of the page itself could not send anything anywhere."""
    one = sheet()
    one.open(report)
    refused = one.page.evaluate("fetch('https://example.com/').then(() => 'sent', (error) => error.name)")
    assert refused == "TypeError"
    assert any("Content Security Policy" in text for text in one.wrong)
    one.wrong.clear()


# --- how fast ------------------------------------------------------------------------------

MEASURED = """
(places) => {
  const player = orchkitPlayer();
  const times = places.map((place) => {
    const begin = performance.now();
    player.go(place);
    player.frameBox.getBoundingClientRect();
    return performance.now() - begin;
  });
  times.sort((a, b) => a - b);
  return [times[Math.floor(times.length / 2)], times[Math.floor(times.length * 0.95)]];
}
"""


def test_ten_thousand_events_are_quick(kit: ok.Kit, sheet: Callable[..., Sheet], tmp_path: Path) -> None:
    """Such a replay opens in under 2 s, and every step and jump takes under 50 ms, layout included."""
    flow = kit.workflow("long").with_execution_mode("dag")
    flow.add_map("double", list(range(2430)), {"n": "${item}"}, step_id="many")
    for place in range(80):
        flow.add_step(
            "double", {"n": place}, step_id=f"s{place}", depends_on=[f"s{place - 1}"] if place else []
        )
    run = kit.run(flow.build()).run
    path = run.to_html(tmp_path / "long.html")
    one = sheet()
    opened = one.open(path)
    count = one.page.evaluate("orchkitPlayer().film.length")
    assert count > 10_000
    steps = one.page.evaluate(MEASURED, list(range(4000, 4300)))
    jumps = one.page.evaluate(MEASURED, [(place * 7919) % count for place in range(200)])
    one.page.locator(".tab").nth(1).click()
    listed = one.page.evaluate(MEASURED, [(place * 7919) % count for place in range(100)])
    print(
        f"\n{count:,} events, {path.stat().st_size / 1e6:.1f} MB: open {opened:.0f} ms; median and 95 % of "
        + ", ".join(
            f"{name} {found[0]:.1f} and {found[1]:.1f} ms"
            for name, found in (("steps", steps), ("jumps", jumps), ("with the list", listed))
        )
    )
    assert opened < OPENS_MS * PATIENCE
    assert max(steps[1], jumps[1], listed[1]) < STEPS_MS * PATIENCE
