"""Contracts through a whole gateway, where a body is no line of a transcript: forms with pictures, and dead names."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes import answers, script
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.seen import SeenRequest
from tests.fakes.upstream import FakeUpstream

ROUTES = """\
version: 1
channels:
  a:
    owner: a
    kind: direct
    base_url: {url}
    api_key: sk-upstream
    rows:
      gpt-image-2: {{}}
      chat: {{serves: [responses]}}
routes:
  gpt-image-2: {{targets: [a]}}
  chat: {{targets: [a]}}
"""


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(default=script.reply(200, answers.image_answer_that_says({"usage": None}))) as running:
        yield running
        assert running.problems == []


@pytest.fixture
async def gateway(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(ROUTES.format(url=upstream.url), tmp_path) as running:
        yield running


async def edit(gateway: RunningGateway, mask: bytes | None, **fields: str) -> httpx2.Response:
    files = [("image[]", ("a.png", answers.png(64, 48), "image/png"))]
    if mask is not None:
        files.append(("mask", ("m.png", mask, "image/png")))
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        data = {"model": "gpt-image-2", "prompt": "a hat", **fields}
        return await client.post(f"{gateway.url}/v1/images/edits", data=data, files=files)


def fields_of(seen: SeenRequest) -> dict[str, str]:
    return {part.name: part.data.decode() for part in seen.parts if part.filename is None}


async def test_a_form_loses_what_the_model_does_not_know_and_keeps_every_other_byte(
    gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    upstream.play(script.reply(200, answers.image_answer_that_says({"quality": "high", "usage": None})))
    reply = await edit(gateway, None, input_fidelity="high", quality="hd", response_format="url", user="u")
    assert reply.status_code == 200
    assert reply.headers["x-route-warnings"] == (
        "translated:quality, dropped:input_fidelity, translated:response_format"
    )
    (seen,) = upstream.requests
    assert fields_of(seen) == {"model": "gpt-image-2", "prompt": "a hat", "quality": "high", "user": "u"}
    assert [part.length for part in seen.parts if part.filename] == [len(answers.png(64, 48))]


@pytest.mark.parametrize(
    ("mask", "rule"),
    [
        (answers.png(64, 64, alpha=True), "It must have the same width and height as the first picture."),
        (answers.png(64, 48), "It must have an alpha channel"),
        (b"\xff\xd8\xff\xe0" + bytes(60), "It must be a PNG."),
        (b"no picture at all, only words", "It must be a PNG."),
    ],
)
async def test_a_mask_that_cannot_work_is_refused_before_anything_is_sent(
    gateway: RunningGateway, upstream: FakeUpstream, mask: bytes, rule: str
) -> None:
    reply = await edit(gateway, mask)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_mask", "mask")
    assert rule in error["message"]
    assert reply.headers["x-should-retry"] == "false"
    assert upstream.count == 0


async def test_a_good_mask_goes_through(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    reply = await edit(gateway, answers.png(64, 48, alpha=True))
    assert reply.status_code == 200
    assert "x-route-warnings" not in reply.headers
    assert upstream.count == 1


async def post(gateway: RunningGateway, path: str, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        return await client.post(f"{gateway.url}/v1/{path}", json=body)


@pytest.mark.parametrize("model", ["dall-e-3", "dall-e-2", "gpt-image-1"])
async def test_a_dead_model_is_asked_by_its_successors_name(
    gateway: RunningGateway, upstream: FakeUpstream, model: str
) -> None:
    reply = await post(gateway, "images/generations", {"model": model, "prompt": "a hat", "size": "512x512"})
    assert reply.status_code == 200
    assert reply.headers["x-model-mapping"] == f"asked={model}; sent=gpt-image-2; served=unverified"
    assert reply.headers["x-route-warnings"].startswith("translated:model, translated:size")
    assert json.loads(upstream.requests[0].body) == {"model": "gpt-image-2", "prompt": "a hat", "size": "1024x1024"}
    [picture] = reply.json()["data"]
    assert list(picture) == ["b64_json" if model == "gpt-image-1" else "url"]


@pytest.mark.parametrize("form", ["url", "b64_json"])
async def test_a_dead_model_gives_what_is_asked_for(gateway: RunningGateway, form: str) -> None:
    body = {"model": "dall-e-3", "prompt": "a hat", "response_format": form}
    reply = await post(gateway, "images/generations", body)
    assert list(reply.json()["data"][0]) == [form]
    stamp = {"url": "translated:response_format", "b64_json": "dropped:response_format"}[form]
    assert stamp in reply.headers["x-route-warnings"]


async def test_a_dead_model_of_the_image_tool_is_asked_so_too(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    upstream.play(script.reply(200, answers.responses_answer()))
    tool = {"type": "image_generation", "model": "gpt-image-1", "quality": "low"}
    reply = await post(gateway, "responses", {"model": "chat", "input": "draw", "tools": [tool]})
    assert reply.status_code == 200
    assert "translated:model" in reply.headers["x-route-warnings"]
    assert json.loads(upstream.requests[0].body)["tools"] == [tool | {"model": "gpt-image-2"}]


async def test_the_models_list_tells_each_models_contract(gateway: RunningGateway) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        listed = (await client.get(f"{gateway.url}/v1/models")).json()["data"]
    assert {one["id"]: one["waybill"]["contract"] for one in listed} == {"gpt-image-2": "gpt-image-2", "chat": "open"}
