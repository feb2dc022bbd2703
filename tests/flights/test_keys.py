"""The same Idempotency-Key buys once: at once, later, after a restart, and after a crash."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes.answers import image_answer
from tests.fakes.events import event, picture_event
from tests.fakes.script import hang, reply, stream
from tests.fakes.server import server_process
from tests.fakes.upstream import FakeUpstream
from tests.flights.airport import GENERATION, PICTURE, airport, routes, running, slow

KEY = "order-1"
STREAMED = {**GENERATION, "stream": True, "partial_images": 1}


async def test_duplicates_at_once_and_later_get_the_first_answer(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        at_once = await asyncio.gather(*(all_.generate(idempotency_key=KEY) for _ in range(20)))
        later = await all_.generate(idempotency_key=KEY)
        assert {answer.content for answer in (*at_once, later)} == {PICTURE}
        assert all_.upstream.count == 1
        assert len({answer.headers["x-flight-id"] for answer in (*at_once, later)}) == 1
        assert len({answer.headers["x-request-id"] for answer in (*at_once, later)}) == 21
        for name in ("x-route-owner", "x-model-mapping", "x-cost", "x-upstream-request-id", "content-type"):
            assert len({answer.headers.get(name) for answer in (*at_once, later)}) == 1, name
        records = await all_.records(21)
        assert sum("attempts" in record for record in records) == 1
        assert sorted(record["idempotency"]["replayed"] for record in records) == [False] + [True] * 20
        assert {record["flight_id"] for record in records} == {later.headers["x-flight-id"]}
        other = await all_.generate(idempotency_key="order-2")
        assert other.status_code == 200
        assert all_.upstream.count == 2


async def test_another_body_is_a_mismatch(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        first = asyncio.ensure_future(all_.generate(idempotency_key=KEY))
        await all_.upstream.counted(1)
        for _ in range(2):
            other = await all_.post("images/generations", {**GENERATION, "n": 2}, idempotency_key=KEY)
            assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
            assert other.headers["x-should-retry"] == "false"
            assert "x-flight-id" not in other.headers  # it has none, and the one of the key is not its own
            assert (await first).status_code == 200
        turn = await all_.post("images/edits", GENERATION, idempotency_key=KEY)
        assert turn.status_code == 400  # another surface: a key of its own, and no picture
        assert all_.upstream.count == 1


async def test_a_mismatch_that_nobody_waits_for_keeps_no_body(tmp_path: Path) -> None:
    """An answer may be looked at for a day; the request it belongs to, of any size, is not held for it."""
    async with airport(tmp_path) as all_:
        assert (await all_.generate(idempotency_key="k")).status_code == 200
        other = {**GENERATION, "prompt": "x" * 20_000}
        taken = await all_.post("images/generations", other, idempotency_key="k", prefer="respond-async")
        found = await all_.landed(taken.json()["id"])
        assert (taken.status_code, found["status"]) == (202, 422)
        figures = (await all_.client.get(f"{all_.gateway.url}/metrics")).text
        assert 'waybill_spool_bytes{place="memory"} 0.0' in figures


async def test_what_bought_nothing_is_not_kept(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(reply(503, {"error": {"message": "busy"}}), slow(0))
        failed = await all_.generate(idempotency_key=KEY)
        assert (failed.status_code, failed.headers.get("x-flight-id")) == (503, None)
        made = await all_.generate(idempotency_key=KEY)
        assert made.status_code == 200
        assert (await all_.look(made.headers["x-flight-id"])).status_code == 200
        assert (await all_.generate(idempotency_key=KEY)).status_code == 200
        assert all_.upstream.count == 2


async def test_the_truth_about_an_unknown_end_is_kept(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(reply(504, {"error": {"message": "late"}}))
        first = await all_.generate(idempotency_key=KEY)
        again = await all_.generate(idempotency_key=KEY)
        assert (again.status_code, again.content) == (first.status_code, first.content) == (504, first.content)
        assert again.headers["x-should-retry"] == "false"
        assert all_.upstream.count == 1


@pytest.mark.parametrize("body", [image_answer(n=3, width=48), b'{"created":1,  "data":[]}'])
async def test_an_answer_outlives_its_server(tmp_path: Path, body: bytes) -> None:
    async with FakeUpstream(default=slow(0, body), key="sk-A") as upstream:
        async with running(tmp_path, upstream) as all_:
            first = await all_.generate(idempotency_key=KEY)
        async with running(tmp_path, upstream) as all_:
            again = await all_.generate(idempotency_key=KEY)
            assert (again.status_code, again.content) == (first.status_code, first.content)
            assert again.headers["x-route-owner"] == "owner-A"
            seen = await all_.look(again.headers["x-flight-id"])
            assert seen.json()["status"] == first.status_code
            other = await all_.post("images/generations", {**GENERATION, "n": 2}, idempotency_key=KEY)
            assert other.json()["error"]["code"] == "idempotency_mismatch"
        assert upstream.count == 1


async def test_a_stream_is_given_again_event_by_event(tmp_path: Path) -> None:
    events = [event(picture_event("partial_image", 0)), event(picture_event("completed"))]
    async with FakeUpstream(default=stream(events[0], 0.4, events[1]), key="sk-A") as upstream:
        async with running(tmp_path, upstream) as all_:
            first = asyncio.ensure_future(all_.post("images/generations", STREAMED, idempotency_key=KEY))
            await upstream.counted(1)
            await asyncio.sleep(0.2)
            along = await all_.post("images/generations", STREAMED, idempotency_key=KEY)
            assert along.content == (await first).content
            later = await all_.post("images/generations", STREAMED, idempotency_key=KEY)
            assert (later.content, later.headers["content-type"]) == (
                along.content,
                "text/event-stream; charset=utf-8",
            )
        async with running(tmp_path, upstream) as all_:
            after = await all_.post("images/generations", STREAMED, idempotency_key=KEY)
            assert after.content == later.content
        assert upstream.count == 1


async def test_who_left_a_stream_reads_it_from_its_beginning(tmp_path: Path) -> None:
    events = [event(picture_event("partial_image", 0)), event(picture_event("completed"))]
    async with (
        FakeUpstream(default=stream(events[0], 0.5, events[1]), key="sk-A") as upstream,
        running(tmp_path, upstream) as all_,
    ):
        await all_.leave_behind(STREAMED)
        answer = await all_.post("images/generations", STREAMED)
        assert answer.content == b"".join(events)
        assert upstream.count == 1


async def ask(url: str, client: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"{url}/v1/images/generations", json=GENERATION, headers=named)


async def test_a_crash_with_a_flight_in_the_air_is_told_and_not_bought_again(tmp_path: Path) -> None:
    async with FakeUpstream(key="sk-A") as upstream, httpx2.AsyncClient(timeout=20, trust_env=False) as client:
        upstream.play(hang())
        async with server_process(routes(upstream), tmp_path) as server:
            asking = asyncio.ensure_future(ask(server.url, client, idempotency_key=KEY))
            await upstream.counted(1)
            await server.kill()
            with pytest.raises(httpx2.TransportError):
                await asking
        upstream.play(slow(0))
        async with server_process(routes(upstream), tmp_path) as server:
            first, told = [await ask(server.url, client, idempotency_key=KEY) for _ in range(2)]
            assert first.json() == told.json()
            assert (told.status_code, told.json()["error"]["code"]) == (502, "upstream_unknown_outcome")
            assert told.headers["x-should-retry"] == "false"
            seen = (await client.get(f"{server.url}/v1/flights/{told.headers['x-flight-id']}")).json()
            assert seen["state"] == "lost"
            assert upstream.count == 1
            assert (await ask(server.url, client, idempotency_key="order-2")).status_code == 200
        assert upstream.count == 2


@pytest.mark.parametrize("marked", [{"x_stainless_retry_count": "1"}, {}])
async def test_an_orderly_end_waits_for_flights_that_nobody_waits_for(tmp_path: Path, marked: dict[str, str]) -> None:
    async with FakeUpstream(key="sk-A", default=slow(1.0)) as upstream:
        async with (
            server_process(routes(upstream), tmp_path) as server,
            httpx2.AsyncClient(timeout=20, trust_env=False) as client,
        ):
            taken = await ask(server.url, client, prefer="respond-async")
            await upstream.counted(1)
            server.signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await server.process.wait() == 0
        async with (
            server_process(routes(upstream), tmp_path) as server,
            httpx2.AsyncClient(timeout=20, trust_env=False) as client,
        ):
            seen: dict[str, Any] = (await client.get(f"{server.url}{taken.headers['location']}")).json()
            assert (seen["state"], seen["result"]) == ("late", json.loads(PICTURE))
            again = await ask(server.url, client, **marked)
            assert again.content == PICTURE
        assert upstream.count == 1
