"""``python -m orchkit``, the same as the console script."""

from __future__ import annotations

from orchkit.cli import main

if __name__ == "__main__":
    main()
