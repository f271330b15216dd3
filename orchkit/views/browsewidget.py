"""A table as a widget; imported only where one is wanted, because widgets are heavy to import."""

from __future__ import annotations

import anywidget
import traitlets

from orchkit.views.front import module


class TableWidget(anywidget.AnyWidget):
    """A table of the record with search, choices and sorting."""

    _esm = module("table")

    html = traitlets.Unicode().tag(sync=True)
    """The table as it is shown without scripts."""
