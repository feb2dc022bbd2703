"""The official SDKs, unmodified, whose own retry finds the flight: one purchase, one picture."""

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from tests.fakes.answers import png
from tests.flights.airport import PICTURE, Airport, airport, slow
from tests.sdk.test_sdks import node_modules, node_run

__all__ = ["node_modules"]

SHA = hashlib.sha256(base64.b64decode(json.loads(PICTURE)["data"][0]["b64_json"])).hexdigest()
GENERATIONS, EDITS = "images/generations", "images/edits"


@asynccontextmanager
async def cutting(port: int, after_s: float) -> AsyncIterator[int]:
    """A proxy that cuts a connection which says nothing for a while."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(after_s):
                await asyncio.gather(carry(reader, up_writer), carry(up_reader, writer))
        up_writer.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def act(client: openai.AsyncOpenAI, surface: str) -> openai.types.ImagesResponse:
    if surface == GENERATIONS:
        return await client.images.generate(model="pic", prompt="a lighthouse")
    return await client.images.edit(model="pic", prompt="at night", image=("in.png", png(64, 64)))


async def python(all_: Airport, surface: str, port: int | None = None) -> None:
    url = all_.gateway.url if port is None else f"http://127.0.0.1:{port}"
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-anything", http_client=http) as client:
        answer = await act(client, surface)
    assert answer.data
    assert hashlib.sha256(base64.b64decode(answer.data[0].b64_json or "")).hexdigest() == SHA
    assert all_.upstream.count == 1


@pytest.mark.parametrize("surface", [GENERATIONS, EDITS])
async def test_python_comes_back_after_the_window(tmp_path: Path, surface: str) -> None:
    async with airport(tmp_path, window="300ms") as all_:
        all_.upstream.play(slow(1.0))
        await python(all_, surface)
        assert all_.gateway.gateway.airport.flights.rescue.pictures == 1


@pytest.mark.parametrize("surface", [GENERATIONS, EDITS])
async def test_python_comes_back_after_a_proxy_cut_it_off(tmp_path: Path, surface: str) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(slow(1.5))
        async with cutting(int(all_.gateway.url.rpartition(":")[2]), after_s=0.8) as port:
            await python(all_, surface, port)


@pytest.mark.parametrize("surface", [GENERATIONS, EDITS])
async def test_node_comes_back_after_the_window(node_modules: Path, tmp_path: Path, surface: str) -> None:
    async with airport(tmp_path, window="300ms") as all_:
        all_.upstream.play(slow(1.0))
        (tmp_path / "in.png").write_bytes(png(64, 64))
        words = ("generate",) if surface == GENERATIONS else ("edit", str(tmp_path / "in.png"))
        said = await node_run(node_modules, "act.mjs", all_.gateway, *words)
        assert said["sha256"] == SHA
        assert all_.upstream.count == 1


async def test_node_comes_back_after_a_proxy_cut_it_off(node_modules: Path, tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(slow(2.0))
        port = int(all_.gateway.url.rpartition(":")[2])
        async with cutting(port, after_s=1.2) as cut:
            all_.gateway.url = f"http://127.0.0.1:{cut}"
            assert (await node_run(node_modules, "act.mjs", all_.gateway, "generate"))["sha256"] == SHA
        assert all_.upstream.count == 1
