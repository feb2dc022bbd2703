"""The seam to the client's end of a stream: what the attempt loop may ask of it, and what its head says.

It is the one port that looks up instead of down: ``web`` implements it, because a socket is there, and the loop decides
what goes out and when. Must never know HTTP.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.core.record import Record
from gateway.core.verdict import PublicError
from gateway.ports import AnswerBody


class StreamHead(Struct, frozen=True, kw_only=True):
    """What goes before the first event of a stream: the waybill as far as it is written, and the upstream's headers."""

    record: Record
    upstream_headers: tuple[tuple[str, str], ...] = ()


class Said(Struct, frozen=True):
    """An event of our own; implements ``ports.AnswerBody``."""

    data: bytes

    @property
    def length(self) -> int:
        """Bytes in all."""
        return len(self.data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the event."""
        yield self.data

    def close(self) -> None:
        """Nothing is held but the value itself."""


class Outlet(Protocol):
    """The client's end of a stream: events go out whole and in order, and silence is filled.

    It watches two clocks of its own: how long the first events may be held back, and how long a client may wait for any
    byte at all. When either rings, or an event is sent, the stream is *committed*: no other target may answer. An event
    that was given is closed here, whether or not anybody was there to read it.
    """

    @property
    def committed(self) -> bool:
        """Whether the head, or an event, has gone out."""
        ...

    def expect(self, head: Callable[[], StreamHead]) -> None:
        """Say that an attempt is under way, whose ``head`` may go out from now on."""
        ...

    async def hold(self, event: AnswerBody) -> None:
        """Take an event that says only that work began: it waits a while, in case the attempt fails."""
        ...

    async def send(self, event: AnswerBody) -> bool:
        """Send an event, and before it what was held; whether the client was there until its last byte."""
        ...

    async def release(self) -> None:
        """Let what is held go out now: the stream is committed."""
        ...

    def withdraw(self) -> list[AnswerBody]:
        """Say that the attempt is over: gives back what was held and has not gone out; no head goes out by itself."""
        ...

    async def finish(self, head: StreamHead, events: Sequence[AnswerBody]) -> None:
        """Send the last events and end the stream."""
        ...

    async def fail(self, head: StreamHead, error: PublicError, sequence: int | None) -> None:
        """End the stream with an error event, on which every SDK raises. ``sequence``: its number, if they have any."""
        ...
