"""A request as the edge hands it over, and the pump that carries its body to a reader within bounds.

Rules: no body is taken beyond its cap, and none at all when its declared length is over it; a reader gets slices small
enough that no other request waits for it, and after some of them others have a turn. Where the server can, it hands the
pieces on right where they arrive (``Incoming.tap``): to wake a task for each costs more than to hash it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from msgspec import Struct

from gateway.bodies.spool import SpooledBody, SpoolFull
from gateway.core.errand import Errand
from gateway.core.fields import bad_value
from gateway.core.types import Refusal, RequestId, Surface
from gateway.ports import Ahead, Job

SLICE = 64 * 1024  # bytes a reader is given at once that has to look at each
LARGE_SLICE = 256 * 1024  # bytes for one that only hashes them; servers read no more at once
PAUSE_AFTER = 2  # slices until others have a turn: less than half a millisecond, if they are only hashed
_LENGTH_DIGITS = 15


class ClientGone(Exception):
    """Raised by ``Incoming.chunks`` when the client left before its body was whole."""


class Appetite(Enum):
    """What is to happen after a piece of a body."""

    MORE = auto()
    PAUSE = auto()  # more, when others have had a turn
    ENOUGH = auto()  # no more


Take = Callable[[bytes], Appetite]
"""Takes the next piece of a body, of at most ``LARGE_SLICE`` bytes. Never raises for what a client may send."""


def _tap_nothing(_take: Take | None) -> None:
    """Say that this server hands nothing on beside ``chunks``."""


SendAhead = Callable[[Job, SpooledBody], Ahead | None]
"""Sends a form on while it arrives, if it can; the job says what came so far. Never raises."""


class Incoming(Struct, frozen=True, kw_only=True):
    """One request. ``headers`` have lower-case names; ``chunks`` yields the body and may raise ``ClientGone``.

    ``tap``: says who takes pieces as they arrive, until ``None`` is said or he has had enough. What he is given is left
    out of ``chunks``, which ends when the body does; after enough, it yields once more.
    ``time`` is the wall clock (UTC) and ``started`` the monotonic clock (seconds) at the request's first byte.
    """

    surface: Surface
    request_id: RequestId
    time: datetime
    started: float
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    tap: Callable[[Take | None], None] = _tap_nothing
    query: str = ""
    errand: Errand = Errand.CREATE  # on the Responses surface
    subject: str | None = None  # the id of the kept Response it is about; then there is no body to read
    is_check: bool = False  # nothing is to be sent; a body without pictures is then one of generations
    origin: str = ""  # scheme and host that the caller reached us by
    send_ahead: SendAhead | None = None


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


class _Feeding:
    """A sink that is being fed: how much it had, and why it takes no more, if it does not."""

    __slots__ = ("_cap", "_sink", "_taken", "_unpaused", "fault", "refusal")

    def __init__(self, cap: int, sink: Sink) -> None:
        self._cap = cap
        self._sink = sink
        self._taken = 0
        self._unpaused = 0
        self.refusal: Refusal | None = None
        self.fault: SpoolFull | None = None

    def take(self, piece: bytes) -> Appetite:
        """Feed a piece."""
        self._taken += len(piece)
        try:
            self.refusal = self.refusal or (too_large(self._cap) if self._taken > self._cap else self._feed(piece))
        except SpoolFull as full:
            self.fault = full
        if self.refusal is not None or self.fault is not None:
            return Appetite.ENOUGH
        self._unpaused += len(piece)
        if self._unpaused < PAUSE_AFTER * self._sink.slice:
            return Appetite.MORE
        self._unpaused = 0
        return Appetite.PAUSE

    def _feed(self, piece: bytes) -> Refusal | None:
        size = self._sink.slice
        if len(piece) <= size:
            return self._sink.feed(piece)
        fed = (self._sink.feed(piece[start : start + size]) for start in range(0, len(piece), size))
        return next((refusal for refusal in fed if refusal is not None), None)


async def pump(incoming: Incoming, cap: int, sink: Sink) -> Refusal | None:
    """Carry the body to ``sink``; ``cap`` is in bytes. Raises what ``chunks`` raises, and ``SpoolFull``."""
    feeding = _Feeding(cap, sink)
    incoming.tap(feeding.take)
    try:
        async for chunk in incoming.chunks:
            if await _fed(chunk, feeding) is Appetite.ENOUGH:
                break
    finally:
        incoming.tap(None)
    if feeding.fault is not None:
        raise feeding.fault
    return feeding.refusal


async def _fed(chunk: bytes, feeding: _Feeding) -> Appetite:
    for start in range(0, max(1, len(chunk)), LARGE_SLICE):
        appetite = feeding.take(chunk[start : start + LARGE_SLICE])
        if appetite is Appetite.ENOUGH:
            return appetite
        if appetite is Appetite.PAUSE:
            await asyncio.sleep(0)
    return Appetite.MORE


def declared_length(incoming: Incoming, cap: int) -> int | Refusal:
    """Give the bytes that the head says will come, 0 where it says nothing; more than ``cap`` is refused."""
    length = incoming.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return bad_value("content-length", "must be a number of bytes.")
    return too_large(cap) if len(length) > _LENGTH_DIGITS or int(length) > cap else int(length)
