"""When an address cannot be given the picture is given all the same; and what an address costs nobody."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.fakes.answers import image_answer, png, url_answer
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.script import picture, reply
from tests.fakes.upstream import FakeUpstream
from tests.transcripts.play import routes_file

KNOWN = {"rows": {"pic": {"model": "gpt-image-2", "serves": ["images/generations"]}}}
ASKED = {"model": "pic", "prompt": "a fox", "response_format": "url"}


@dataclass(slots=True)
class House:
    """One upstream, and gateways over one data directory."""

    directory: Path
    a: FakeUpstream
    client: httpx2.AsyncClient

    def serve(self, storage: dict[str, Any] | None = None, **route: Any) -> Any:
        routes = yaml.safe_load(routes_file({"route": "A", "A": KNOWN, **route}, {"A": self.a}))
        return running_gateway(yaml.safe_dump(routes | {"storage": storage or {}}), self.directory)

    async def ask(self, gateway: RunningGateway, answer: bytes) -> httpx2.Response:
        self.a.play(reply(200, answer))
        return await self.client.post(f"{gateway.url}/v1/images/generations", json=ASKED)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with FakeUpstream(key="sk-A") as a, httpx2.AsyncClient(verify=NO_TLS, timeout=20, trust_env=False) as client:
        yield House(directory=tmp_path, a=a, client=client)
        assert a.problems == []


@pytest.mark.parametrize("deliver", ["as_asked", "url", "both"])
async def test_a_store_that_is_down_loses_no_picture(house: House, deliver: str) -> None:
    (house.directory / "blocked").write_text("no directory")
    body = image_answer()
    async with house.serve({"assets": f"file:{house.directory}/blocked"}, deliver=deliver) as gateway:
        answer = await house.ask(gateway, body)
        record = await gateway.record(answer.headers["x-request-id"])
    assert (answer.status_code, answer.content) == (200, body)
    assert "dropped:response_format" in answer.headers["x-route-warnings"].split(", ")
    assert "translated:response_format" not in answer.headers["x-route-warnings"]
    assert record["result"]["delivery"] == "b64_json"


async def test_a_store_that_is_down_loses_no_picture_that_came_as_an_address(house: House) -> None:
    (house.directory / "blocked").write_text("no directory")
    url = house.a.put("/1.png", picture(png()))
    async with house.serve({"assets": f"file:{house.directory}/blocked"}, deliver="b64_json") as gateway:
        answer = await house.ask(gateway, url_answer(url))
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == png()


async def test_a_route_that_keeps_nothing_gives_base64(house: House) -> None:
    body = image_answer(n=2)
    async with house.serve(keep=False) as gateway:
        answer = await house.ask(gateway, body)
    assert answer.content == body
    assert "dropped:response_format" in answer.headers["x-route-warnings"].split(", ")


async def test_an_address_of_the_upstreams_is_given_where_nothing_is_kept(house: House) -> None:
    url = house.a.put("/1.png", picture(png()))
    async with house.serve(keep=False) as gateway:
        answer = await house.ask(gateway, url_answer(url))
        record = await gateway.record(answer.headers["x-request-id"])
    assert answer.json()["data"] == [{"url": url}]
    assert record["result"]["delivery"] == "url"
    assert record["result"]["images"][0]["width"] == 64


async def test_the_spool_is_empty_afterwards(house: House) -> None:
    url = house.a.put("/1.png", picture(png(800, 600, noise=True)))
    async with house.serve() as gateway:
        spool = gateway.gateway.spool
        before = (spool.memory_left, spool.disk_left)
        assert (await house.ask(gateway, url_answer(url))).status_code == 200
        assert (await house.ask(gateway, image_answer(width=800, height=600, noise=1))).status_code == 200
        assert (spool.memory_left, spool.disk_left) == before
        assert list((house.directory / "data" / "spool").iterdir()) == []


async def test_a_difference_of_a_picture_that_was_brought_in_can_be_a_failure(house: House) -> None:
    """The size is that of the picture itself, wherever it lay."""
    url = house.a.put("/1.png", picture(png(640, 480)))
    async with house.serve(result={"size_mismatch": "fail"}) as gateway:
        house.a.play(reply(200, url_answer(url)))
        body = {**ASKED, "size": "1024x1024"}
        answer = await house.client.post(f"{gateway.url}/v1/images/generations", json=body)
        record = await gateway.record(answer.headers["x-request-id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_malformed")
    assert record["attempts"][0]["detail"] == "size_mismatch"


async def test_the_log_says_why_a_picture_was_not_had(house: House) -> None:
    async with house.serve() as gateway:
        answer = await house.ask(gateway, url_answer("http://user:secret@127.0.0.1/x?sig=secret"))
        await gateway.record(answer.headers["x-request-id"])
        said = [event for event in gateway.events() if event["event"] == "picture.not_fetched"]
    assert [(one["reason"], one["request_id"]) for one in said] == [("bad_host", answer.headers["x-request-id"])]
    assert "secret" not in json.dumps(gateway.events())


async def test_an_answer_that_is_given_again_has_the_same_address(house: House) -> None:
    async with house.serve() as gateway:
        house.a.play(reply(200, image_answer()))
        headers = {"idempotency-key": "once"}
        url = f"{gateway.url}/v1/images/generations"
        first, again = [await house.client.post(url, json=ASKED, headers=headers) for _ in range(2)]
        assert first.content == again.content
        assert (await house.client.get(again.json()["data"][0]["url"])).status_code == 200
    assert house.a.count == 1


async def test_a_stream_that_came_as_a_whole_answer_is_left_as_it_came(house: House) -> None:
    body = image_answer()
    async with house.serve(deliver="url") as gateway:
        house.a.play(reply(200, body))
        asked = {**ASKED, "stream": True}
        answer = await house.client.post(f"{gateway.url}/v1/images/generations", json=asked)
    assert answer.content == body
    assert "dropped:response_format" in answer.headers["x-route-warnings"]
