"""Execution traces of Nextflow as runs: `load_trace`."""

from __future__ import annotations

from orchkit.interop.nextflow.load import load_trace

__all__ = ["load_trace"]
