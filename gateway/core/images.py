"""What a picture's own bytes say of it, read as they pass: format, size, transparency.

Rules: only the few bytes that the format's reader asks for are kept (less than 64 KiB whatever comes), and nothing is
looked at once the header is understood; slices of any length give the same result. Must never raise for what a
picture holds and never decode pixels.
"""

from gateway.core.image_headers import Ask, Header, read_header

__all__ = ["Header", "Sniffer", "header_of"]


def header_of(data: bytes) -> Header:
    """Say what the header of a whole picture says."""
    reading = read_header()
    ask, at = next(reading), 0
    try:
        while True:
            at += ask.skip
            if len(data) < at + ask.take and not ask.or_less:
                return ask.known
            ask = reading.send(data[at : at + ask.take])
    except StopIteration as told:
        header: Header = told.value
        return header


class Sniffer:
    """Takes the bytes of one picture, slice by slice, and says what its header says."""

    __slots__ = ("_ask", "_header", "_kept", "_reading")

    def __init__(self) -> None:
        self._reading = read_header()
        self._ask: Ask = next(self._reading)
        self._kept = bytearray()
        self._header: Header | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes; once the header is understood this costs nothing."""
        if self._header is not None:
            return
        self._kept += data
        at = 0
        while len(self._kept) - at >= self._ask.skip + self._ask.take:
            at += self._ask.skip
            if not self._shown(bytes(self._kept[at : at + self._ask.take])):
                self._kept.clear()
                return
        self._pass_over(at)

    def facts(self) -> Header:
        """Say what the header says; bytes fed after this change nothing."""
        while self._header is None:
            if self._ask.or_less:
                self._shown(bytes(self._kept))
            else:
                self._header = self._ask.known
        return self._header

    def _pass_over(self, at: int) -> None:
        """Let go of the first ``at`` bytes, and of those that the reader skips next."""
        skipped = min(self._ask.skip, len(self._kept) - at)
        if skipped:
            self._ask = self._ask._replace(skip=self._ask.skip - skipped)
        del self._kept[: at + skipped]

    def _shown(self, piece: bytes) -> bool:
        """Show the reader what it asked for; whether it asks for more."""
        try:
            self._ask = self._reading.send(piece)
        except StopIteration as done:
            self._header = done.value
            return False
        return True
