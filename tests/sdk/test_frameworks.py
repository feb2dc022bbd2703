"""LangChain, the Agents SDK and the AI SDK through a real gateway: text, pictures and turns that follow on."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import agents
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI

from tests.fakes.answers import image_answer, responses_answer
from tests.fakes.events import told
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.script import Script, reply
from tests.fakes.seen import SeenRequest
from tests.fakes.upstream import FakeUpstream
from tests.sdk.test_sdks import node_run
from tests.transcripts.play import routes_file

AI = Path(__file__).parent / "node"


def answered(request: SeenRequest) -> Script:
    """Answer as OpenAI would: pictures for images, a drawing turn where the tool is there, events for a stream."""
    if request.path.endswith("/images/generations"):
        return reply(200, image_answer())
    body = json.loads(request.body)
    draws = any(tool["type"] == "image_generation" for tool in body.get("tools", []))
    if body.get("stream"):
        return told("turn" if draws else "text")
    return reply(200, responses_answer(picture=draws))


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(key="sk-A", choose=answered) as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def gateway(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    routes = routes_file({"route": "A"}, {"A": upstream}).replace("gpt-image-2", "pic")
    routes = routes.replace("routes:\n", "routes:\n  gpt-image-2: {targets: [{channel: A, row: pic}]}\n")
    async with running_gateway(routes, tmp_path) as gateway:
        yield gateway


def chat(gateway: RunningGateway, **options: object) -> ChatOpenAI:
    return ChatOpenAI(
        model="chat",
        base_url=f"{gateway.url}/v1",
        api_key="sk-anything",  # type: ignore[arg-type]
        use_responses_api=True,
        http_socket_options=(),
        **options,  # type: ignore[arg-type]
    )


async def test_langchain_speaks_and_streams(gateway: RunningGateway) -> None:
    model = chat(gateway)
    assert (await model.ainvoke("hello")).text
    assert "".join([chunk.text async for chunk in model.astream("hello")])


async def test_langchain_draws_and_goes_on_with_the_picture(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    model = chat(gateway).bind_tools([{"type": "image_generation"}])
    drawn = await model.ainvoke("draw")
    assert isinstance(drawn, AIMessage)
    (call,) = [block for block in drawn.content if isinstance(block, dict) and block["type"] == "image_generation_call"]
    assert base64.b64decode(call["result"]).startswith(b"\x89PNG")
    again = await model.ainvoke([HumanMessage("draw"), drawn, HumanMessage("larger")])
    assert again.text
    sent = json.loads(upstream.requests[-1].body)["input"]
    assert any(item.get("type") == "image_generation_call" and item["id"] == call["id"] for item in sent)


async def test_langchain_follows_on_by_id(gateway: RunningGateway, upstream: FakeUpstream) -> None:
    model = chat(gateway, use_previous_response_id=True)
    first = await model.ainvoke("hello")
    await model.ainvoke([HumanMessage("hello"), first, HumanMessage("go on")])
    assert json.loads(upstream.requests[-1].body)["previous_response_id"] == first.response_metadata["id"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_agents_sdk_draws(gateway: RunningGateway, streamed: bool) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-anything") as client:
        agent = agents.Agent(
            name="painter",
            model=agents.OpenAIResponsesModel(model="chat", openai_client=client),
            tools=[agents.ImageGenerationTool(tool_config={"type": "image_generation"})],
        )
        config = agents.RunConfig(tracing_disabled=True)
        if streamed:
            result = agents.Runner.run_streamed(agent, "draw", run_config=config)
            kinds = {event.data.type async for event in result.stream_events() if event.type == "raw_response_event"}
            assert "response.image_generation_call.partial_image" in kinds
            assert result.final_output
        else:
            assert (await agents.Runner.run(agent, "draw", run_config=config)).final_output


@pytest.mark.parametrize("act", ["image", "text", "stream", "draw", "turns"])
async def test_the_ai_sdk_does_its_work(gateway: RunningGateway, act: str) -> None:
    said = await node_run(AI, "ai.mjs", gateway, act)
    assert "name" not in said, said
    if act in {"image", "draw"}:
        assert said["bytes"] > 60
    if act != "image":
        assert said["text"]
