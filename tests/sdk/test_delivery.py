"""Pictures as addresses: ``response.data[0].url`` of the official SDKs opens, and is the picture that was made."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest
import yaml

from tests.fakes.answers import USAGE, image_answer, image_answer_that_says, png, url_answer
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.script import hang, picture, reply
from tests.fakes.upstream import FakeUpstream
from tests.sdk.test_sdks import node_modules, node_run
from tests.transcripts.play import routes_file

__all__ = ["node_modules"]

ROWS = {"rows": {"pic": {"model": "gpt-image-2", "serves": ["images/generations", "images/edits"]}}}


def hashes(answer: bytes) -> list[str]:
    """Give the hashes of the pictures in an upstream's answer."""
    return [hashlib.sha256(base64.b64decode(one["b64_json"])).hexdigest() for one in json.loads(answer)["data"]]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(key="sk-A") as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def gateway(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    routes = routes_file({"route": "A", "A": ROWS}, {"A": upstream})
    async with running_gateway(routes, tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1",
        api_key="sk-anything",
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        yield client


async def behind(url: str) -> str:
    """Open an address as a browser would; gives the hash of what is there."""
    async with httpx2.AsyncClient(trust_env=False, verify=NO_TLS) as browser:
        found = await browser.get(url)
    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
    return hashlib.sha256(found.content).hexdigest()


@pytest.mark.parametrize("n", [1, 3])
async def test_python_opens_what_it_generated(client: openai.AsyncOpenAI, upstream: FakeUpstream, n: int) -> None:
    answer = image_answer(n=n, width=200, height=100, noise=1)
    upstream.play(reply(200, answer))
    made = await client.images.generate(model="pic", prompt="a lighthouse", n=n, response_format="url")
    assert made.data is not None
    assert [await behind(one.url or "") for one in made.data] == hashes(answer)
    assert [one.b64_json for one in made.data] == [None] * n
    assert made.usage is not None
    assert made.usage.output_tokens == 1756
    assert b"response_format" not in upstream.requests[0].body
    assert upstream.count == 1


async def test_python_opens_what_it_edited(client: openai.AsyncOpenAI, upstream: FakeUpstream, tmp_path: Path) -> None:
    answer = image_answer()
    upstream.play(reply(200, answer))
    file = tmp_path / "in.png"
    file.write_bytes(png(64, 64))
    raw = await client.images.with_raw_response.edit(model="pic", prompt="at night", image=file, response_format="url")
    made = raw.parse()
    assert made.data is not None
    assert [await behind(one.url or "") for one in made.data] == hashes(answer)
    assert "translated:response_format" in raw.headers["x-route-warnings"]
    assert len(raw.content) == int(raw.headers["content-length"])


async def test_python_gets_base64_from_an_upstream_that_gives_addresses(
    client: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    made_elsewhere = png(80, 60)
    url = upstream.put("/out/1.png?sig=x".partition("?")[0], picture(made_elsewhere))
    upstream.play(reply(200, url_answer(url + "?sig=x")))
    made = await client.images.generate(model="pic", prompt="a lighthouse")
    assert made.data is not None
    assert base64.b64decode(made.data[0].b64_json or "") == made_elsewhere
    assert made.data[0].url is None
    assert upstream.fetched[0].query == "sig=x"
    assert upstream.fetched[0].header("authorization") is None


async def test_json_edits_give_addresses_too(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    """Whatever the client points to is none of our business: it travels as it is."""
    answer = image_answer()
    upstream.play(reply(200, answer))
    body = {
        "model": "pic",
        "prompt": "x",
        "images": [{"image_url": f"https://127.0.0.1:{upstream.port}/x"}, {"image_url": "https://169.254.169.254/x"}],
        "response_format": "url",
    }
    async with httpx2.AsyncClient(trust_env=False, verify=NO_TLS) as plain:
        found = await plain.post(f"{gateway.url}/v1/images/edits", json=body)
    assert await behind(found.json()["data"][0]["url"]) == hashes(answer)[0]
    assert json.loads(upstream.requests[0].body)["images"] == body["images"]
    assert (upstream.connections, upstream.fetched) == (1, [])


async def test_nothing_else_of_the_answer_changes(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    answer = image_answer_that_says({"new_in_2027": {"a": [1.10, 1e3, "\u00e9"]}, "usage": USAGE})
    upstream.play(reply(200, answer))
    body = {"model": "pic", "prompt": "x", "response_format": "url"}
    async with httpx2.AsyncClient(trust_env=False, verify=NO_TLS) as plain:
        found = await plain.post(f"{gateway.url}/v1/images/generations", json=body)
    url = found.json()["data"][0]["url"]
    given = json.loads(answer)["data"][0]["b64_json"]
    assert found.content == answer.replace(f'"b64_json": "{given}"'.encode(), f'"url":"{url}"'.encode())


async def test_addresses_begin_as_the_operator_says(upstream: FakeUpstream, tmp_path: Path) -> None:
    written = yaml.safe_load(routes_file({"route": "A", "A": ROWS, "deliver": "url"}, {"A": upstream}))
    written["server"] = {"public_url": "https://pictures.example/gate/"}
    upstream.play(reply(200, image_answer()))
    async with (
        running_gateway(yaml.safe_dump(written), tmp_path) as gateway,
        httpx2.AsyncClient(trust_env=False, verify=NO_TLS) as plain,
    ):
        answer = await plain.post(f"{gateway.url}/v1/images/generations", json={"model": "pic", "prompt": "x"})
        url = answer.json()["data"][0]["url"]
        assert url.startswith("https://pictures.example/gate/assets/")
        await behind(url.replace("https://pictures.example/gate", gateway.url))


async def test_addresses_name_the_host_that_was_asked(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    upstream.play(reply(200, image_answer()))
    body = {"model": "pic", "prompt": "x", "response_format": "url"}
    async with httpx2.AsyncClient(trust_env=False, verify=NO_TLS) as plain:
        found = await plain.post(
            f"{gateway.url}/v1/images/generations", json=body, headers={"host": "gate.internal:8000"}
        )
    assert found.json()["data"][0]["url"].startswith("http://gate.internal:8000/assets/")


async def test_a_picture_that_does_not_come_holds_nothing_up_for_ever(upstream: FakeUpstream, tmp_path: Path) -> None:
    channel = {**ROWS, "timeouts": {"patience": "1s"}}
    url = upstream.put("/1.png", hang())
    upstream.play(reply(200, url_answer(url)))
    async with (
        running_gateway(routes_file({"route": "A", "A": channel}, {"A": upstream}), tmp_path) as gateway,
        httpx2.AsyncClient(trust_env=False, verify=NO_TLS, timeout=20) as plain,
    ):
        found = await plain.post(f"{gateway.url}/v1/images/generations", json={"model": "pic", "prompt": "x"})
        record = await gateway.record(found.headers["x-request-id"])
    assert found.json()["data"] == [{"url": url}]
    assert found.headers["x-route-warnings"] == "dropped:response_format"
    assert (record["result"]["delivery"], record["attempts"][0]["outcome"]) == ("url", "delivered")
    assert 900 < record["latency_ms"] < 5000


@pytest.mark.parametrize(("act", "n"), [("generate", 1), ("generate", 2), ("edit", 1)])
async def test_node_opens_what_it_made(
    gateway: RunningGateway, upstream: FakeUpstream, node_modules: Path, tmp_path: Path, act: str, n: int
) -> None:
    answer = image_answer(n=n)
    upstream.play(reply(200, answer))
    file = tmp_path / "in.png"
    file.write_bytes(png(32, 32))
    said = await node_run(node_modules, "links.mjs", gateway, act, str(n), *([str(file)] if act == "edit" else []))
    assert said["found"] == [{"sha256": one, "type": "image/png"} for one in hashes(answer)]
    assert said["members"] == ["url"]
    assert said["usage"] == USAGE
