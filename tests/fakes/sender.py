"""A client that sends a form as slowly as a test likes, on a connection of its own."""

import asyncio
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from tests.fakes.answers import png

BOUNDARY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
MB = 1_000_000


def picture(size: int, seed: int = 0) -> bytes:
    """A picture by its header, of ``size`` bytes that do not compress."""
    head = png(64, 64, seed=seed)
    return head + random.Random(seed).randbytes(size - len(head))


def part(name: str, value: bytes | str) -> bytes:
    """One part of a form, with its delimiter before it; bytes are a file."""
    file = f'; filename="{name}.png"\r\nContent-Type: image/png' if isinstance(value, bytes) else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"


def form(*parts: tuple[str, bytes | str]) -> bytes:
    """A whole form."""
    return b"".join(part(name, value) for name, value in parts) + f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Sender:
    """Sends one form to a gateway."""

    def __init__(self, url: str, body: bytes, **headers: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._headers = {"content-length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        self._body = body
        self._at = 0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items() if value)
        kind = f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n"
        self._writer.write(f"POST /v1/images/edits HTTP/1.1\r\nhost: a\r\n{kind}{lines}\r\n".encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(ConnectionError):  # the gateway may answer and close while this is still sending
            await self._writer.wait_closed()

    async def send(self, size: int) -> None:
        """Send so many bytes more."""
        self._writer.write(self._body[self._at : self._at + size])
        self._at += size
        await self._writer.drain()

    async def end(self) -> Reply:
        """Send the rest, and give the answer."""
        await self.send(len(self._body) - self._at)
        return await self.answer()

    async def answer(self) -> Reply:
        """Read the answer."""
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return Reply(status=int(first.split()[1]), headers=headers, body=body)
