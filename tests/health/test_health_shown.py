"""How a service shows itself in one line."""

from __future__ import annotations

from datetime import UTC, datetime

from orchkit.model.health import HealthLook, ServiceHealth


def test_a_service_is_one_short_line() -> None:
    """Its looks, which are many, are left to the fields; what it answered is cut."""
    health = ServiceHealth(
        "writer",
        "http://127.0.0.1:8000/health",
        "unhealthy",
        datetime(2026, 5, 10, 12, 0, 1, tzinfo=UTC),
        12.345,
        "HTTP 503\n" + "no " * 500,
        "half_open",
        3,
        97.5,
        checks=40,
        looks=(HealthLook("healthy", 1.0),) * 60,
    )
    text = repr(health)
    assert text.startswith(
        "<ServiceHealth writer: unhealthy, checked 2026-05-10 12:00:01 UTC, 12.3 ms, up 97.5 % of 40, "
        "circuit half open, HTTP 503 no no"
    )
    assert len(text) < 200
    assert "\n" not in text
    assert len(health.looks) == 60


def test_a_service_of_which_nothing_is_known_says_only_that() -> None:
    """No times, no shares, no breaker."""
    assert repr(ServiceHealth("new")) == "<ServiceHealth new: unknown>"
