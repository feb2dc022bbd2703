"""How a command says plain lines and ends: JSON on stdout, complaints on stderr, an exit code.

Apart from what draws tables (``terminal``), so that the server and a container's check do not load that.
"""

import sys
from collections.abc import Iterable
from typing import NoReturn

import orjson
import typer

from gateway.config import Mistake
from gateway.core.types import JsonValue


def print_json(document: JsonValue, *, pretty: bool = True) -> None:
    """Write one JSON document and a line end to stdout."""
    option = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if pretty else 0)
    sys.stdout.write(orjson.dumps(document, option=option).decode())
    sys.stdout.flush()


def complain(lines: Iterable[object]) -> None:
    """Write plain lines to stderr."""
    for line in lines:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def stop(message: str, code: int = 2) -> NoReturn:
    """End the command with one sentence on stderr."""
    complain([f"waybill: {message}"])
    raise typer.Exit(code)


def stop_for(mistakes: Iterable[Mistake]) -> NoReturn:
    """End the command with exit code 2 and a line for each mistake."""
    complain(mistakes)
    raise typer.Exit(2)
