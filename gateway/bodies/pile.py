"""Bytes in memory, in the pieces they came in: nothing is copied on the way in, and nothing on the way out.

Rules: what comes in large pieces is held in those; small ones are put together first, so that a body that trickles in
takes no more than its bytes. Must never be asked for what was not put in.
"""

from collections.abc import Iterator
from typing import Final

LARGE: Final = 16 * 1024  # of a piece: what an object of its own costs is nothing beside it


class Pile:
    """Pieces of one body, in order."""

    __slots__ = ("_pieces", "_small")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._small = bytearray()  # what follows them, until it is worth an object

    def put(self, data: bytes | memoryview) -> None:
        """Add bytes at the end."""
        is_large = len(data) >= LARGE
        if not is_large:
            self._small += data
        if is_large or len(self._small) >= LARGE:
            self._settle()
        if is_large:
            self._pieces.append(bytes(data))

    def pieces(self) -> list[bytes]:
        """Give what is held."""
        self._settle()
        return self._pieces

    def read(self, start: int, end: int, most: int) -> Iterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most ``most``, as far as may be those that came."""
        at = 0  # of the piece, in the body
        for piece in self.pieces():
            first, last = max(start - at, 0), min(end - at, len(piece))
            if (first, last) == (0, len(piece)) and last <= most:
                yield piece
            else:
                for cut in range(first, last, most):
                    yield piece[cut : min(cut + most, last)]
            at += len(piece)

    def behind(self, start: int, end: int, at: tuple[int, int]) -> tuple[bytes, tuple[int, int]]:
        """Give some of the bytes ``start:end``, of one piece, and where to look from the next time.

        ``at``: the number of a piece that begins no later than ``start``, and where it begins.
        """
        pieces = self.pieces()
        number, begins = at if at[0] < len(pieces) else (0, 0)  # they may have been put together since
        while number < len(pieces) and begins + len(pieces[number]) <= start:
            begins += len(pieces[number])
            number += 1
        if number == len(pieces):
            return b"", (number, begins)
        piece = pieces[number]
        low, high = start - begins, min(end - begins, len(piece))
        return piece if (low, high) == (0, len(piece)) else piece[low:high], (number, begins)

    def whole(self) -> bytes:
        """Give all of it as one value, which it is from then on."""
        if len(self.pieces()) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def clear(self) -> None:
        """Let all of it go; who reads at this moment reads on."""
        self._pieces, self._small = [], bytearray()

    def _settle(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small = bytearray()
