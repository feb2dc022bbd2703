"""A request as the edge hands it over, and the pump that carries its body to a reader within bounds.

Rules: no body is taken beyond its cap, and none at all when its declared length is over it; a reader gets slices small
enough that no other request waits for it; between slices the loop goes round.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from gateway.core.errand import Errand
from gateway.core.fields import bad_value
from gateway.core.types import Refusal, RequestId, Surface

SLICE = 64 * 1024  # bytes a reader is given at once that has to look at each
LARGE_SLICE = 256 * 1024  # bytes for one that only hashes them: no less than the server reads at once
PAUSE_AFTER = 4  # slices until others have a turn: a millisecond, if they are only hashed
_LENGTH_DIGITS = 15


class ClientGone(Exception):
    """Raised by ``Incoming.chunks`` when the client left before its body was whole."""


class Incoming(Struct, frozen=True, kw_only=True):
    """One request. ``headers`` have lower-case names; ``chunks`` yields the body and may raise ``ClientGone``.

    ``time`` is the wall clock (UTC) and ``started`` the monotonic clock (seconds) at the request's first byte.
    """

    surface: Surface
    request_id: RequestId
    time: datetime
    started: float
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    query: str = ""
    errand: Errand = Errand.CREATE  # on the Responses surface
    subject: str | None = None  # the id of the kept Response it is about; then there is no body to read
    is_check: bool = False  # nothing is to be sent; a body without pictures is then one of generations
    origin: str = ""  # scheme and host that the caller reached us by


class Sink(Protocol):
    """What reads a body slice by slice."""

    @property
    def slice(self) -> int:
        """Bytes that it takes at once."""
        ...

    @property
    def is_slow(self) -> bool:
        """Whether to understand what was taken would hold others up."""
        ...

    def feed(self, piece: bytes) -> Refusal | None:
        """Take the next bytes; a refusal ends the reading."""
        ...


def too_large(cap: int) -> Refusal:
    """Refuse a body of more than ``cap`` bytes."""
    message = f"The request body is too large: at most {cap} bytes are accepted here."
    return Refusal(status=413, code="request_too_large", message=message)


async def pump(incoming: Incoming, cap: int, sink: Sink) -> Refusal | None:
    """Carry the body to ``sink``; ``cap`` is in bytes. Raises what ``chunks`` and the sink raise."""
    taken = unpaused = 0
    async for chunk in incoming.chunks:
        taken += len(chunk)
        if taken > cap:
            return too_large(cap)
        for start in range(0, len(chunk), sink.slice):
            piece = chunk[start : start + sink.slice]
            refusal = sink.feed(piece)
            if refusal is not None:
                return refusal
            unpaused += len(piece)
            if unpaused >= PAUSE_AFTER * sink.slice:
                unpaused = 0
                await asyncio.sleep(0)
    return None


def declared_length(incoming: Incoming, cap: int) -> int | Refusal:
    """Give the bytes that the head says will come, 0 where it says nothing; more than ``cap`` is refused."""
    length = incoming.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return bad_value("content-length", "must be a number of bytes.")
    return too_large(cap) if len(length) > _LENGTH_DIGITS or int(length) > cap else int(length)
