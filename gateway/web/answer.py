"""Writing answers: small ones at once, early ones so that a client that still sends receives them, kept ones in pieces.

Rules: an answer given before the body was read says ``connection: close``, is written whole, and is followed by a
bounded reading of what still comes, because closing a socket with unread bytes throws away the answer on its way. Kept
answers are never held in memory: the next piece is read when the last one has gone. Nobody left to read is no error.
"""

import asyncio
import contextlib

from msgspec import Struct
from starlette.types import Receive, Scope, Send

from gateway.exchange import Presence
from gateway.ports import AnswerBody, whole_of
from gateway.web.arrival import has_unread_body
from gateway.web.stamps import Headers

JSON = b"application/json"
NO_STORE = (b"cache-control", b"no-store")  # what only its asker may keep
DRAIN_S = 10.0
DRAIN_IDLE_S = 1.0
DRAIN_BYTES = 64 * 1024 * 1024

_CLOSE = (b"connection", b"close")
_NOTHING_YET = {"type": "http.response.body", "body": b"", "more_body": True}


class Answer(Struct, frozen=True, kw_only=True):
    """An answer that fits in memory; JSON unless it says otherwise."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = JSON

    def head(self) -> Headers:
        """Give its headers with type and length."""
        return [(b"content-type", self.content_type), (b"content-length", b"%d" % len(self.body)), *self.headers]


async def respond(send: Send, answer: Answer) -> None:
    """Answer a request whose body was read, or that has none."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.head()})
    await send({"type": "http.response.body", "body": answer.body})


async def respond_early(scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
    """Answer a request whose body may not have been read; if so the connection closes after that."""
    if not has_unread_body(scope):
        await respond(send, answer)
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.head(), _CLOSE]})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    await _drain(receive)
    await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    """Read and drop the rest of a body: at most ``DRAIN_BYTES`` and ``DRAIN_S``, and not past a pause."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await _drop(receive)


async def _drop(receive: Receive) -> None:
    dropped, more = 0, True
    while more and dropped < DRAIN_BYTES:
        message = await asyncio.wait_for(receive(), DRAIN_IDLE_S)
        dropped += len(message.get("body", b""))
        more = message.get("more_body", False)  # absent when the client has gone


async def respond_kept(send: Send, body: AnswerBody, status: int, headers: Headers, presence: Presence) -> bool:
    """Write an answer that is kept in the spool; stop when the client has gone. The caller closes ``body``.

    Whether the client was there until the last byte: once that is out, the server calls it gone.
    """
    length = body.length
    head = [*headers, (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": status, "headers": head})
    whole = b"" if length == 0 else whole_of(body)
    if whole is not None:
        if presence.gone:
            return False
        await send({"type": "http.response.body", "body": whole})
        return True
    sent = 0
    async for chunk in body.chunks():
        if presence.gone:
            return False
        sent += len(chunk)
        # The last piece ends the message: an empty end after it would come when the client may have asked again.
        await send({"type": "http.response.body", "body": chunk, "more_body": sent < length})
        if sent < length:
            del chunk
            await send(_NOTHING_YET)  # waits for a slow reader before the next piece is made
            await asyncio.sleep(0)  # a reader that keeps up would have it all in one turn of the loop
    return sent == length
