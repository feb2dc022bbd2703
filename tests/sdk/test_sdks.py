"""The official SDKs, unmodified and with their default retries, through a real gateway over two real upstreams."""

import asyncio
import base64
import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import yaml

from gateway.core.types import JsonObject
from tests.fakes.answers import OPENAI_ERRORS, image_answer, png, responses_answer
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.script import drop_before_status, reply
from tests.fakes.sender import picture
from tests.fakes.upstream import FakeUpstream
from tests.sdk.install import install
from tests.transcripts.play import routes_file

NODE = Path(__file__).parent / "node"


@dataclass(slots=True, kw_only=True)
class House:
    gateway: RunningGateway
    a: FakeUpstream
    b: FakeUpstream

    @property
    def asked(self) -> tuple[int, int]:
        return self.a.count, self.b.count


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with FakeUpstream(key="sk-A") as a, FakeUpstream(key="sk-B") as b:
        routes = routes_file({}, {"A": a, "B": b})
        assert yaml.safe_load(routes)["version"] == 1
        async with running_gateway(routes, tmp_path) as gateway:
            yield House(gateway=gateway, a=a, b=b)
        assert a.problems + b.problems == []


@pytest.fixture
async def client(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{house.gateway.url}/v1",
        api_key="sk-anything",
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        yield client


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The Node SDK as its lock file pins it."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    install(NODE)
    return NODE


async def node(directory: Path, house: House, *words: str) -> dict[str, Any]:
    return await node_run(directory, "act.mjs", house.gateway, *words)


async def node_run(directory: Path, script: str, gateway: RunningGateway, *words: str) -> dict[str, Any]:
    """Run a script of the Node tests against the gateway; gives the one line it prints."""
    await asyncio.to_thread(install, directory)
    running = await asyncio.create_subprocess_exec(
        "node", script, f"{gateway.url}/v1", *words, cwd=directory, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await running.communicate()
    assert running.returncode == 0
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return said


def sha(answer: bytes) -> str:
    document = json.loads(answer)
    items = document.get("data") or [item for item in document["output"] if item["type"] == "image_generation_call"]
    return hashlib.sha256(base64.b64decode(items[0].get("b64_json") or items[0]["result"])).hexdigest()


OVERLOADED: JsonObject = {"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}}


async def test_python_generates_through_a_fallback(house: House, client: openai.AsyncOpenAI) -> None:
    answer = image_answer(width=128, height=96)
    house.a.play(reply(503, OVERLOADED))
    house.b.play(reply(200, answer))
    raw = await client.images.with_raw_response.generate(model="pic", prompt="a lighthouse", size="1024x1024", n=1)
    assert hashlib.sha256(raw.content).digest() == hashlib.sha256(answer).digest()
    result = raw.parse()
    assert result.data
    assert result.data[0].b64_json
    assert result.usage
    assert raw.headers["x-route-owner"] == "owner-B"
    assert raw.headers["x-retry-reason"] == "overloaded:503"
    assert house.asked == (1, 1)
    sent = json.loads(house.b.requests[0].body)
    assert sent == {"model": "pic-B", "prompt": "a lighthouse", "size": "1024x1024", "n": 1}
    record = await house.gateway.record(raw.headers["x-request-id"])
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["refused", "delivered"]


@pytest.mark.parametrize("pictures", [1, 3])
async def test_python_edits_with_files_and_a_mask(house: House, client: openai.AsyncOpenAI, pictures: int) -> None:
    files = [png(64, 64, seed=seed) for seed in range(pictures)]
    mask = png(64, 64, alpha=True)
    house.a.play(reply(503, OVERLOADED))
    house.b.play(reply(200, image_answer()))
    raw = await client.images.with_raw_response.edit(
        model="pic", prompt="at night", image=files if pictures > 1 else files[0], mask=mask
    )
    assert raw.parse().data
    first, second = house.a.requests[0], house.b.requests[0]
    assert [(p.name, p.sha256) for p in first.parts if p.name != "model"] == [
        (p.name, p.sha256) for p in second.parts if p.name != "model"
    ]
    names = [part.name for part in second.parts]
    assert names.count("image[]" if pictures > 1 else "image") == pictures
    assert second.body.replace(b"pic-B", b"pic") == first.body.replace(b"pic-A", b"pic")
    record = await house.gateway.record(raw.headers["x-request-id"])
    shape = record["request_shape"]
    assert [given["sha256"] for given in shape["input_images"]] == [hashlib.sha256(file).hexdigest() for file in files]
    assert shape["mask"]["format"] == "png"


async def test_python_draws_inside_a_turn(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(reply(429, OPENAI_ERRORS[11].body))
    house.b.play(reply(200, responses_answer()))
    raw = await client.responses.with_raw_response.create(
        model="chat", input="draw", tools=[{"type": "image_generation", "model": "pic"}]
    )
    response = raw.parse()
    assert response.output[0].type == "image_generation_call"
    assert json.loads(house.b.requests[0].body)["tools"] == [{"type": "image_generation", "model": "pic-B"}]
    assert "tool_sent=pic-B" in raw.headers["x-model-mapping"]


async def test_python_buys_once_per_target_when_all_fail(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(reply(429, OPENAI_ERRORS[11].body))
    house.b.play(reply(503, OVERLOADED))
    with pytest.raises(openai.RateLimitError) as caught:
        await client.images.generate(model="pic", prompt="x")
    assert caught.value.code == "insufficient_quota"
    assert house.asked == (1, 1)


async def test_python_does_not_buy_again_after_an_unknown_outcome(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(drop_before_status())
    with pytest.raises(openai.InternalServerError) as caught:
        await client.images.generate(model="pic", prompt="x")
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_unknown_outcome")
    assert house.asked == (1, 0)


async def test_python_lists_models(house: House, client: openai.AsyncOpenAI) -> None:
    listed = {model.id async for model in client.models.list()}
    assert listed == {"pic", "chat"}
    assert (await client.models.retrieve("pic")).id == "pic"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nope")


@pytest.mark.parametrize("act", ["generate", "edit", "edits", "draw"])
async def test_node_does_its_work_through_a_fallback(
    house: House, node_modules: Path, act: str, tmp_path: Path
) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(png(32, 32, alpha=True))
    answer = responses_answer() if act == "draw" else image_answer()
    house.a.play(reply(503, OVERLOADED))
    house.b.play(reply(200, answer))
    said = await node(node_modules, house, act, *([str(file)] if act.startswith("edit") else []))
    assert said["sha256"] == sha(answer)
    assert said["headers"]["x-route-channel"] == "B"
    assert house.asked == (1, 1)


async def test_node_buys_once_per_target_when_all_fail(house: House, node_modules: Path) -> None:
    house.a.play(reply(429, OPENAI_ERRORS[11].body))
    house.b.play(reply(503, OVERLOADED))
    said = await node(node_modules, house, "generate")
    assert (said["name"], said["code"]) == ("RateLimitError", "insufficient_quota")
    assert house.asked == (1, 1)


async def test_node_does_not_buy_again_after_an_unknown_outcome(house: House, node_modules: Path) -> None:
    house.a.play(drop_before_status())
    said = await node(node_modules, house, "generate")
    assert (said["status"], said["code"]) == (502, "upstream_unknown_outcome")
    assert house.asked == (1, 0)


async def test_json_edits_take_data_urls(house: House, tmp_path: Path) -> None:
    picture = png(40, 30)
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    body = {"model": "pic", "prompt": "x", "images": [{"image_url": url}, {"image_url": "https://example.com/a.png"}]}
    house.a.play(reply(503, OVERLOADED))
    house.b.play(reply(200, image_answer()))
    async with httpx2.AsyncClient(trust_env=False) as plain:
        answer = await plain.post(f"{house.gateway.url}/v1/images/edits", json=body)
    assert answer.status_code == 200
    assert json.loads(house.b.requests[0].body) == {**body, "model": "pic-B"}
    record = await house.gateway.record(answer.headers["x-request-id"])
    given = record["request_shape"]["input_images"]
    assert given[0]["sha256"] == hashlib.sha256(picture).hexdigest()
    assert (given[0]["source"], given[0]["width"], given[1]) == ("data_url", 40, {"source": "url"})


@pytest.fixture
async def one_target(tmp_path: Path) -> AsyncIterator[House]:
    """A house whose route leads to A alone, so that a large form goes ahead."""
    async with FakeUpstream(key="sk-A", default=reply(200, image_answer())) as a, FakeUpstream(key="sk-B") as b:
        routes = yaml.safe_load(routes_file({}, {"A": a, "B": b}))
        routes["routes"]["pic"]["targets"] = ["A"]
        async with running_gateway(yaml.safe_dump(routes), tmp_path) as gateway:
            yield House(gateway=gateway, a=a, b=b)
        assert a.problems + b.problems == []


LARGE = picture(12_000_000)


async def ahead_of(house: House, request_id: str) -> int | None:
    """How much of the only attempt's form went ahead."""
    [attempt] = (await house.gateway.record(request_id))["attempts"]
    found: int | None = attempt.get("ahead_bytes")
    return found


async def test_a_large_form_of_the_python_sdk_goes_ahead(one_target: House) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{one_target.gateway.url}/v1",
        api_key="sk-anything",
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        raw = await client.images.with_raw_response.edit(prompt="at night", image=LARGE, model="pic", size="1024x1024")
    assert raw.parse().data
    [request] = one_target.a.requests
    assert {part.name: part.data for part in request.parts if part.name != "image"} == {
        "prompt": b"at night",
        "model": b"pic-A",
        "size": b"1024x1024",
    }
    [sent] = [part for part in request.parts if part.name == "image"]
    assert (sent.length, sent.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert (one_target.a.count, len(one_target.a.heads)) == (1, 1)
    assert (await ahead_of(one_target, raw.headers["x-request-id"]) or 0) > 0


@pytest.mark.parametrize(("act", "is_ahead"), [("edit", True), ("late", False)])
async def test_a_large_form_of_the_node_sdk_goes_ahead_when_its_model_comes_first(
    one_target: House, node_modules: Path, tmp_path: Path, act: str, is_ahead: bool
) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(LARGE)
    said = await node(node_modules, one_target, act, str(file))
    [request] = one_target.a.requests
    [sent] = [part for part in request.parts if part.name == "image"]
    assert (sent.length, sent.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert (one_target.a.count, len(one_target.a.heads)) == (1, 1)
    assert (await ahead_of(one_target, said["headers"]["x-request-id"]) is not None) is is_ahead
