"""Two servers over one ledger and one store of pictures: a duplicate at the other one finds the flight."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.fakes.events import event, picture_event
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.script import hang, stream
from tests.fakes.server import ServerProcess, server_process
from tests.fakes.upstream import FakeUpstream
from tests.flights.airport import GENERATION, PICTURE, routes, slow
from tests.servers.postgres import Postgres

KEY = {"idempotency-key": "order-1"}


def shared(upstream: FakeUpstream, url: str, directory: Path) -> str:
    document = yaml.safe_load(routes(upstream))
    return yaml.safe_dump({**document, "storage": {"database": url, "assets": f"file:{directory / 'pictures'}"}})


@asynccontextmanager
async def pair(
    directory: Path, postgres: Postgres, upstream: FakeUpstream
) -> AsyncIterator[tuple[RunningGateway, RunningGateway]]:
    file = shared(upstream, postgres.new_database(), directory)
    async with running_gateway(file, directory / "a") as one, running_gateway(file, directory / "b") as other:
        yield one, other


async def ask(
    client: httpx2.AsyncClient, at: RunningGateway | ServerProcess, body: object = GENERATION, **headers: str
) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"{at.url}/v1/images/generations", json=body, headers=named)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as made:
        yield made


async def test_a_duplicate_waits_for_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    async with (
        FakeUpstream(key="sk-A", default=slow(1.0)) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        first = asyncio.ensure_future(ask(client, one, **KEY))
        await upstream.counted(1)
        again = await ask(client, other, **KEY)
        later = await ask(client, other, **KEY)
        assert {answer.content for answer in (await first, again, later)} == {PICTURE}
        assert again.headers["x-flight-id"] == (await first).headers["x-flight-id"]
        mismatch = await ask(client, other, {**GENERATION, "n": 2}, **KEY)
        assert mismatch.json()["error"]["code"] == "idempotency_mismatch"
        assert upstream.count == 1


async def test_the_retry_of_who_left_finds_the_flight_at_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    async with (
        FakeUpstream(key="sk-A", default=slow(1.0)) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        leaving = asyncio.ensure_future(ask(client, one))
        await upstream.counted(1)
        leaving.cancel()
        await asyncio.sleep(0.3)
        again = await ask(client, other, x_stainless_retry_count="1")
        assert (again.status_code, again.content) == (200, PICTURE)
        seen = await client.get(f"{other.url}/v1/flights/{again.headers['x-flight-id']}")
        assert seen.json()["result"] == json.loads(PICTURE)
        assert upstream.count == 1
        assert (await ask(client, other, x_stainless_retry_count="1")).status_code == 200
        assert upstream.count == 2  # it was delivered


async def test_a_stream_at_the_other_server_is_to_be_waited_for(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    events = [event(picture_event("partial_image", 0)), event(picture_event("completed"))]
    streamed = {**GENERATION, "stream": True}
    async with (
        FakeUpstream(key="sk-A", default=stream(events[0], 1.0, events[1])) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        first = asyncio.ensure_future(ask(client, one, streamed, **KEY))
        await upstream.counted(1)
        told = await ask(client, other, streamed, **KEY)
        assert (told.status_code, told.json()["error"]["code"]) == (409, "idempotency_in_progress")
        assert told.headers["x-should-retry"] == "true"
        whole = (await first).content
        again = await ask(client, other, streamed, **KEY)
        for _ in range(100):
            if again.status_code != 409:  # the other server has filed it
                break
            await asyncio.sleep(0.05)
            again = await ask(client, other, streamed, **KEY)
        assert again.content == whole
        assert upstream.count == 1


async def test_the_flight_of_a_server_that_died_is_lost(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    async with FakeUpstream(key="sk-A", default=slow(0)) as upstream:
        upstream.play(hang())
        file = shared(upstream, postgres.new_database(), tmp_path)
        async with server_process(file, tmp_path / "b") as other:
            async with server_process(file, tmp_path / "a") as one:
                asking = asyncio.ensure_future(ask(client, one, **KEY))
                await upstream.counted(1)
                await one.kill()
                with pytest.raises(httpx2.TransportError):
                    await asking
            told = await ask(client, other, **KEY)  # waits until the fleet knows
            assert (told.status_code, told.json()["error"]["code"]) == (502, "upstream_unknown_outcome")
            assert upstream.count == 1
