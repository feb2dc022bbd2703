"""A server that is killed while its client still waits: the same request, sent again, is told so and buys nothing."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from tests.fakes.script import hang
from tests.fakes.server import ServerProcess, server_process
from tests.fakes.upstream import FakeUpstream
from tests.flights.airport import DRAWING, GENERATION, routes, slow
from tests.servers.postgres import Postgres

AGAIN = {"x-stainless-retry-count": "1"}
PLACES = {"pic": "images/generations", "chat": "responses"}


async def ask(client: httpx2.AsyncClient, server: ServerProcess, body: dict[str, object]) -> httpx2.Response:
    return await client.post(f"{server.url}/v1/{PLACES[str(body['model'])]}", json=body, headers=AGAIN)


async def buy_and_be_killed(
    client: httpx2.AsyncClient, server: ServerProcess, upstream: FakeUpstream, body: dict[str, object]
) -> None:
    upstream.play(hang())
    asking = asyncio.ensure_future(ask(client, server, body))
    await upstream.counted(1)
    await server.kill()
    with pytest.raises(httpx2.TransportError):
        await asking


@pytest.mark.parametrize("body", [dict(GENERATION), dict(DRAWING)])
async def test_the_retry_after_a_kill_buys_nothing(tmp_path: Path, body: dict[str, object]) -> None:
    async with FakeUpstream(key="sk-A") as upstream, httpx2.AsyncClient(timeout=20, trust_env=False) as client:
        async with server_process(routes(upstream), tmp_path) as server:
            await buy_and_be_killed(client, server, upstream, body)
        upstream.play(slow(0), slow(0))
        async with server_process(routes(upstream), tmp_path) as server:
            told = await ask(client, server, body)
            assert (told.status_code, told.json()["error"]["code"]) == (502, "upstream_unknown_outcome")
            assert told.headers["x-should-retry"] == "false"
            seen = await client.get(f"{server.url}/v1/flights/{told.headers['x-flight-id']}")
            assert seen.json()["state"] == "lost"
            assert upstream.count == 1
            await ask(client, server, body)
            assert upstream.count == 2  # the truth is told once


async def test_the_retry_at_another_server_waits_until_the_dead_one_is_known(
    tmp_path: Path, postgres: Postgres
) -> None:
    database = postgres.new_database()
    async with FakeUpstream(key="sk-A") as upstream, httpx2.AsyncClient(timeout=40, trust_env=False) as client:
        file = f"{routes(upstream)}\nstorage: {{database: '{database}', assets: 'file:{tmp_path / 'pictures'}'}}\n"
        async with server_process(file, tmp_path / "b") as other:
            async with server_process(file, tmp_path / "a") as one:
                await buy_and_be_killed(client, one, upstream, dict(GENERATION))
            told = await ask(client, other, dict(GENERATION))
            assert (told.status_code, told.json()["error"]["code"]) == (502, "upstream_unknown_outcome")
            assert upstream.count == 1
