"""Which headers pass through a gateway, which do not, and which it adds: pure functions over raw headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from orchkit.ids import new_id

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Headers as ASGI has them: names in lower case, values as bytes, in the order in which they came."""
Network = IPv4Network | IPv6Network

CORRELATION: Final = b"x-correlation-id"
REQUEST_ID: Final = b"x-request-id"
_HOST: Final = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%\-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")
_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@~\-]{0,127}")

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""Headers that are about one connection only (RFC 9110 §7.6.1, and those of older practice)."""
_SET_BY_US: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"expect",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"via",
        b"traceparent",
        b"tracestate",
        CORRELATION,
    }
)
"""Headers of a request that the gateway writes itself."""
_OF_THE_SERVER: Final = frozenset({b"date", b"server", b"via", CORRELATION})
"""Headers of an answer that the server in front of the client writes itself."""


def is_host(value: bytes) -> bool:
    """Whether this can be the Host of a request: a name or an address, and perhaps a port."""
    return _HOST.fullmatch(value) is not None


def named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The headers that ``Connection`` says are for this connection only."""
    values = [value for name, value in headers if name == b"connection"]
    if not values:
        return frozenset()
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def values_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """All values of a header, in order."""
    return [value for known, value in headers if known == name]


def correlation_id(headers: RawHeaders) -> str:
    """What the client calls its request, where that is fit to be passed on and recorded; else a new id."""
    for wanted in (CORRELATION, REQUEST_ID):
        values = values_of(headers, wanted)
        if len(values) == 1 and _ID.fullmatch(values[0]):
            return values[0].decode()
    return new_id("req")


def _is_ours(name: bytes) -> bool:
    # Servers that turn headers into variables take an underscore for a hyphen: X_Forwarded_For is ours.
    return name in _SET_BY_US or (b"_" in name and name.replace(b"_", b"-") in _SET_BY_US)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, as the next server is told."""

    client: str | None
    scheme: str
    trusted: bool = False
    """Whether the client is a proxy whose own account of this is believed."""


def is_trusted(client: str | None, networks: Sequence[Network]) -> bool:
    """Whether a client is in one of these networks."""
    if not networks or client is None:
        return False
    try:
        address = ip_address(client)
    except ValueError:
        return False
    return any(address in network for network in networks)


def forwarded(headers: RawHeaders, origin: Origin) -> list[tuple[bytes, bytes]]:
    """``X-Forwarded-For``, ``-Proto`` and ``-Host``; continued where whoever sent them is trusted."""
    client = (origin.client or "unknown").encode("ascii", "replace")
    before = values_of(headers, b"x-forwarded-for") if origin.trusted else []
    proto = values_of(headers, b"x-forwarded-proto") if origin.trusted else []
    host = (values_of(headers, b"x-forwarded-host") if origin.trusted else []) or values_of(headers, b"host")
    found = [(b"x-forwarded-for", b", ".join([*before, client]))]
    found.append((b"x-forwarded-proto", proto[0] if proto else origin.scheme.encode()))
    if host:
        found.append((b"x-forwarded-host", host[0]))
    return found


def to_service(
    headers: RawHeaders,
    origin: Origin,
    via: bytes,
    fixed: RawHeaders,
    more: RawHeaders,
) -> list[tuple[bytes, bytes]]:
    """The headers of a request as the service gets them, without those of its body.

    Args:
        headers: As they came.
        origin: Where they came from.
        via: How the gateway calls itself.
        fixed: What is set for the service, its host among it; goes before what came.
        more: What belongs to this request, such as its correlation id.
    """
    dropped = named_by_connection(headers)
    known = {name for name, _ in fixed}
    passed = [
        (name, value)
        for name, value in headers
        if name not in HOP_BY_HOP and name not in dropped and name not in known and not _is_ours(name)
    ]
    hops = [*values_of(headers, b"via"), via]
    return [*fixed, *passed, *forwarded(headers, origin), (b"via", b", ".join(hops)), *more]


def to_client(
    headers: Iterable[tuple[bytes, bytes]],
    via: bytes,
    *,
    without: frozenset[bytes] = frozenset(),
    location: Callable[[bytes], bytes] | None = None,
) -> list[tuple[bytes, bytes]]:
    """The headers of an answer as the client gets them.

    Args:
        headers: As the service sent them.
        via: How the gateway calls itself.
        without: More that is left out.
        location: Makes of an address of the service one of the gateway.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = named_by_connection(lowered) | without
    passed, hops = [], [via]
    for name, value in lowered:
        if name == b"via":
            hops.insert(-1, value)
        elif name in HOP_BY_HOP or name in dropped or name in _OF_THE_SERVER:
            continue
        elif name in (b"location", b"content-location") and location is not None:
            passed.append((name, location(value)))
        else:
            passed.append((name, value))
    passed.append((b"via", b", ".join(hops)))
    return passed


def has_passed(headers: RawHeaders, via: bytes) -> bool:
    """Whether a request has been through this gateway before."""
    return any(hop.strip() == via for value in values_of(headers, b"via") for hop in value.split(b","))
