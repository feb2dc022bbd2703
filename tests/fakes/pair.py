"""A gateway over two scripted upstreams, A before B, and clients that may leave in the middle."""

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
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.upstream import FakeUpstream

GENERATION = {"model": "pic", "prompt": "a lighthouse"}
TURN = {"model": "chat", "input": "hello"}
DRAWING = {**TURN, "tools": [{"type": "image_generation"}]}


@dataclass(slots=True, kw_only=True)
class Pair:
    """One gateway and its two upstreams."""

    gateway: RunningGateway
    a: FakeUpstream
    b: FakeUpstream
    client: httpx2.AsyncClient
    database: Path

    @property
    def asked(self) -> tuple[int, int]:
        """How often each upstream was asked: the truth about money."""
        return self.a.count, self.b.count

    async def post(self, path: str, body: object, **headers: str) -> httpx2.Response:
        """Send one request and wait for its answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"{self.gateway.url}/v1/{path}", json=body, headers=named)

    async def generate(self, **headers: str) -> httpx2.Response:
        return await self.post("images/generations", GENERATION, **headers)

    async def send(self, path: str, body: object) -> asyncio.StreamWriter:
        """Send one request on a connection of its own, to be left without reading the answer."""
        port = int(self.gateway.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        data = json.dumps(body).encode()
        head = f"POST /v1/{path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
        writer.write(head.encode() + b"\r\n\r\n" + data)
        await writer.drain()
        return writer

    async def record_of(self, answer: httpx2.Response) -> dict[str, Any]:
        """The record of an answered request."""
        return await self.gateway.record(answer.headers["x-request-id"])

    async def only_record(self) -> dict[str, Any]:
        """The record of the one request that was made, once it is logged."""
        for _ in range(500):
            found = [event for event in self.gateway.events() if event.get("event") == "request.finished"]
            if found:
                [record] = found
                return record
            await asyncio.sleep(0.01)
        raise AssertionError("nothing was logged")

    def ledger(self) -> list[LogRow]:
        """Every row, newest first."""
        return open_reader(f"sqlite:///{self.database}").page(LogQuery(limit=1000))


async def leave(writer: asyncio.StreamWriter) -> None:
    """Close a client's connection without a word."""
    writer.close()
    await writer.wait_closed()


def routes_file(urls: dict[str, str], route: dict[str, Any] | None = None, **channels: dict[str, Any]) -> str:
    """Write a routes file: routes ``pic`` and ``chat`` over the channels; ``channels`` adds keys to one of them."""
    made = {
        name: {
            "owner": f"owner-{name}",
            "kind": "direct",
            "base_url": url,
            "api_key": f"sk-{name}",
            "rows": {
                "pic": {"model": f"pic-{name}", "serves": ["images/generations", "images/edits"]},
                "chat": {"model": f"chat-{name}", "serves": ["responses"]},
            },
            **channels.get(name, {}),
        }
        for name, url in urls.items()
    }
    routes = {name: {"targets": list(urls), **(route or {})} for name in ("pic", "chat")}
    return yaml.safe_dump({"version": 1, "channels": made, "routes": routes})


@asynccontextmanager
async def running_pair(
    directory: Path, route: dict[str, Any] | None = None, **channels: dict[str, Any]
) -> AsyncIterator[Pair]:
    """Start the upstreams and the gateway; at the end nothing may have reached an upstream that should not."""
    async with FakeUpstream(key="sk-A") as a, FakeUpstream(key="sk-B") as b:
        routes = routes_file({"A": a.url, "B": b.url}, route, **channels)
        async with (
            running_gateway(routes, directory) as gateway,
            httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as client,
        ):
            yield Pair(gateway=gateway, a=a, b=b, client=client, database=directory / "data" / "waybill.db")
        assert a.problems + b.problems == []
