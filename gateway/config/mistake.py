"""What is said of a mistake in a file: where it stands, what it concerns, and what was probably meant.

A mistake is one line of text, whatever the file holds: control characters of names and values are escaped, long
values are cut, and a value that came out of a variable is never repeated.
"""

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeAlias

from msgspec import Struct

Step: TypeAlias = str | int
KeyPath: TypeAlias = tuple[Step, ...]

WHOLE_FILE = "(file)"
MAX_MISTAKES = 200  # of one file; more are not worth reading, nor the time to word them
_SHOWN_CHARS = 60
_MAX_CANDIDATES = 100


class Mark(Struct, frozen=True, kw_only=True):
    """A place in a file: line and column, both counted from 1, columns in characters."""

    line: int
    column: int


START = Mark(line=1, column=1)


class Mistake(Struct, frozen=True, kw_only=True):
    """One mistake. ``line`` 0 means that it stands in no file (an environment variable)."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}"


def mistake(mark: Mark, path: KeyPath, message: str) -> Mistake:
    """Build a mistake at ``mark``; the file's name is put in by ``in_file``, once, at the end."""
    return Mistake(file="", line=mark.line, column=mark.column, path=dotted(path), message=message)


def in_file(mistakes: Iterable[Mistake], file: str) -> list[Mistake]:
    """Give the mistakes of one file in reading order, each once, with the file's name."""
    ordered = sorted({(m.line, m.column, m.path, m.message) for m in mistakes})
    return [Mistake(file=file, line=m[0], column=m[1], path=m[2], message=m[3]) for m in ordered]


def dotted(path: KeyPath) -> str:
    """Write a path as people read it: ``routes.gpt-image-2.targets[1].channel``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{_printable(step)}" if text else _printable(step)
    return text or WHOLE_FILE


def quoted(text: str) -> str:
    """Write a word of the file inside a message: on one line, cut when long, in single quotes."""
    return f"'{_printable(text)}'"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that was probably meant, letter case aside; nothing when none is near."""
    folded = {candidate.casefold(): candidate for candidate in islice(known, _MAX_CANDIDATES)}
    near = difflib.get_close_matches(word[:_SHOWN_CHARS].casefold(), list(folded), n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Give ``; did you mean 'x'?`` for the nearest known word, or nothing when none is near."""
    near = nearest(word, known)
    return f"; did you mean {quoted(near)}?" if near else ""


def listed(words: Sequence[str]) -> str:
    """Write words as a list for a message: ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _printable(text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in cut)
