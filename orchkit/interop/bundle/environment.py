"""Where a run was exported: Python, the platform, what is installed."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import distributions
from typing import Any

from orchkit import __version__


def here() -> dict[str, Any]:
    """Versions and names only: no paths, no variables, no addresses, in which there may be secrets."""
    return {
        "orchkit": __version__,
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "distributions": dict(sorted(_installed().items())),
    }


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in distributions():
        # What is left of a broken installation has neither; of two of a name, the first is imported.
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            found.setdefault(name.lower().replace("_", "-"), version)
    return found
