"""SIGTERM: what has begun is finished, streams too; what cannot be is settled as interrupted; the exit code is 0."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.launcher import waited_for
from gateway.ports import LogQuery
from gateway.stores.reader import LogRow, open_reader
from tests.fakes.answers import image_answer
from tests.fakes.events import event, picture_event, response_events
from tests.fakes.pair import DRAWING, GENERATION, routes_file
from tests.fakes.script import Script, hang, reply, stream
from tests.fakes.seen import SeenRequest
from tests.fakes.server import ServerProcess, server_process
from tests.fakes.upstream import FakeUpstream

IN_FLIGHT = 20
SLOW_S = 1.5


@dataclass
class House:
    server: ServerProcess
    upstream: FakeUpstream
    client: httpx2.AsyncClient

    async def ask(self, path: str, body: object) -> httpx2.Response:
        return await self.client.post(f"{self.server.url}/v1/{path}", json=body)

    async def ended(self, within_s: float) -> int:
        async with asyncio.timeout(within_s):
            return await self.server.process.wait()

    def ledger(self) -> list[LogRow]:
        database = self.server.directory / "data" / "waybill.db"
        return open_reader(f"sqlite:///{database}").page(LogQuery(limit=100))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.server.events() if line["event"] == event]


@asynccontextmanager
async def house(directory: Path, upstream: FakeUpstream, *arguments: str) -> AsyncIterator[House]:
    limits = httpx2.Limits(max_connections=None)
    async with (
        upstream,
        server_process(routes_file({"A": upstream.url}), directory, *arguments) as server,
        httpx2.AsyncClient(timeout=30, trust_env=False, limits=limits) as client,
    ):
        yield House(server, upstream, client)


def slowly(seen: SeenRequest) -> Script:
    """Answer after a while; a stream begins at once and goes on after a while."""
    if b'"stream"' in seen.body and seen.path.endswith("/responses"):
        first, *rest = [event(one) for one in response_events()]
        return stream(first, SLOW_S, *rest)
    if b'"stream"' in seen.body:
        return stream(event(picture_event("partial_image", 0)), SLOW_S, event(picture_event("completed")))
    return reply(200, image_answer(), delay_s=SLOW_S)


async def test_twenty_in_flight_are_finished_and_settled(tmp_path: Path) -> None:
    async with house(tmp_path, FakeUpstream(key="sk-A", choose=slowly), "--lead", "0.3s") as all_:
        asked = [asyncio.ensure_future(all_.ask("images/generations", GENERATION)) for _ in range(IN_FLIGHT - 6)]
        asked += [
            asyncio.ensure_future(all_.ask("images/generations", {**GENERATION, "stream": True, "partial_images": 1}))
            for _ in range(3)
        ]
        asked += [asyncio.ensure_future(all_.ask("responses", {**DRAWING, "stream": True})) for _ in range(3)]
        await all_.upstream.counted(IN_FLIGHT)
        all_.server.signal(signal.SIGTERM)
        await asyncio.sleep(0.15)
        ready = await all_.client.get(f"{all_.server.url}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        answers = await asyncio.gather(*asked)
        assert await all_.ended(5) == 0
    assert [answer.status_code for answer in answers] == [200] * IN_FLIGHT
    assert all(answer.json()["data"][0]["b64_json"] for answer in answers[: IN_FLIGHT - 6])
    assert all("image_generation.completed" in answer.text for answer in answers[IN_FLIGHT - 6 : IN_FLIGHT - 3])
    assert all("response.completed" in answer.text for answer in answers[IN_FLIGHT - 3 :])
    assert all_.upstream.count == IN_FLIGHT
    rows = [row for row in all_.ledger() if row.endpoint != "unknown"]
    assert len(rows) == IN_FLIGHT
    assert {(row.state.value, row.status, row.attempts[0].outcome) for row in rows} == {("done", 200, "delivered")}
    assert len(all_.named("request.finished")) == IN_FLIGHT
    assert all_.named("server.cut") == []
    assert all_.server.events()[-1] == {"event": "server.stopped", "unwritten_settlements": 0}


async def test_a_stuck_upstream_is_waited_for_as_long_as_the_grace_and_then_settled(tmp_path: Path) -> None:
    async with house(tmp_path, FakeUpstream(default=hang(), key="sk-A"), "--grace", "1s") as all_:
        asked = [asyncio.ensure_future(all_.ask("images/generations", GENERATION)) for _ in range(5)]
        await all_.upstream.counted(5)
        told = time.monotonic()
        all_.server.signal(signal.SIGTERM)
        assert await all_.ended(5) == 0
        took = time.monotonic() - told
        answers = await asyncio.gather(*asked)
    assert 1.0 <= took < 2.0 + 1.0  # the grace, a second to settle, and a busy machine
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unknown_outcome")
        assert answer.headers["x-should-retry"] == "false"
    rows = all_.ledger()
    assert [(row.state.value, row.status) for row in rows] == [("done", 502)] * 5
    assert {(row.attempts[0].outcome, row.attempts[0].failure, row.attempts[0].detail) for row in rows} == {
        ("unknown", "connection_lost", "interrupted")
    }
    assert all_.upstream.count == 5


async def test_a_second_signal_is_faster(tmp_path: Path) -> None:
    async with house(tmp_path, FakeUpstream(default=hang(), key="sk-A")) as all_:
        asked = asyncio.ensure_future(all_.ask("images/generations", GENERATION))
        await all_.upstream.counted(1)
        all_.server.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert not asked.done()
        told = time.monotonic()
        all_.server.signal(signal.SIGTERM)
        assert await all_.ended(5) == 0
        assert time.monotonic() - told < 3.0
        assert (await asked).status_code == 502
    [row] = all_.ledger()
    assert (row.state.value, row.attempts[0].detail) == ("done", "interrupted")
    assert len(all_.named("server.cut")) == 1


async def test_a_stream_that_cannot_be_finished_ends_with_an_error_event(tmp_path: Path) -> None:
    stuck = stream(event(picture_event("partial_image", 0)), finished=False, stalls=True)
    async with house(tmp_path, FakeUpstream(default=stuck, key="sk-A"), "--grace", "0.5") as all_:
        body = {**GENERATION, "stream": True, "partial_images": 1}
        asked = asyncio.ensure_future(all_.ask("images/generations", body))
        await all_.upstream.counted(1)
        await asyncio.sleep(0.3)
        all_.server.signal(signal.SIGTERM)
        assert await all_.ended(5) == 0
        answer = await asked
    last = json.loads(answer.text.strip().rsplit("data: ", 1)[1])
    assert (answer.status_code, last["type"]) == (200, "error")
    assert "image_generation.partial_image" in answer.text
    [row] = all_.ledger()
    assert (row.state.value, row.attempts[0].outcome, row.attempts[0].detail) == ("done", "unknown", "interrupted")


async def test_requests_that_are_refused_at_the_edge_are_in_the_ledger_when_they_are_answered(tmp_path: Path) -> None:
    async with house(tmp_path, FakeUpstream(key="sk-A")) as all_:
        for path, status in (("models", 200), ("chat/completions", 404), ("responses", 405), ("nothing", 404)):
            answer = await all_.client.get(f"{all_.server.url}/v1/{path}")
            assert answer.status_code == status
            row = all_.ledger()[0]
            assert (row.request_id, row.status, row.state.value) == (answer.headers["x-request-id"], status, "done")
        await all_.client.get(f"{all_.server.url}/nothing")
        assert len(all_.ledger()) == 4


async def test_who_still_uploads_is_told_to_come_back(tmp_path: Path) -> None:
    async with house(tmp_path, FakeUpstream(key="sk-A"), "--grace", "0") as all_:
        reader, writer = await asyncio.open_connection("127.0.0.1", all_.server.port)
        writer.write(
            b"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b'content-length: 1000\r\n\r\n{"model"'
        )
        await asyncio.sleep(0.3)
        all_.server.signal(signal.SIGTERM)
        answer = (await reader.read()).decode()
        writer.close()
        assert answer.startswith("HTTP/1.1 503")
        assert "x-should-retry: true" in answer
        assert await all_.ended(5) == 0
    [row] = all_.ledger()
    assert (row.status, row.attempts) == (499, ())


ASIDE = """\
version: 1
channels:
  sandbox: {owner: sandbox, kind: sandbox, rows: {gpt-image-2: {serves: [images/generations]}}}
routes:
  gpt-image-2: {targets: [sandbox]}
"""


async def test_the_sandbox_is_cut_like_any_other_and_its_record_says_what_the_client_was_told(tmp_path: Path) -> None:
    async with (
        server_process(ASIDE, tmp_path, "--grace", "0.5") as server,
        httpx2.AsyncClient(timeout=30, trust_env=False) as client,
    ):
        it = House(server, FakeUpstream(), client)
        asked = [
            asyncio.ensure_future(
                it.ask("images/generations", {**GENERATION, "model": "gpt-image-2", "prompt": prompt})
            )
            for prompt in ("[fail hang]", "[delay 30s]")
        ]
        async with asyncio.timeout(10):
            while "waybill_flights_aloft 2" not in (await client.get(f"{server.url}/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        told = time.monotonic()
        server.signal(signal.SIGTERM)
        assert await it.ended(10) == 0
        assert time.monotonic() - told < 4.0
        answers = await asyncio.gather(*asked)
    assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [
        (502, "upstream_unknown_outcome")
    ] * 2
    for record in it.named("request.finished"):
        [attempt] = record["attempts"]
        assert (record["result"]["status"], record["result"]["code"]) == (502, "upstream_unknown_outcome")
        assert (attempt["class"], attempt["detail"], attempt["outcome"]) == (
            "connection_lost",
            "interrupted",
            "unknown",
        )


async def test_a_flight_whose_client_has_left_is_counted_said_and_cut_by_a_second_signal(tmp_path: Path) -> None:
    async with house(tmp_path, FakeUpstream(default=hang(), key="sk-A")) as all_:
        with suppress(httpx2.ReadTimeout):
            body = {**GENERATION, "prompt": "left alone"}
            await all_.client.post(f"{all_.server.url}/v1/images/generations", json=body, timeout=0.5)
        await all_.upstream.counted(1)
        await asyncio.sleep(0.2)
        all_.server.signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        [draining] = all_.named("server.draining")
        assert (draining["requests_in_flight"], draining["flights_aloft"]) == (0, 1)
        said = (tmp_path / "stderr.txt").read_text("utf-8")
        assert "told to end; waits for 1 flight whose client has left, 600 s at most." in said
        all_.server.signal(signal.SIGINT)
        assert await all_.ended(5) == 0
    [cut] = all_.named("server.cut")
    assert cut["flights_aloft"] == 1


@pytest.mark.parametrize(
    ("requests", "unattended", "said"),
    [
        (0, 0, ""),
        (1, 0, "1 request"),
        (0, 1, "1 flight whose client has left"),
        (3, 2, "3 requests and 2 flights whose clients have left"),
    ],
)
def test_what_is_waited_for_is_said_to_people(requests: int, unattended: int, said: str) -> None:
    assert waited_for(requests, unattended) == said
