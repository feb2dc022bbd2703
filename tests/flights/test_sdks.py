"""The official SDKs, unmodified, whose own retry finds the flight: one purchase, and each picture of it once."""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes.answers import image_answer, png, responses_answer
from tests.fakes.events import told
from tests.fakes.script import Script
from tests.flights.airport import Airport, airport, slow
from tests.sdk.test_sdks import node_modules, node_run

__all__ = ["node_modules"]

PLAIN = ("generate", "several", "edit", "draw")
STREAMED = ("generate_stream", "edit_stream", "draw_stream")
DRAWN = (png(64, 64),)
FINAL = (png(64, 48, seed=9),)  # of a stream
PICTURES = {
    "several": tuple(png(64, 64, seed=seed) for seed in range(3)),
    "generate_stream": FINAL,
    "edit_stream": FINAL,
}


@asynccontextmanager
async def cutting(port: int, after_s: float, *, in_the_middle: bool = False) -> AsyncIterator[int]:
    """A proxy that cuts a connection which says nothing for a while.

    Unless ``in_the_middle``, it waits for the rest of an answer that has begun: a busy machine is silent at times, and
    no SDK asks for half an answer again.
    """

    clock = asyncio.get_running_loop().time

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: asyncio.Timeout, wait_s: float | None
    ) -> None:
        while piece := await reader.read(65536):
            patience.reschedule(None if wait_s is None else clock() + wait_s)
            writer.write(piece)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(after_s) as patience:
                await asyncio.gather(
                    carry(reader, up_writer, patience, after_s),
                    carry(up_reader, writer, patience, after_s if in_the_middle else None),
                )
        up_writer.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def script(act: str, delay_s: float) -> Script:
    """What the upstream does: it is silent for a while, then answers whole, or with events."""
    if act == "draw":
        return slow(delay_s, responses_answer())
    if not act.endswith("_stream"):
        return slow(delay_s, image_answer(3 if act == "several" else 1))
    surface = "edit_" if act == "edit_stream" else ""
    words = "turn" if act == "draw_stream" else f"{surface}partial, {surface}completed"
    return told(f"pause {delay_s}, {words}")


def port_of(all_: Airport) -> int:
    return int(all_.gateway.url.rpartition(":")[2])


def hashes(act: str) -> list[str]:
    """The pictures of an act."""
    return [hashlib.sha256(picture).hexdigest() for picture in PICTURES.get(act, DRAWN)]


@asynccontextmanager
async def python(all_: Airport, port: int | None = None) -> AsyncIterator["Python"]:
    """The Python SDK with its defaults; ``port``: of a proxy before the gateway."""
    url = all_.gateway.url if port is None else f"http://127.0.0.1:{port}"
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-anything", http_client=http) as client:
        yield Python(client)


class Python:
    """What an application does with it."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self.client = client

    async def act(self, act: str, key: str | None = None, prompt: str = "a lighthouse") -> list[str]:
        """Do it once; the hashes of the pictures that an application gets."""
        client, named = self.client, {} if key is None else {"Idempotency-Key": key}
        tools: list[Any] = [{"type": "image_generation"}]
        image = ("in.png", png(64, 64))
        answer: Any
        match act:
            case "generate":
                answer = await client.images.generate(model="pic", prompt=prompt, extra_headers=named)
            case "several":
                answer = await client.images.generate(model="pic", prompt=prompt, n=3, extra_headers=named)
            case "edit":
                answer = await client.images.edit(model="pic", prompt=prompt, image=image, extra_headers=named)
            case "draw":
                answer = await client.responses.create(model="chat", input=prompt, tools=tools, extra_headers=named)
            case "generate_stream":
                answer = await client.images.generate(
                    model="pic", prompt=prompt, stream=True, partial_images=1, extra_headers=named
                )
            case "edit_stream":
                answer = await client.images.edit(
                    model="pic", prompt=prompt, image=image, stream=True, partial_images=1, extra_headers=named
                )
            case _:
                answer = await client.responses.create(
                    model="chat", input=prompt, tools=tools, stream=True, extra_headers=named
                )
        if not act.endswith("_stream"):
            return given(answer)
        return [
            sha for event in [one async for one in answer] if event.type.endswith(".completed") for sha in given(event)
        ]


def given(answer: Any) -> list[str]:
    """The hashes of the pictures in an answer, or in the event that ends a stream."""
    whole = getattr(answer, "response", answer)
    drawn = [item.result for item in getattr(whole, "output", None) or () if item.type == "image_generation_call"]
    found = [getattr(one, "b64_json", None) for one in (answer, *(getattr(answer, "data", None) or ()))]
    return [hashlib.sha256(base64.b64decode(b64)).hexdigest() for b64 in (*found, *drawn) if b64]


async def node(modules: Path, all_: Airport, act: str, times: int = 1, key: str | None = None) -> list[dict[str, Any]]:
    """Let the Node SDK do it; what an application gets, each time."""
    file = all_.directory / "in.png"
    file.write_bytes(png(64, 64))
    words = (act, str(times), str(file), *(() if key is None else (key,)))
    said: Any = await node_run(modules, "flights.mjs", all_.gateway, *words)
    return list(said)


@pytest.mark.parametrize("act", PLAIN)
async def test_python_comes_back_after_the_window(tmp_path: Path, act: str) -> None:
    async with airport(tmp_path, window="300ms") as all_:
        all_.upstream.play(script(act, 1.0))
        async with python(all_) as sdk:
            assert await sdk.act(act) == hashes(act)
        assert all_.upstream.count == 1
        assert all_.gateway.gateway.airport.flights.rescue.pictures == len(hashes(act))


@pytest.mark.parametrize("act", [*PLAIN, *STREAMED])
async def test_python_comes_back_after_a_proxy_cut_it_off(tmp_path: Path, act: str) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(script(act, 1.5))
        async with cutting(port_of(all_), after_s=0.8) as port, python(all_, port) as sdk:
            assert await sdk.act(act) == hashes(act)
        assert all_.upstream.count == 1


@pytest.mark.parametrize("act", PLAIN)
async def test_node_comes_back_after_the_window(node_modules: Path, tmp_path: Path, act: str) -> None:
    async with airport(tmp_path, window="300ms") as all_:
        all_.upstream.play(script(act, 1.0))
        assert await node(node_modules, all_, act) == [{"pictures": hashes(act)}]
        assert all_.upstream.count == 1


@pytest.mark.parametrize("act", [*PLAIN, *STREAMED])
async def test_node_comes_back_after_a_proxy_cut_it_off(node_modules: Path, tmp_path: Path, act: str) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(script(act, 2.0))
        async with cutting(port_of(all_), after_s=1.2) as cut:
            all_.gateway.url = f"http://127.0.0.1:{cut}"
            assert await node(node_modules, all_, act) == [{"pictures": hashes(act)}]
        assert all_.upstream.count == 1


@pytest.mark.parametrize("act", [*PLAIN, *STREAMED])
async def test_python_gets_the_same_for_its_key(tmp_path: Path, act: str) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(script(act, 0.2))
        async with python(all_) as sdk:
            both = await asyncio.gather(sdk.act(act, "order-1"), sdk.act(act, "order-1"))
            assert [*both, await sdk.act(act, "order-1")] == [hashes(act)] * 3
            with pytest.raises(openai.UnprocessableEntityError) as caught:
                await sdk.act(act, "order-1", prompt="another")
        assert caught.value.code == "idempotency_mismatch"
        assert all_.upstream.count == 1


@pytest.mark.parametrize("act", ["edit", "draw", "edit_stream", "draw_stream"])
async def test_node_gets_the_same_for_its_key(node_modules: Path, tmp_path: Path, act: str) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(script(act, 0.2))
        assert await node(node_modules, all_, act, 2, "order-1") == [{"pictures": hashes(act)}] * 2
        assert all_.upstream.count == 1


@pytest.mark.parametrize("key", ["order-1", None])
async def test_a_stream_that_was_cut_in_the_middle_is_read_again(tmp_path: Path, key: str | None) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(told("partial, pause 2.0, completed"))
        async with cutting(port_of(all_), after_s=1.0, in_the_middle=True) as port, python(all_, port) as sdk:
            with pytest.raises(openai.APIConnectionError):
                await sdk.act("generate_stream", key)
        async with python(all_) as sdk:
            assert await sdk.act("generate_stream", key) == hashes("generate_stream")
        assert all_.upstream.count == 1
