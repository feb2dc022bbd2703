"""The command line: ``waybill``, and ``python -m gateway``. One file for each group of commands.

A command's module is imported by its name from a table, when the command is asked for: between them the commands
import a server, a database layer and two HTTP clients, and a container check that runs every ten seconds should pay
for none of them. Help, completion and a word that is no command look at all of them. A module's command is what it
calls by the command's name: a function, or a ``Typer`` of its own for a group.
"""

import gc
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from types import MappingProxyType
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from gateway import __version__

OBJECT_CLIENT: Final = "obstore"
_PLAINLY: Final = (
    (re.compile(r"Input should be a valid integer\b.*", re.DOTALL), "must be a whole number."),
    (re.compile(r"Input should be a valid number\b.*", re.DOTALL), "must be a number."),
    (re.compile(r"Input should be greater than or equal to ([0-9.]+)"), r"must be \1 or more."),
    (re.compile(r"Input should be less than or equal to ([0-9.]+)"), r"must be \1 or less."),
    (re.compile(r"Input should be a finite number"), "must be a number."),
    (re.compile(r"Value error, '.*' is not one of (.*)\.", re.DOTALL), r"must be one of \1."),
)
EXIT_OTHERWISE: Final = 1  # what the interpreter gives for an end that has words instead of a number

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "serve": "gateway.cli.serve",
        "check": "gateway.cli.check",
        "explain": "gateway.cli.explain",
        "image": "gateway.cli.image",
        "smoke": "gateway.cli.smoke",
        "catalog": "gateway.cli.catalog",
        "adopt": "gateway.cli.adopt",
        "logs": "gateway.cli.logs",
        "usage": "gateway.cli.usage",
        "channels": "gateway.cli.channels",
        "assets": "gateway.cli.assets",
        "keys": "gateway.cli.keys",
        "schema": "gateway.cli.schema",
        "health": "gateway.cli.health",
    }
)


class _Program(TyperGroup):
    """The program, which says what is wrong with an option in its own words."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = plainly(error.message)
            raise


def plainly(message: str) -> str:
    """Say of an option's value what it must be; the libraries that read it speak of input and of errors."""
    for pattern, said in _PLAINLY:
        message = pattern.sub(said, message)
    return message


def command_line(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Build the program with these of its commands."""
    app = typer.Typer(
        name="waybill",
        help="An OpenAI-compatible gateway for image work that leaves a waybill for every picture.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        cls=_Program,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(before_any_command)
    for name in names:
        command = getattr(import_module(COMMANDS[name]), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"waybill {__version__}")
        raise typer.Exit


def before_any_command(
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
    gc.disable()  # what is imported stays: looking through it for garbage takes a quarter of the time to start
    run = command_line(_wanted(sys.argv[1] if len(sys.argv) > 1 else ""))
    gc.freeze()
    gc.enable()
    try:
        run(prog_name="waybill")
    except SystemExit as ended:
        if OBJECT_CLIENT in sys.modules:
            _leave(ended)
        raise


def _leave(ended: SystemExit) -> NoReturn:
    """End the process without taking the interpreter down.

    Threads of the object store's client may still hold something of a request that is over; one that gives it back
    while the interpreter goes ends the process with a signal instead of its exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(ended.code if isinstance(ended.code, int) else EXIT_OTHERWISE if ended.code else 0)


def _wanted(first: str) -> Iterable[str]:
    """Give the commands that the program's first argument can lead to."""
    if first == "--version":
        return ()
    return (first,) if first in COMMANDS else COMMANDS
