"""Finds the lines of a form that its boundary begins, as the bytes pass: each once, wherever the slices are cut.

A plain search, so that there is something to hold a parser against, and quick: what is between two boundaries is looked
at once and never copied.
"""

_BLANKS = (b" ", b"\t")


class Delimiters:
    """The boundaries seen so far: where each begins in the whole body, and whether a blank follows one."""

    __slots__ = ("_delimiter", "_most", "_seen", "_tail", "is_blank_after", "starts")

    def __init__(self, boundary: bytes, most: int) -> None:
        """Look for ``boundary`` (without its dashes); after ``most`` of them it is pointless to go on."""
        self._delimiter = b"\n--" + boundary
        self._most = most
        self._tail = b"\n"  # of what passed: the beginning of a body is the beginning of a line
        self._seen = 0
        self.starts: list[int] = []
        self.is_blank_after = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        size, tail = len(self._delimiter), self._tail
        seam = tail + piece[:size]
        if tail == self._delimiter:  # it was counted; what follows it is only known now
            self.is_blank_after |= piece[:1] in _BLANKS
        at = seam.find(self._delimiter, 1) if len(tail) == size else seam.find(self._delimiter)
        if 0 <= at < len(tail):
            self._note(seam, at, self._seen - len(tail))
        at = piece.find(self._delimiter)
        while at >= 0 and len(self.starts) < self._most:
            self._note(piece, at, self._seen)
            at = piece.find(self._delimiter, at + 1)
        self._seen += len(piece)
        self._tail = piece[-size:] if len(piece) >= size else (tail + piece)[-size:]

    def _note(self, window: bytes, at: int, offset: int) -> None:
        self.starts.append(offset + at + 1)
        after = at + len(self._delimiter)
        self.is_blank_after |= window[after : after + 1] in _BLANKS
