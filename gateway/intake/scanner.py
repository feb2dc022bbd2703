"""A multipart form, taken apart as its bytes pass: where each part begins, its head's lines, its value in pieces.

Rules: one strict grammar, so that no other parser reads another form in the same bytes. Nothing but line ends comes
before the first boundary; lines end in CR LF; a head is plain lines, none folded; wherever a line begins with the
boundary a part ends, or the form is refused. However the bytes are sliced, what is told is the same, refusals too.
What lies between two boundaries is searched once and not copied. Must never understand what a head says.
"""

import re
from collections.abc import Sequence
from enum import Enum, auto

from msgspec import Struct

from gateway.core.types import Refusal
from gateway.intake.parts import MAX_HEAD, malformed

MAX_PARTS = 100
MAX_HEADS = 16 * 1024  # bytes of all parts' heads
MAX_LEADING = 16  # line ends before the first boundary

_LINE_ENDS = b"\r\n"
_HEAD_END = b"\r\n\r\n"
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): *([^\x00-\x08\x0a-\x1f\x7f]*)")
_MISPLACED = malformed("its boundary stands where no part begins or ends.")


class Opened(Struct, frozen=True, kw_only=True):
    """A part begins: its headers as they came, and where in the whole body its value does."""

    headers: Sequence[tuple[bytes, bytes]]
    start: int


class Closed(Struct, frozen=True):
    """The part is over."""


Event = Opened | memoryview | Closed | Refusal
"""A ``memoryview`` is a piece of the value of the part that was opened last. Nothing follows a ``Refusal``."""


class _Place(Enum):
    LEAD = auto()  # before the first boundary
    LINE = auto()  # right after a boundary
    HEAD = auto()  # at the line end before a part's headers
    VALUE = auto()
    END = auto()  # after the last boundary


class FormScanner:
    """Takes a form slice by slice."""

    __slots__ = ("_events", "_head_bytes", "_held", "_line", "_offset", "_place", "_unsaid", "insert_at", "starts")

    def __init__(self, boundary: bytes) -> None:
        """Take a form with this boundary (without its dashes)."""
        self._line = b"\n--" + boundary  # a search for this one finds it with and without the CR
        self._place = _Place.LEAD
        self._events: list[Event] = []
        self._held = b""  # the end of what came: more of it is needed to understand it
        self._offset = 0  # of what is held, in the whole body
        self._unsaid = 0  # bytes at the place that belong to a head
        self._head_bytes = 0
        self.starts: list[int] = []  # where each boundary begins, in the whole body
        self.insert_at = 0  # where the form begins

    @property
    def is_whole(self) -> bool:
        """Whether the last boundary has come."""
        return self._place is _Place.END

    def feed(self, piece: bytes) -> Sequence[Event]:
        """Take the next bytes and say what is found in them."""
        data = self._held + piece if self._held else piece
        self._events = []
        at, before = 0, None
        while before is not self._place:  # a step that changes nothing needs more bytes
            before = self._place
            moved = self._step(data, at)
            if isinstance(moved, Refusal):
                return [*self._events, moved]
            at = moved
        self._offset += at
        self._held = data[at:]
        return self._events

    def _step(self, data: bytes, at: int) -> int | Refusal:
        """Go on from ``at``; gives where it stopped."""
        if self._place is _Place.VALUE:
            return self._value(data, at)
        if self._place is _Place.HEAD:
            return self._head(data, at)
        if self._place is _Place.LINE:
            return self._after_boundary(data, at)
        return self._lead(data) if self._place is _Place.LEAD else self._end(data, at)

    def _lead(self, data: bytes) -> int | Refusal:
        first = data[: MAX_LEADING + len(self._line)]
        rest = first.lstrip(_LINE_ENDS)
        skipped, begin = len(first) - len(rest), rest[: len(self._line) - 1]
        is_line = begin == b"" or first[:skipped] == b"" or first[skipped - 1] == self._line[0]
        if skipped > MAX_LEADING or not is_line or not self._line[1:].startswith(begin):
            return malformed("it must begin with its boundary.")
        if len(begin) < len(self._line) - 1:
            return 0
        self.insert_at = skipped
        return self._boundary(skipped - 1)

    def _boundary(self, at: int) -> int:
        """Note the boundary whose line feed stands at ``at``."""
        self.starts.append(self._offset + at + 1)
        self._place = _Place.LINE
        return at + len(self._line)

    def _after_boundary(self, data: bytes, at: int) -> int | Refusal:
        after = data[at : at + 2]
        if after == b"--":
            self._place = _Place.END
            return at + 2
        if after == _LINE_ENDS:
            if len(self.starts) > MAX_PARTS:
                return malformed(f"it may have at most {MAX_PARTS} parts.")
            self._place = _Place.HEAD
            return at
        return at if after in (b"", b"-", b"\r") else malformed("nothing may follow a boundary on its line.")

    def _head(self, data: bytes, at: int) -> int | Refusal:
        begin, most = at + len(_LINE_ENDS), at + len(_LINE_ENDS) + MAX_HEAD + len(_HEAD_END)
        end = data.find(_HEAD_END, at, most)
        if end < 0 and len(data) < most:
            return at
        self._head_bytes += max(0, end - begin)
        if end < 0 or self._head_bytes > MAX_HEADS:
            return malformed("the headers of its parts are too long.")
        if data.find(self._line, at, end) >= 0:
            return _MISPLACED
        headers = [_HEADER.fullmatch(line) for line in data[begin:end].split(_LINE_ENDS)] if end > begin else []
        found = [(match[1], match[2]) for match in headers if match is not None]
        if len(found) < len(headers):
            return malformed("the headers of a part cannot be read.")
        self._events.append(Opened(headers=found, start=self._offset + end + len(_HEAD_END)))
        self._place = _Place.VALUE
        self._unsaid = 1
        return end + len(_HEAD_END) - 1  # a boundary right behind the head's last line feed ends no value

    def _value(self, data: bytes, at: int) -> int | Refusal:
        # Searched backwards, which takes half the time, though what counts is the first one. It takes no more than one
        # look at each byte, whatever the boundary is: a line feed begins the line and is nowhere else in it.
        found = data.find(self._line, at) if data.rfind(self._line, at) >= 0 else -1
        if found < 0:
            return self._tell(data, at, self._unclear(data, at))
        end = found - 1  # of the value: a CR stands there
        if end < at + self._unsaid or data[end] != _LINE_ENDS[0]:
            return _MISPLACED
        self._tell(data, at, end)
        self._events.append(Closed())
        return self._boundary(found)

    def _tell(self, data: bytes, at: int, end: int) -> int:
        """Tell of a piece of the value, and give its end."""
        if end > at:
            start, self._unsaid = at + self._unsaid, 0
            if end > start:
                self._events.append(memoryview(data)[start:end])
        return end

    def _unclear(self, data: bytes, at: int) -> int:
        """Say from where on the end of ``data`` may be the beginning of a boundary's line."""
        tail = data[max(at, len(data) - len(self._line)) :]
        if b"\r" not in tail and b"\n" not in tail:
            return len(data)
        whole = b"\r" + self._line
        while not whole.startswith(tail) and not self._line.startswith(tail):  # both begin with nothing
            tail = tail[1:]
        return len(data) - len(tail)

    def _end(self, data: bytes, at: int) -> int | Refusal:
        if data.find(self._line, at) >= 0:
            return _MISPLACED
        return max(at, len(data) - len(self._line) + 1)
