"""Paths as they come: which are refused, and what a service is asked for; pure functions over raw bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

_PLAIN: Final = re.compile(rb"/[A-Za-z0-9_~\-./]*")
"""Nothing encoded: most paths are, and only their segments need a look."""
_VISIBLE: Final = re.compile(rb"[\x21-\x7e]*")
_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x1f\x7f/\\]")
_MOST_DECODINGS: Final = 8


def fault_of(raw_path: bytes) -> str | None:
    """Why a path is refused; None when it is not.

    A path that different servers read differently leads somewhere else than it seems to: dot segments in any
    encoding (also encoded several times, or with a parameter as in ``..;x``), slashes, backslashes and
    control characters that are encoded, backslashes as such, and what is no path at all, such as a URL.
    """
    if not raw_path.startswith(b"/"):
        return "the target of a request is a path that begins with a slash"
    if _PLAIN.fullmatch(raw_path):
        return _dots(raw_path.split(b"/"))
    if not _VISIBLE.fullmatch(raw_path) or b"\\" in raw_path or b"#" in raw_path:
        return "the path has characters that must be encoded"
    if _ESCAPE.search(raw_path):
        return "the path has a % that encodes nothing"
    segments = [_decoded(segment) for segment in raw_path.split(b"/")]
    if any(_FORBIDDEN.search(segment) for segment in segments):
        return "the path has an encoded slash, backslash or control character"
    return _dots(segment.partition(b";")[0] for segment in segments)


def _dots(segments: object) -> str | None:
    assert hasattr(segments, "__iter__")
    return "the path has a dot segment" if any(segment in (b".", b"..") for segment in segments) else None


def _decoded(segment: bytes) -> bytes:
    """What somebody may make of it who decodes as often as there is something to decode."""
    for _ in range(_MOST_DECODINGS):
        plain = unquote_to_bytes(segment)
        if plain == segment:
            break
        segment = plain
    return segment


def query_fault(query: bytes) -> str | None:
    """Why a query is refused; None when it is not."""
    if not _VISIBLE.fullmatch(query) or b"#" in query:
        return "the query has characters that must be encoded"
    return None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """From the paths of a route to those of its service."""

    prefix: bytes
    """The path of the route, without a slash at its end; empty for all paths."""
    base: bytes
    """What takes its place: the path of the service and, after it, that of the route; without a slash at its
    end."""

    @classmethod
    def of(cls, route: str, path: str | None, service_path: str) -> Rewrite:
        """``path`` takes the place of the route's own; None: it stays."""
        kept = route if path is None else path
        base = service_path.rstrip("/") + kept.rstrip("/")
        return cls(route.rstrip("/").encode(), base.encode())

    def fits(self, raw_path: bytes) -> bool:
        """Whether a path is that of the route, or below it."""
        return raw_path == self.prefix or raw_path.startswith(self.prefix + b"/")

    def target(self, raw_path: bytes, query: bytes) -> bytes:
        """What the service is asked for; path and query byte for byte as they came.

        To be called with paths that fit and without a fault: so it is below ``base`` whatever they are.
        """
        path = self.base + raw_path[len(self.prefix) :] or b"/"
        return path + b"?" + query if query else path

    def location(self, value: bytes, origins: tuple[bytes, ...]) -> bytes:
        """An address in an answer, as the client can use it; one of another server or path stays as it is."""
        path = value
        for origin in origins:
            if value.lower().startswith(origin) and value[len(origin) : len(origin) + 1] in (b"", b"/"):
                path = value[len(origin) :] or b"/"
                break
        if not path.startswith(b"/") or path.startswith(b"//"):
            return value
        bare = path.partition(b"?")[0]
        if not (bare == self.base or bare.startswith(self.base + b"/")):
            return value
        return self.prefix + path[len(self.base) :] or b"/"
