"""What upstreams keep, through the official Python SDK with its default retries: the follow-up finds its account."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from gateway.core.types import JsonObject
from tests.fakes import events
from tests.fakes.answers import responses_answer
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.transcripts.play import routes_file

NAME = "resp_68f1c0ffee"
BUSY: JsonObject = {"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}}
QUEUED: JsonObject = {
    "id": NAME,
    "object": "response",
    "created_at": 1,
    "status": "queued",
    "background": True,
    "model": "m",
    "output": [],
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}
ITEMS: JsonObject = {
    "object": "list",
    "data": [{"id": "msg_1", "type": "message", "role": "user", "status": "completed", "content": []}],
    "first_id": "msg_1",
    "last_id": "msg_1",
    "has_more": False,
}


@dataclass(slots=True, kw_only=True)
class House:
    gateway: RunningGateway
    a: FakeUpstream
    b: FakeUpstream
    client: openai.AsyncOpenAI

    @property
    def asked(self) -> tuple[int, int]:
        return self.a.count, self.b.count


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with FakeUpstream(key="sk-A") as a, FakeUpstream(key="sk-B") as b:
        async with (
            running_gateway(routes_file({}, {"A": a, "B": b}), tmp_path) as gateway,
            openai.AsyncOpenAI(
                base_url=f"{gateway.url}/v1",
                api_key="sk-anything",
                http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
            ) as client,
        ):
            yield House(gateway=gateway, a=a, b=b, client=client)
        assert a.problems + b.problems == []


async def test_the_life_of_a_kept_response(house: House) -> None:
    """litellm PR#10193, PR#19143, PR#38954 (follow-ups went to another deployment), #17204 (ids were rewritten)."""
    responses = house.client.responses
    house.a.play(reply(503, BUSY))
    house.b.play(
        reply(200, responses_answer()),
        reply(200, responses_answer()),
        reply(200, ITEMS),
        reply(200, {"object": "response.input_tokens", "input_tokens": 7}),
        reply(200, responses_answer(picture=False)),
        reply(200, {"id": NAME, "object": "response", "deleted": True}),
    )
    made = await responses.create(model="chat", input="draw", tools=[{"type": "image_generation"}])
    assert made.id == NAME
    assert (await responses.retrieve(made.id)).output == made.output
    assert [item.id async for item in responses.input_items.list(made.id, limit=5)] == ["msg_1"]
    counted = await responses.input_tokens.count(model="chat", previous_response_id=made.id, input="and now?")
    assert counted.input_tokens == 7
    raw = await responses.with_raw_response.create(model="chat", input="in red", previous_response_id=made.id)
    assert raw.headers["x-route-channel"] == "B"
    assert raw.headers["x-route-attempts"] == "1"
    await responses.delete(made.id)
    with pytest.raises(openai.NotFoundError) as gone:
        await responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError) as unknown:
        await responses.retrieve("resp_nobody")
    assert gone.value.response.content == unknown.value.response.content
    assert gone.value.code == "response_not_found"
    assert house.asked == (1, 6)
    sent = [(seen.method, seen.path) for seen in house.b.requests]
    assert sent == [
        ("POST", "/v1/responses"),
        ("GET", f"/v1/responses/{NAME}"),
        ("GET", f"/v1/responses/{NAME}/input_items"),
        ("POST", "/v1/responses/input_tokens"),
        ("POST", "/v1/responses"),
        ("DELETE", f"/v1/responses/{NAME}"),
    ]
    assert json.loads(house.b.requests[4].body)["previous_response_id"] == NAME


async def test_a_background_turn_is_polled_where_it_runs(house: House) -> None:
    responses = house.client.responses
    house.a.play(reply(503, BUSY))
    house.b.play(
        reply(200, QUEUED),
        reply(200, {**QUEUED, "status": "in_progress"}),
        reply(200, responses_answer()),
        reply(200, responses_answer(picture=False)),
        reply(200, {**QUEUED, "status": "cancelled"}),
    )
    queued = await responses.create(
        model="chat", input="draw", background=True, tools=[{"type": "image_generation"}], tool_choice="required"
    )
    assert queued.status == "queued"
    assert (await responses.retrieve(queued.id)).status == "in_progress"
    done = await responses.retrieve(queued.id)
    assert done.status == "completed"
    picture = done.output[0].id
    assert picture is not None
    again = [{"type": "image_generation_call", "id": picture}, {"role": "user", "content": "smaller"}]
    await responses.create(model="chat", input=again)  # type: ignore[arg-type]  # what the SDK's guide sends
    assert (await responses.cancel(queued.id)).status == "cancelled"
    assert house.asked == (1, 5)


async def test_a_streamed_response_can_be_followed_up(house: House) -> None:
    responses = house.client.responses
    house.a.play(reply(503, BUSY))
    house.b.play(events.told("text"), reply(200, responses_answer(picture=False)))
    name = ""
    async for event in await responses.create(model="chat", input="hello", stream=True):
        if event.type == "response.created":
            name = event.response.id
    follow_up = await responses.with_raw_response.create(model="chat", input="and?", previous_response_id=name)
    assert follow_up.headers["x-route-channel"] == "B"
    assert house.asked == (1, 2)


async def test_a_stream_under_way_can_be_cancelled_from_elsewhere(house: House) -> None:
    house.b.play(events.told("created, output_item.added, pause 0.01, output_item.added; stall"))
    house.a.play(reply(503, BUSY))
    stream = await house.client.responses.create(model="chat", input="hello", stream=True, background=True)
    async for event in stream:
        if event.type == "response.output_item.added":
            break
    house.b.play(reply(200, {**QUEUED, "status": "cancelled"}))
    assert (await house.client.responses.cancel(NAME)).status == "cancelled"
    await stream.close()
    assert house.asked == (1, 2)


async def test_a_follow_up_fails_closed(house: House) -> None:
    responses = house.client.responses
    house.a.play(reply(503, BUSY))
    house.b.play(reply(200, responses_answer(picture=False)))
    made = await responses.create(model="chat", input="hello")
    await house.b.close()
    with pytest.raises(openai.InternalServerError) as caught:
        await responses.create(model="chat", input="and?", previous_response_id=made.id)
    assert caught.value.code in ("upstream_unreachable", "upstream_unknown_outcome")
    assert house.a.count == 1
