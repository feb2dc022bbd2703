"""What goes to a client and may be asked for again: a body that several read, and a stream that is kept as it passes.

Rules: a body that is shared is closed when its last reader has closed it. A tape stands between the attempt loop and
the client's end of a stream: every event passes on to the client who asked first, and is kept for who comes later, in
the same order and byte for byte. Later ones read from the beginning and go on live, each at his own pace. While events
are held back, in case the attempt fails, nobody sees them, unless one reader's patience ends: then they count as gone
out, for all. The tape must never slow down for a reader, and never end a stream of its own accord.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from gateway.core.verdict import PublicError
from gateway.outlet import Outlet, Said, StreamHead
from gateway.ports import AnswerBody, whole_of

WriteError = Callable[[StreamHead, PublicError, int | None], bytes]
"""Writes an error as the event that ends a stream."""


class SharedBody:
    """A body that is closed when all who share it have closed their share. ``share`` gives one; ``close`` is ours."""

    __slots__ = ("_body", "_is_closed", "_open")

    def __init__(self, body: AnswerBody) -> None:
        self._body = body
        self._open = 1
        self._is_closed = False

    def share(self) -> AnswerBody:
        """Give a body of one's own."""
        self._open += 1
        return _Share(self._body, self._give_back)

    def close(self) -> None:
        """Give up the first share; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._give_back()

    def _give_back(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._body.close()


def original(body: AnswerBody) -> AnswerBody:
    """Give the body that a share is one of; any other is its own. It stays the share's to close."""
    return body.shared if isinstance(body, _Share) else body


class _Share:
    """One reader's share; implements ``ports.AnswerBody``."""

    __slots__ = ("_give_back", "_is_closed", "shared")

    def __init__(self, body: AnswerBody, give_back: Callable[[], None]) -> None:
        self.shared = body
        self._give_back = give_back
        self._is_closed = False

    @property
    def length(self) -> int:
        """Bytes in all."""
        return self.shared.length

    @property
    def whole(self) -> bytes | None:
        """All of it, when it is small and in memory anyway."""
        return whole_of(self.shared)

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body; several readers may read at once."""
        return self.shared.chunks()

    def close(self) -> None:
        """Give the share back; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._give_back()


class Row:
    """Several bodies, one after the other; implements ``ports.AnswerBody``."""

    __slots__ = ("_bodies",)

    def __init__(self, bodies: Sequence[AnswerBody]) -> None:
        self._bodies = tuple(bodies)

    @property
    def length(self) -> int:
        """Bytes in all."""
        return sum(body.length for body in self._bodies)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield them all."""
        for body in self._bodies:
            async for piece in body.chunks():
                yield piece

    def close(self) -> None:
        """Close them all; idempotent."""
        for body in self._bodies:
            body.close()


class Tape:
    """A stream on its way to one client, kept for others; implements ``Outlet`` over that client's own."""

    __slots__ = (
        *("_committed", "_events", "_head", "_held", "_is_over", "_last_head", "_news", "_origin", "_write_error"),
        "on_begin",
    )

    def __init__(self, origin: Outlet, write_error: WriteError) -> None:
        self.on_begin: Callable[[], None] | None = None  # called when there is something to read
        self._origin = origin
        self._write_error = write_error
        self._events: list[SharedBody] = []
        self._held: list[SharedBody] = []
        self._head: Callable[[], StreamHead] | None = None
        self._last_head: StreamHead | None = None
        self._committed = self._is_over = False
        self._news: asyncio.Event | None = None  # made by the first who waits

    # What the attempt loop asks of a client's end

    @property
    def committed(self) -> bool:
        """Whether anything has gone out, to anybody."""
        return self._committed or self._origin.committed

    def expect(self, head: Callable[[], StreamHead]) -> None:
        """Say that an attempt is under way, whose ``head`` may go out from now on."""
        self._head = head
        self._origin.expect(head)
        self._tell()

    async def hold(self, event: AnswerBody) -> None:
        """Take an event that says only that work began."""
        if self._committed:
            await self.send(event)
            return
        shared = SharedBody(event)
        self._held.append(shared)
        await self._origin.hold(shared.share())

    async def send(self, event: AnswerBody) -> bool:
        """Send an event; whether the client who asked first was there until its last byte."""
        shared = SharedBody(event)
        passed = shared.share()
        self._keep([shared])
        return await self._origin.send(passed)

    async def release(self) -> None:
        """Let what is held go out now."""
        self._committed = True
        self._keep([])
        await self._origin.release()

    def withdraw(self) -> list[AnswerBody]:
        """Say that the attempt is over: gives back what was held and nobody has seen."""
        self._head = None
        taken = self._origin.withdraw()
        kept = max(0, len(self._held) - len(taken))
        self._events += self._held[:kept]
        for shared in self._held[kept:]:
            shared.close()
        self._held = []
        return taken

    async def finish(self, head: StreamHead, events: Sequence[AnswerBody]) -> None:
        """Send the last events and end the stream."""
        shared = [SharedBody(event) for event in events]
        passed = [one.share() for one in shared]
        self._end(head, shared)
        await self._origin.finish(head, passed)

    async def fail(self, head: StreamHead, error: PublicError, sequence: int | None) -> None:
        """End the stream with an error event."""
        self._end(head, [SharedBody(Said(self._write_error(head, error, sequence)))])
        await self._origin.fail(head, error, sequence)

    # What those who come later read

    @property
    def is_over(self) -> bool:
        """Whether the last event is on the tape."""
        return self._is_over

    @property
    def has_begun(self) -> bool:
        """Whether there is something to read, or there was."""
        return bool(self._events) or self._is_over

    @property
    def head(self) -> StreamHead | None:
        """What goes before the first event; nothing while no attempt is under way."""
        if self._last_head is not None:
            return self._last_head
        return None if self._head is None else self._head()

    def events(self, start: int) -> list[AnswerBody]:
        """Give the events from ``start`` on; each is to be closed."""
        return [shared.share() for shared in self._events[start:]]

    async def commit(self) -> bool:
        """Let what is held go out, and what comes: no other target may answer. ``False``: there is no attempt."""
        if self._head is None:
            return False
        await self.release()
        return True

    async def news(self) -> None:
        """Wait until there is more, or an end."""
        if self._news is None:
            self._news = asyncio.Event()
        await self._news.wait()

    def whole(self) -> AnswerBody:
        """Give the whole stream as one body; it is to be closed."""
        return Row(self.events(0))

    def close(self) -> None:
        """Let go of everything; idempotent."""
        for shared in (*self._events, *self._held):
            shared.close()

    def _keep(self, events: list[SharedBody]) -> None:
        self._events += self._held
        self._held = []
        self._events += events
        if self.on_begin is not None and self.has_begun:
            self.on_begin()
            self.on_begin = None
        self._tell()

    def _end(self, head: StreamHead, events: list[SharedBody]) -> None:
        self._last_head = head
        self._is_over = True
        self._keep(events)

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None
