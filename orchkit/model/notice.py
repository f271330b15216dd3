"""Telling the user something in one line, beside what was asked for."""

from __future__ import annotations

import logging
import sys


def tell(text: str) -> None:
    """In a notebook on its standard output, which is no red box there; else as a warning of the log."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        sys.stdout.write(f"{text}\n")
    else:
        logging.getLogger("orchkit").warning(text)
