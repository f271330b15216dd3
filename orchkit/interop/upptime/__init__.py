"""Histories of Upptime as health checks on the record: `load`.

Upptime (https://upptime.js.org) checks sites from a scheduled job and commits to a repository what it finds,
but only when the state of a site has changed or when its job for response times runs. So the rows of such a
history are changes and samples, and each of them holds until the next one.
"""

from __future__ import annotations

from orchkit.interop.upptime.load import Loaded, load
from orchkit.interop.upptime.names import slug_of
from orchkit.interop.upptime.summary import Summary, SummarySite, read_summary

__all__ = ["Loaded", "Summary", "SummarySite", "load", "read_summary", "slug_of"]
