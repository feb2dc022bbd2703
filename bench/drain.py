"""Run as a program: a client that sends one request over and over and drops what comes, counting bytes and time.

``python -m bench.drain`` reads one JSON object on standard input (``Order``) and prints one (``Tally``). A process of
its own, so that what it costs is not what is measured.
"""

import asyncio
import base64
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Final, cast

import uvloop

CHUNKED_END: Final = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """``request``: the bytes to send, as base64. ``times`` in all, over ``connections``."""

    port: int
    request: str
    connections: int
    times: int


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came: seconds per request until its first byte and its last, bytes, and answers that were not 200."""

    took_s: float = 0.0
    came: int = 0
    bad: int = 0
    said: str = ""  # the first bad answer's beginning
    first_s: list[float] = field(default_factory=list)
    last_s: list[float] = field(default_factory=list)


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, tally: Tally, left: list[int], done: asyncio.Event) -> None:
        self._request = request
        self._tally = tally
        self._left = left
        self._done = done
        self._head = b""
        self._started = 0.0
        self._expected: int | None = None  # bytes of body to come; absent: chunked
        self._in_body = False
        self._tail = b""
        self._content = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._done.set()

    def data_received(self, data: bytes) -> None:
        self._tally.came += len(data)
        if self._in_body:
            self._body(data)
            return
        self._head += data
        at = self._head.find(b"\r\n\r\n")
        if at < 0:
            return
        head, rest, self._head = self._head[:at].lower(), self._head[at + 4 :], b""
        mark = head.find(b"content-length:")
        self._expected = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else None
        self._in_body = True
        if self._expected is not None:  # a stream's first byte is that of its body
            self._tally.first_s.append(time.perf_counter() - self._started)
        self._content = b"" if head.startswith(b"http/1.1 200") else head + b"\n"
        self._tally.bad += bool(self._content)
        self._body(rest)

    def _body(self, data: bytes) -> None:
        if not data and self._expected != 0:
            return
        if self._content and len(self._content) < 2_000:
            self._content += data
        if self._expected is None:
            if not self._tail:
                self._tally.first_s.append(time.perf_counter() - self._started)
            self._tail = (self._tail + data)[-len(CHUNKED_END) :]
            is_over = self._tail == CHUNKED_END
        else:
            self._expected -= len(data)
            is_over = self._expected <= 0
        if is_over:
            self._tally.last_s.append(time.perf_counter() - self._started)
            self._tally.said = self._tally.said or self._content.decode("utf-8", "replace")
            self._in_body, self._tail = False, b""
            self._next()

    def _next(self) -> None:
        assert self._transport is not None
        if self._left[0] <= 0:
            self._transport.close()
            return
        self._left[0] -= 1
        self._started = time.perf_counter()
        self._transport.write(self._request)


async def drain(order: Order) -> Tally:
    tally, left = Tally(), [order.times]
    request = base64.b64decode(order.request)
    loop = asyncio.get_running_loop()
    ends = [asyncio.Event() for _ in range(order.connections)]
    started = time.perf_counter()
    for at in range(0, len(ends), 250):
        batch = ends[at : at + 250]
        await asyncio.gather(
            *(
                loop.create_connection(partial(Line, request, tally, left, end), "127.0.0.1", order.port)
                for end in batch
            )
        )
    await asyncio.gather(*(end.wait() for end in ends))
    tally.took_s = time.perf_counter() - started
    return tally


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    order = Order(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(drain(order))), sys.stdout)


if __name__ == "__main__":
    main()
