"""A replay of many events in a browser: how long it takes to open, and to go from event to event."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from task import Stopwatch, Task, expect

import orchkit as ok

# From one event to another, with the layout that the browser has to make then; in its own clock.
WALK = """
(places) => places.map((place) => {
  const begin = performance.now();
  orchkitPlayer().go(place);
  orchkitPlayer().frameBox.getBoundingClientRect();
  return performance.now() - begin;
})
"""
EVENTS_PER_ITEM, ITEMS_PER_STEP = 4, 30
WALKED, LEAP = 300, 7919


def browser() -> str | None:
    """The browser that is there, where there is also something to drive it."""
    if find_spec("playwright") is None:
        return None
    return os.environ.get("ORCHKIT_CHROMIUM") or shutil.which("chromium")


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Seconds until the file is written and until it shows its first event; milliseconds per event."""
    with ok.open(durability="exit") as kit:
        run = kit.run(_flow(kit, task.size)).run
        with Stopwatch() as written:
            path = run.to_html(folder / "replay.html")
        count = len(run.events())
    expect("at least so many events", count >= task.size, True)
    numbers = _in_a_page(path, count)
    return {"written_s": written.seconds, "file_mb": path.stat().st_size / 1e6, **numbers}


def _flow(kit: ok.Kit, events: int) -> ok.Workflow:
    """A map with many items, and a chain of steps after it."""
    items = events // EVENTS_PER_ITEM
    flow = kit.workflow("long").with_execution_mode("dag")
    flow.add_map(_double, list(range(items)), {"n": "${item}"}, step_id="many")
    for place in range(max(1, items // ITEMS_PER_STEP)):
        after = [f"s{place - 1}"] if place else []
        flow.add_step(_double, {"n": place}, step_id=f"s{place}", depends_on=after)
    return flow.build()


async def _double(n: int) -> int:
    return 2 * n


def _in_a_page(path: Path, count: int) -> dict[str, float]:
    from playwright.sync_api import sync_playwright

    program = browser()
    with sync_playwright() as playwright:
        driven = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            page = driven.new_page(viewport={"width": 1400, "height": 900})
            page.goto(path.as_uri())
            page.wait_for_selector(".player .caption .says")
            opened: float = page.evaluate("performance.now()")
            expect("events in the page", page.evaluate("orchkitPlayer().film.length"), count)
            begin = count // 3
            step = _late(page, [(begin + place) % count for place in range(WALKED)])
            jump = _late(page, [place * LEAP % count for place in range(WALKED)])
            page.locator(".tab").nth(1).click()
            listed = _late(page, [place * LEAP % count for place in range(WALKED)])
        finally:
            driven.close()
    return {"opened_s": opened / 1000, "step_ms": step, "jump_ms": jump, "listed_ms": listed}


def _late(page: Any, places: list[int]) -> float:
    """Milliseconds that 95 of 100 stay below."""
    times: list[float] = sorted(page.evaluate(WALK, places))
    return times[len(times) * 95 // 100]
