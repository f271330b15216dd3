"""How watched services show themselves."""

from __future__ import annotations

import base64
import re
import time
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import orchkit as ok
from orchkit.model.health import HealthLook, ServiceHealth
from orchkit.views import healthview
from orchkit.views.healthcards import of_service, overview
from orchkit.views.healthview import HealthView
from orchkit.views.sparkline import svg_of, told

HOSTILE = "<script>alert(1)</script> \u202e $x$ \x00 | `" + "long" * 50
LOOKS = (
    HealthLook("healthy", 12.0),
    HealthLook("degraded", 900.0),
    HealthLook("unhealthy"),
    HealthLook(None, None, "late"),
)


class Still:
    """A monitor that only says what it was given."""

    running, trouble = True, None

    def __init__(self, *services: ServiceHealth) -> None:
        self._services = {service.name: service for service in services}

    def status(self) -> dict[str, ServiceHealth]:
        return self._services


def pictures(html: str) -> list[str]:
    """The SVG of the images."""
    return [
        base64.b64decode(data).decode() for data in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
    ]


def test_a_card_says_all_that_is_to_be_known() -> None:
    """Lamp with its word, uptime with what it is of, error, failures in a row, circuit, remarks."""
    checked = datetime(2025, 3, 1, 12, 0, 5, tzinfo=UTC)
    down = ServiceHealth(
        "mail", "http://mail.example/health", "unhealthy", checked, None, "connection refused", "open", 3,
        71.43, {}, 14, "the last check was not performed: its circuit breaker is open", LOOKS, 30.0,
    )  # fmt: skip
    html = overview(list(Still(down, ServiceHealth("new")).status().values()), Still())
    for word in (
        "✗ unhealthy", "○ unknown", "71.43 % of 14", "connection refused", "3 failures in a row",
        "■\u00a0open", "its circuit breaker is open", "12:00:05 UTC", "http://mail.example/health",
    ):  # fmt: skip
        assert word in html
    assert "mail" in of_service(down)["text/html"]


def test_hostile_names_are_only_text() -> None:
    """Nothing of a name, an error or a detail becomes markup."""
    service = ServiceHealth(
        HOSTILE, HOSTILE, "degraded", error=HOSTILE, note=HOSTILE, details={HOSTILE: HOSTILE}, looks=LOOKS
    )
    for html in (overview([service], Still()), of_service(service)["text/html"]):
        assert "<script" not in html
        assert "\x00" not in html
        assert "tex2jax_ignore" in html
    assert len(overview([service], Still())) < 9_000


@pytest.mark.parametrize("count", [0, 1, 4, 60, 300])
def test_the_curve_is_a_sound_picture_with_words(count: int) -> None:
    """One mark per check, as many as there is room for, and the same in its alternative text."""
    looks = (LOOKS * 100)[:count]
    svg = svg_of(looks[-48:])
    root = ET.fromstring(svg)
    marks = [child for child in root if child.tag.endswith(("path", "circle"))]
    broken = sum(look.status == "unhealthy" for look in looks[-48:])
    assert len(marks) == 1 + min(count, 48) + broken
    assert ("no check yet" in told(looks)) is (count == 0)


@pytest.mark.parametrize("ms", [0.0, 1e-9, 1.0, 1e12, None])
def test_any_response_time_has_a_height(ms: float | None) -> None:
    """Within the picture, however small or large."""
    svg = svg_of([HealthLook("healthy", ms), HealthLook("healthy", 5.0)])
    assert "nan" not in svg
    assert all(-0.1 <= float(top) <= 28 for top in re.findall(r"M[\d.]+ ([-\d.]+)h", svg))


def test_colours_stand_out_on_light_and_dark() -> None:
    """Each mark has a contrast of 3 against white and against a dark page."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in set(re.findall(r"#[0-9A-F]{6}", svg_of(LOOKS))):
        for page in ("#FFFFFF", "#111111"):
            light, dark = sorted((luminance(colour), luminance(page)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3


def test_a_kit_shows_its_services() -> None:
    """``kit.health`` and ``kit.health["it"]`` are cards, and tables where there is no HTML."""
    with ok.open() as kit:
        assert "Nothing is watched" in kit.health._repr_mimebundle_()["text/html"]
        kit.health.watch({"it": lambda: True}, interval=36_000)
        kit.health.check()
        html = kit.health._repr_mimebundle_()["text/html"]
        assert "✓ healthy" in html
        assert "the only check: 1 healthy" in html
        assert "✓ healthy" in kit.health["it"]._repr_mimebundle_()["text/html"]
        assert "1 healthy" in repr(kit.health)
        assert list(kit.health.frame().status) == ["healthy"]


def test_the_live_card_follows_and_freezes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sends: the card when it has changed, and once more for good when nobody looks any more."""
    displayed: list[tuple[dict[str, str], bool]] = []
    monkeypatch.setattr(healthview, "has_widgets", lambda: True)
    monkeypatch.setattr(healthview, "TICK_S", 0.01)
    monkeypatch.setattr(HealthView, "pause_s", 0.01)
    monkeypatch.setattr(
        healthview, "display", lambda bundle, _, *, update=False: displayed.append((bundle, update))
    )
    sent: list[dict[str, Any]] = []
    with ok.open() as kit:
        answers = [True]
        kit.health.watch({"it": lambda: answers[0]}, interval=0.05)
        view = HealthView(kit.health)
        view._ipython_display_()
        monkeypatch.setattr(view.widget, "send", lambda content, *_: sent.append(content))
        answers[0] = False
        end = time.monotonic() + 10
        while not any("✗ unhealthy" in one["board"].get("html", "") for one in sent):
            assert time.monotonic() < end
            time.sleep(0.01)
        kit.health.stop()
        while not displayed[-1][1]:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert "application/vnd.jupyter.widget-view+json" in displayed[0][0]
    assert "stopped" in displayed[-1][0]["text/html"]
    assert "stopped" in sent[-1]["board"]["final"]


def test_the_live_card_does_not_keep_the_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that still shows it is no reason to go on watching."""
    import gc
    import weakref

    monkeypatch.setattr(healthview, "has_widgets", lambda: False)
    monkeypatch.setattr(healthview, "display", lambda *_, **__: None)
    kit = ok.open()
    kit.health.watch({"it": lambda: True}, interval=0.05)
    view = HealthView(kit.health)
    gone = weakref.ref(kit.health)
    kit.store.close()
    del kit
    gc.collect()
    assert gone() is None
    assert view.look() is False
