"""A gateway whose clients are told to come back after a moment, over one upstream that is slow."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from gateway.ports import LogQuery
from gateway.stores.reader import LogRow, open_reader
from tests.fakes.answers import image_answer
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.pair import routes_file
from tests.fakes.script import Script, reply
from tests.fakes.upstream import FakeUpstream

PICTURE = image_answer(width=64, height=48)
GENERATION = {"model": "pic", "prompt": "a lighthouse"}
DRAWING = {"model": "chat", "input": "draw", "tools": [{"type": "image_generation"}]}


@dataclass(slots=True, kw_only=True)
class Airport:
    gateway: RunningGateway
    upstream: FakeUpstream
    client: httpx2.AsyncClient
    directory: Path

    async def post(self, path: str, body: object, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"{self.gateway.url}/v1/{path}", json=body, headers=named)

    async def generate(self, **headers: str) -> httpx2.Response:
        return await self.post("images/generations", GENERATION, **headers)

    async def look(self, name: str) -> httpx2.Response:
        return await self.client.get(f"{self.gateway.url}/v1/flights/{name}")

    async def landed(self, name: str) -> dict[str, Any]:
        """The flight, once it has landed."""
        for _ in range(1000):
            found: dict[str, Any] = (await self.look(name)).json()
            if "status" in found:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError("the flight did not land")

    async def leave_behind(self, body: object = GENERATION, path: str = "images/generations", **headers: str) -> None:
        """Send a request and leave once the upstream has it."""
        before = self.upstream.count
        writer = await self.send(body, path, **headers)
        await self.upstream.counted(before + 1)
        writer.close()
        await writer.wait_closed()

    async def send(self, body: object, path: str = "images/generations", **headers: str) -> asyncio.StreamWriter:
        """Send a request on a connection of its own."""
        port = int(self.gateway.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST /v1/{path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{named}"
        writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        return writer

    async def records(self, count: int) -> list[dict[str, Any]]:
        """The first ``count`` records, once they are logged."""
        for _ in range(1000):
            found = [event for event in self.gateway.events() if event.get("event") == "request.finished"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"fewer than {count} records were logged")

    def ledger(self) -> list[LogRow]:
        return open_reader(f"sqlite:///{self.directory / 'data' / 'waybill.db'}").page(LogQuery(limit=5000))


def slow(delay_s: float = 0.5, body: bytes = PICTURE) -> Script:
    return reply(200, body, delay_s=delay_s)


def routes(upstream: FakeUpstream, window: str = "off", **channel: Any) -> str:
    """Write the routes file: ``pic`` and ``chat`` over one channel."""
    document = yaml.safe_load(routes_file({"A": upstream.url}, A=channel))
    return yaml.safe_dump({**document, "server": {"client_window": window}})


@asynccontextmanager
async def airport(directory: Path, window: str = "off", **channel: Any) -> AsyncIterator[Airport]:
    """Start it all; at the end nothing may have reached the upstream that should not."""
    async with FakeUpstream(default=slow(), key="sk-A") as upstream:
        async with running(directory, upstream, window, **channel) as found:
            yield found
        assert upstream.problems == []


@asynccontextmanager
async def running(
    directory: Path, upstream: FakeUpstream, window: str = "off", **channel: Any
) -> AsyncIterator[Airport]:
    """Start a gateway over an upstream that stands."""
    limits = httpx2.Limits(max_connections=None)
    async with (
        running_gateway(routes(upstream, window, **channel), directory) as gateway,
        httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS, limits=limits) as client,
    ):
        yield Airport(gateway=gateway, upstream=upstream, client=client, directory=directory)
