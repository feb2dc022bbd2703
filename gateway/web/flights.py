"""Looking at a flight: how far it is, its answer in the surface's own shape once it is there; or letting go of it.

Rules: a flight that another key began is not there, and neither is one that nobody knows: the same 404. Looking is no
delivery to the client that began it, so the same request still finds it. Nothing is sent and nothing is bought here.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from starlette.types import Receive, Scope, Send

from gateway.exchange import Presence
from gateway.flights.replays import EVENT_STREAM, Sight
from gateway.outlet import Said
from gateway.ports import AnswerBody
from gateway.relay import Result
from gateway.web.answer import Answer, respond_early, respond_kept
from gateway.web.arrival import headers_of, visit_of
from gateway.web.delivery import WebPen
from gateway.web.errors import FlightNotFound, MethodNotAllowed
from gateway.web.stamps import Headers

METHODS = ("GET", "DELETE")


class Tower(Protocol):
    """Who knows the flights."""

    async def look(self, scope: str, name: str) -> Sight | None:
        """Give a flight of one caller's as it stands; its body is to be closed."""
        ...

    async def forget(self, scope: str, name: str) -> Sight | None:
        """Let go of a flight; how it stood."""
        ...


class _Wrapped:
    """A flight with its result inside; implements ``ports.AnswerBody``."""

    def __init__(self, before: bytes, body: AnswerBody) -> None:
        self._before = before
        self._body = body

    @property
    def length(self) -> int:
        return len(self._before) + self._body.length + 1

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._before
        async for piece in self._body.chunks():
            yield piece
        yield b"}"

    def close(self) -> None:
        self._body.close()


class FlightPage:
    """Answers what is asked at ``/v1/flights/{id}``."""

    def __init__(self, tower: Tower) -> None:
        self._tower = tower
        self._pen = WebPen()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ``FlightNotFound`` and ``MethodNotAllowed``."""
        method, name = scope["method"], scope["path_params"]["name"]
        if method not in METHODS:
            raise MethodNotAllowed(METHODS)
        caller = visit_of(scope).principal.scope
        sight = await (self._tower.forget if method == "DELETE" else self._tower.look)(caller, name)
        if sight is None:
            raise FlightNotFound
        if method == "DELETE":
            _close(sight)
            said = self._pen.sight(sight)[:-1] + b',"deleted":true}'
            await respond_early(scope, receive, send, Answer(status=200, body=said))
            return
        await self._show(sight, scope, send)

    async def _show(self, sight: Sight, scope: Scope, send: Send) -> None:
        """Write a flight; a stream that is over goes out as one when that is asked for."""
        body: AnswerBody = Said(self._pen.sight(sight))
        kind, result = b"application/json", sight.result
        try:
            if result is not None and not result.is_written:
                body = _Wrapped(self._pen.sight(sight)[:-1] + b',"result":', result.body or self._error(result))
            elif result is not None and result.body is not None and _asks_for_events(scope):
                body, kind = result.body, EVENT_STREAM.encode()
            headers: Headers = [
                (b"content-type", kind),
                (b"x-flight-id", sight.id.encode()),
                *_stamps(self._pen, sight),
            ]
            await respond_kept(send, body, 200, headers, Presence())
        finally:
            _close(sight)

    def _error(self, result: Result) -> AnswerBody:
        return Said(self._pen.error(result))


def _stamps(pen: WebPen, sight: Sight) -> Headers:
    if sight.result is None:
        return [(b"retry-after", b"1")] if sight.state.is_aloft else []
    return [(name, value) for name, value in pen.head(sight.result) if name != b"x-should-retry"]


def _asks_for_events(scope: Scope) -> bool:
    return "text/event-stream" in headers_of(scope).get("accept", "")


def _close(sight: Sight) -> None:
    if sight.result is not None and sight.result.body is not None:
        sight.result.body.close()
