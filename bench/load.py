"""A client made for measuring: raw sockets that are kept open, one request at a time on each.

Run as a program it fetches one answer over and over, so that whoever measures meanwhile is not disturbed by the bytes:
``python -m bench.load PORT MODEL TIMES`` prints what each request took, in seconds.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Self


def generation(model: str) -> bytes:
    """Give the bytes of a small request for one picture."""
    body = json.dumps({"model": model, "prompt": "a lighthouse at night, " * 10, "size": "1024x1024", "n": 1}).encode()
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk-anything\r\n"
        f"content-type: application/json\r\naccept: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@dataclass(slots=True)
class Connection:
    """One kept connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, port: int) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024 * 1024)
        return cls(reader, writer)

    async def ask(self, request: bytes) -> bytes:
        """Send a request and give the answer's body. Raises ``RuntimeError`` for anything but 200."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        body = await self.reader.readexactly(length)
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{head.decode()}{body[:2000].decode(errors='replace')}")
        return body

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def run(port: int, request: bytes, *, connections: int, times: int) -> float:
    """Make ``times`` requests over so many connections; gives the seconds they took."""
    lines = [await Connection.to(port) for _ in range(connections)]
    left = iter(range(times))

    async def work(line: Connection) -> None:
        for _ in left:
            await line.ask(request)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(work(line))
    took_s = time.perf_counter() - started
    for line in lines:
        await line.close()
    return took_s


async def _fetch(port: int, model: str, times: int) -> list[float]:
    line = await Connection.to(port)
    took = []
    for _ in range(times):
        started = time.perf_counter()
        await line.ask(generation(model))
        took.append(time.perf_counter() - started)
        await asyncio.sleep(0.05)
    await line.close()
    return took


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_fetch(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))))
