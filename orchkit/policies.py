"""Policies that are well known, by the names of those who made them known.

Each is a `ReliabilityPolicy`: give it to a step (``policy=``), to an operation (``preset:`` in YAML), to
``@ok.reliable(...)``; ask it to ``.explain()`` itself and for ``.warnings()``, change it with ``.but(...)``::

    ok.policies.gateway().but(retry={"max_attempts": 5}, breaker=None)
"""

from __future__ import annotations

from orchkit.model.presets import (
    PRESETS,
    aws_2026,
    aws_standard,
    gateway,
    google_api,
    grpc,
    http_standard,
    preset,
    resilience4j,
)

__all__ = [
    "PRESETS",
    "aws_2026",
    "aws_standard",
    "gateway",
    "google_api",
    "grpc",
    "http_standard",
    "preset",
    "resilience4j",
]
