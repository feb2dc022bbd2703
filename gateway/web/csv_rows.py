"""Tables as CSV (RFC 4180): lines end in CRLF, and no cell is taken for a formula by the program that opens it.

A cell of text that begins with what spreadsheets take for the start of a formula gets an apostrophe before it, which
they do not show. Numbers are written as they are.
"""

import csv
import io
from collections.abc import Iterable, Sequence

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Cell = str | int | None


def csv_of(heading: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """Write a table; ``None`` is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(heading)
    for row in rows:
        writer.writerow([_safe(cell) for cell in row])
    return out.getvalue().encode("utf-8", "replace")


def _safe(cell: Cell) -> str | int:
    if isinstance(cell, str):
        return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell
    return "" if cell is None else cell
