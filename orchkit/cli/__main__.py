"""``python -m orchkit.cli``, the same as the console script."""

from __future__ import annotations

from orchkit.cli import main

main()
