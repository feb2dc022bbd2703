"""What the YAML parser could not read, said so that a person finds it: the parser's words, and what usually helps.

A value is never repeated, because it may be a secret: what the parser quotes of the file is left out of its words, and
a hint is chosen by the character at the place, not told with it.
"""

import re
from typing import Protocol

import yaml

from gateway.config.mistake import START, Mark, Mistake, mistake

_QUOTED = re.compile(r"'([^']*)'")
_GRAMMAR = re.compile(r"[,\]}>?:-]|<[a-z ]+>")  # what the parser waited for; all else that it quotes is the file's
_TAB = "indent with spaces, not tabs"
_VARIABLE = "put quotes around ${...} inside { } and [ ]"
_RESERVED = "put quotes around text that begins with @, ` or %"
_COLON = "put quotes around text that has ': ' in it, and let the keys of a block begin in one column"
_COLUMN = "let the keys of a block, or the dashes of a list, begin in one column"
_UNCLOSED = "a quote was opened there and not closed"


class ParserMark(Protocol):
    """Where the parser was, counted from 0; its two implementations have a class each."""

    index: int
    line: int
    column: int


def mark_of(mark: ParserMark | None) -> Mark:
    """Give the parser's place as ours; the beginning of the file when it has none."""
    return START if mark is None else Mark(line=mark.line + 1, column=mark.column + 1)


def unreadable(error: yaml.YAMLError, text: str) -> Mistake:
    """Say where ``text`` stops being YAML, why, and what usually helps."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return mistake(START, (), "not YAML: a character that YAML does not allow")
    place = error.problem_mark or error.context_mark
    begun = error.context_mark
    words = " ".join(part for part in (error.problem, error.context) if part)
    since = f" (from line {begun.line + 1})" if begun and place and begun.line < place.line else ""
    hint = _hint(words, text, place)
    return mistake(mark_of(place), (), f"not YAML: {_QUOTED.sub(_kept, words)}{since}{f'; {hint}' if hint else ''}")


def _kept(quoted: re.Match[str]) -> str:
    return quoted[0] if _GRAMMAR.fullmatch(quoted[1]) else "this"


def _hint(words: str, text: str, place: ParserMark | None) -> str | None:
    at = len(text) if place is None else place.index
    here = text[at : at + 1]
    if here == "\t" or "tab character" in words:
        return _TAB
    if here == "{" and text[at - 1 : at] == "$":
        return _VARIABLE
    if "cannot start any token" in words:
        return _RESERVED
    if "mapping values" in words:
        return _COLON
    if "quoted scalar" in words and "end of stream" in words:
        return _UNCLOSED
    return _COLUMN if "block mapping" in words or "block collection" in words else None
