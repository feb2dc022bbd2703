"""Two servers over one ledger and one store of pictures: a duplicate at the other one finds the flight."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import yaml
from sqlalchemy import Connection, text

from tests.fakes.events import event, picture_event
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.script import hang, reply, stream
from tests.fakes.server import ServerProcess, server_process
from tests.fakes.upstream import FakeUpstream
from tests.flights.airport import GENERATION, PICTURE, routes, slow
from tests.servers.postgres import Postgres
from tests.stores.conftest import beside

KEY = {"idempotency-key": "order-1"}


def shared(upstream: FakeUpstream, url: str, directory: Path, window: str = "off") -> str:
    document = yaml.safe_load(routes(upstream, window))
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


@pytest.mark.parametrize("is_stream", [True, False])
async def test_what_is_settled_and_not_filed_yet_is_to_be_waited_for(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient, is_stream: bool
) -> None:
    events = [event(picture_event("partial_image", 0)), event(picture_event("completed"))]
    script = stream(events[0], 0.5, events[1]) if is_stream else slow(0.5)
    body = {**GENERATION, "stream": is_stream}
    database = postgres.new_database()
    async with (
        FakeUpstream(key="sk-A", default=script) as upstream,
        running_gateway(shared(upstream, database, tmp_path), tmp_path / "a") as one,
        running_gateway(shared(upstream, database, tmp_path), tmp_path / "b") as other,
    ):
        first = asyncio.ensure_future(ask(client, one, body, **KEY))
        await upstream.counted(1)
        with beside(database) as connection:
            connection.execute(text("SELECT 1 FROM flights FOR UPDATE"))  # its row cannot be changed
            await settled(connection)
            second = asyncio.ensure_future(ask(client, other, body, **KEY))
            await asyncio.wait([second], timeout=2 if is_stream else 0.7)
            if is_stream:
                told = await second
                assert (told.status_code, told.json()["error"]["code"]) == (409, "idempotency_in_progress")
                assert (told.headers["x-should-retry"], told.headers["retry-after"]) == ("true", "1")
            assert second.done() is is_stream
        whole = (await first).content
        again = await ask(client, other, body, **KEY)
        while again.status_code == 409:
            await asyncio.sleep(0.05)
            again = await ask(client, other, body, **KEY)
        assert again.content == whole
        if not is_stream:
            assert (await second).content == whole
        assert upstream.count == 1


async def settled(looking: Connection) -> None:
    """Wait for the settlement of the one request that is on the books."""
    for _ in range(400):
        if looking.execute(text("SELECT state FROM requests")).scalar_one_or_none() == "done":
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it was not settled")


AGAIN = {"x-stainless-retry-count": "1"}


async def test_who_was_told_to_come_back_may_come_to_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    async with FakeUpstream(key="sk-A", default=slow(2.0)) as upstream:
        file = shared(upstream, postgres.new_database(), tmp_path, window="300ms")
        async with running_gateway(file, tmp_path / "a") as one, running_gateway(file, tmp_path / "b") as other:
            told = await ask(client, one)
            assert (told.status_code, told.json()["error"]["code"]) == (503, "in_progress")
            seen = await client.get(f"{other.url}{told.headers['location']}")
            assert (seen.status_code, seen.json()["state"]) == (200, "sent")
            again = await ask(client, other, **AGAIN)
            assert (again.status_code, again.content) == (200, PICTURE)
            assert again.headers["x-flight-id"] == told.headers["x-flight-id"]
            assert upstream.count == 1
            assert (await ask(client, one)).status_code == 503  # it was delivered: this one is new
            assert upstream.count == 2


@pytest.mark.parametrize("how", ["by its looks", "by its id"])
async def test_who_comes_back_by_hand_finds_it_at_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient, how: str
) -> None:
    async with FakeUpstream(key="sk-A", default=slow(2.5)) as upstream:
        file = shared(upstream, postgres.new_database(), tmp_path, window="300ms")
        async with running_gateway(file, tmp_path / "a") as one, running_gateway(file, tmp_path / "b") as other:
            told = await ask(client, one)
            assert told.status_code == 503
            name = told.headers["x-flight-id"]
            named = {"x-flight-id": name} if how == "by its id" else {}
            await asyncio.sleep(float(told.headers["retry-after"]))
            if named:
                wrong = await ask(client, other, {**GENERATION, "n": 2}, **named)
                assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "x-flight-id")
            again = await ask(client, other, **named)
            assert (again.status_code, again.content) == (200, PICTURE)
            assert again.headers["x-flight-id"] == name
            assert upstream.count == 1
            assert (await ask(client, other, x_flight_id=name)).status_code == 404  # it was delivered


async def test_two_who_ask_the_same_at_two_servers_get_two_answers(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    async with (
        FakeUpstream(key="sk-A", default=slow(0.7)) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        answers = await asyncio.gather(ask(client, one), ask(client, other))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert upstream.count == 2


async def test_what_is_settled_and_not_filed_yet_is_not_bought_again_without_a_key(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    database = postgres.new_database()
    async with FakeUpstream(key="sk-A", default=slow(1.0)) as upstream:
        file = shared(upstream, database, tmp_path, window="300ms")
        async with running_gateway(file, tmp_path / "a") as one, running_gateway(file, tmp_path / "b") as other:
            assert (await ask(client, one)).status_code == 503
            with beside(database) as connection:
                connection.execute(text("LOCK TABLE flights IN ROW EXCLUSIVE MODE"))
                connection.execute(text("SELECT 1 FROM flights FOR UPDATE"))
                second = asyncio.ensure_future(ask(client, other, **AGAIN))
                await settled(connection)
                await asyncio.sleep(2.5)  # longer than the other server's pauses
                assert not second.done()
            assert (await second).content == PICTURE
            assert upstream.count == 1


async def test_who_does_not_wait_may_look_at_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    async with (
        FakeUpstream(key="sk-A", default=slow(1.0)) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        taken = await ask(client, one, prefer="respond-async")
        assert taken.status_code == 202
        where = f"{other.url}{taken.headers['location']}"
        seen = await client.get(where)
        assert (seen.status_code, seen.json()["state"]) in {(200, "held"), (200, "sent")}
        for _ in range(200):
            seen = await client.get(where)
            if "status" in seen.json():
                break
            await asyncio.sleep(0.05)
        assert seen.json()["result"] == json.loads(PICTURE)
        assert seen.json()["state"] == "late"
        assert (await client.delete(where)).status_code == 200
        assert (await client.get(where)).status_code == 404
        assert upstream.count == 1


@pytest.mark.parametrize("named", [{}, KEY])
@pytest.mark.parametrize("when", ["in the air", "landed"])
async def test_what_is_let_go_of_at_the_other_server_is_gone_here_too(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient, named: dict[str, str], when: str
) -> None:
    async with (
        FakeUpstream(key="sk-A", default=slow(1.0)) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        where = (await ask(client, one, prefer="respond-async", **named)).headers["location"]
        await upstream.counted(1)
        async with asyncio.timeout(10):
            while when == "landed" and "status" not in (await client.get(f"{other.url}{where}")).json():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await client.delete(f"{other.url}{where}")).status_code == 200
        async with asyncio.timeout(10):
            while (await client.get(f"{one.url}{where}")).status_code != 404:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await client.get(f"{other.url}{where}")).status_code == 404
        assert (await ask(client, one, **named)).content == PICTURE
        assert upstream.count == 2  # nobody has the first one


async def test_a_refusal_that_nobody_waited_for_stands_at_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    refusal = {"error": {"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"}}
    async with (
        FakeUpstream(key="sk-A", default=reply(400, refusal, delay_s=0.3)) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        where = (await ask(client, one, prefer="respond-async")).headers["location"]
        seen = (await client.get(f"{other.url}{where}")).json()
        while "status" not in seen:
            await asyncio.sleep(0.05)
            seen = (await client.get(f"{other.url}{where}")).json()
        here = (await client.get(f"{one.url}{where}")).json()
        assert (seen["state"], seen["status"], seen["result"]) == (here["state"], here["status"], here["result"])
        assert (seen["state"], seen["result"]["error"]["code"]) == ("refused", "moderation_blocked")
        assert (await ask(client, other, **AGAIN)).status_code == 400
        assert upstream.count == 2  # what bought nothing is asked anew


async def test_what_came_to_nothing_without_its_client_is_asked_anew_at_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    async with (
        FakeUpstream(key="sk-A", default=slow(0)) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        upstream.play(reply(503, {"error": {"message": "busy"}}, delay_s=0.7))
        leaving = asyncio.ensure_future(ask(client, one))
        await upstream.counted(1)
        leaving.cancel()
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            assert (await ask(client, other, **AGAIN)).content == PICTURE
        assert upstream.count == 2


async def test_the_retry_of_a_stream_does_not_buy_at_the_other_server(
    tmp_path: Path, postgres: Postgres, client: httpx2.AsyncClient
) -> None:
    events = [event(picture_event("partial_image", 0)), event(picture_event("completed"))]
    streamed = {**GENERATION, "stream": True}
    async with (
        FakeUpstream(key="sk-A", default=stream(events[0], 1.5, events[1])) as upstream,
        pair(tmp_path, postgres, upstream) as (one, other),
    ):
        leaving = asyncio.ensure_future(ask(client, one, streamed))
        await upstream.counted(1)
        leaving.cancel()
        await asyncio.sleep(0.3)
        told = await ask(client, other, streamed, **AGAIN)
        assert (told.status_code, told.headers["x-should-retry"]) == (409, "true")
        for _ in range(100):
            told = await ask(client, other, streamed, **AGAIN)
            if told.status_code != 409:
                break
            await asyncio.sleep(0.05)
        assert told.content == b"".join(events)
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
