"""Run as a program: an upstream with canned answers that costs next to nothing, so that it is never the bottleneck.

The first part of the path says what is answered: ``/small/...`` a small picture, ``/big/...`` an answer of 20 MB,
``/slow/...`` the small picture, but only after ``--hold`` seconds. ``GET /held`` says how many slow requests wait.
Prints its port and serves until it is killed.
"""

import argparse
import asyncio
import base64
import json
import random
import struct
import sys
import zlib

BIG_BYTES = 20_000_000
SMALL_PIXELS = 4_000  # bytes of a small picture


def png(size: int) -> bytes:
    """Give a picture of about ``size`` bytes that does not compress."""
    pixels = random.Random(20261120).randbytes(size)
    header = struct.pack(">IIBBBBB", 1024, 1024, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def answer(size: int) -> bytes:
    """Give a whole HTTP answer of the images API with a picture of about ``size`` bytes."""
    body = json.dumps(
        {
            "created": 1_762_000_000,
            "background": "opaque",
            "data": [{"b64_json": base64.b64encode(png(size)).decode()}],
            "output_format": "png",
            "quality": "medium",
            "size": "1024x1024",
            "usage": {
                "total_tokens": 1806,
                "input_tokens": 50,
                "output_tokens": 1756,
                "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
            },
        }
    ).encode()
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: up_1\r\n"
        b"content-length: %d\r\n\r\n" % len(body) + body
    )


class Line(asyncio.Protocol):
    """One connection. Requests come one after another; a body has a content-length."""

    answers: dict[bytes, bytes]
    hold_s: float
    held = 0

    def __init__(self) -> None:
        self._came = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (at := self._came.find(b"\r\n\r\n")) >= 0:
            head = self._came[:at].lower()
            mark = head.find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self._came) < at + 4 + length:
                return
            self._came = self._came[at + 4 + length :]
            self._answer(head.split(b"/", 2)[1].split(b" ", 1)[0])

    def _answer(self, kind: bytes) -> None:
        if kind == b"held":
            said = b"%d" % Line.held
            self._write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(said) + said)
        elif kind == b"slow":
            Line.held += 1
            asyncio.get_running_loop().call_later(self.hold_s, self._let_go)
        else:
            self._write(self.answers[kind])

    def _let_go(self) -> None:
        Line.held -= 1
        self._write(self.answers[b"small"])

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Line, "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hold", type=float, default=5.0)
    Line.hold_s = parser.parse_args().hold
    Line.answers = {b"small": answer(SMALL_PIXELS), b"big": answer(BIG_BYTES * 3 // 4)}
    asyncio.run(serve())


if __name__ == "__main__":
    main()
