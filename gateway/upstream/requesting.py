"""What of a request goes on the wire: its head as bytes, and its body in the pieces in which it is read.

Rules it keeps: a header that could be read as more than one line, and a path that could be read as more than one word,
are refused before anything is sent; so is a body that is not as long as it says, as soon as that is known. Headers go
out as Latin-1, byte for byte as they came. Nothing is added but what ``head_of`` names.

It must never look at a body's contents, or hold more of a long body than goes out at once.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from gateway import __version__
from gateway.bodies.spool import AT_ONCE
from gateway.ports import Replayable
from gateway.upstream.connection import Connection

SMALL: Final = 64 * 1024  # a body up to here goes out with its head, in one write
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNFIT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PATH: Final = re.compile(r"/[\x21\x22\x24-\x7e]*")  # printable ASCII, no fragment
_DEFAULTS: Final = (("user-agent", f"waybill/{__version__}"), ("accept-encoding", "identity"), ("accept", "*/*"))
TURN_AFTER: Final = 1024 * 1024  # bytes until others have a turn: half a millisecond
_DISAGREE: Final = "the body's length and its bytes disagree"


def head_of(method: str, path: str, authority: str, headers: Sequence[tuple[str, str]], length: int | None) -> bytes:
    """Write the head of a request: ``host``, what is given, defaults for what is not, and ``content-length``.

    Raises ``ValueError`` when a part of it cannot be written in HTTP.
    """
    if _PATH.fullmatch(path) is None or _NAME.fullmatch(method) is None:
        raise ValueError("a path or method that cannot be written in HTTP")
    lines = [f"{method} {path} HTTP/1.1\r\nhost: {authority}"]
    given = set()
    for name, value in headers:
        if _NAME.fullmatch(name) is None or _UNFIT.search(value) is not None:
            raise ValueError("a header that cannot be written in HTTP")
        given.add(name.lower())
        lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in _DEFAULTS if name not in given]
    if length is not None:
        lines.append(f"content-length: {length}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


async def whole(body: Replayable) -> bytes:
    """Read a small body. Raises ``RuntimeError`` when it is not as long as it says."""
    promised = body.length
    pieces: list[bytes] = []
    got = 0
    source = body.read()
    try:
        async for piece in source:
            pieces.append(piece)
            got += len(piece)
            if got > promised:
                break
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if got != promised:
        raise RuntimeError(_DISAGREE)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Upload:
    """A long body on its way out, piece by piece; whoever steps it minds that the connection ``is_writable``."""

    __slots__ = ("_connection", "_left", "_source", "_unpaused")

    def __init__(self, connection: Connection, body: Replayable, start: int = 0) -> None:
        """Send ``body`` from ``start`` on: what stands before it has gone out."""
        self._connection = connection
        self._left = body.length - start
        self._unpaused = 0
        self._source: AsyncIterator[bytes] = body.read(start)

    async def begin(self, head: bytes) -> bool:
        """Write the head and the first piece; false when the connection has gone, and so nothing was sent."""
        some = await self._some()
        if not self._connection.begin(head):
            return False
        self._connection.write(some)
        return True

    async def step(self) -> bool:
        """Write some more; false at the end. Raises ``RuntimeError`` when the body is not as long as it says.

        A peer that reads fast never holds us back, so others on the loop get their turn in between.
        """
        some = await self._some()
        if not some:
            return False
        self._connection.write(some)
        self._unpaused += sum(map(len, some))
        if self._unpaused >= TURN_AFTER:
            self._unpaused = 0
            await asyncio.sleep(0)
        return True

    async def close(self) -> None:
        """End the reading; idempotent."""
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()

    async def _some(self) -> list[bytes]:
        """Give the next pieces, as many as go out in one call; none at the end."""
        pieces: list[bytes] = []
        most = self._left - AT_ONCE
        async for piece in self._source:
            pieces.append(piece)
            self._left -= len(piece)
            if self._left <= most:
                break
        if self._left < 0 or (not pieces and self._left):
            raise RuntimeError(_DISAGREE)
        return pieces
