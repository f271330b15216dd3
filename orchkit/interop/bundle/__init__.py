"""A run in one file: a zip that anybody can look into, and that is believed only when every byte fits.

The members, in this order (format version 1):

=======================  ========================================================================
member                   what it holds
=======================  ========================================================================
``definition.json``      the workflow as it ran last; not there for runs of other kinds
``inputs.json``          what the run was given (user, context …) and what each of its steps was
``code/TOOL.py``         the source of each tool, where it is on record
``decisions.jsonl``      each decision: when, in which step, what and why
``evidence.jsonl``       each piece of evidence, likewise
``events.jsonl``         all events of the run and of those below it, in order, as recorded
``environment.json``     where it was exported (versions), and what the runs say of where they ran
``blobs/SHA256.json``    each large value, under the hash that the events name it by
``manifest.json``        format and version, the runs, size and hash of every member, a digest over all
=======================  ========================================================================

Only ``events.jsonl`` and the large values are brought back. The rest is for people, follows from them, and is
worked out anew when a bundle is imported: whatever differs from what the events say is refused. The same run
gives the same bytes, apart from ``environment.json`` and what the manifest says about the export.

Hashes show that something was changed, not who changed it: whoever writes a whole new bundle can make it fit.
Compare its ``digest`` with one that came another way where that matters.
"""

from __future__ import annotations

from orchkit.interop.bundle.archive import MAX_BYTES
from orchkit.interop.bundle.exporting import export_run
from orchkit.interop.bundle.importing import import_run, read_manifest
from orchkit.interop.bundle.record import Source

__all__ = ["MAX_BYTES", "Source", "export_run", "import_run", "read_manifest"]
