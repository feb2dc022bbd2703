"""How far an exchange got, told by the hooks of the HTTP client itself.

Three hooks of aiohttp are filled in here, and each writes one fact into the call's ``Trace``: the connector (a
connection was handed out), the body that is being uploaded (the first byte is about to leave; the peer stopped
reading) and the protocol of the connection (how it was lost, what came that nobody asked for). aiohttp's own
``TraceConfig`` signals tell less and cost half as much again as the whole small exchange (ADR 001).

Rules: ``sent`` is set in the same step as the first write, so ``UNSENT`` is a proof and not a guess. A connection on
which bytes arrived that belong to no request is never used again. The body is read in pieces and never joined.

It must never decide what a failure means, repeat anything, or keep a byte of an answer.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import NoReturn

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace as AiohttpTrace

from gateway.ports import Replayable

_MOST_INTERIM_ANSWERS = 16  # 1xx before the head; a real server sends none or one
_MOST_HEAD_BYTES = 64 * 1024
_UNDRAINED = 64 * 1024  # what may be handed to the transport without waiting for it
_MOST_SPOILED = 8  # kept connections found unusable in a row before the call counts as not connected
_PROBE_AFTER_S = 45  # below the 60 s at which the strictest middle boxes forget a silent connection
_PROBE_EVERY_S = 15
_PROBES = 4


class Trace:
    """What is known of one exchange; written by the hooks below, read by ``Upstream``."""

    __slots__ = ("connected", "miscounted", "sent", "stalled", "wire")

    def __init__(self) -> None:
        self.connected = False  # a connection was handed out (TLS included)
        self.sent = False  # a byte of the request may have left
        self.stalled = False  # the peer stopped reading the body
        self.miscounted = False  # the body was not as long as it said: our bug
        self.wire: Wire | None = None


class Wire(ResponseHandler):
    """One connection: aiohttp's protocol, which also tells how it ended and drops what was not asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.lost: BaseException | None = None  # the socket's error; stays None after an orderly close
        self._answered = False
        self._interim = 0

    def begin(self) -> None:
        """Expect one answer from now on."""
        self._answered = False
        self._interim = 0

    def connection_lost(self, exc: BaseException | None) -> None:
        """Keep the socket's own error: a reset and an orderly close mean different things for money."""
        self.lost = exc
        super().connection_lost(exc)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take one parsed head: interim ones are counted and dropped, a second final one ends the connection."""
        head = data[0]
        if head.code == 101 or sum(len(name) + len(value) for name, value in head.raw_headers) > _MOST_HEAD_BYTES:
            self._refuse("an oversized head, or a protocol nobody asked for")
        elif head.code < 200:
            self._interim += 1
            if self._interim == _MOST_INTERIM_ANSWERS + 1:
                self._refuse("too many interim answers")
        elif self._answered:
            self.force_close()
            self._hang_up()
        else:
            self._answered = True
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Tell the body's reader of broken framing too: aiohttp tells only whoever waits for a head."""
        super().set_exception(exc, *cause)
        body = self._payload
        if isinstance(exc, HttpProcessingError) and body is not None and not body.is_eof():
            body.set_exception(exc)

    def _refuse(self, message: str) -> None:
        self._hang_up()
        self.set_exception(HttpProcessingError(code=400, message=message))

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Upload(aiohttp.Payload):
    """The body of one request, read in pieces, with its length stated; it is written once and never again.

    ``stall_s``: seconds the peer may leave a piece unread. Raises ``TimeoutError`` then, with ``Trace.stalled`` set.
    """

    _autoclose = True

    def __init__(self, body: Replayable, trace: Trace, stall_s: float) -> None:
        super().__init__(body)
        self._size = body.length
        self._body = body
        self._stall_s = stall_s
        self.trace = trace

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        """Refuse: the body is never one text."""
        raise TypeError(f"an upload is not text ({encoding}, {errors})")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the body, piece by piece. ``content_length`` is what the head has promised."""
        self._consumed = True
        promised = self._body.length if content_length is None else content_length
        pieces = self._body.read()
        try:
            if promised <= _UNDRAINED:  # the transport takes it whole: nothing to wait for
                written = await self._send_pieces(pieces, writer, promised, None)
            else:
                written = await self._send_watched(pieces, writer, promised)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
        if written != promised:
            self._disagree()

    async def _send_watched(self, pieces: AsyncIterator[bytes], writer: AbstractStreamWriter, promised: int) -> int:
        try:
            async with asyncio.timeout(None) as stall:
                written = await self._send_pieces(pieces, writer, promised, stall)
                stall.reschedule(asyncio.get_running_loop().time() + self._stall_s)
                await writer.drain()
        except TimeoutError:
            self.trace.stalled = True
            raise
        return written

    async def _send_pieces(
        self, pieces: AsyncIterator[bytes], writer: AbstractStreamWriter, promised: int, stall: asyncio.Timeout | None
    ) -> int:
        loop = asyncio.get_running_loop()
        written = 0
        async for piece in pieces:
            written += len(piece)
            if written > promised:
                self._disagree()
            if not self.trace.sent:
                self._mark_sent(writer)
            if stall is not None:
                stall.reschedule(loop.time() + self._stall_s)
            await writer.write(piece)
            if stall is not None:
                stall.reschedule(None)  # reading our own body is not the peer's time
        if not promised:
            self._mark_sent(writer)  # the head alone goes out when this returns
        return written

    def _disagree(self) -> NoReturn:
        self.trace.miscounted = True
        raise ValueError("the body's length and its bytes disagree")

    def _mark_sent(self, writer: AbstractStreamWriter) -> None:
        """Say that the next write reaches the socket, unless the connection is known to be gone; no await between."""
        transport = writer.transport
        self.trace.sent = transport is not None and not transport.is_closing()


class Connector(aiohttp.TCPConnector):
    """The pool of kept connections: tells the trace which one a call got, and hands out no spoiled one."""

    def __init__(self, *, keep_s: float, ssl_context: ssl.SSLContext | None) -> None:
        super().__init__(
            limit=0,
            keepalive_timeout=keep_s,
            ssl=True if ssl_context is None else ssl_context,
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=open_socket,
        )
        wire: Callable[..., ResponseHandler] = Wire
        self._factory = partial(wire, loop=self._loop)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[AiohttpTrace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
    ) -> Connection:
        """Give a connection on which nothing is waiting to be read."""
        for _ in range(_MOST_SPOILED):
            connection = await super().connect(req, traces, timeout)
            wire = connection.protocol
            if isinstance(wire, Wire) and not wire.should_close:
                wire.begin()
                if isinstance(req.body, Upload):
                    req.body.trace.connected = True
                    req.body.trace.wire = wire
                return connection
            connection.close()
        raise aiohttp.ClientConnectionError("no usable connection")


def open_socket(address: AddrInfoType) -> socket.socket:
    """Open a socket that is probed while silent: pictures take minutes, and middle boxes forget silent connections."""
    family, kind, protocol = address[:3]
    opened = socket.socket(family=family, type=kind, proto=protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = (("TCP_KEEPIDLE", _PROBE_AFTER_S), ("TCP_KEEPINTVL", _PROBE_EVERY_S), ("TCP_KEEPCNT", _PROBES))
    for name, value in probes:
        option = getattr(socket, name, None)  # macOS names the first one differently and keeps its own pace
        if option is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened
