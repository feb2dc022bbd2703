"""A small picture that is here whole: its bytes in memory, counted as the spool's as long as anybody holds them.

Rule: the memory was reserved before; it is given back once, when the block was closed and so was every lease on it.
"""

from collections.abc import AsyncIterator, Iterator, Sequence

from gateway.bodies.lease import Lease
from gateway.bodies.spool import PIECE, Spool


class Block:
    """Bytes that several may read; ``Lease`` does. Its length was taken from the spool's memory by whoever made it."""

    __slots__ = ("_data", "_holders", "_spool")

    path = None  # it never lies in a file

    def __init__(self, spool: Spool, data: bytes) -> None:
        self._spool = spool
        self._data = data
        self._holders = 1

    @property
    def length(self) -> int:
        """Bytes in all."""
        return len(self._data)

    @property
    def held(self) -> Sequence[bytes]:
        """The pieces of memory that hold it."""
        return (self._data,)

    def lease(self) -> Lease:
        """Give a hold on it."""
        self._holders += 1
        return Lease(self)

    def end_lease(self) -> None:
        """Take a hold back: a lease's, or with ``close`` that of whoever made it."""
        self._holders -= 1
        if self._holders == 0:
            self._spool.give_back(len(self._data), 0)
            self._data = b""

    def pieces(self, start: int, end: int, most: int = PIECE) -> Iterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most ``most``."""
        stop = min(end, len(self._data))
        for at in range(start, stop, most):
            yield self._data[at : min(at + most, stop)]

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB."""
        for piece in self.pieces(start, len(self._data) if end is None else end):
            yield piece

    def close(self) -> None:
        """End the hold of whoever made it; once."""
        self.end_lease()
