"""The manifest: what a bundle says of itself, with a hash of every member and one over all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from orchkit.errors import Problem
from orchkit.interop.bundle import lines as li
from orchkit.interop.bundle import names
from orchkit.interop.bundle.contents import document
from orchkit.store import codec

FORMAT = "orchkit run"
VERSION = 1
MAX_BYTES = 1 << 27

_ABOUT_EXPORT = ("exported_at", "host", "orchkit", "imported_from")
_LONGEST = 500


class Member(NamedTuple):
    """What a manifest says of another member."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> Member:
        """A member with these contents."""
        return cls(name, len(data), sha256(data).hexdigest())


class NoManifestError(Exception):
    """This is not the manifest of a bundle that can be read; the message says why, ``hint`` what helps."""

    def __init__(self, cause: str, hint: str | None = None) -> None:
        self.hint = hint
        super().__init__(cause)


def made(facts: Mapping[str, Any], members: Iterable[Member], export: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a run of which these are the facts.

    ``export`` is about the export itself: with the member of the surroundings, all that differs when the
    same run is exported again.
    """
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "members": [member._asdict() for member in members],
        "export": dict(export),
    }
    return {**manifest, "digest": digest_of(manifest)}


def digest_of(manifest: Mapping[str, Any]) -> str:
    """The one hash over all: of what the manifest says, the hashes of all members included."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return codec.content_hash(codec.canonical(rest))


def parsed(data: bytes) -> dict[str, Any]:
    """The manifest that these bytes are. Raises `NoManifestError`."""
    try:
        manifest = li.strict_json(data.decode())
    except (ValueError, RecursionError) as error:
        raise NoManifestError(f"is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NoManifestError("is not the manifest of a run that orchkit has exported")
    version = manifest.get("version")
    if type(version) is not int or version < 1:
        raise NoManifestError(f"has an impossible version, {version!r}")
    if version > VERSION:
        hint = f"upgrade orchkit: this one reads up to version {VERSION}"
        raise NoManifestError(f"is of version {version} of the format", hint)
    if document(manifest) != data:
        raise NoManifestError("is not written as orchkit writes it")
    if manifest.get("digest") != digest_of(manifest):
        raise NoManifestError("does not have the digest that it names: it was changed")
    if not _is_about_export(manifest.get("export")):
        raise NoManifestError("does not say properly when and where the run was exported")
    members_in(manifest)
    return manifest


def _is_about_export(export: Any) -> bool:
    return (
        isinstance(export, dict)
        and tuple(export) == _ABOUT_EXPORT
        and all(one is None or (isinstance(one, str) and len(one) <= _LONGEST) for one in export.values())
    )


def members_in(manifest: Mapping[str, Any]) -> list[Member]:
    """The members that a manifest names. Raises `NoManifestError`."""
    try:
        members = [Member(**member) for member in manifest["members"]]
    except (KeyError, TypeError):
        members = []
    found = {member.name for member in members if _is_proper(member)}
    if not members or len(found) < len(members) or names.MANIFEST in found:
        raise NoManifestError("does not name its members properly")
    return members


def _is_proper(member: tuple[Any, ...]) -> bool:
    name, size, digest = member
    return isinstance(name, str) and type(size) is int and li.is_digest(digest)


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Problem]:
    """Where a manifest does not say what follows from the events."""
    for name in {**expected, **found}:
        if name != "digest" and expected.get(name) != found.get(name):
            yield Problem(f"{names.MANIFEST} {name}", "does not follow from the events")
