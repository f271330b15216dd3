"""What another policy would have done."""

from __future__ import annotations

from orchkit.analysis.whatif.answer import Replay
from orchkit.analysis.whatif.asking import compare, replay

__all__ = ["Replay", "compare", "replay"]
