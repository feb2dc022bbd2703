"""The sandbox as a sender: pictures, inputs, directives and the clock it is given."""

import asyncio
import base64
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image

from gateway.core.table import Api, Channel, ChannelKind
from gateway.core.types import (
    BodyMap,
    Cause,
    Directives,
    Facts,
    ImageFacts,
    InputFacts,
    InputRole,
    Phase,
    RequestId,
    Splice,
    Surface,
    ToolFacts,
    Wire,
)
from gateway.ports import Broken, Call, ExchangeBroken, Job
from gateway.sandbox.sandbox import Sandbox, SandboxExchange, SandboxStream


class Body:
    length = 0

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for piece in (b"",)[start:end]:
            yield piece

    def close(self) -> None:
        pass


CHANNEL = Channel(
    name="sandbox", owner="sandbox", kind=ChannelKind.SANDBOX, api=Api.SANDBOX, base_url="", host="", rows={}
)


def call(prompt: str, facts: Facts | None = None, *, seconds: float = 30, splices: tuple[Splice, ...] = ()) -> Call:
    body = Body()
    tool_models = tuple((splice.start, splice.end) for splice in splices)
    job = Job(
        request_id=RequestId("req_1"),
        time=datetime(2026, 11, 20, tzinfo=UTC),
        started=0.0,
        facts=facts or Facts(surface=Surface.GENERATIONS, asked_model="m", size="256x256"),
        directives=Directives(),
        body=body,
        body_map=BodyMap(content_type="application/json", length=0, model=None, insert_at=1, tool_models=tool_models),
        prompt=prompt,
    )
    return Call(
        channel=CHANNEL,
        wire=Wire(path="images/generations", headers=(), splices=splices),
        body=body,
        job=job,
        sent_model="sandbox-image",
        connect_s=3,
        idle_s=120,
        give_up_at=asyncio.get_running_loop().time() + seconds,
        overdue=Cause.PATIENCE,
    )


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    box = Sandbox()
    yield box
    box.close()


async def told(sandbox: Sandbox, asked: Call) -> tuple[SandboxExchange, Any]:
    exchange = await sandbox.send(asked)
    assert isinstance(exchange, SandboxExchange)
    pieces = [piece async for piece in exchange.chunks()]
    assert all(len(piece) <= 64 * 1024 for piece in pieces)
    body = b"".join(pieces)
    await exchange.close()
    assert exchange.headers["content-length"] == str(len(body))
    return exchange, json.loads(body)


def picture_of(item: dict[str, str]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))


async def test_a_prompt_becomes_a_png(sandbox: Sandbox) -> None:
    exchange, answer = await told(sandbox, call("a fox"))
    assert (exchange.status, exchange.headers["content-type"]) == (200, "application/json")
    assert exchange.headers["x-request-id"].startswith("req_")
    picture = picture_of(answer["data"][0])
    assert (picture.format, picture.size, answer["size"]) == ("PNG", (256, 256), "256x256")
    assert abs(answer["created"] - time.time()) < 5


async def test_same_prompt_same_bytes_and_directives_are_not_drawn(sandbox: Sandbox) -> None:
    first, second, third = [
        (await told(sandbox, call(prompt)))[1]["data"] for prompt in ("a fox", "a fox", "a fox [delay 1ms]")
    ]
    assert first == second == third


async def test_several_pictures_differ(sandbox: Sandbox) -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="m", size="128x128", n=3)
    _, answer = await told(sandbox, call("a fox", facts))
    assert len({item["b64_json"] for item in answer["data"]}) == 3


async def test_a_transparent_webp(sandbox: Sandbox) -> None:
    facts = Facts(
        surface=Surface.GENERATIONS, asked_model="m", size="256x256", background="transparent", output_format="webp"
    )
    _, answer = await told(sandbox, call("a fox", facts))
    picture = picture_of(answer["data"][0])
    assert (picture.format, picture.mode, answer["background"]) == ("WEBP", "RGBA", "transparent")


async def test_an_edit_shows_what_was_given(sandbox: Sandbox) -> None:
    def edit(digest: str, mask: bool) -> Facts:
        image = ImageFacts(sha256=digest, bytes=1_234_567, format="jpeg", width=800, height=600)
        given = InputFacts(role=InputRole.IMAGE, source="upload", image=image)
        by_url = InputFacts(role=InputRole.IMAGE, source="url")
        covered = InputFacts(role=InputRole.MASK, source="upload", image=image) if mask else None
        return Facts(surface=Surface.EDITS, asked_model="m", size="512x512", inputs=(given, by_url), mask=covered)

    seen = set()
    for digest, mask in (("a" * 64, False), ("b" * 64, False), ("a" * 64, True)):
        _, answer = await told(sandbox, call("a fox", edit(digest, mask)))
        seen.add(hashlib.sha256(answer["data"][0]["b64_json"].encode()).hexdigest())
        assert answer["usage"]["input_tokens_details"]["image_tokens"] > 0
    assert len(seen) == 3


async def test_a_svg_names_its_inputs(sandbox: Sandbox) -> None:
    image = ImageFacts(sha256="0123456789abcdef" * 4, bytes=2048, format="png", width=64, height=32)
    given = InputFacts(role=InputRole.IMAGE, source="upload", image=image)
    facts = Facts(surface=Surface.EDITS, asked_model="m", output_format="svg", inputs=(given,))
    _, answer = await told(sandbox, call("a fox", facts))
    text = base64.b64decode(answer["data"][0]["b64_json"]).decode()
    assert "image 1  ·  PNG  ·  64 x 32  ·  2.0 kB  ·  sha256 0123456789ab" in text


async def test_a_turn_with_the_tool_draws_and_one_without_speaks(sandbox: Sandbox) -> None:
    tool = ToolFacts(asked_model="house", forced=False)
    facts = Facts(surface=Surface.RESPONSES, asked_model="t", size="128x128", tool=tool)
    splice = Splice(start=10, end=17, text=b'"sandbox-image-2"')
    _, answer = await told(sandbox, call("draw a fox", facts, splices=(splice,)))
    assert [item["type"] for item in answer["output"]] == ["image_generation_call", "message"]
    assert Image.open(io.BytesIO(base64.b64decode(answer["output"][0]["result"]))).size == (128, 128)
    assert answer["tools"][0]["model"] == "sandbox-image-2"
    _, answer = await told(sandbox, call("hello", Facts(surface=Surface.RESPONSES, asked_model="t")))
    assert [item["type"] for item in answer["output"]] == ["message"]


async def test_a_bad_size_is_the_apis_400(sandbox: Sandbox) -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="m", size="9000x9000")
    exchange, answer = await told(sandbox, call("a fox", facts))
    assert (exchange.status, answer["error"]["param"], answer["error"]["code"]) == (400, "size", "invalid_value")


async def test_a_429_says_when_to_come_back(sandbox: Sandbox) -> None:
    exchange, answer = await told(sandbox, call("a fox [fail 429]"))
    assert (exchange.status, exchange.headers["retry-after"]) == (429, "1")
    assert answer["error"]["code"] == "rate_limit_exceeded"


async def test_drop_breaks_after_sending(sandbox: Sandbox) -> None:
    assert await sandbox.send(call("[fail drop]")) == Broken(phase=Phase.SENT, cause=Cause.DROPPED)


@pytest.mark.parametrize("prompt", ["[fail hang]", "[delay 600s]", "[delay 600s] [fail 500]"])
async def test_patience_ends_a_wait(sandbox: Sandbox, prompt: str) -> None:
    assert await sandbox.send(call(prompt, seconds=0.05)) == Broken(phase=Phase.SENT, cause=Cause.PATIENCE)


async def test_a_delay_is_waited_out(sandbox: Sandbox) -> None:
    begun = time.monotonic()
    exchange, _ = await told(sandbox, call("[delay 120ms] [fail 500]"))
    assert exchange.status == 500
    assert time.monotonic() - begun >= 0.119


async def test_a_client_that_leaves_ends_the_wait(sandbox: Sandbox) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sandbox.send(call("[fail hang]")))
        await asyncio.sleep(0.01)
        task.cancel()
    assert task.cancelled()


async def test_drawing_does_not_hold_the_loop(sandbox: Sandbox) -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="m", size="1024x1024", n=4)
    worst, last = 0.0, time.monotonic()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sandbox.send(call("a fox", facts)))
        while not task.done():
            await asyncio.sleep(0.002)
            now = time.monotonic()
            worst, last = max(worst, now - last), now
    assert worst < 0.25  # a picture on the loop would stop it for its whole drawing, four times over


# --- streams


async def events(sandbox: Sandbox, asked: Call) -> tuple[list[dict[str, Any]], list[float], Cause | None]:
    """What was told, when (seconds), and how it broke off."""
    exchange = await sandbox.send(asked)
    assert isinstance(exchange, SandboxStream)
    assert (exchange.status, exchange.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    begun = time.monotonic()
    said, at = [], []
    try:
        async for piece in exchange.chunks():
            said.append(json.loads(piece.partition(b"data: ")[2]))
            at.append(time.monotonic() - begun)
    except ExchangeBroken as broken:
        return said, at, broken.cause
    finally:
        await exchange.close()
    return said, at, None


def streamed(surface: Surface = Surface.GENERATIONS, **fields: Any) -> Facts:
    return Facts(surface=surface, asked_model="m", size="256x256", stream=True, **fields)


@pytest.mark.parametrize(("form", "previews"), [("png", 3), ("jpeg", 3), ("webp", 3), ("gif", 3), ("svg", 0)])
async def test_previews_grow_finer(sandbox: Sandbox, form: str, previews: int) -> None:
    said, _, cause = await events(sandbox, call("a fox", streamed(partial_images=3, output_format=form)))
    assert cause is None
    assert [one["type"].rpartition(".")[2] for one in said] == ["partial_image"] * previews + ["completed"]
    assert len({one["b64_json"] for one in said}) == previews + 1
    if form != "svg":
        assert {picture_of(one).size for one in said} == {(256, 256)}
    if form in ("png", "gif"):  # the others blur what they pack
        assert len(picture_of(said[0]).convert("RGB").getcolors(1 << 24) or ()) <= 12 * 12


async def test_a_stream_ends_with_the_picture_that_would_have_come_whole(sandbox: Sandbox) -> None:
    said, _, _ = await events(sandbox, call("a fox", streamed()))
    _, whole = await told(sandbox, call("a fox"))
    assert [one["b64_json"] for one in said] == [whole["data"][0]["b64_json"]]
    assert said[0]["usage"] == whole["usage"]


async def test_a_delay_is_spread_over_what_is_worth_waiting_for(sandbox: Sandbox) -> None:
    _, at, _ = await events(sandbox, call("a fox [delay 300ms]", streamed(partial_images=2)))
    assert all(late >= share for late, share in zip(at, (0.099, 0.199, 0.299), strict=True))


async def test_patience_ends_a_stream(sandbox: Sandbox) -> None:
    said, _, cause = await events(sandbox, call("a fox [delay 600s]", streamed(partial_images=2), seconds=0.5))
    assert (said, cause) == ([], Cause.PATIENCE)


@pytest.mark.parametrize("surface", list(Surface))
async def test_a_stream_breaks_off_before_its_last_event(sandbox: Sandbox, surface: Surface) -> None:
    said, _, cause = await events(sandbox, call("a fox [fail cut]", streamed(surface, partial_images=2)))
    assert cause is Cause.TRUNCATED
    assert said
    assert not said[-1]["type"].endswith(("image_generation.completed", "response.completed"))


async def test_a_whole_answer_breaks_off_in_its_middle(sandbox: Sandbox) -> None:
    exchange = await sandbox.send(call("a fox [fail cut]"))
    assert isinstance(exchange, SandboxExchange)
    with pytest.raises(ExchangeBroken) as broken:
        _ = [piece async for piece in exchange.chunks()]
    assert broken.value.cause is Cause.TRUNCATED


@pytest.mark.parametrize("prompt", ["[fail 429]", "[fail policy]", "[fail quota]"])
async def test_a_refused_picture_is_an_error_answer_to_a_stream_too(sandbox: Sandbox, prompt: str) -> None:
    exchange, answer = await told(sandbox, call(prompt, streamed()))
    assert exchange.status in (400, 429)
    assert answer["error"]["code"]


async def test_a_turn_meets_its_quota_after_it_began(sandbox: Sandbox) -> None:
    said, _, cause = await events(sandbox, call("[fail quota]", streamed(Surface.RESPONSES)))
    assert cause is None
    assert [one["type"] for one in said] == ["response.created", "response.in_progress", "error"]


async def test_a_bad_size_is_an_error_answer_to_a_stream(sandbox: Sandbox) -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="m", size="9000x9000", stream=True)
    exchange, _ = await told(sandbox, call("a fox", facts))
    assert exchange.status == 400


@pytest.mark.parametrize("prompt", ["[fail hang]", "[delay 30s]"])
async def test_a_cut_ends_what_is_under_way_and_what_comes_later(sandbox: Sandbox, prompt: str) -> None:
    waiting = asyncio.ensure_future(sandbox.send(call(prompt)))
    await asyncio.sleep(0)
    sandbox.cut()
    assert await waiting == Broken(phase=Phase.SENT, cause=Cause.INTERRUPTED)
    assert await sandbox.send(call(prompt)) == Broken(phase=Phase.UNSENT, cause=Cause.INTERRUPTED)


async def test_a_cut_ends_a_stream(sandbox: Sandbox) -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="m", size="256x256", stream=True, partial_images=1)
    streaming = await sandbox.send(call("[delay 30s]", facts))
    assert isinstance(streaming, SandboxStream)
    asyncio.get_running_loop().call_later(0.05, sandbox.cut)
    with pytest.raises(ExchangeBroken) as broken:
        async for _ in streaming.chunks():
            pass
    assert broken.value.cause is Cause.INTERRUPTED
