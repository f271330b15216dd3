"""Where a run was exported: Python, the platform, what is installed."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import distributions
from typing import Any


def here() -> dict[str, Any]:
    """Versions and names only: no paths, no variables, no addresses, in which there may be secrets."""
    return {
        "orchkit": version(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "distributions": dict(sorted(_installed().items())),
    }


def version() -> str:
    """The version of orchkit."""
    # An import of the package would be one of all its public names, for whoever follows imports.
    return str(sys.modules[__name__.partition(".")[0]].__version__)


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in distributions():
        # What is left of a broken installation has neither; of two of a name, the first is imported.
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            found.setdefault(name.lower().replace("_", "-"), version)
    return found
