"""The official SDKs, streaming on all three surfaces: previews, pictures, and breaks on which they raise."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes.answers import png
from tests.fakes.events import told
from tests.fakes.gateway import running_gateway
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.sdk.test_sdks import NODE, OVERLOADED, House, client, node_modules
from tests.transcripts.play import routes_file

__all__ = ["client", "node_modules"]  # fixtures

PREVIEW, PICTURE = "image_generation.partial_image", "image_generation.completed"
FINAL = hashlib.sha256(png(64, 48, seed=9)).hexdigest()
DRAWN = hashlib.sha256(png(64, 64)).hexdigest()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with FakeUpstream(key="sk-A") as a, FakeUpstream(key="sk-B") as b:
        async with running_gateway(routes_file({}, {"A": a, "B": b}), tmp_path) as gateway:
            yield House(gateway=gateway, a=a, b=b)
        assert a.problems + b.problems == []


def sha(b64: str) -> str:
    return hashlib.sha256(base64.b64decode(b64)).hexdigest()


async def test_python_sees_previews_and_the_picture(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(reply(503, OVERLOADED))
    house.b.play(told("partial, comment, partial, completed"))
    stream = await client.images.generate(model="pic", prompt="a lighthouse", stream=True, partial_images=2)
    seen = [event async for event in stream]
    assert [event.type for event in seen] == [PREVIEW, PREVIEW, PICTURE]
    assert [sha(event.b64_json) for event in seen] == [
        *(hashlib.sha256(png(64, 48, seed=seed)).hexdigest() for seed in (0, 1)),
        FINAL,
    ]
    last = seen[-1]
    assert last.type == "image_generation.completed"
    assert last.usage.output_tokens == 1756
    headers = stream.response.headers
    assert (headers["x-route-channel"], headers["x-retry-reason"]) == ("B", "overloaded:503")
    assert json.loads(house.b.requests[0].body)["stream"] is True
    record = await house.gateway.record(headers["x-request-id"])
    assert record["result"]["images"][0]["sha256"] == FINAL
    assert house.asked == (1, 1)


async def test_python_edits_with_a_file(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(told("edit_partial, edit_completed"))
    stream = await client.images.edit(
        model="pic", prompt="at night", image=png(64, 64), mask=png(64, 64, alpha=True), stream=True, partial_images=1
    )
    seen = [event async for event in stream]
    assert [event.type for event in seen] == ["image_edit.partial_image", "image_edit.completed"]
    assert b'name="stream"\r\n\r\ntrue\r\n' in house.a.requests[0].body


async def test_python_draws_inside_a_turn(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(told("created, in_progress, error insufficient_quota"))
    house.b.play(told("turn"))
    tools: list[Any] = [{"type": "image_generation", "partial_images": 1}]
    stream = await client.responses.create(model="chat", input="draw", stream=True, tools=tools)
    seen = [event async for event in stream]
    assert len(seen) == 17
    assert [event.sequence_number for event in seen] == list(range(17))
    last = seen[-1]
    assert last.type == "response.completed"
    call = last.response.output[0]
    assert call.type == "image_generation_call"
    assert call.result
    assert sha(call.result) == DRAWN
    assert house.asked == (1, 1)


async def test_python_gathers_a_turn(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(told("text"))
    async with client.responses.stream(model="chat", input="hello") as stream:
        words = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        whole = await stream.get_final_response()
    assert "".join(words) == whole.output_text == "Here it is."


@pytest.mark.parametrize("ending", ["; cut", "; reset", ", partial half; cut", "", ", error out_of_luck", ", junk"])
async def test_python_raises_on_a_break(house: House, client: openai.AsyncOpenAI, ending: str) -> None:
    house.a.play(told(f"partial{ending}"))
    stream = await client.images.generate(model="pic", prompt="x", stream=True, partial_images=1)
    seen: list[str] = []

    async def read() -> None:
        async for event in stream:
            seen.append(event.type)  # noqa: PERF401 - what came before the error is asked below

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert seen == [PREVIEW]
    assert caught.value.code == ("out_of_luck" if "luck" in ending else "upstream_unknown_outcome")
    assert house.asked == (1, 0)


@pytest.mark.parametrize("ending", ["; cut", "", ", flat out_of_luck"])
async def test_python_raises_on_a_turn_that_breaks(house: House, client: openai.AsyncOpenAI, ending: str) -> None:
    house.a.play(told(f"created, in_progress, output_item.added{ending}"))
    stream = await client.responses.create(model="chat", input="hello", stream=True)
    with pytest.raises(openai.APIError):
        _ = [event async for event in stream]
    assert house.asked == (1, 0)


async def test_python_raises_with_the_status_when_nothing_came(house: House, client: openai.AsyncOpenAI) -> None:
    house.a.play(told("error moderation_blocked"))
    with pytest.raises(openai.BadRequestError) as caught:
        await client.images.generate(model="pic", prompt="x", stream=True)
    assert caught.value.code == "moderation_blocked"
    assert house.asked == (1, 0)


async def node(house: House, *words: str) -> dict[str, Any]:
    running = await asyncio.create_subprocess_exec(
        "node", "streams.mjs", f"{house.gateway.url}/v1", *words, cwd=NODE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await running.communicate()
    assert running.returncode == 0
    said: dict[str, Any] = json.loads(out)
    return said


@pytest.mark.parametrize(
    ("act", "events", "sha256"),
    [
        ("generate", "partial, partial, completed", FINAL),
        ("generate", "partial, partial, completed, done; crlf", FINAL),
        ("edit", "edit_partial, edit_completed; cr", FINAL),
        ("draw", "turn", DRAWN),
    ],
)
async def test_node_sees_previews_and_the_picture(
    house: House, node_modules: Path, tmp_path: Path, act: str, events: str, sha256: str
) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(png(32, 32))
    house.a.play(told(events))
    said = await node(house, act, *([str(file)] if act == "edit" else []))
    assert said["sha256"] == sha256
    assert "error" not in said
    assert said["types"][-1].endswith(".completed")
    assert said["headers"]["x-model-mapping"].endswith("served=pending")


@pytest.mark.parametrize(
    ("act", "events", "code"),
    [
        ("generate", "partial; cut", "upstream_unknown_outcome"),
        ("generate", "partial, partial half; reset", "upstream_unknown_outcome"),
        ("generate", "partial", "upstream_unknown_outcome"),
        ("generate", "partial, error out_of_luck", "out_of_luck"),
        ("draw", "created, in_progress, output_item.added; cut", "upstream_unknown_outcome"),
        ("draw", "created, in_progress, output_item.added, flat out_of_luck", "out_of_luck"),
    ],
)
async def test_node_raises_on_a_break(house: House, node_modules: Path, act: str, events: str, code: str) -> None:
    house.a.play(told(events))
    said = await node(house, act)
    assert (said["error"]["name"], said["error"]["code"]) == ("APIError", code)
    assert house.asked == (1, 0)
