"""Asked for less where a body is no line of a transcript: a form with pictures, a stream, and a check of a form."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes import answers, events, script
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
    timeouts: {{patience: 400ms}}
    rows:
      gpt-image-2: {{price: openai/gpt-image-2}}
routes:
  gpt-image-2:
    targets: [a]
    downgrade: [{{on: timeout, set: {{quality: medium, size: 1024x1024}}}}]
    default_for: [images/generations, images/edits]
"""
MADE = script.reply(200, answers.image_answer_that_says({"usage": None}, width=1024, height=1024))


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(default=MADE) as running:
        yield running
        assert running.problems == []


@pytest.fixture
async def gateway(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(ROUTES.format(url=upstream.url), tmp_path) as running:
        yield running


async def edit(gateway: RunningGateway, path: str = "images/edits", **fields: str) -> httpx2.Response:
    files = [("image[]", ("a.png", answers.png(64, 48), "image/png"))]
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        data = {"model": "gpt-image-2", "prompt": "a hat", **fields}
        return await client.post(f"{gateway.url}/v1/{path}", data=data, files=files)


def fields_of(seen: SeenRequest) -> dict[str, str]:
    return {part.name: part.data.decode() for part in seen.parts if part.filename is None}


async def test_a_form_is_asked_again_with_other_texts_and_the_same_pictures(
    gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    upstream.play(script.hang())
    answer = await edit(gateway, quality="high", size="2048x2048")
    assert answer.status_code == 200
    assert answer.headers["x-route-warnings"] == "downgraded:quality, downgraded:size"
    first, second = upstream.requests
    assert fields_of(first) == {"model": "gpt-image-2", "prompt": "a hat", "quality": "high", "size": "2048x2048"}
    assert fields_of(second) == {"model": "gpt-image-2", "prompt": "a hat", "quality": "medium", "size": "1024x1024"}
    assert [part.data for part in first.parts if part.filename] == [part.data for part in second.parts if part.filename]
    record = await gateway.record(answer.headers["x-request-id"])
    assert record["request_shape"]["quality"] == "high"
    assert record["attempts"][1]["sent_options"] == {"quality": "medium", "size": "1024x1024"}
    assert record["attempts"][0]["exposure_micro"] > record["attempts"][1]["cost_micro"]


async def test_a_form_that_left_it_open_gets_the_parts(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    upstream.play(script.hang())
    answer = await edit(gateway)
    assert answer.headers["x-route-warnings"] == "downgraded:quality, downgraded:size"
    assert fields_of(upstream.requests[1]) == {
        "model": "gpt-image-2",
        "prompt": "a hat",
        "quality": "medium",
        "size": "1024x1024",
    }


async def test_a_body_without_a_model_gets_it_beside_what_is_lowered(
    gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    upstream.play(script.hang())
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        answer = await client.post(f"{gateway.url}/v1/images/generations", json={"prompt": "a hat", "n": 1})
    assert answer.status_code == 200
    sent = json.loads(upstream.requests[1].body)
    assert sent == {"model": "gpt-image-2", "quality": "medium", "size": "1024x1024", "prompt": "a hat", "n": 1}
    upstream.play(script.hang())
    files = [("image[]", ("a.png", answers.png(64, 48), "image/png"))]
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        again = await client.post(f"{gateway.url}/v1/images/edits", data={"prompt": "a hat"}, files=files)
    assert again.status_code == 200
    assert fields_of(upstream.requests[3]) == {
        "model": "gpt-image-2",
        "quality": "medium",
        "size": "1024x1024",
        "prompt": "a hat",
    }


async def test_a_stream_that_has_not_begun_is_asked_again_for_less(
    gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    upstream.play(script.hang())
    upstream.play(events.told("partial, completed"))
    body = {"model": "gpt-image-2", "prompt": "a hat", "stream": True, "quality": "high", "size": "1024x1024"}
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        answer = await client.post(f"{gateway.url}/v1/images/generations", json=body)
    assert answer.status_code == 200
    assert answer.headers["x-route-warnings"] == "downgraded:quality"
    assert answer.headers["x-route-attempts"] == "2"
    assert b'"quality":"medium"' in upstream.requests[1].body.replace(b" ", b"")
    record = await gateway.record(answer.headers["x-request-id"])
    assert [attempt["action"] for attempt in record["attempts"][:1]] == ["downgrade"]


async def test_a_form_can_be_checked(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    answer = await edit(gateway, "images/check", size="1024x1024", quality="high")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["endpoint"], told["ok"]) == ("images/edits", True)
    # A timeout may be bought again, for less: each attempt may cost what the dearest does, and no more.
    assert told["worst_case"]["amount_micro"] == told["targets"][0]["worst_case"]["amount_micro"] * 3
    least = (await edit(gateway, "images/check", size="1024x1024", quality="low")).json()
    assert least["worst_case"]["amount_micro"] == least["targets"][0]["worst_case"]["amount_micro"]
    assert upstream.count == 0
    record = await gateway.record(answer.headers["x-request-id"])
    assert record["endpoint"] == "images/check"
    assert record["request_shape"]["input_images"][0]["width"] == 64
