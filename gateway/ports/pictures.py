"""The seam to where pictures lie: blobs by the hash of their bytes, on this machine or in an object store."""

from collections.abc import AsyncIterator
from typing import Protocol

from gateway.ports.wires import Replayable


class StoreUnavailable(Exception):
    """The store could not be had, or not in time. What was being kept is not lost: its bytes are still in the spool."""


class Blobs(Protocol):
    """Keeps bytes under their SHA-256 (64 lower-case hexadecimal digits). Every method raises ``StoreUnavailable``."""

    async def keep(self, sha256: str, body: Replayable, media_type: str) -> None:
        """Store ``body`` whole, or nothing; storing what is there already changes nothing."""
        ...

    async def size(self, sha256: str) -> int | None:
        """Give the bytes of a blob; ``None``: there is none."""
        ...

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes ``start:end`` in pieces of at most 256 KiB."""
        ...

    async def delete(self, sha256: str) -> None:
        """Remove a blob; one that is not there is no error."""
        ...
