"""Run as a program: an upstream whose answers were made beforehand, quick enough not to be what is measured.

The first part of the path says what is answered: ``small`` (1 KB), ``img01`` to ``img40`` (0.1 to 40 MB of base64), to
any body; ``slow`` is small after ``--hold`` seconds; ``sse`` is a stream of two previews and a picture, 20 ms apart.
Bodies are counted and dropped. Prints its port and serves until it is killed.

``--faults PERCENT`` of all answers, drawn with a fixed seed, are something else: a reset, an end before the status or
half way, a 500, a 429, words that are no JSON.
"""

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Final, cast

import uvloop

from bench.upstream import answer

SIZES: Final = {  # of the picture: three quarters of the answer
    b"small": 500,
    b"img01": 75_000,
    b"img1": 750_000,
    b"img3": 2_250_000,
    b"img8": 6_000_000,
    b"img20": 15_000_000,
    b"img40": 30_000_000,
}
STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
GAP_S: Final = 0.02
SEED: Final = 20261121


def refusal(status: bytes, body: bytes) -> bytes:
    """Give a whole answer that is no picture."""
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


REFUSALS: Final = {
    "500": refusal(
        b"500 Internal Server Error", b'{"error":{"message":"try again","type":"server_error","code":null}}'
    ),
    "429": refusal(
        b"429 Too Many Requests", b'{"error":{"message":"slower","type":"requests","code":"rate_limit_exceeded"}}'
    ),
    "words": refusal(b"200 OK", b"<html>hello</html>"),
}
FAULTS: Final = (*REFUSALS, "reset", "close", "half")


def events() -> list[bytes]:
    """Give the chunks of a stream, framed."""
    kinds = ["image_generation.partial_image", "image_generation.partial_image", "image_generation.completed"]
    chunks = []
    for number, kind in enumerate(kinds):
        fields = {"type": kind, "b64_json": "aGVsbG8gd29ybGQh" * 100, "partial_image_index": number}
        data = f"event: {kind}\ndata: {json.dumps(fields)}\n\n".encode()
        chunks.append(b"%x\r\n" % len(data) + data + b"\r\n")
    return [*chunks, b"0\r\n\r\n"]


class Line(asyncio.Protocol):
    """One connection: requests one after another, bodies with a content-length or chunked."""

    def __init__(
        self, answers: Callable[[bytes], bytes], stream: list[bytes], hold_s: float, faults: Callable[[], str]
    ) -> None:
        self._faults = faults
        self._answers = answers
        self._stream = stream
        self._hold_s = hold_s
        self._head = b""
        self._left = 0  # bytes of the body that still come; -1: until the last chunk
        self._kind = b""
        self._tail = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._drop(data)
            return
        self._head += data
        at = self._head.find(b"\r\n\r\n")
        if at < 0:
            return
        head, body, self._head = self._head[:at].lower(), self._head[at + 4 :], b""
        self._kind = head.split(b"/", 2)[1]
        mark = head.find(b"content-length:")
        self._left = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else -1
        if mark < 0 and b"transfer-encoding" not in head:
            self._left = 0
        if b"expect: 100-continue" in head:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._drop(body)

    def _drop(self, data: bytes) -> None:
        if self._left > 0:
            self._left -= len(data)
        elif self._left < 0:
            self._tail = (self._tail + data)[-5:]
            self._left = 0 if self._tail == b"0\r\n\r\n" else -1
        if self._left == 0:
            self._tail = b""
            self._answer()

    def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        fault = self._faults()
        if fault:
            self._fail(fault)
        elif self._kind == b"slow":
            loop.call_later(self._hold_s, self._write, self._answers(b"small"))
        elif self._kind == b"sse":
            self._write(STREAM_HEAD)
            for number, chunk in enumerate(self._stream):
                loop.call_later(GAP_S * min(number + 1, len(self._stream) - 1), self._write, chunk)
        else:
            self._write(self._answers(self._kind))

    def _fail(self, fault: str) -> None:
        if fault in REFUSALS:
            self._write(REFUSALS[fault])
            return
        if fault == "half":
            whole = STREAM_HEAD + self._stream[0] if self._kind == b"sse" else self._answers(self._kind)
            self._write(whole[: max(200, len(whole) // 2)])
        if self._transport is not None and fault == "reset":
            self._transport.abort()
        elif self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def dice(percent: float) -> Callable[[], str]:
    """Give what draws the next answer's fault; mostly none."""
    draw = random.Random(SEED)
    return lambda: draw.choice(FAULTS) if draw.random() * 100 < percent else ""


async def serve(hold_s: float, faults: float) -> None:
    answers = cache(lambda kind: answer(SIZES[kind]))
    server = await asyncio.get_running_loop().create_server(
        partial(Line, answers, events(), hold_s, dice(faults)), "127.0.0.1", 0, backlog=8192
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hold", type=float, default=10.0)
    parser.add_argument("--faults", type=float, default=0.0, metavar="PERCENT")
    given = parser.parse_args()
    uvloop.run(serve(given.hold, given.faults))


if __name__ == "__main__":
    main()
