"""Rows of figures as a table where it fits, and as a block for each row where it does not.

Rules: a cell of a column that may not fold (an id, a day, an amount) stands in one piece at every width, so that it can
be copied; so does a heading. Nothing is left out for want of room.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.terminal import DIM, words

FOLDS = "~"  # before a column's name: its cells may fold, down to LEAST_CHARS
LEAST_CHARS = 12
_ENDLESS = 10_000


def print_rows(screen: Console, names: Sequence[str], rows: Sequence[Sequence[Text]], *, heads: int = 1) -> None:
    """Print rows. ``names``: as for ``terminal.table``, the headings; a line end in one breaks it in a table only.

    In a block the first ``heads`` cells stand in its first line, the others below it beside their headings, but for
    those that say nothing (``-``).
    """
    shown = _table(names, rows)
    needed = Measurement.get(screen, screen.options.update(width=_ENDLESS), shown).minimum
    if needed <= screen.width:
        screen.print(shown)
        return
    for place, row in enumerate(rows):
        if place:
            screen.print()
        _print_block(screen, names, row, heads)


def _table(names: Sequence[str], rows: Sequence[Sequence[Text]]) -> Table:
    shown = terminal.table(*(name.replace(FOLDS, "", 1) for name in names))
    for place, (name, column) in enumerate(zip(names, shown.columns, strict=True)):
        widest = max((_width(row[place]) for row in rows), default=0)
        if name.lstrip(">").startswith(FOLDS):
            widest = min(widest, LEAST_CHARS)
        column.min_width = max([widest, *(len(line) for line in _heading(name).splitlines())])
    for row in rows:
        shown.add_row(*row)
    return shown


def _print_block(screen: Console, names: Sequence[str], row: Sequence[Text], heads: int) -> None:
    first = [line for cell in row[:heads] for line in cell.split("\n") if line.plain.strip("-")]
    beside = Text("  ").join(first) if first else words("-", DIM)
    screen.print(beside if beside.cell_len <= screen.width else Text("\n").join(first), soft_wrap=True)
    block = Table.grid(padding=(0, 2, 0, 0))
    block.add_column(no_wrap=True)
    block.add_column(overflow="fold")
    for name, cell in zip(names[heads:], row[heads:], strict=True):
        if cell.plain.strip("-"):
            block.add_row(words(f"  {_heading(name)}", DIM), cell)
    screen.print(block)


def _heading(name: str) -> str:
    return name.replace(FOLDS, "", 1).lstrip(">")


def _width(cell: Text) -> int:
    return max((line.cell_len for line in cell.split("\n")), default=0)
