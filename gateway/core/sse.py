"""Takes a stream of server-sent events apart while it passes: where each event ends, and what its lines say.

Rules: bytes may be cut anywhere and lines may end in LF, CR or CRLF, mixed; the events are the same. No limit on the
length of a line and no memory of one: an event is given piece by piece as it comes, and whoever takes the pieces
decides what to keep. An event is over at its blank line and not a byte later, so nobody waits for what comes next. The
bytes of an event are those that came, but for an odd end: only LF LF, CR CR and CRLF CRLF are ends that every client
knows, so any other becomes LF LF. A byte order mark is dropped. It must never look into the data of an event.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

_KNOWN_ENDS: Final = (b"\n\n", b"\r\r", b"\r\n\r\n")
_END: Final = b"\n\n"
_MARK: Final = b"\xef\xbb\xbf"


class Piece(Struct, frozen=True):
    """Bytes of the event that is passing; ``ends``: the event is over with them."""

    data: bytes
    ends: bool = False


class Block(Struct, frozen=True, kw_only=True):
    """What the lines of one event say. ``data`` is absent when there is none, and then it is no event."""

    name: str
    data: bytes | None


class Splitter:
    """Feed it a stream in any pieces; it gives the same stream as ``Piece``s of events."""

    def __init__(self) -> None:
        self._held = b""  # a line end that may be the first half of a blank line, or part of the byte order mark
        self._at_start = True  # of the stream
        self._at_event = True  # nothing of the next event has come
        self._skips_lf = False  # the last event ended in CR: an LF would be the rest of that line end

    def feed(self, chunk: bytes) -> list[Piece]:
        """Take the next bytes."""
        window = self._held + chunk if self._held else chunk
        self._held = b""
        if self._at_start:
            if len(window) < len(_MARK) and _MARK.startswith(window):
                self._held = window
                return []
            self._at_start = False
            window = window.removeprefix(_MARK)
        if self._skips_lf and window:
            self._skips_lf = False
            window = window.removeprefix(b"\n")
        return self._split(window)

    def finish(self) -> Piece | None:
        """Say that nothing more comes; gives the end of an event whose blank line is missing."""
        begun = not self._at_event or (self._at_start and self._held)
        held, self._held, self._at_event, self._at_start = self._held, b"", True, False
        return Piece(held.rstrip(b"\r\n") + _END, ends=True) if begun else None

    def _split(self, window: bytes) -> list[Piece]:
        pieces: list[Piece] = []
        start = line = 0  # of what is not given yet, and of the line
        is_blank = self._at_event
        for at, end in _line_ends(window):
            if at > line or not is_blank:
                line, is_blank = end, True
                self._at_event = False
                continue
            if not self._at_event:
                pieces.append(Piece(_ended(window[start:end]), ends=True))
                self._at_event = True
                self._skips_lf = end == len(window) and window.endswith(b"\r")
            start = line = end
        rest = window[start:]
        if rest:
            self._at_event = False
            kept = rest.rstrip(b"\r\n")
            self._held = rest[len(kept) :]
            if kept:
                pieces.append(Piece(kept))
        return pieces


def _line_ends(window: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each line end begins and ends. An expression takes a hundred times as long over a picture."""
    feed, back = window.find(b"\n"), window.find(b"\r")
    while feed >= 0 or back >= 0:
        if back < 0 or 0 <= feed < back:
            yield feed, feed + 1
            feed = window.find(b"\n", feed + 1)
            continue
        end = back + 1
        if feed == end:
            end += 1
            feed = window.find(b"\n", end)
        yield back, end
        back = window.find(b"\r", end)


def _ended(event: bytes) -> bytes:
    return event if event.endswith(_KNOWN_ENDS) else event.rstrip(b"\r\n") + _END


def read_block(event: bytes) -> Block:
    """Read the lines of one whole event: the last ``event`` field, and all ``data`` fields joined by line feeds."""
    name, data = b"", []
    for line in event.splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    joined = b"\n".join(data)
    return Block(name=name.decode("utf-8", "replace"), data=joined or None)
