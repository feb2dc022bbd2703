"""Giving a client what its request came to: an answer, an error, or a stream that others began.

Rules: an answer that was made for another request carries that one's stamps; only the request's id is its own. Whether
the client was there to the end is told to whoever keeps the answer. Everything that was given is closed.
"""

import asyncio

import orjson
from msgspec import Struct
from starlette.types import Send

from gateway.bodies.tape import Tape
from gateway.core.record import present, timestamp
from gateway.core.redact import header_value
from gateway.core.verdict import PublicError
from gateway.exchange import Presence
from gateway.flights.replays import IN_PROGRESS, Sight
from gateway.outlet import StreamHead
from gateway.ports import AnswerBody
from gateway.relay import Result
from gateway.web.answer import Answer, respond, respond_kept
from gateway.web.errors import envelope, ours
from gateway.web.stamps import Headers, advice, retry_advice, stamps, travelled
from gateway.web.streams import COMMENT, STREAM_HEAD, ClientStream, Pace, error_event

COME_BACK_S = 1.0
CREDITS, NOTHING = b"x-credits", b"0"

_NO_ANSWER = ours(502, "upstream_unknown_outcome", "No answer was kept for this request.")


class WebPen:
    """Implements ``replays.Pen``."""

    def head(self, result: Result) -> tuple[tuple[bytes, bytes], ...]:
        """Give the headers of an answer, without its type and length."""
        return tuple(_head(result))

    def error(self, result: Result) -> bytes:
        """Write the error of an answer."""
        return envelope(result.error or _NO_ANSWER, result.record.attempts)

    def event(self, head: StreamHead, error: PublicError, sequence: int | None) -> bytes:
        """Write an error as the event that ends a stream."""
        return error_event(head, error, sequence)

    def sight(self, sight: Sight) -> bytes:
        """Write what is seen of a flight, without its result."""
        result = sight.result
        return orjson.dumps(
            present(
                {
                    "id": sight.id,
                    "object": "flight",
                    "state": sight.state,
                    "endpoint": sight.endpoint,
                    "request_id": sight.request_id,
                    "created": timestamp(sight.created),
                    "eta_s": sight.eta_s,
                    "previews": sight.previews,
                    "status": None if result is None else result.status,
                }
            )
        )


def _head(result: Result) -> Headers:
    if result.head is not None:  # made for another request, which was charged for it; this one is not
        return [(name, NOTHING if name == CREDITS else value) for name, value in result.head]
    headers = [*stamps(result.record), *travelled(result.upstream_headers)]
    if result.status < 400:
        return headers
    if result.error is IN_PROGRESS:
        return [*headers, *retry_advice(COME_BACK_S)]
    retry_after_s = result.retry_after_s or 1.0
    return [*headers, *advice(result.record, may_retry=result.may_retry, retry_after_s=retry_after_s)]


def _place(result: Result) -> Headers:
    """Say which flight it is, and where it is to be looked for when it is under way."""
    if result.flight_id is None:
        return []
    name = result.flight_id.encode()
    found = [(b"x-flight-id", name)]
    if result.status == 202:
        found.append((b"preference-applied", b"respond-async"))
    if result.status == 202 or result.error is IN_PROGRESS:
        found.append((b"location", b"/v1/flights/" + name))
    return found


class Client(Struct, frozen=True, kw_only=True):
    """A client's end. ``stream``: what its stream goes out through, when it asked for one."""

    send: Send
    presence: Presence
    pace: Pace
    stream: ClientStream | None = None


async def deliver(client: Client, result: Result) -> None:
    """Write the result, unless nobody is there to read it or it is written; gives what was kept back."""
    is_told = False
    try:
        if result.is_written:
            is_told = client.stream is not None and client.stream.is_heard
        elif not client.presence.gone:
            is_told = await _write(client, result)
    finally:
        if result.body is not None:
            result.body.close()
        if result.receipt is not None:
            result.receipt(is_told)


async def _write(client: Client, result: Result) -> bool:
    """Write an answer; whether the client was there until its last byte."""
    if result.tape is not None:
        return await _play(client, result.tape, _place(result))
    headers = [*_head(result), *_place(result)]
    if result.body is None:
        error = result.error or _NO_ANSWER
        answer = Answer(status=error.status, body=envelope(error, result.record.attempts), headers=tuple(headers))
        await respond(client.send, answer)
        return True
    kind = (b"content-type", header_value(result.content_type).encode("latin-1"))
    return await respond_kept(client.send, result.body, result.status, [kind, *headers], client.presence)


async def _play(client: Client, tape: Tape, place: Headers) -> bool:
    """Write a stream from its beginning, then as it comes; a comment goes out in silence."""
    head = tape.head
    headers = [*STREAM_HEAD, *place]
    if head is not None:
        headers += [*stamps(head.record), *travelled(head.upstream_headers)]
    await client.send({"type": "http.response.start", "status": 200, "headers": headers})
    at = 0
    while not client.presence.gone:
        is_over, events = tape.is_over, tape.events(at)
        at += len(events)
        for event in events:
            await _put_event(client, event)
        if is_over and not client.presence.gone:
            await _put(client, b"", more=False)
            return True
        if not events:
            await _silence(client, tape)
    return False


async def _put_event(client: Client, event: AnswerBody) -> None:
    try:
        async for piece in event.chunks():
            await _put(client, piece)
    finally:
        event.close()


async def _silence(client: Client, tape: Tape) -> None:
    try:
        async with asyncio.timeout(client.pace.silence_s):
            await tape.news()
    except TimeoutError:
        await _put(client, COMMENT)


async def _put(client: Client, piece: bytes, *, more: bool = True) -> None:
    if not client.presence.gone:
        await client.send({"type": "http.response.body", "body": piece, "more_body": more})
