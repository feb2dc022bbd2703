"""The command line: ``waybill``, and ``python -m gateway``. One file for each group of commands."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.check import check
from gateway.cli.explain import explain
from gateway.cli.health import health
from gateway.cli.logs import logs
from gateway.cli.schema import schema
from gateway.cli.serve import serve

app = typer.Typer(
    name="waybill",
    help="An OpenAI-compatible gateway for image work that leaves a waybill for every picture.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (serve, check, explain, logs, schema, health):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"waybill {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


def main() -> None:
    """Run the command that the process's arguments name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter must not end a command
    app(prog_name="waybill")
