"""Holds on bodies that others own: what is leased stays readable until the lease is closed."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol


class Leased(Protocol):
    """What a lease may be on."""

    @property
    def length(self) -> int:
        """Bytes in all."""
        ...

    @property
    def path(self) -> Path | None:
        """The file that holds it, if one does."""
        ...

    @property
    def held(self) -> Sequence[bytes] | None:
        """The pieces of memory that hold it, if it is in memory."""
        ...

    def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB."""
        ...

    def end_lease(self) -> None:
        """Take a hold back."""
        ...


class Lease:
    """A hold on a body: reads it, and keeps it from being given back until this is closed."""

    __slots__ = ("_body", "_closed")

    def __init__(self, body: Leased) -> None:
        self._body = body
        self._closed = False

    @property
    def length(self) -> int:
        """Bytes in all."""
        return self._body.length

    @property
    def path(self) -> Path | None:
        """The file that holds the body; ``None``: it lies in memory."""
        return self._body.path

    @property
    def held(self) -> Sequence[bytes] | None:
        """The pieces of memory that hold the body; ``None``: it lies in a file."""
        return self._body.held

    def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB."""
        return self._body.read(start, end)

    def close(self) -> None:
        """End the hold; idempotent."""
        if not self._closed:
            self._closed = True
            self._body.end_lease()
