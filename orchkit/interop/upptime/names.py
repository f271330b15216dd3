"""Which names are the same site: Upptime knows a site by its slug, and keeps its history under that."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

_HUMPS = (
    (re.compile(r"([A-Z]{2,})(\d+)"), r"\1 \2"),
    (re.compile(r"([a-z\d]+)([A-Z]{2,})"), r"\1 \2"),
    (re.compile(r"([a-z\d])([A-Z])"), r"\1 \2"),
    (re.compile(r"([A-Z]+)([A-Z][a-z\d]+)"), r"\1 \2"),
)
_GAPS = re.compile(r"[\W_]+")


def slug_of(name: str) -> str:
    """The name as Upptime writes it in file names and labels, near enough to tell sites apart.

    Lower-case words with hyphens between them, without accents, signs and pictures: ``📈 CURC XDMoD`` is
    ``curc-xd-mo-d``. Letters of other scripts, which Upptime spells in Latin ones, are left as they are.
    """
    text = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    text = text.replace("&", " and ")
    for pattern, parts in _HUMPS:
        text = pattern.sub(parts, text)
    return _GAPS.sub("-", text.lower()).strip("-")


def services_of(sites: Sequence[str], recorded: Mapping[str, str]) -> dict[str, str]:
    """What each site is called on the record.

    ``sites`` are the names of all rows, in the order of time, ``recorded`` what is known of names already:
    name to service. A site that was renamed, its slug staying the same, goes under its last name, or under
    the one that it has on the record already; it may have been renamed back once. Names that share a slug but
    take turns more often are different sites.
    """
    runs: dict[str, list[str]] = {}
    last: dict[str, str] = {}
    slugs = {site: slug_of(site) for site in set(sites)}
    for site in sites:
        slug = slugs[site]
        if last.get(slug) != site:
            last[slug] = site
            runs.setdefault(slug, []).append(site)
    known = _by_slug(recorded)
    found: dict[str, str] = {}
    for slug, names in runs.items():
        one = slug != "" and len(names) <= len(set(names)) + 1
        for name in set(names):
            renamed = known.get(slug, names[-1]) if one else name
            found[name] = recorded.get(name, renamed)
    return found


def _by_slug(recorded: Mapping[str, str]) -> dict[str, str]:
    """Services by slug, where it is one service."""
    pairs = sorted((slug_of(site), service) for site, service in recorded.items())
    services = {
        slug: _only(service for _, service in same) for slug, same in groupby(pairs, lambda pair: pair[0])
    }
    return {slug: service for slug, service in services.items() if slug and service is not None}


def _only(names: Iterable[str]) -> str | None:
    different = set(names)
    return different.pop() if len(different) == 1 else None
