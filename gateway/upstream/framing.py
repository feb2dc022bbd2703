"""One HTTP/1.1 answer, framed: bytes off a connection go in, a head and the pieces of a body come out.

httptools reads heads and chunks. A body whose length is stated, or which ends with its connection, needs no parser:
past the head its bytes are counted and handed on in the very objects that the socket was read into.

Rules it keeps:
- All heads of an answer, interim (1xx) ones included, are at most 64 KiB and 128 lines together; at most sixteen are
  interim; what carries no body (heads, chunk sizes, trailers) never goes on for longer than 64 KiB.
- No protocol is switched. The one transfer coding is ``chunked``, since nobody asked for another.
- What comes behind the end of an answer belongs to nobody: the answer is whole, and ``keeps`` is false.

It must never wait, touch a socket, decode a content coding or decide what an answer is worth.
"""

from collections import deque
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MOST_HEAD_BYTES: Final = 64 * 1024
MOST_HEADERS: Final = 128
MOST_INTERIM: Final = 16  # a real server sends none or one
_PIECE_COST: Final = 64  # what holding a piece costs beside its bytes: tiny ones must count too
_BODILESS: Final = frozenset({204, 304})


class BadFraming(Exception):
    """What came is not an HTTP/1.1 answer, or one without measure."""


class Incoming:
    """One answer on its way in. ``held`` counts what ``pieces`` hold; whoever takes from them gives it back.

    ``is_open``: the body ends with the connection. ``keeps``: the connection may serve another exchange after it.
    """

    __slots__ = (
        *("_bare", "_interim", "_left", "_lines", "_named", "_parser"),
        *("headers", "held", "is_headed", "is_open", "is_whole", "keeps", "pieces", "status"),
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: deque[bytes] = deque()
        self.held = 0
        self.is_headed = False
        self.is_whole = False
        self.is_open = False
        self.keeps = False
        self._left = 0  # bytes to come of a body whose length is stated
        self._bare = 0  # bytes since the last one of a body
        self._named = 0  # bytes of header names and values
        self._lines = 0
        self._interim = 0
        parser = HttpResponseParser(self)
        self._parser: HttpResponseParser | None = parser
        # What real servers do, and no harm on this side of a connection: folded lines, bare LF, blanks behind a size.
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def feed(self, data: bytes) -> None:
        """Take what came off the socket. Raises ``BadFraming``."""
        left = self._left
        if left > 0:
            self._count_down(data, left)
        elif self.is_open:
            self._hold(data)
        else:
            self._parse(data)

    def take(self) -> bytes:
        """Give the next piece that is held. Raises ``IndexError`` when there is none."""
        piece = self.pieces.popleft()
        self.held -= len(piece) + _PIECE_COST
        return piece

    def _count_down(self, data: bytes, left: int) -> None:
        size = len(data)
        if size < left:
            self._left = left - size
            self._hold(data)
            return
        self._hold(data if size == left else data[:left])
        self._left = 0
        self.is_whole = True
        if size > left:
            self.keeps = False

    def _hold(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.held += len(piece) + _PIECE_COST

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:  # the answer is whole
            self.keeps = False
            return
        self._bare += len(data)
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_whole:
                self._parser = None
                raise BadFraming(str(error)) from error
            self.keeps = False
        if self.is_whole or self._left > 0 or self.is_open:
            self._parser = None  # it has done its work, and is a ring of references
        elif self._bare > MOST_HEAD_BYTES:
            raise BadFraming("too much that is no body")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Take note of a further answer: of one that was not asked for, nothing is read."""
        if self.is_whole:
            raise BadFraming("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one line of a head; of two with the same name the last counts. Those behind a body are dropped."""
        if self.is_headed:
            return
        self._lines += 1
        self._named += len(name) + len(value)
        if self._named > MOST_HEAD_BYTES or self._lines > MOST_HEADERS:
            raise BadFraming("an oversized head")
        # Latin-1 as in ASGI: any byte has a character, and goes out again as the byte that came.
        key = name.decode("latin-1").lower()
        if key == "transfer-encoding" and value.strip().lower() != b"chunked":
            raise BadFraming("a transfer coding that nobody asked for")
        self.headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Read how the body is framed."""
        parser = self._parser
        if parser is None:
            raise BadFraming("a head behind the end")
        status = parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MOST_INTERIM:
                raise BadFraming("too many interim answers, or a protocol nobody asked for")
            self.headers.clear()
            return
        self.status = status
        self.is_headed = True
        self.keeps = parser.should_keep_alive()
        if status in _BODILESS or "transfer-encoding" in self.headers:
            return
        length = self.headers.get("content-length")
        if length is None:
            self.is_open = True
        else:
            self._left = int(length)

    def on_body(self, piece: bytes) -> None:
        """Take bytes of the body."""
        self._bare = 0
        if self._left:
            self._left -= len(piece)
        self._hold(piece)

    def on_message_complete(self) -> None:
        """Take note that the answer is whole (interim ones end too)."""
        if self.is_headed:
            self.is_whole = True
