"""The one layer every request passes: identity, an unambiguous head, a bounded number at once, no bug unanswered.

Rules: each answer carries ``x-request-id``. A head that two readers could understand differently (no Host, two Hosts, a
Host that is none, two lengths, a length and a coding) is refused before anything looks at it; nothing it says is
repeated. What is asked for is decided from ``scope["path"]`` alone, never from the raw target or the Host. Health,
figures and the operator are answered under any load. A request of the API that ends here, and was not settled by the
relay, is settled before its answer goes out, like any other; but one that is shed is a log line and no row, since
shedding must not wait for the ledger. On the way out every answer is the last one on its connection.
"""

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.record import Record, ResultRecord
from gateway.core.redact import redact
from gateway.core.types import JsonObject, Surface
from gateway.story import CLIENT_CLOSED_REQUEST
from gateway.web.answer import NO_STORE, Answer, respond_early
from gateway.web.arrival import Visit, begin_visit, visit_of
from gateway.web.errors import BadHead, InternalError, Overloaded, Stopped, WebError, envelope, problem
from gateway.web.services import Load, Services
from gateway.web.stamps import retry_advice, unstarted

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})
API = "/v1/"
OPERATOR = "/api/"
PROBLEM = b"application/problem+json"

# Of the grammar of a registered name only what host names are made of: this text may become part of a URL.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_FRAMES = 6
UNKNOWN = "unknown"
PATH_CHARS = 200
_PATH_CHARS = "/:@!$&'()*+,;=~"
_CLOSE = (b"connection", b"close")
_TOO_LATE = (InternalError, Stopped)  # whoever ends so may have started attempts: nothing is said of them
_SURFACES = frozenset(surface.value for surface in Surface)


class Edge:
    """The outermost ASGI application; ``app`` answers what it lets through."""

    def __init__(self, services: Services, app: ASGIApp) -> None:
        self._services = services
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request; other scopes are the application's start and end."""
        if scope["type"] == "http":
            return self._handle(scope, receive, send)
        if scope["type"] == "websocket":
            return _hang_up(receive, send)
        return self._app(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        visit = Visit(
            request_id=services.new_request_id(), time=services.clock.now(), started=services.clock.monotonic()
        )
        begin_visit(scope, visit)
        out = _Outgoing(send, visit, services.load)
        if scope["method"] != "POST" and scope["path"].startswith(API):
            out.stamp = services.clock.monotonic
        try:
            check_head(scope["headers"])
            await self._admit(scope, receive, out)
        except WebError as refusal:
            await self._refuse(refusal, scope, receive, out)
        except asyncio.CancelledError:
            # The process ends: this task ends here either way, and raised further it would be reported as a bug.
            await self._refuse(Stopped(), scope, receive, out)
        except Exception as bug:  # noqa: BLE001 - the last place that can still answer; the bug is logged, not shown
            services.events.emit(bug_event(visit, bug))
            await self._refuse(InternalError(), scope, receive, out)
        else:
            await settle_here(services, scope, out.status or CLIENT_CLOSED_REQUEST)

    async def _refuse(self, refusal: WebError, scope: Scope, receive: Receive, out: "_Outgoing") -> None:
        """Settle a request that ends here, and answer it unless an answer has begun: then its connection closes."""
        status, code = out.status or refusal.error.status, refusal.error.code
        if not visit_of(scope).settled and scope["path"].startswith(API) and not isinstance(refusal, _TOO_LATE):
            out.stamp = self._services.clock.monotonic
        if not isinstance(refusal, Overloaded):
            await settle_here(self._services, scope, status, code)
        elif scope["path"].startswith(API):
            self._services.books.note(edge_record(self._services, scope, status, code))
        if out.status is None:
            await respond_early(scope, receive, out, _answer(refusal, scope["path"]))

    async def _admit(self, scope: Scope, receive: Receive, out: "_Outgoing") -> None:
        path, load = scope["path"], self._services.load
        if path in ALWAYS_ANSWERED or path.startswith(OPERATOR):
            await self._app(scope, receive, out)
            return
        if load.in_flight >= self._services.settings.server.max_in_flight:
            raise Overloaded
        load.in_flight += 1
        try:
            await self._app(scope, receive, out)
        finally:
            load.in_flight -= 1


async def _hang_up(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1000})


async def settle_here(services: Services, scope: Scope, status: int, code: str | None = None) -> None:
    """Settle a request of the API that nobody else settles, once; other paths leave no record."""
    visit = visit_of(scope)
    if visit.settled or not scope["path"].startswith(API):
        return
    visit.settled = True
    await services.books.settle(edge_record(services, scope, status, code))


def edge_record(services: Services, scope: Scope, status: int, code: str | None) -> Record:
    """Give the record of a request that never reached the relay."""
    visit = visit_of(scope)
    elapsed_s = services.clock.monotonic() - visit.started
    return Record(
        time=visit.time,
        request_id=visit.request_id,
        endpoint=endpoint_of(scope["path"]),
        path=path_of(scope["path"]),
        stream=False,
        config_version=services.table().version,
        key_id=visit.principal.key_id,
        team=visit.principal.team,
        tags=visit.principal.tags,
        result=ResultRecord(status=status, code=code),
        latency_ms=max(0.0, round(elapsed_s * 1000, 1)),
    )


class _Outgoing:
    """The way out: puts the request's id and the door's words on the head, and remembers what status went out.

    ``stamp``: the clock, when the answer is one that nobody else stamps: no attempt was started for it.
    """

    __slots__ = ("_load", "_request_id", "_send", "_visit", "stamp", "status")

    def __init__(self, send: Send, visit: Visit, load: Load) -> None:
        self._send = send
        self._visit = visit
        self._request_id = (b"x-request-id", visit.request_id.encode())
        self._load = load
        self.status: int | None = None
        self.stamp: Callable[[], float] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [self._request_id, *self._visit.headers, *message.get("headers", ())]
            if self.stamp is not None:
                message["headers"] += unstarted(message["headers"], self.stamp() - self._visit.started)
            if self._load.draining and _CLOSE not in message["headers"]:
                message["headers"].append(_CLOSE)
        await self._send(message)


def check_head(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a head that is too large or can be read in two ways. Raises ``BadHead``."""
    count = size = hosts = lengths = codings = 0
    for name, value in headers:
        count += 1
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
            if _HOST.fullmatch(value) is None:
                raise BadHead("The Host header is not a host name with an optional port.")
        elif name == b"content-length":
            lengths += 1
        elif name == b"transfer-encoding":
            codings += 1
            if value.lower() != b"chunked":
                raise BadHead("The only transfer coding taken is chunked.")
    if count > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise BadHead(f"A request may have {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all.")
    if hosts != 1:
        raise BadHead("A request must have exactly one Host header.")
    if lengths + codings > 1:
        raise BadHead("A request must say the length of its body in exactly one way.")


def bug_event(visit: Visit, bug: Exception) -> JsonObject:
    """Describe a bug for the log: its type and where it was raised, never its text, which may hold a caller's words."""
    while isinstance(bug, ExceptionGroup):
        bug = bug.exceptions[0]
    frames = traceback.extract_tb(bug.__traceback__)[-_FRAMES:]
    return {
        "event": "gateway.bug",
        "request_id": visit.request_id,
        "error": type(bug).__name__,
        "at": [f"{_module(frame.filename)}:{frame.lineno}" for frame in reversed(frames)],
    }


def _module(filename: str) -> str:
    return "/".join(filename.rsplit("/", 2)[-2:])


def _answer(refusal: WebError, path: str) -> Answer:
    status, headers = refusal.error.status, (*refusal.headers, *retry_advice(refusal.retry_after_s))
    if path.startswith(OPERATOR):
        return Answer(status=status, body=problem(refusal), headers=(*headers, NO_STORE), content_type=PROBLEM)
    return Answer(status=status, body=envelope(refusal.error), headers=headers)


def endpoint_of(path: str) -> str:
    """Name what was asked for in the record's words."""
    below = path.removeprefix(API)
    if below in _SURFACES:
        return below
    first, _, name = below.partition("/")
    return first if first == "models" or (first == "flights" and name) else UNKNOWN


def path_of(path: str) -> str | None:
    """Give the path of an address that is none, for the record: printable ASCII, no credential, at most 200 characters.

    What else is in it is percent-encoded, as it is on the wire.
    """
    return (
        quote(redact(path), safe=_PATH_CHARS, errors="replace")[:PATH_CHARS] if endpoint_of(path) == UNKNOWN else None
    )
