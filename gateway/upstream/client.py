"""The data plane's HTTP client: sends one call once, and says how far it got.

Rules it keeps:
- One attempt is one request on one connection, and one that was begun while its body still arrived (``lead``) goes on
  there. Nothing is repeated here, not even on a kept connection that turned out to be stale. No redirect is followed,
  no cookie kept, no proxy taken from the environment.
- What breaks ends in this file, as ``Broken`` or ``ExchangeBroken`` with a cause. A peer, a network or a clock never
  makes ``send`` raise; cancellation passes through and drops the connection.
- Time: ``connect_s`` bounds name lookup, TCP and TLS together; ``give_up_at`` bounds the whole exchange, however
  slowly bytes trickle; ``idle_s`` bounds the silence between two pieces of an answer and between two pieces of an
  upload that the peer does not read. Waiting for the head is bounded by ``give_up_at`` alone: pictures take minutes.
- An answer that comes before the upload ends is read at once. The upload goes on meanwhile, unless it was refused.
- Answers come as they are: compression is not asked for, and an answer that is compressed anyway is refused rather
  than unpacked. The head is bounded, interim (1xx) answers are bounded, the body is bounded.
- An answer without Content-Length that is not chunked ends where the connection ends. HTTP cannot tell such an end
  from a cut, so the body is passed on as whole (unless the connection was reset) and whoever parses it finds the cut.

It must never decide what a failure means, wait for a free slot (``max_in_flight`` is the caller's business), read a
whole body into memory, or put a header on the wire that the codec did not give, besides those that ``head_of`` names.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.core.redact import without
from gateway.core.types import Cause, Phase
from gateway.ports import Broken, Call, Exchange, ExchangeBroken, Growing
from gateway.upstream.connection import Connection
from gateway.upstream.dialing import Unreachable
from gateway.upstream.leading import Leading
from gateway.upstream.pool import Pool
from gateway.upstream.requesting import SMALL, Upload, head_of, whole

MOST_ANSWER_BYTES: Final = 1024 * 1024 * 1024  # ten 4K pictures as base64 are under 400 MB
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Upstream:
    """The HTTP client of all channels; implements ``ports.Sender``. One per process, used on one event loop.

    ``ssl_context``: how peers are verified; ``None`` verifies against the system's store. ``most_answer_bytes`` caps
    one answer.
    """

    def __init__(
        self, *, ssl_context: ssl.SSLContext | None = None, most_answer_bytes: int = MOST_ANSWER_BYTES
    ) -> None:
        self._ssl_context = ssl_context
        self.most_answer_bytes = most_answer_bytes
        self._pool: Pool | None = None
        self._is_cut = False
        self._under_way: set[_Exchange] = set()
        self._leading: set[Leading] = set()

    async def start(self) -> None:
        """Open the pool of connections; nothing is connected yet."""
        self._pool = Pool(self._ssl_context)

    async def close(self) -> None:
        """Close every connection, also those in use; idempotent."""
        self._cut()
        for leading in tuple(self._leading):
            await leading.end()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    async def cut(self) -> None:
        """End every call that is under way, and every later one before it is sent: ``Cause.INTERRUPTED``."""
        self._is_cut = True
        self._cut()

    def end_of(self, cause: Cause) -> Cause:
        """Name why a call broke: what looks like a fault of the peer's after a cut is ours."""
        return Cause.INTERRUPTED if self._is_cut else cause

    async def send(self, call: Call) -> Exchange | Broken:
        """Send ``call`` once and wait for the head of the answer.

        Raises ``RuntimeError`` when the client was not started or the body is not as long as it says, ``ValueError``
        when a header or path cannot be written in HTTP: these are bugs of the caller, and nothing was bought.
        """
        if self._pool is None:
            raise RuntimeError("the upstream client is not started")
        too_late = self._too_late(call)
        if too_late is not None:
            if call.lead is not None:
                call.lead.cut()
            return Broken(phase=Phase.UNSENT, cause=too_late)
        exchange = _Exchange(call, self, self._pool)
        self._under_way.add(exchange)
        broken: Broken | None = None
        try:
            async with asyncio.timeout_at(call.give_up_at) as exchange.scope:
                broken = await exchange.begin()
        except TimeoutError:
            broken = exchange.broken(call.overdue)
        except Unreachable as error:
            broken = exchange.broken(error.cause)
        finally:
            if broken is not None or not exchange.status:
                await exchange.close()
        return exchange if broken is None else broken

    def lead(self, call: Call, growing: Growing, over: Callable[[], None]) -> Leading:
        """Begin ``call`` with what there is of its body; ``send`` goes on with it as its ``lead``.

        ``over`` is called once, when it ended without that or when that began.
        """
        if self._pool is None:
            raise RuntimeError("the upstream client is not started")

        def ended(leading: Leading) -> None:
            self._leading.discard(leading)
            over()

        leading = Leading(call, growing, self._pool, ended)
        self._leading.add(leading)
        if self._is_cut:
            leading.cut()
        return leading

    def _too_late(self, call: Call) -> Cause | None:
        """Say why nothing is sent any more."""
        if self._is_cut:
            return Cause.INTERRUPTED
        return call.overdue if asyncio.get_running_loop().time() >= call.give_up_at else None

    def _cut(self) -> None:
        for exchange in self._under_way:
            exchange.cut()
        for leading in self._leading:
            leading.cut()

    def forget(self, exchange: "_Exchange") -> None:
        """Take note that an exchange is over."""
        self._under_way.discard(exchange)


class _Exchange:
    """One call, and once its head has come its answer; implements ``ports.Exchange``."""

    __slots__ = ("_call", "_connection", "_pool", "_upload", "_upstream", "headers", "scope", "status")

    def __init__(self, call: Call, upstream: Upstream, pool: Pool) -> None:
        self._call = call
        self._upstream = upstream
        self._pool = pool
        self._connection: Connection | None = None
        self._upload: Upload | None = None
        self.scope: asyncio.Timeout | None = None  # of ``Upstream.send``, while it runs
        self.status = 0
        self.headers = _NO_HEADERS  # lower-case names, bytes as Latin-1; the last value of a repeated header

    async def begin(self) -> Broken | None:
        """Connect, send, wait for the head; ``None`` when it is here. Raises ``Unreachable`` and what ``send`` does."""
        call = self._call
        site = self._pool.site(call.channel.base_url)
        wire, length = call.wire, call.body.length
        head = head_of(wire.method, site.prefix + wire.path, site.authority, wire.headers, length)
        lead = call.lead
        if isinstance(lead, Leading):
            self._connection = await lead.hand_over()
        connection = self._connection = self._connection or self._pool.take(site)
        if connection is None:
            try:
                async with asyncio.timeout(call.connect_s):
                    connection = self._connection = await self._pool.open(site)
            except TimeoutError:
                return self.broken(Cause.CONNECT_TIMEOUT)
        if connection.phase is not Phase.UNSENT and lead is not None:
            self._upload = Upload(connection, call.body, lead.given)
            began = True
        elif length <= SMALL:
            began = connection.begin(head + await whole(call.body))
        else:
            upload = self._upload = Upload(connection, call.body)
            began = await upload.begin(head)
        del head  # while it waits, an exchange holds little
        if not began:
            return self.broken(Cause.CONNECT_FAILED)  # a kept connection was found closed before the first byte
        if self._upload is not None and not await self._send(self._upload, connection):
            return self.broken(Cause.UPLOAD_STALLED)
        while connection.phase is Phase.SENT and connection.cause is None:
            await connection.wait()
        return self._head(connection)

    def broken(self, cause: Cause) -> Broken:
        """Say how far the call got, and why no further."""
        connection = self._connection
        phase = Phase.UNSENT if connection is None or connection.phase is Phase.UNSENT else Phase.SENT
        return Broken(phase=phase, cause=self._upstream.end_of(cause))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, in the pieces that the socket was read in, which are not copied; once.

        Raises ``ExchangeBroken``. An end without Content-Length or chunks is taken as the end (module docstring).
        """
        if self.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise ExchangeBroken(Cause.BAD_ENCODING)
        connection = self._connection
        if connection is None:
            return
        taken, most = 0, self._upstream.most_answer_bytes
        clock, give_up_at = asyncio.get_running_loop().time, self._call.give_up_at
        while clock() < give_up_at:
            piece = connection.piece()
            if piece is not None:
                taken += len(piece)
                if taken > most:
                    raise ExchangeBroken(Cause.TOO_LARGE)
                yield piece
                del piece  # it is not held while the next one is waited for
            elif connection.phase is Phase.DONE:
                await self.close()
                return
            elif connection.cause is not None:
                raise ExchangeBroken(self._upstream.end_of(connection.cause))
            else:
                await self._more(connection)
        raise ExchangeBroken(self._call.overdue)

    async def close(self) -> None:
        """End the exchange: a connection whose answer was not read whole is dropped, an upload still running too."""
        connection, upload = self._connection, self._upload
        self._connection = self._upload = None
        self._upstream.forget(self)
        if connection is not None:
            if upload is not None:
                connection.abort()
            self._pool.give_back(connection)
        if upload is not None:
            await upload.close()

    def cut(self) -> None:
        """Drop the connection under whoever reads, and wake whoever waits for a head."""
        if self._connection is not None and self.status:
            self._connection.abort()
        elif self.scope is not None:
            self.scope.reschedule(asyncio.get_running_loop().time())

    def _head(self, connection: Connection) -> Broken | None:
        """Take the head over, if there is one."""
        incoming = connection.incoming
        if connection.phase < Phase.ANSWERED or incoming is None:
            return self.broken(connection.cause or Cause.DROPPED)
        self.status = incoming.status
        key = self._call.channel.api_key
        self.headers = incoming.headers if key is None else without(incoming.headers, key.reveal())
        return None

    async def _send(self, upload: Upload, connection: Connection) -> bool:
        """Send a long body until it ends, an answer comes or the connection goes; false when the peer reads no more."""
        clock = asyncio.get_running_loop().time
        more = True
        while connection.phase is Phase.SENT and connection.cause is None:
            if not connection.is_writable:
                if not await connection.wait(clock() + self._call.idle_s):
                    return False
            elif more:
                more = await upload.step()
            else:
                self._upload = None
                await upload.close()
                return True
        return True

    async def _more(self, connection: Connection) -> None:
        """Wait until there is more of the answer, sending on what is left of the upload."""
        now = asyncio.get_running_loop().time()
        give_up_at, idle_at = self._call.give_up_at, now + self._call.idle_s
        if self._upload is not None and self.status < 400 and connection.is_writable:
            if not await self._upload.step():
                upload, self._upload = self._upload, None
                await upload.close()
        elif not await connection.wait(min(give_up_at, idle_at)):
            raise ExchangeBroken(self._call.overdue if give_up_at <= idle_at else Cause.IDLE)
