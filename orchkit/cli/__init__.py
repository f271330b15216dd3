"""The command line: ``orchkit run|runs|show|sql|demo|doctor``."""

from __future__ import annotations

from orchkit.cli.app import main

__all__ = ["main"]
