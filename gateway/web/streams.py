"""The client's end of a stream: the head, whole events in order, a comment in silence, and an end that nobody misses.

Rules: until something has gone out nothing is promised, and the first events may be taken back. Two clocks promise it:
``hold_s`` after an event that says only that work began, and ``head_s`` after the request, whatever has come; then the
head goes out, with a comment, because middle boxes cut connections that say nothing. After that a comment goes out
after each ``silence_s`` without a byte. The next piece is read when the last one has gone, so a slow reader slows the
stream down and fills no memory; one that reads nothing at all is cut by the server, and then writing is over at once.
A stream ends with its upstream's last event or with an error event: never just so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import orjson
from msgspec import Struct
from starlette.types import Send

from gateway.core.types import JsonValue
from gateway.core.verdict import PublicError
from gateway.exchange import Presence
from gateway.outlet import Said, StreamHead
from gateway.ports import AnswerBody
from gateway.web.errors import error_fields
from gateway.web.stamps import Headers, stamps, travelled

COMMENT: Final = b": keep-alive\n\n"
MOST_HELD: Final = 64  # events; more than that is no beginning any more

STREAM_HEAD: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # what keeps a proxy from collecting events
]


class Pace(Struct, frozen=True, kw_only=True):
    """The clocks of a stream, in seconds (module docstring)."""

    head_s: float
    hold_s: float
    silence_s: float = 15.0


class ClientStream:
    """One stream to one client; implements ``ports.Outlet``. ``pulse`` runs beside whoever sends."""

    __slots__ = (
        *("_begun_at", "_changed", "_committed", "_head", "_held", "_held_at", "_is_open", "_is_over", "_is_torn"),
        *("_lock", "_pace", "_presence", "_quiet_since", "_send", "is_heard"),
    )

    def __init__(self, send: Send, presence: Presence, pace: Pace) -> None:
        self._send = send
        self._presence = presence
        self._pace = pace
        self._begun_at = self._quiet_since = asyncio.get_running_loop().time()
        self._head: Callable[[], StreamHead] | None = None
        self._held: list[AnswerBody] = []
        self._held_at: float | None = None
        self._committed = self._is_open = self._is_over = False
        self.is_heard = False  # the client was there to the end
        self._is_torn = False  # writing was given up inside an event: nothing can follow, the connection will close
        self._lock = asyncio.Lock()  # an event is written whole
        self._changed = asyncio.Event()  # a clock may ring earlier than the pulse knows

    @property
    def committed(self) -> bool:
        """Whether the head, or an event, has gone out."""
        return self._committed

    def expect(self, head: Callable[[], StreamHead]) -> None:
        """Say that an attempt is under way, whose ``head`` may go out from now on."""
        self._head = head
        self._changed.set()

    async def hold(self, event: AnswerBody) -> None:
        """Take an event that says only that work began: it waits a while, in case the attempt fails."""
        if self._committed or self._pace.hold_s <= 0 or len(self._held) >= MOST_HELD:
            await self.send(event)
            return
        self._held.append(event)
        if self._held_at is None:
            self._held_at = asyncio.get_running_loop().time()
            self._changed.set()

    async def send(self, event: AnswerBody) -> bool:
        """Send an event, and before it what was held; whether the client was there until its last byte."""
        self._committed = True
        async with self._lock:
            return await self._write([*self._take_held(), event])

    async def release(self) -> None:
        """Let what is held go out now."""
        self._committed = True
        async with self._lock:
            held = self._take_held()
            if held:
                await self._write(held)

    def withdraw(self) -> list[AnswerBody]:
        """Say that the attempt is over: gives back what was held and has not gone out; no head goes out by itself."""
        self._head = None
        return self._take_held()

    async def finish(self, head: StreamHead, events: Sequence[AnswerBody]) -> None:
        """Send the last events and end the stream."""
        self._committed = True
        self._head = lambda: head
        async with self._lock:
            self._is_over = True
            self._changed.set()
            await self._write(events, ends=True)

    async def fail(self, head: StreamHead, error: PublicError, sequence: int | None) -> None:
        """End the stream with an error event, on which every SDK raises. ``sequence``: its number, if they have any."""
        await self.finish(head, [Said(error_event(head, error, sequence))])

    async def pulse(self) -> None:
        """Watch the clocks until the stream is over."""
        while not self._is_over:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._due()):
                    await self._changed.wait()
            except TimeoutError:
                await self._beat()

    def _due(self) -> float | None:
        """Say when a clock rings next."""
        if self._committed:
            return self._quiet_since + self._pace.silence_s
        if self._head is None:  # between two attempts there is nobody to stamp
            return None
        head_at = self._begun_at + self._pace.head_s
        return head_at if self._held_at is None else min(head_at, self._held_at + self._pace.hold_s)

    async def _beat(self) -> None:
        """Do what is due."""
        is_first = not self._committed
        if is_first and self._head is None:
            return
        self._committed = True
        async with self._lock:
            held = self._take_held()
            quiet_s = asyncio.get_running_loop().time() - self._quiet_since
            if held:
                await self._write(held)
            elif not self._is_over and (is_first or quiet_s >= self._pace.silence_s):
                await self._write([Said(COMMENT)])

    def _take_held(self) -> list[AnswerBody]:
        held, self._held, self._held_at = self._held, [], None
        return held

    async def _write(self, events: Sequence[AnswerBody], *, ends: bool = False) -> bool:
        """Write events and close them; whether the client was there until the last byte."""
        try:
            if not self._is_torn:
                self._is_torn = True
                await self._open()
                await self._put_all(_pieces(events), ends=ends)
                self._is_torn = False
        finally:
            for event in events:
                event.close()
        return not self._presence.gone

    async def _put_all(self, pieces: AsyncIterator[bytes], *, ends: bool) -> None:
        """Write one piece after the other; the last one of the stream says that it is the last."""
        last: bytes | None = None
        async for piece in pieces:
            if self._presence.gone:
                return
            if last is not None:
                await self._put(last)
            last = piece
        if ends or last is not None:
            await self._put(last or b"", more=not ends)

    async def _open(self) -> None:
        """Send the head, once."""
        if self._is_open or self._presence.gone or self._head is None:
            return
        self._is_open = True
        head = self._head()
        headers = [*STREAM_HEAD, *stamps(head.record), *travelled(head.upstream_headers)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _put(self, piece: bytes, *, more: bool = True) -> None:
        if self._presence.gone:
            return
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        self.is_heard = self.is_heard or not more
        self._quiet_since = asyncio.get_running_loop().time()


async def _pieces(events: Sequence[AnswerBody]) -> AsyncIterator[bytes]:
    for event in events:
        async for piece in event.chunks():
            yield piece


def error_event(head: StreamHead, error: PublicError, sequence: int | None) -> bytes:
    """Write an error as an event: nested, since on the flat form of the specification no SDK raises."""
    fields: dict[str, JsonValue] = {"type": "error", "error": error_fields(error, head.record.attempts)}
    if sequence is not None:
        fields["sequence_number"] = sequence
    return b"event: error\ndata: " + orjson.dumps(fields) + b"\n\n"
