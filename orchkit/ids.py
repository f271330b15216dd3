"""Identifiers: a prefix that says what it is, and a UUIDv7, so that ids sort by time."""

from __future__ import annotations

import os
import time


def uuid7_hex(now_ms: int, random_bytes: bytes) -> str:
    """The 32 hexadecimal digits of a UUIDv7 (RFC 9562 §5.7) of this time and these 10 random bytes."""
    value = (now_ms & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(random_bytes, "big")
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return f"{value:032x}"


def new_id(prefix: str) -> str:
    """A new id such as ``run_019a…``."""
    return f"{prefix}_{uuid7_hex(time.time_ns() // 1_000_000, os.urandom(10))}"
