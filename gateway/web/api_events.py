"""``GET /api/events``: the records of requests as they end, as a stream of events.

Rules: a record is told whole, as ``/api/requests`` gives it, under its id. In silence a comment goes out, because
middle boxes cut connections that say nothing. A listener that does not keep up is told so in a comment and let go, and
so is everybody when the server leaves.
"""

import asyncio

from starlette.types import Receive, Scope, Send

from gateway.broadcast import RECORD, Broadcast, Listener, Told
from gateway.web.admin import Addresses, Control, Streamed
from gateway.web.answer import NO_STORE
from gateway.web.api_query import words_of
from gateway.web.errors import OperatorError

SILENCE_S = 15.0
HEAD = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # what keeps a proxy from collecting events
    NO_STORE,
)
FULL = "As many listen as may. Try again later."
BEGUN = b": listening\n\n"
SILENT = b": keep-alive\n\n"
LATE = b": this listener did not keep up, and is let go\n\n"
LEAVING = b": the server is leaving\n\n"


def event_addresses(broadcast: Broadcast, silence_s: float = SILENCE_S) -> Addresses:
    """Give the address that tells records as they are made; a comment goes out after ``silence_s`` without one."""

    async def heard(_control: Control, scope: Scope, receive: Receive) -> Streamed:
        words_of(scope, ())
        if scope["method"] == "HEAD":
            return Streamed(_nothing)
        listener = broadcast.listen()
        if listener is None:
            raise OperatorError(503, FULL)

        async def stream(send: Send) -> None:
            try:
                await _stream(listener, receive, send, silence_s)
            finally:
                broadcast.leave(listener)

        return Streamed(stream)

    return {"/api/events": {"GET": heard}}


async def _nothing(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(HEAD)})
    await send({"type": "http.response.body", "body": b""})


async def _stream(listener: Listener, receive: Receive, send: Send, silence_s: float) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(HEAD)})
    await send({"type": "http.response.body", "body": BEGUN, "more_body": True})
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(_watch(listener, receive))
        while not listener.is_over:
            told = await listener.hear(silence_s)
            if told is not None or not listener.is_over:
                await send({"type": "http.response.body", "body": _event(told), "more_body": True})
        leaving.cancel()
    await send({"type": "http.response.body", "body": LATE if listener.is_late else LEAVING})


async def _watch(listener: Listener, receive: Receive) -> None:
    """Stop telling when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.close()


def _event(told: Told | None) -> bytes:
    if told is None:
        return SILENT
    return b"event: %s\nid: %s\ndata: %s\n\n" % (RECORD.encode(), told.request_id.encode(), told.text)
