"""New rows put into a routes file as text, so that every other byte of it stays: comments, order, quotes, alignment.

The place is found by the parser's marks, never by searching. A channel whose rows are a block gets the new ones below
its last row, one whose rows stand in braces gets them inside, first. Must never write a file: it gives the new text.
"""

from collections.abc import Sequence
from typing import Protocol

import yaml
from msgspec import Struct, field

_ODD_LINE_ENDS = ("\r", "\x85", "\u2028", "\u2029")  # which the parser counts as ends of a line, and editors do not
_Parser = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class NewRow(Struct, frozen=True, kw_only=True):
    """A row: its name, its key and block as YAML in one line; ``remarks`` stand above it where comments can."""

    name: str
    key: str
    block: str
    remarks: tuple[str, ...] = ()


class _Place(Struct, frozen=True, kw_only=True):
    """Where the rows of a channel stand. ``line`` and ``column`` count from 0."""

    in_braces: bool
    line: int
    column: int
    is_empty: bool


class _Open(Struct, kw_only=True):
    is_block: bool
    in_braces: bool
    line: int
    column: int
    key: str | None = None
    wants_value: bool = False
    first: int | None = None  # the column of its first key
    keys: int = 0


class _Finder(Struct, kw_only=True):
    """Follows the parser's events down to one path."""

    path: tuple[str, ...]
    opened: list[_Open] = field(default_factory=list)
    last_line: int = 0
    found: _Place | None = None

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._value()
            line, column = _at(event.start_mark)
            is_block = isinstance(event, yaml.MappingStartEvent)
            self.opened.append(_Open(is_block=is_block, in_braces=bool(event.flow_style), line=line, column=column))
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end(event)
        elif isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            self._scalar(event)

    def _value(self) -> None:
        if self.opened and self.opened[-1].is_block:
            self.opened[-1].wants_value = False

    def _scalar(self, event: yaml.Event) -> None:
        line, column = _at(event.end_mark)
        self.last_line = line - (column == 0)  # a text block ends on the line after it
        top = self.opened[-1] if self.opened else None
        if top is None or not top.is_block:
            return
        if top.wants_value:
            top.wants_value = False
            return
        top.key = event.value if isinstance(event, yaml.ScalarEvent) else None
        top.wants_value = True
        top.keys += 1
        top.first = _at(event.start_mark)[1] if top.first is None else top.first

    def _end(self, event: yaml.Event) -> None:
        closed = self.opened.pop()
        if closed.in_braces:
            self.last_line = _at(event.end_mark)[0]
        here = tuple(one.key for one in self.opened if one.is_block)
        if closed.is_block and here == self.path and len(here) == len(self.opened):
            self.found = _Place(
                in_braces=closed.in_braces,
                line=closed.line if closed.in_braces else self.last_line,
                column=closed.column if closed.in_braces else closed.first or 0,
                is_empty=closed.keys == 0,
            )


class _Mark(Protocol):
    """Where the parser was; its two implementations have a class each."""

    line: int
    column: int


def _at(mark: _Mark | None) -> tuple[int, int]:
    return (0, 0) if mark is None else (mark.line, mark.column)


def insert_rows(text: str, channel: str, rows: Sequence[NewRow]) -> str | None:
    """Give the text with new rows under ``channels.CHANNEL.rows``; ``None`` when there is no such place to write at.

    The text must be YAML that the program reads; an alias in the place of the rows is no place.
    """
    finder = _Finder(path=("channels", channel, "rows"))
    try:
        for event in yaml.parse(text, Loader=_Parser):
            finder.take(event)
    except yaml.YAMLError:
        return None
    place = finder.found
    if place is None or any(odd in text.replace("\r\n", "") for odd in _ODD_LINE_ENDS):
        return None
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1].removesuffix("\n")
    ending = "\r\n" if "\r\n" in text else "\n"
    if place.in_braces:
        line, at = lines[place.line], place.column + 1
        words = ", ".join(f"{row.key}: {row.block}" for row in rows)
        lines[place.line] = f"{line[:at]}{words}{'' if place.is_empty else ', '}{line[at:]}"
        return "".join(lines)
    indent = " " * place.column
    added = [f"{indent}{said}{ending}" for row in rows for said in (*row.remarks, f"{row.key}: {row.block}")]
    if not lines[place.line].endswith(("\n", "\r")):
        lines[place.line] += ending
    return "".join([*lines[: place.line + 1], *added, *lines[place.line + 1 :]])
