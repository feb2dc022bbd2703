"""How commands print: answers on stdout, complaints on stderr, tables that fit the terminal.

In a terminal there is colour and the terminal's width; into a pipe or a file, plain text and 140 columns (``COLUMNS``
decides otherwise). Nothing is cut silently: long cells fold. Words that come from files, upstreams or callers are
printed as text, never as markup, with control characters taken out.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.lines import complain, print_json, stop, stop_for

__all__ = ["complain", "print_json", "stop", "stop_for"]  # what commands that print look for here too

PIPE_COLUMNS = 140
WIDE_COLUMNS = 110

GOOD, WARN, BAD, DIM, BOLD = "green", "yellow", "red", "dim", "bold"

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


def console(env: Mapping[str, str], *, stderr: bool = False) -> Console:
    """Open the terminal for one command."""
    plain = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if plain.is_terminal or env.get("COLUMNS"):
        return plain
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=PIPE_COLUMNS)


def is_wide(screen: Console) -> bool:
    """Whether there is room for every column beside the others."""
    return screen.width >= WIDE_COLUMNS


def words(text: str, style: str = "") -> Text:
    """Give a piece of text that cannot move the cursor or colour anything."""
    return Text().append(_CONTROL.sub(" ", text), style)  # a span: what is appended later keeps its own style


def stacked(*parts: Text) -> Text:
    """Put parts below each other in one cell; empty parts take no line."""
    return Text("\n").join([part for part in parts if part.plain])


def table(*columns: str, title: str | None = None) -> Table:
    """Start a table in the one look that all commands share. A name that starts with ``>`` is set to the right."""
    made = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, title=title, title_justify="left"
    )
    made.title_style = "bold"
    for name in columns:
        made.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return made


@contextmanager
def interruptible(what: str) -> Iterator[None]:
    """End the command with exit code 130 and a sentence when it is interrupted inside the block."""
    try:
        yield
    except KeyboardInterrupt:
        complain([f"waybill: interrupted; {what}"])
        raise typer.Exit(130) from None


def read_stdin() -> str:
    """Read all of standard input as text."""
    return sys.stdin.buffer.read().decode("utf-8", "replace")
