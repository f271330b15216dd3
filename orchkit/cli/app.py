"""The application: its commands, and what becomes of their errors."""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orchkit import __version__
from orchkit.cli.bundle import export, import_
from orchkit.cli.demo import demo
from orchkit.cli.doctor import doctor
from orchkit.cli.failure import exit_code, report
from orchkit.cli.keys import keys
from orchkit.cli.options import wants_traceback
from orchkit.cli.resume import resume
from orchkit.cli.run import run
from orchkit.cli.runs import runs
from orchkit.cli.serve import serve
from orchkit.cli.show import show
from orchkit.cli.sql import sql
from orchkit.cli.sweep import sweep
from orchkit.errors import OrchkitError


class Commands(TyperGroup):
    """The group of all commands; an error of orchkit's becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        _never_choke(sys.stdout, sys.stderr)
        try:
            return super().invoke(ctx)
        except OrchkitError as error:
            if wants_traceback(ctx):
                traceback.print_exception(error)
            else:
                report(error)
            raise typer.Exit(exit_code(error)) from error


def _never_choke(*streams: Any) -> None:
    """A terminal that cannot show a character shows a question mark: the run is over by then."""
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


app = typer.Typer(
    name="orchkit",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (run, resume, runs, show, keys, sql, sweep, export, import_, serve, demo, doctor):
    app.command(command.__name__.rstrip("_"))(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchkit {__version__}")
        raise typer.Exit


@app.callback()
def _orchkit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run workflows, and look at the record of what they did and why.

    The record is a store: --store PATH, else the environment variable ORCHKIT_STORE, else runs.duckdb in the
    current folder. Exit codes: 0 success, 1 it failed, 2 it was not understood, 130 interrupted.
    """


def main() -> None:
    """Run the command line that this process was started with; exits."""
    app(prog_name="orchkit")
