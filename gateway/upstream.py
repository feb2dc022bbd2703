"""The data plane's HTTP client: sends one call once, and says how far it got.

Rules it keeps:
- One attempt is one request on one connection. Nothing is repeated here, not even on a kept connection that turned
  out to be stale (aiohttp repeats only idempotent methods; a contract test counts what arrives). No redirect is
  followed, no cookie kept, no proxy taken from the environment.
- The exceptions of aiohttp end in this file, as ``Broken`` or ``ExchangeBroken`` with a cause. A peer, a network or
  a clock never makes ``send`` raise; cancellation passes through and drops the connection.
- Time: ``connect_s`` bounds name lookup, TCP and TLS together; ``give_up_at`` bounds the whole exchange, however
  slowly bytes trickle; ``idle_s`` bounds the silence between two pieces of an answer and between two pieces of an
  upload that the peer does not read. Waiting for the head is bounded by ``give_up_at`` alone: pictures take minutes.
- Answers come as they are: compression is not asked for, and an answer that is compressed anyway is refused rather
  than unpacked. The head is bounded, interim (1xx) answers are bounded, the body is bounded.
- An answer without Content-Length that is not chunked ends where the connection ends. HTTP cannot tell such an end
  from a cut, so the body is passed on as whole (unless the connection was reset) and whoever parses it finds the cut.

It must never decide what a failure means, wait for a free slot (``max_in_flight`` is the caller's business), read a
whole body into memory, or put a header on the wire that the codec did not give, besides those named in ``start``.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from gateway import __version__
from gateway.core.types import Cause, Phase
from gateway.ports import Broken, Call, Exchange, ExchangeBroken
from gateway.upstream_trace import Connector, Trace, Upload, Wire

_CHUNK = 64 * 1024  # 256 KiB doubled the CPU of a 20 MB answer where malloc is not tuned, and won nothing where it is
_READ_BUFFER = 128 * 1024  # aiohttp stops reading the socket at twice this
_MOST_HEADERS = 128
_LONGEST_HEADER = 16 * 1024
_KEEP_S = 5.0  # a connection idle for longer is not reused: the peer may be closing it just now
MOST_ANSWER_BYTES = 1024 * 1024 * 1024  # ten 4K pictures as base64 are under 400 MB
_BODILESS = frozenset({204, 304})


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
        self._session: aiohttp.ClientSession | None = None
        self._is_cut = False
        self._answers: set[_Answer] = set()  # whose head has come and which are not closed

    async def start(self) -> None:
        """Open the pool of connections; nothing is connected yet."""
        self._session = aiohttp.ClientSession(
            connector=Connector(keep_s=_KEEP_S, ssl_context=self._ssl_context),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": f"waybill/{__version__}", "accept-encoding": "identity", "accept": "*/*"},
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
        )

    async def close(self) -> None:
        """Close every connection, also those in use; idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def cut(self) -> None:
        """End every call that is under way, and every later one before it is sent: ``Cause.INTERRUPTED``."""
        self._is_cut = True
        for answer in self._answers:
            answer.cut()
        if self._session is not None:
            await self._session.close()

    def end_of(self, cause: Cause) -> Cause:
        """Name why a call broke: what looks like a fault of the peer's after a cut is ours."""
        return Cause.INTERRUPTED if self._is_cut else cause

    async def send(self, call: Call) -> Exchange | Broken:
        """Send ``call`` once and wait for the head of the answer.

        Raises ``RuntimeError`` when the client was not started or the body is not as long as it says, ``ValueError``
        when a header or path cannot be written in HTTP: these are bugs of the caller, and nothing was bought.
        """
        if self._session is None:
            raise RuntimeError("the upstream client is not started")
        if self._is_cut:
            return Broken(phase=Phase.UNSENT, cause=Cause.INTERRUPTED)
        if asyncio.get_running_loop().time() >= call.give_up_at:
            return Broken(phase=Phase.UNSENT, cause=call.overdue)
        trace = Trace()
        try:
            async with asyncio.timeout_at(call.give_up_at):
                response = await self._post(self._session, call, trace)
        except aiohttp.ConnectionTimeoutError:
            return Broken(phase=Phase.UNSENT, cause=Cause.CONNECT_TIMEOUT)
        except TimeoutError:
            return _broken(trace, Cause.UPLOAD_STALLED if trace.stalled else call.overdue)
        except (aiohttp.ClientError, OSError) as error:
            if trace.miscounted:
                raise RuntimeError("the body's length and its bytes disagree") from error
            return _broken(trace, self.end_of(_cause(error, call, trace)))
        except UnicodeError:
            if trace.connected:
                raise  # a header, not the host's name
            return Broken(phase=Phase.UNSENT, cause=Cause.DNS)
        answer = _Answer(call, response, trace.wire, self)
        self._answers.add(answer)
        return answer

    def forget(self, answer: "_Answer") -> None:
        """Take note that an answer was closed."""
        self._answers.discard(answer)

    async def _post(self, session: aiohttp.ClientSession, call: Call, trace: Trace) -> aiohttp.ClientResponse:
        return await session.request(
            call.wire.method,
            URL(call.channel.base_url + call.wire.path, encoded=True),
            data=Upload(call.body, trace, call.idle_s),
            headers=call.wire.headers,
            skip_auto_headers=("content-type",),
            timeout=aiohttp.ClientTimeout(total=None, connect=call.connect_s),
            allow_redirects=False,
        )


class _Answer:
    """One answer whose head has come; implements ``ports.Exchange``."""

    __slots__ = ("_call", "_headers", "_response", "_upstream", "_wire")

    def __init__(self, call: Call, response: aiohttp.ClientResponse, wire: Wire | None, upstream: Upstream) -> None:
        self._call = call
        self._response = response
        self._wire = wire
        self._upstream = upstream
        # Latin-1 as in ASGI: any byte has a character, and goes out again as the byte that came.
        self._headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.raw_headers
        }

    @property
    def status(self) -> int:
        """HTTP status; redirects too, as they came."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names, bytes as Latin-1; the last value of a repeated header."""
        return self._headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, in the pieces that the socket was read in, which are not copied; once.

        Raises ``ExchangeBroken``. An end without Content-Length or chunks is taken as the end (module docstring).
        """
        if self._headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise ExchangeBroken(Cause.BAD_ENCODING)
        taken = 0
        while piece := await self._next_piece():
            taken += len(piece)
            if taken > self._upstream.most_answer_bytes:
                raise ExchangeBroken(Cause.TOO_LARGE)
            yield piece
            del piece  # it is not held while the next one is waited for
        if self._wire is not None and self._wire.lost is not None and not self._is_framed():
            raise ExchangeBroken(self._upstream.end_of(Cause.RESET))

    async def close(self) -> None:
        """End the exchange: a connection whose answer was not read whole is dropped, an upload still running too."""
        self._response.close()
        self._upstream.forget(self)

    def cut(self) -> None:
        """Drop the connection under whoever reads."""
        self._response.close()

    async def _next_piece(self) -> bytes:
        """Wait for the next piece; empty at the end."""
        now = asyncio.get_running_loop().time()
        give_up_at = self._call.give_up_at
        if now >= give_up_at:
            raise ExchangeBroken(self._call.overdue)
        idle_at = now + self._call.idle_s
        content = self._response.content
        try:
            piece = content.read_nowait()
            if piece or content.at_eof():
                return piece
            async with asyncio.timeout_at(min(give_up_at, idle_at)):
                return await content.readany()
        except TimeoutError:  # which clock it was is not asked of the time: timers may ring a millisecond early
            raise ExchangeBroken(self._call.overdue if give_up_at <= idle_at else Cause.IDLE) from None
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise ExchangeBroken(self._upstream.end_of(self._body_cause(error))) from error

    def _body_cause(self, error: Exception) -> Cause:
        if isinstance(error, HttpProcessingError):
            return Cause.BAD_FRAMING
        if self._wire is not None and self._wire.lost is not None:
            return Cause.RESET
        return Cause.TRUNCATED

    def _is_framed(self) -> bool:
        names = self._headers.keys()
        return "content-length" in names or "transfer-encoding" in names or self.status in _BODILESS


def _broken(trace: Trace, cause: Cause) -> Broken:
    if trace.sent:
        return Broken(phase=Phase.SENT, cause=cause)
    if trace.connected and cause in (Cause.DROPPED, Cause.RESET):
        cause = Cause.CONNECT_FAILED  # a kept connection was found closed before the first byte
    return Broken(phase=Phase.UNSENT, cause=cause)


def _cause(error: Exception, call: Call, trace: Trace) -> Cause:
    """Name what ended a call before its head came."""
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch)):
        return Cause.TLS
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Cause.DNS
    if isinstance(error, aiohttp.ClientConnectorError):
        return _connect_cause(error, is_tls=call.channel.base_url.startswith("https:"))
    if not trace.connected:
        return Cause.CONNECT_FAILED
    if isinstance(error, aiohttp.ClientResponseError):
        return Cause.BAD_FRAMING
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Cause.DROPPED
    return Cause.RESET


def _connect_cause(error: aiohttp.ClientConnectorError, *, is_tls: bool) -> Cause:
    reason = error.os_error
    if isinstance(reason, ConnectionRefusedError):
        return Cause.CONNECT_REFUSED
    if isinstance(reason, TimeoutError):
        return Cause.CONNECT_TIMEOUT
    if isinstance(reason, (ConnectionResetError, ConnectionAbortedError)) and is_tls:
        return Cause.TLS  # TCP stood, the handshake did not: connecting itself is refused, never reset
    return Cause.CONNECT_FAILED
