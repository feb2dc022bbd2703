"""What users of other gateways complained about: waits that nobody was told, channels lost for one error, budgets.

Each test names the report it answers to. Transcripts are read as ``tests/transcripts/play.py`` says.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.answers import image_answer, image_answer_that_says, png
from tests.fakes.events import event, picture_event
from tests.fakes.incoming import FORM, form, part
from tests.fakes.pair import Pair, leave, running_pair
from tests.fakes.script import reply, stream
from tests.keys.house import keyed_house
from tests.transcripts.play import play, read

PICTURE = reply(200, image_answer())
REJECTED = reply(401, {"error": {"message": "Incorrect API key.", "code": "invalid_api_key"}})
OVERLOADED = reply(503, {"error": {"message": "overloaded", "type": "server_error"}})


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path) as pair:
        yield pair


async def told(directory: Path, text: str) -> None:
    await play(read(text), directory)


# --- how long to wait, and who is still asked


async def test_a_429_of_a_resting_channel_says_when_to_come_back(tmp_path: Path) -> None:
    """litellm#27823, PR#30098: while a deployment cooled down the client got a 429 without Retry-After."""
    limited = '{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'
    await told(
        tmp_path,
        f"""
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat"}}
<< A 429 {limited} headers {{"retry-after": "40"}}
<< B 429 {limited} headers {{"retry-after": "20"}}
== status 429
== x-should-retry: false
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat"}}
== status 429
== retry-after: 20
== x-should-retry: true
== asked A 0, B 0
""",
    )


async def test_one_error_takes_no_channel_away(pair: Pair) -> None:
    """new-api#4100, #4585, #1457, #1451, #1641: one answer that looked like a bad key turned a channel off."""
    for trouble in (REJECTED, OVERLOADED, REJECTED):
        pair.a.play(trouble)
        pair.b.play(PICTURE)
        assert (await pair.generate()).headers["x-route-channel"] == "B"
        pair.a.play(PICTURE)
        assert (await pair.generate()).headers["x-route-channel"] == "A"
    assert pair.asked == (6, 3)


async def test_nothing_is_switched_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    """litellm#28216, PR#28215: a fallback in the middle of a stream, two answers behind one another."""
    await told(
        tmp_path,
        """
>> POST /v1/images/generations {"model": "pic", "prompt": "a hat", "stream": true, "partial_images": 2}
<< A events partial; cut
== events image_generation.partial_image, error
== events.-1.error.code: upstream_unknown_outcome
== asked A 1, B 0
""",
    )


async def test_idempotency_keys_of_clients_are_honoured(pair: Pair) -> None:
    """comfy-python-sdk PR#79, comfy-api-proxy PR#7, freellmapi#1094, PR#1095: clients send keys, to nobody."""
    pair.a.play(PICTURE)
    first, second = [await pair.generate(idempotency_key="order 7") for _ in range(2)]
    assert (first.status_code, second.status_code, first.content == second.content) == (200, 200, True)
    assert pair.asked == (1, 0)


async def test_a_client_that_gives_up_and_asks_again_pays_once(pair: Pair) -> None:
    """tg_content_factory PR#1140, xagent PR#1424, chatgpt2api#29, #75, #377: a time-out, then bought twice."""
    pair.a.play(reply(200, image_answer(), delay_s=0.6))
    left = await pair.send("images/generations", {"model": "pic", "prompt": "a hat"})
    await pair.a.counted(1)
    await leave(left)
    # The SDKs write their JSON compactly, and a retry repeats the same bytes.
    again = await pair.client.post(
        f"{pair.gateway.url}/v1/images/generations",
        content=json.dumps({"model": "pic", "prompt": "a hat"}),
        headers={"content-type": "application/json", "x-stainless-retry-count": "1"},
    )
    assert again.status_code == 200
    assert pair.asked == (1, 0)


# --- money


async def test_a_budget_holds_for_pictures_of_every_size_and_quality(tmp_path: Path) -> None:
    """litellm#35524, #34732, #26672, #23714, #40050: prices by size and quality skipped the reservation, and raced."""
    price = {"unit": "per_image_matrix", "matrix": {"1024x1024": {"low": 0.1, "high": 0.5}}}
    asked = {"size": "1024x1024", "quality": "high"}
    said = reply(200, image_answer_that_says({"size": "1024x1024", "quality": "high"}, width=1024, height=1024))
    async with keyed_house(tmp_path, {"max_attempts": 1}, price) as house:
        house.upstream.play(*[said] * 2)
        key = await house.create(budget="1USD/30d")
        await house.closed()
        answers = await asyncio.gather(*(house.generate(key, **asked) for _ in range(12)))
        assert Counter(answer.status_code for answer in answers) == {200: 2, 402: 10}
        assert house.upstream.count == 2
        budget = (await house.key())["budget"]
        assert (budget["spent_micro"], budget["reserved_micro"]) == (1_000_000, 0)
        house.check_books()


async def test_a_budget_is_not_exceeded_by_what_was_never_bought(tmp_path: Path) -> None:
    """litellm#26672: a budget was called exceeded for requests that had failed."""
    async with keyed_house(tmp_path, {"max_attempts": 1}, {"unit": "per_image", "amount": 0.5}) as house:
        house.upstream.play(*[OVERLOADED] * 4, PICTURE)
        key = await house.create(budget="0.5USD/30d")
        await house.closed()
        answers = [(await house.generate(key)).status_code for _ in range(6)]
        assert answers == [503] * 4 + [200, 402]


# --- what a request says arrives as it was said


async def test_a_turn_is_not_mended(pair: Pair) -> None:
    """bifrost (openai.mdx): ``user`` was cut at 64, a small ``max_output_tokens`` raised, unknown tools left out."""
    body = (
        b'{"model":"chat","input":"x","user":"' + b"u" * 200 + b'","max_output_tokens":1,'
        b'"tools":[{"type":"a_tool_of_2027"},{"type":"image_generation","input_fidelity":null}],"previous_response_id":null}'
    )
    pair.a.play(OVERLOADED)
    pair.b.play(OVERLOADED)
    headers = {"content-type": "application/json"}
    await pair.client.post(f"{pair.gateway.url}/v1/responses", content=body, headers=headers)
    assert pair.a.requests[0].body == body.replace(b'"chat"', b'"chat-A"')
    assert pair.b.requests[0].body == body.replace(b'"chat"', b'"chat-B"')


async def test_three_names_tell_a_mapping(pair: Pair) -> None:
    """new-api#2300, #3092, #5270: nobody could say which model a redirected request had been sent to."""
    pair.a.play(OVERLOADED)
    pair.b.play(reply(200, image_answer_that_says({"model": "pic-B-2026"})))
    answer = await pair.generate()
    assert answer.headers["x-model-mapping"] == "asked=pic; sent=pic-B; served=pic-B-2026"
    record = await pair.record_of(answer)
    assert [tried["sent_model"] for tried in record["attempts"]] == ["pic-A", "pic-B"]


@pytest.mark.parametrize("surface", ["images/generations", "images/edits"])
async def test_a_stream_is_served_on_edits_as_on_generations(pair: Pair, surface: str) -> None:
    """llmgateway PR#1756, GoModel PR#748: ``stream`` on edits was answered 400."""
    kind = "image_edit" if surface == "images/edits" else "image_generation"
    pair.a.play(
        stream(event(picture_event("partial_image", 0, surface=kind)), event(picture_event("completed", surface=kind)))
    )
    parts = (part("model", "pic"), part("prompt", "p"), part("image", png(), filename="x.png"), part("stream", "true"))
    url = f"{pair.gateway.url}/v1/{surface}"
    if surface == "images/edits":
        answer: httpx2.Response = await pair.client.post(url, content=form(*parts), headers=FORM)
    else:
        answer = await pair.client.post(url, json={"model": "pic", "prompt": "p", "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count(f"event: {kind}.completed") == 1
