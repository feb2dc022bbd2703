"""One connection to an upstream: a request goes out, its answer comes in, and how far it got is known for certain.

Rules it keeps:
- ``phase`` is a proof: ``UNSENT`` until the step that hands the first byte to the transport, ``SENT`` until a final
  head is here, ``ANSWERED`` until the body is whole, then ``DONE``.
- Bytes that come while nothing is asked end the connection. So does broken framing, of which the reader is told.
- An orderly end and a reset are told apart. Pieces that came before an end are given before the end is told.
- Flow control both ways: the socket is not read while more than ``_MOST_HELD`` bytes wait for the reader, and
  ``is_writable`` is false while the peer lags behind.
- One task at a time waits, on one future; one timer serves all waits of an exchange.

It must never read a body into memory, repeat anything, or decide what a failure means.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from math import inf
from typing import Final, cast

from gateway.core.types import Cause, Phase
from gateway.upstream.framing import BadFraming, Incoming

_MOST_HELD: Final = 128 * 1024  # one large reading: with four of them 64 answers of 20 MB take 2.5 times the memory
_FEW_HELD: Final = 64 * 1024
_EARLY_S: Final = 0.002  # timers of some loops count in milliseconds, and may ring that much too soon


class Connection(asyncio.Protocol):
    """The protocol of one connection. ``on_lost`` is told once, when it has ended.

    ``cause``: why the exchange under way cannot go on; absent while it can, and when the answer is whole.
    """

    __slots__ = (
        *("_alarm", "_is_reading", "_loop", "_on_lost", "_until", "_waiter"),
        *("cause", "incoming", "is_lost", "is_writable", "phase", "transport"),
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: "Callable[[Connection], None] | None" = None) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._waiter: asyncio.Future[bool] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._until = inf
        self._is_reading = True
        self.transport: asyncio.Transport | None = None
        self.phase = Phase.UNSENT
        self.cause: Cause | None = None
        self.incoming: Incoming | None = None
        self.is_lost = False
        self.is_writable = True

    @property
    def is_usable(self) -> bool:
        """Whether a request may be written, as far as we were told."""
        return not self.is_lost and self.transport is not None and not self.transport.is_closing()

    @property
    def is_kept(self) -> bool:
        """Whether the answer is whole, and nothing speaks against another exchange."""
        return self.phase is Phase.DONE and self.incoming is not None and self.incoming.keeps and self.is_usable

    def begin(self, data: bytes) -> bool:
        """Write the first bytes of a request; false when the connection has gone, and so nothing was sent."""
        transport = self.transport
        if self.is_lost or transport is None or transport.is_closing():
            return False
        self.phase = Phase.SENT
        transport.write(data)
        return True

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write more of a request, unless the connection has gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(pieces)

    async def wait(self, until: float = inf) -> bool:
        """Wait until anything has changed; false when ``until`` (the loop's time) came first."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        self._until = until
        if until is not inf and (self._alarm is None or self._alarm.when() > until):
            self._silence()
            self._alarm = self._loop.call_at(until, self._ring)
        try:
            return await waiter
        finally:
            self._waiter = None

    def nudge(self) -> None:
        """Wake whoever waits: something has changed that this does not know of."""
        self._wake()

    def piece(self) -> bytes | None:
        """Give the next piece of the body that is here; ``None`` when there is none yet, or no more."""
        incoming = self.incoming
        if incoming is None or not incoming.pieces:
            return None
        taken = incoming.take()
        if not self._is_reading and incoming.held < _FEW_HELD and self.is_usable and self.transport is not None:
            self._is_reading = True
            self.transport.resume_reading()
        return taken

    def rest(self) -> None:
        """Forget the exchange that is over: another one may begin."""
        self._silence()
        if not self._is_reading and self.is_usable and self.transport is not None:
            self.transport.resume_reading()
        self._is_reading = True
        self.phase = Phase.UNSENT
        self.incoming = None

    def abort(self) -> None:
        """Drop the connection, whatever is under way; idempotent."""
        self._silence()
        if self.transport is not None and not self.is_lost:
            self.transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what came: the answer, or bytes that nobody asked for."""
        if self.phase is Phase.UNSENT or self.phase is Phase.DONE or self.cause is not None:
            self.abort()
            return
        incoming = self.incoming
        if incoming is None:
            incoming = self.incoming = Incoming()
        try:
            incoming.feed(data)
        except BadFraming:
            if incoming.is_headed:
                self.phase = Phase.ANSWERED
            self._end(Cause.BAD_FRAMING)
            self.abort()
            return
        if incoming.is_whole:
            self.phase = Phase.DONE
            self._wake()
        elif incoming.is_headed:
            self.phase = Phase.ANSWERED
            if incoming.held > _MOST_HELD and self._is_reading and self.transport is not None:
                self._is_reading = False
                self.transport.pause_reading()
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end: for an exchange under way it is a fault, or (``is_open``) the end of its body."""
        self.is_lost = True
        incoming = self.incoming
        was_reset = exc is not None and not isinstance(exc, ssl.SSLEOFError)  # a peer without TLS's own goodbye
        if self.phase is Phase.ANSWERED and incoming is not None and incoming.is_open and not was_reset:
            incoming.is_whole = True
            self.phase = Phase.DONE
            self._wake()
        elif self.phase is Phase.SENT:
            self._end(Cause.RESET if was_reset else Cause.DROPPED)
        elif self.phase is Phase.ANSWERED:
            self._end(Cause.RESET if was_reset else Cause.TRUNCATED)
        if self._on_lost is not None:
            self._on_lost(self)

    def pause_writing(self) -> None:
        """Take note that the peer lags behind."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Take note that the peer has read."""
        self.is_writable = True
        self._wake()

    def _end(self, cause: Cause) -> None:
        if self.cause is None:
            self.cause = cause
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    def _ring(self) -> None:
        """Tell whoever waits that its time is over; the alarm may have been set for an earlier wait than theirs."""
        self._alarm = None
        waiter = self._waiter
        if waiter is None or waiter.done() or self._until is inf:
            return
        if self._loop.time() + _EARLY_S < self._until:
            self._alarm = self._loop.call_at(self._until, self._ring)
        else:
            waiter.set_result(False)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
