"""A picture as it stands in an answer: kept decoded, read again as the characters that came.

Rule: the characters are those that came, byte for byte; what was no canonical base64 is kept as it came.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Final

import pybase64

from gateway.bodies.block import Block
from gateway.bodies.lease import Lease
from gateway.bodies.spool import SpooledBody
from gateway.core.types import ImageFacts
from gateway.ports import Replayable

ENCODE_PIECE: Final = 192 * 1024  # a multiple of three, so that pieces of base64 join


class Inlay:
    """One payload: its decoded bytes, then the characters that did not decode; and the facts of the picture."""

    __slots__ = ("body", "encoded", "facts", "raw", "seen")

    def __init__(self, body: SpooledBody | Block, facts: ImageFacts | None = None) -> None:
        self.body = body
        self.encoded = body.length  # bytes of the body that are sent as base64
        self.raw = 0  # bytes of the body, after those, that are sent as they are
        self.facts = facts  # once it has ended, if all of it was a picture
        self.seen: SpooledBody | None = None  # the picture's bytes after ``encoded``, when its characters are kept raw

    @property
    def length(self) -> int:
        """Characters of the payload."""
        return (self.encoded + 2) // 3 * 4 + self.raw

    def characters(self) -> Iterator[bytes]:
        """Yield the payload as it came, in pieces of at most 256 KiB."""
        yield from _encoded(self.body.pieces(0, self.encoded, ENCODE_PIECE))
        if self.raw:
            yield from self.body.pieces(self.encoded, self.body.length)

    def lease(self) -> Replayable:
        """Give the picture's own bytes, to be closed by whoever takes them."""
        if self.raw == 0 and self.seen is None:
            return self.body.lease()
        return _Joined(self.body.lease(), self.encoded, None if self.seen is None else self.seen.lease())

    def close(self) -> None:
        """Give the picture back, as far as nobody else holds it."""
        self.body.close()
        if self.seen is not None:
            self.seen.close()


class _Joined:
    """A picture whose characters were not all canonical base64: its bytes from two bodies."""

    def __init__(self, head: Lease, cut: int, tail: Lease | None) -> None:
        self._head, self._cut, self._tail = head, cut, tail
        self.length = cut + (0 if tail is None else tail.length)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        stop = self.length if end is None else min(end, self.length)
        if start < self._cut:
            async for piece in self._head.read(start, min(stop, self._cut)):
                yield piece
        if self._tail is not None and stop > self._cut:
            async for piece in self._tail.read(max(0, start - self._cut), stop - self._cut):
                yield piece

    def close(self) -> None:
        self._head.close()
        if self._tail is not None:
            self._tail.close()


def _encoded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give base64 of pieces of any length; none of them is held while what became of it is looked at."""
    rest = b""  # what makes no whole quantum
    for piece in pieces:
        data = rest + piece if rest else piece
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        encoded = pybase64.b64encode(memoryview(data)[:whole])
        del piece, data
        yield encoded
    if rest:
        yield pybase64.b64encode(rest)
