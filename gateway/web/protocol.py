"""The socket side of HTTP/1.1: what may arrive, how fast, and when a connection is given up.

Rules. The head of a request must be complete within ``head_s`` and ``head_bytes``; a body must keep coming; an answer
must keep being read. One request at a time: what a client sends before it has its answer (pipelining) is not looked at,
the answer goes out and the connection closes. Bytes that are not HTTP get one answer, or the close, never an answer in
the middle of another one. After an answer that comes before the end of its request, more of that is read for a moment,
because closing a socket with unread bytes throws the answer away. Nothing is logged here: bytes from strangers are no
news.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.core.types import RequestId
from gateway.core.verdict import PublicError
from gateway.intake.incoming import Appetite, Take
from gateway.web.arrival import LEAVING, Visit, known_visit
from gateway.web.errors import envelope, ours
from gateway.web.flow import Flow, Signal
from gateway.web.receipt import Receipt
from gateway.web.stamps import retry_advice

BACKLOG = 2048
RETRY_AFTER_S = 1.0
_VERSIONS = ("1.1", "1.0")

_BAD_BYTES = ours(400, "invalid_value", "This is not an HTTP/1.1 request the gateway can read.", "headers")
_HEAD_TOO_LARGE = ours(400, "invalid_value", "The headers of the request are too large.", "headers")
_HEAD_TOO_SLOW = ours(408, None, "The headers of the request did not arrive in time.")
_STOPPING = ours(503, "gateway_overloaded", "The gateway is stopping. Nothing was started for this request.")
_BODY_TOO_SLOW = ours(408, None, "The body of the request stopped coming.")


class ServerConfig(uvicorn.Config):
    """uvicorn's settings, with what the protocol needs to know of ours."""

    def __init__(self, app: ASGIApp, receipt: Receipt, new_request_id: Callable[[], RequestId]) -> None:
        super().__init__(
            app,
            loop="auto",  # uvloop where it is installed
            http=Protocol,
            interface="asgi3",  # not to be told by looking: the application gives an awaitable
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=receipt.keep_alive_s,
        )
        self.receipt = receipt
        self.new_request_id = new_request_id


_EXTENSIONS: Any = MappingProxyType({LEAVING: MappingProxyType({})})


class _Phase(Enum):
    IDLE = auto()  # nothing of a request has come
    HEAD = auto()
    BODY = auto()
    RECEIVED = auto()  # whole; its answer is being made
    OVER = auto()  # what still comes is dropped


class _Unwanted(Exception):
    """Raised out of a parser's callback to stop it; what to answer stands in the protocol."""


class Protocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with bounds on size, time and order."""

    # Beside uvicorn's own: with these in it, too, the dictionary of a connection would share its keys with no other.
    __slots__ = (
        *("_body_bytes", "_head_bytes", "_is_leaving", "_left", "_new_request_id", "_phase", "_receipt"),
        *("_stall_timer", "_timer", "_trailer_bytes"),
    )

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = ()  # type: ignore[assignment]  # nothing ever waits there, and an empty one is most of a kilobyte
        self._receipt = config.receipt
        self._new_request_id = config.new_request_id
        self._phase = _Phase.IDLE
        self._timer: asyncio.TimerHandle | None = None  # of the receipt: head, body, lingering
        self._stall_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._trailer_bytes = 0
        self._body_bytes = 0
        self._left = 0  # of a body whose length is stated: bytes that have not come
        self._is_leaving = False

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection that says nothing is not kept."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._arm(self._receipt.head_s, self._head_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks; say so to whoever makes an answer for this client."""
        self._disarm()
        self._stop_stall_clock()
        super().connection_lost(exc)
        cycle: RequestResponseCycle | None = self.cycle
        visit = None if cycle is None or cycle.response_complete else known_visit(dict(cycle.scope))
        if visit is not None:
            visit.leave()

    def shutdown(self) -> None:
        """Close once nothing is under way; a request whose head has begun to come is still answered."""
        self._is_leaving = True
        if self._phase is not _Phase.HEAD:
            super().shutdown()

    def cut(self) -> None:
        """Wait for no more of a request: whoever still sends one is told to come back."""
        if self._phase in (_Phase.HEAD, _Phase.BODY):
            self._give_up(_STOPPING)

    def data_received(self, data: bytes) -> None:
        """Feed the parser within the bounds."""
        if self._phase is _Phase.OVER:
            self._drop(len(data))
            return
        self._unset_keepalive_if_required()
        if self._phase is _Phase.IDLE:
            self._begin_head()
        elif self._phase is _Phase.BODY and self._left > 0:
            data = self._pass_by(data)
        try:
            if data:
                self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._give_up(_BAD_BYTES)
            return
        except httptools.HttpParserUpgrade:
            self._last_answer()
            return
        if self._phase is _Phase.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > self._receipt.head_bytes:
                self._give_up(_HEAD_TOO_LARGE)
        elif self._phase is _Phase.BODY and self._timer is None:
            self._body_bytes = 0
            self._arm(self._receipt.idle_s, self._body_overdue)

    def _pass_by(self, data: bytes) -> bytes:
        """Take more of a body whose length is stated, past the parser, which would copy it; gives what follows it."""
        body, rest = data[: self._left], data[self._left :]
        self.on_body(body)
        if self._left == 0:
            self.on_message_complete()
            self.parser = httptools.HttpRequestParser(self)  # the last one still waits for that body
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        return rest

    # What the parser finds

    def on_message_begin(self) -> None:
        """Begin a request, unless the last one is not answered yet."""
        if self._phase is not _Phase.HEAD:
            raise _Unwanted
        super().on_message_begin()
        self.scope["extensions"] = _EXTENSIONS

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; a trailer is read and dropped, up to its bound."""
        if self._phase is _Phase.HEAD:
            super().on_header(name, value)
            return
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > self._receipt.trailer_bytes:
            raise _Unwanted

    def on_headers_complete(self) -> None:
        """Hand the request over."""
        if self.parser.get_http_version() not in _VERSIONS:
            raise _Unwanted
        self._disarm()
        super().on_headers_complete()
        self.cycle.message_event = Signal()  # type: ignore[assignment]
        if self._is_leaving:
            self.cycle.keep_alive = False
        self._trailer_bytes = 0
        self._left = _stated_length(self.headers)
        self._phase = _Phase.BODY

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        self._left -= len(body)
        cycle: RequestResponseCycle = self.cycle
        held: bytes | bytearray = cycle.body
        if held or cycle.response_complete:
            cycle.body = held if isinstance(held, bytearray) else bytearray(held)
            super().on_body(body)
            return
        visit = known_visit(cycle.scope)  # type: ignore[arg-type]
        if visit is not None and visit.take is not None:
            self._hand_on(visit, visit.take, body)
            return
        # A piece that waits alone is handed on as it is; uvicorn would copy it in and out of an array.
        cycle.body = body  # type: ignore[assignment]
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def _hand_on(self, visit: Visit, take: Take, body: bytes) -> None:
        """Give a piece to whoever takes them as they arrive; nobody is woken, unless he has had enough."""
        appetite = take(body)
        if appetite is Appetite.ENOUGH:
            visit.tap(None)
            self.cycle.message_event.set()
        elif appetite is Appetite.PAUSE and not self.flow.read_paused:
            self.flow.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        """Note that the request is whole; reading goes on, to see the client leave."""
        self._disarm()
        self._phase = _Phase.RECEIVED
        super().on_message_complete()
        self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the end of the connection when this one was answered before it was read."""
        if self._phase not in (_Phase.BODY, _Phase.OVER):
            self._phase = _Phase.IDLE
        elif not self.transport.is_closing():
            self._linger()
        if self.transport.is_closing():
            self._start_stall_clock()  # a close waits for what was written to be read
        super().on_response_complete()

    # Clocks

    def pause_writing(self) -> None:
        """The reader is slow: start its clock."""
        super().pause_writing()
        self._start_stall_clock()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self._stop_stall_clock()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose last answer was never read is cut, it would not close otherwise."""
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _start_stall_clock(self) -> None:
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self._receipt.stall_s, self.transport.abort)

    def _stop_stall_clock(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _begin_head(self) -> None:
        self._phase = _Phase.HEAD
        self._head_bytes = 0
        if self._timer is None:
            self._arm(self._receipt.head_s, self._head_overdue)

    def _head_overdue(self) -> None:
        if self._phase is _Phase.IDLE:
            self.transport.close()
        else:
            self._give_up(_HEAD_TOO_SLOW)

    def _body_overdue(self) -> None:
        enough = self._body_bytes >= self._receipt.idle_bytes
        if enough or self.flow.read_paused:  # paused: it is we who do not read
            self._body_bytes = 0
            self._arm(self._receipt.idle_s, self._body_overdue)
        else:
            self._give_up(_BODY_TOO_SLOW)

    def _arm(self, after_s: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self.loop.call_later(after_s, callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The end of a connection

    def _give_up(self, fault: PublicError) -> None:
        """End the connection: with the fault as the answer when an answer is due and none has begun."""
        cycle: RequestResponseCycle | None = self.cycle  # before the first request there is none
        if cycle is None or cycle.response_complete:
            self._end_with(fault, self._new_request_id())
            return
        if self._phase is not _Phase.BODY or cycle.response_started:
            self._last_answer()
            return
        cycle.disconnected = True
        cycle.waiting_for_100_continue = False  # nobody is told to go on after the last word
        cycle.message_event.set()
        self._phase = _Phase.OVER
        self.loop.call_soon(self._end_cycle, cycle, fault)  # what came in one piece has no identity yet

    def _end_cycle(self, cycle: RequestResponseCycle, fault: PublicError) -> None:
        visit = known_visit(dict(cycle.scope))
        if not self.transport.is_closing():
            self._end_with(fault, visit.request_id if visit is not None else self._new_request_id())

    def _last_answer(self) -> None:
        """Let the answer in the making go out and close after it; reading goes on only to see the client leave."""
        self._disarm()
        self._phase = _Phase.OVER
        self.cycle.keep_alive = False

    def _end_with(self, fault: PublicError, request_id: RequestId) -> None:
        body = envelope(fault)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            *retry_advice(RETRY_AFTER_S if fault is _STOPPING else None),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[fault.status], *lines, b"\r\n", body]))
        self._linger()

    def _linger(self) -> None:
        """Say that the last word was said, drop what still comes for a while, then end the connection."""
        self._phase = _Phase.OVER
        self._body_bytes = 0
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._arm(self._receipt.linger_s, self._linger_over)

    def _linger_over(self) -> None:
        """End the connection; a last word that is still being read has ``stall_s``."""
        if self.transport.get_write_buffer_size() > 0:
            self.transport.close()
            self._start_stall_clock()
        else:
            self.transport.abort()

    def _drop(self, size: int) -> None:
        """Read past the end: for a while after a last word, not at all while an answer is being made."""
        if self._timer is None:
            self.flow.pause_reading()
            return
        self._body_bytes += size
        if self._body_bytes > self._receipt.linger_bytes:
            self.transport.close()


def _stated_length(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Give the bytes that a body will have, 0 where that is not stated; the parser has found the number valid."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
