"""What users of other gateways complained about, one test each: it is done right here.

Each test names the report it answers to. Transcripts are read as ``tests/transcripts/play.py`` says.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.retry_after import retry_after_s
from gateway.core.types import JsonObject
from tests.fakes.answers import NEW_API_ERRORS, image_answer, png, responses_answer
from tests.fakes.incoming import BOUNDARY, FORM, form, part
from tests.fakes.pair import GENERATION, Pair, running_pair
from tests.fakes.script import drop_before_status, reply
from tests.fakes.seen import SeenPart, SeenRequest
from tests.transcripts.play import play, read

PICTURE = reply(200, image_answer())
OVERLOADED = reply(503, {"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}})
PICTURES_ONLY: JsonObject = {"rows": {"pic": {"model": "pic-B", "serves": ["images/generations", "images/edits"]}}}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path) as pair:
        yield pair


async def edit(pair: Pair, *parts: bytes) -> Any:
    """Send an edit as a form; gives the client's answer."""
    return await pair.client.post(f"{pair.gateway.url}/v1/images/edits", content=form(*parts), headers=FORM)


def files(seen: SeenRequest) -> list[tuple[str, str]]:
    return [(one.name, one.sha256) for one in seen.parts if one.filename is not None]


def field(seen: SeenRequest, name: str) -> SeenPart:
    [found] = [one for one in seen.parts if one.name == name]
    return found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- pictures and parameters that got lost


async def test_no_fallback_to_a_channel_without_the_surface(tmp_path: Path) -> None:
    """litellm#10811: the images endpoint fell back to a deployment without images, and answered 200 with nothing."""
    await play(
        read("""
B: {rows: {pic: {model: pic-B, serves: [responses]}, chat: {serves: [responses]}}}
>> POST /v1/images/generations {"model": "pic", "prompt": "a lighthouse"}
<< A error server_error
== status 503
== record.excluded.0.target: B/pic
== record.excluded.0.reason: surface_not_served
== asked A 1, B 0
"""),
        tmp_path,
    )


async def test_no_picture_is_no_success(tmp_path: Path) -> None:
    """litellm#28026: an unsupported provider answered 200 with an empty ``data``."""
    await play(
        read("""
>> POST /v1/images/generations {"model": "pic", "prompt": "a lighthouse"}
<< A 200 {"created": 1, "data": []}
<< B 200 {"created": 1, "data": []}
== status 502
== body.error.code: upstream_empty
== record.attempts.0.class: empty_result
== record.attempts.1.class: empty_result
== asked A 1, B 1
"""),
        tmp_path,
    )


async def test_an_option_that_empties_the_answer_costs_no_picture(tmp_path: Path) -> None:
    """litellm#10501: ``response_format`` with a model that does not take it gave 200 without data."""
    await play(
        read("""
>> POST /v1/images/generations {"model": "pic", "prompt": "a lighthouse", "response_format": "b64_json"}
<< A 200 {"created": 1, "data": []}
<< B image
== status 200
== x-retry-reason: empty_result:no_picture
== asked A 1, B 1
"""),
        tmp_path,
    )


async def test_every_picture_of_an_edit_arrives(pair: Pair) -> None:
    """litellm#14488, PR#14893: of several pictures only the first was used, silently."""
    pictures = [png(seed=seed) for seed in range(5)]
    pair.a.play(PICTURE)
    answer = await edit(
        pair, part("model", "pic"), part("prompt", "p"), *(part("image[]", p, filename="x.png") for p in pictures)
    )
    assert answer.status_code == 200
    assert files(pair.a.requests[0]) == [("image[]", sha(picture)) for picture in pictures]
    record = await pair.record_of(answer)
    assert [given["sha256"] for given in record["request_shape"]["input_images"]] == [sha(one) for one in pictures]


@pytest.mark.parametrize("names", [["image"], ["image[]"], ["image[]", "image[]"], ["image", "image"]])
async def test_pictures_may_be_named_as_any_sdk_names_them(pair: Pair, names: list[str]) -> None:
    """litellm PR#17046, PR#39512, #41697: ``image[]`` was refused with 422, or forwarded as a text."""
    pictures = [png(seed=seed) for seed in range(len(names))]
    pair.a.play(PICTURE)
    given = [part(name, data, filename="x.png") for name, data in zip(names, pictures, strict=True)]
    answer = await edit(pair, part("model", "pic"), part("prompt", "p"), *given)
    assert answer.status_code == 200
    assert files(pair.a.requests[0]) == [(name, sha(data)) for name, data in zip(names, pictures, strict=True)]


@pytest.mark.parametrize("option", ["size", "quality", "background", "output_format", "moderation", "input_fidelity"])
async def test_options_of_an_edit_arrive(pair: Pair, option: str) -> None:
    """bifrost#2283 (``size``), new-api#4273 (``quality``, ``background``): options of edits were lost."""
    values = {"size": "1024x1536", "quality": "low", "background": "opaque", "output_format": "webp"}
    value = values.get(option, "low")
    pair.a.play(PICTURE)
    answer = await edit(
        pair, part("model", "pic"), part("prompt", "p"), part("image", png(), filename="x.png"), part(option, value)
    )
    assert answer.status_code == 200
    assert field(pair.a.requests[0], option).data == value.encode()


async def test_parameters_nobody_knows_yet_arrive_in_an_edit(pair: Pair) -> None:
    """litellm#17719, #12408, #10760, #14757: what is unknown was dropped, or refused, by other rules on edits."""
    pair.a.play(PICTURE)
    more = part("a_parameter_of_2027", '{"x": 1}') + part("seed", "7")
    answer = await edit(pair, part("model", "pic"), part("prompt", "p"), part("image", png(), filename="x.png"), more)
    assert answer.status_code == 200
    sent = pair.a.requests[0]
    assert field(sent, "a_parameter_of_2027").data == b'{"x": 1}'
    assert field(sent, "seed").data == b"7"


async def test_files_of_an_edit_arrive_as_files(pair: Pair) -> None:
    """new-api#1159: files of edits were not forwarded."""
    picture, mask = png(200, 100, noise=True), png(200, 100, alpha=True)
    pair.a.play(PICTURE)
    given = part("image", picture, filename="fox.png", more="Content-Type: image/png\r\n")
    masked = part("mask", mask, filename="mask.png", more="Content-Type: image/png\r\n")
    answer = await edit(pair, part("model", "pic"), part("prompt", "p"), given, masked)
    assert answer.status_code == 200
    sent = pair.a.requests[0]
    assert files(sent) == [("image", sha(picture)), ("mask", sha(mask))]
    assert (field(sent, "image").filename, field(sent, "image").content_type) == ("fox.png", "image/png")


async def test_a_mask_is_never_left_out(pair: Pair) -> None:
    """vercel/ai#14360: a mask was ignored, with 200 and no warning. Here it arrives at whoever serves."""
    mask = png(64, 64, alpha=True)
    pair.a.play(OVERLOADED)
    pair.b.play(PICTURE)
    answer = await edit(
        pair,
        part("model", "pic"),
        part("prompt", "p"),
        part("image", png(), filename="x.png"),
        part("mask", mask, filename="m.png"),
    )
    assert answer.status_code == 200
    assert [dict(files(seen))["mask"] for seen in (*pair.a.requests, *pair.b.requests)] == [sha(mask)] * 2


async def test_the_model_is_mapped_in_a_form_and_nothing_else_changes(pair: Pair) -> None:
    """Portkey docs-core PR#896: overrides did not reach multipart bodies."""
    pair.a.play(PICTURE)
    parts = (part("prompt", "p"), part("model", "pic"), part("image", png(), filename="x.png"))
    assert (await edit(pair, *parts)).status_code == 200
    expected = form(parts[0], part("model", "pic-A"), parts[2])
    assert pair.a.requests[0].body == expected
    assert BOUNDARY in (pair.a.requests[0].header("content-type") or "")


async def test_parameters_nobody_listed_arrive(pair: Pair) -> None:
    """Portkey gateway PR#1333, PR#1347: parameters had to be added to a list one by one."""
    body = (
        b'{"model":"pic" , "prompt":"p","background":"opaque","output_compression":50,"new_in_2027":{"a":[1.10,1e3]}}'
    )
    pair.a.play(PICTURE)
    answer = await pair.client.post(
        f"{pair.gateway.url}/v1/images/generations", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    assert pair.a.requests[0].body == body.replace(b'"pic"', b'"pic-A"')


async def test_an_edit_may_come_as_json_and_with_a_mask(pair: Pair) -> None:
    """openclaw#118561, llmgateway PR#1756: one accepted only forms, the other only JSON and no mask."""
    address = "data:image/png;base64," + json.loads(image_answer())["data"][0]["b64_json"]
    body = {"model": "pic", "prompt": "p", "images": [{"image_url": address}], "mask": {"image_url": address}}
    pair.a.play(PICTURE)
    answer = await pair.post("images/edits", body)
    assert answer.status_code == 200
    assert json.loads(pair.a.requests[0].body) == {**body, "model": "pic-A"}


async def test_a_size_the_upstream_refuses_is_the_callers_400(tmp_path: Path) -> None:
    """pollinations#6465: an invalid size was a 500."""
    await play(
        read("""
>> POST /v1/images/generations {"model": "pic", "prompt": "a lighthouse", "size": "100x100"}
<< A 400 {"error": {"message": "No.", "type": "invalid_request_error", "param": "size", "code": "invalid_value"}}
== status 400
== body.error.param: size
== x-should-retry: false
== asked A 1, B 0
"""),
        tmp_path,
    )


@pytest.mark.parametrize("size", [1024, ["1024x1024"], {"width": 1024}])
async def test_a_size_of_the_wrong_type_is_refused_before_anything_is_sent(pair: Pair, size: object) -> None:
    """pollinations#6465, the other half: what is no size at all never travels."""
    answer = await pair.post("images/generations", {**GENERATION, "size": size})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")
    assert pair.asked == (0, 0)


# --- fallback, retry, identity


async def test_a_fallback_asks_the_channel_that_it_names(pair: Pair) -> None:
    """bifrost PR#7118, PR#6149: a fallback asked the primary again, while headers and logs named the other."""
    pair.a.play(OVERLOADED)
    pair.b.play(PICTURE)
    answer = await edit(pair, part("model", "pic"), part("prompt", "p"), part("image", png(), filename="x.png"))
    assert answer.headers["x-route-channel"] == "B"
    assert answer.headers["x-route-owner"] == "owner-B"
    assert "sent=pic-B" in answer.headers["x-model-mapping"]
    assert pair.asked == (1, 1)
    assert [field(seen, "model").data for seen in (*pair.a.requests, *pair.b.requests)] == [b"pic-A", b"pic-B"]
    assert [tried["channel"] for tried in (await pair.record_of(answer))["attempts"]] == ["A", "B"]


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "20"}, "Please try again in 12s.", 20.0),
        ({}, "Please try again in 12s.", 12.0),
        ({}, "Please try again in 1m2s.", 62.0),
        ({}, "Too many requests.", None),
    ],
)
def test_the_wait_is_that_of_this_answer(headers: dict[str, str], message: str, seconds: float | None) -> None:
    """litellm#20722: Retry-After was taken from an older error, twelve times too short."""
    assert retry_after_s(headers, message) == seconds


async def test_ids_are_the_upstreams(pair: Pair) -> None:
    """litellm#17204: the id of a Response was another one when it was asked for again."""
    body = responses_answer()
    pair.a.play(reply(200, body))
    answer = await pair.post("responses", {"model": "chat", "input": "x", "tools": [{"type": "image_generation"}]})
    assert answer.content == body
    assert (await pair.record_of(answer))["result"]["response_id"] == json.loads(body)["id"]


async def test_a_turn_does_not_fall_back_to_a_channel_that_has_no_turns(tmp_path: Path) -> None:
    """litellm#41385: /responses fell back to a deployment that only chats: 200, and no end."""
    async with running_pair(
        tmp_path,
        B={"rows": {**PICTURES_ONLY["rows"], "chat": {"serves": ["images/generations"]}}},  # type: ignore[dict-item]
    ) as pair:
        pair.a.play(OVERLOADED)
        answer = await pair.post("responses", {"model": "chat", "input": "x"})
        assert answer.status_code == 503
        [excluded] = (await pair.record_of(answer))["excluded"]
        assert excluded == {"target": "B/chat", "reason": "surface_not_served"}
        assert pair.asked == (1, 0)


async def test_fallback_off_is_off(tmp_path: Path) -> None:
    """litellm#19077, PR#32835: the switch that forbids fallbacks was ignored."""
    await play(
        read("""
>> POST /v1/images/generations {"model": "pic", "prompt": "a lighthouse"}
>> x-route-fallback: off
<< A 503
== status 503
== x-route-attempts: 1
== asked A 1, B 0
"""),
        tmp_path,
    )


async def test_another_name_for_a_model_has_its_fallbacks_too(tmp_path: Path) -> None:
    """litellm#10317: an alias did not respect fallbacks."""
    rows: JsonObject = {
        "rows": {"gpt-image-2": {"model": "dated", "serves": ["images/generations"]}, "chat": {"serves": ["responses"]}}
    }
    route: JsonObject = {"targets": [{"channel": "A", "row": "gpt-image-2"}, {"channel": "B", "row": "gpt-image-2"}]}
    async with running_pair(tmp_path, dict(route), A=dict(rows), B=dict(rows)) as pair:
        pair.a.play(OVERLOADED)
        pair.b.play(PICTURE)
        answer = await pair.generate()
        assert (answer.status_code, answer.headers["x-route-channel"]) == (200, "B")
        assert answer.headers["x-model-mapping"].startswith("asked=pic; sent=dated;")


async def test_a_fallback_keeps_the_pictures_of_a_turn(pair: Pair) -> None:
    """litellm#15803: a fallback dropped the picture of a multimodal request."""
    address = "data:image/png;base64," + json.loads(image_answer(width=300, height=300, noise=1))["data"][0]["b64_json"]
    content = [{"type": "input_text", "text": "again"}, {"type": "input_image", "image_url": address}]
    body = {"model": "chat", "input": [{"role": "user", "content": content}], "tools": [{"type": "image_generation"}]}
    pair.a.play(OVERLOADED)
    pair.b.play(reply(200, responses_answer()))
    assert (await pair.post("responses", body)).status_code == 200
    first, second = pair.a.requests[0].body, pair.b.requests[0].body
    assert first.replace(b"chat-A", b"chat-B") == second
    assert json.loads(second)["input"] == body["input"]


@pytest.mark.parametrize("status", [502, 504, 520, 522, 524])
async def test_an_answer_from_between_may_hide_a_purchase(pair: Pair, status: int) -> None:
    """new-api#4364, #4920: 504 and 524 for the client, while the upstream drew the picture and charged for it."""
    pair.a.play(reply(status, b"<html>gateway time-out</html>", headers={"content-type": "text/html"}))
    answer = await pair.generate()
    assert answer.status_code in {status, 502, 504}
    assert answer.headers["x-should-retry"] == "false"
    assert (await pair.record_of(answer))["attempts"][0]["outcome"] == "unknown"
    assert pair.asked == (1, 0)


@pytest.mark.parametrize("retries", [2, 5])
async def test_an_sdk_does_not_buy_again_what_may_have_been_bought(pair: Pair, retries: int) -> None:
    """astrbot_plugin_image_generation#54, cherry-studio PR#20033: clients sent paid requests again and again."""
    pair.a.play(drop_before_status())
    async with openai.AsyncOpenAI(
        base_url=f"{pair.gateway.url}/v1",
        api_key="sk-anything",
        max_retries=retries,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        with pytest.raises(openai.InternalServerError):
            await client.images.generate(model="pic", prompt="a lighthouse")
    assert pair.asked == (1, 0)


@pytest.mark.parametrize(
    ("usage", "asked"), [({"output_tokens": 0}, (1, 1)), (None, (1, 1)), ({"output_tokens": 9}, (1, 0))]
)
async def test_an_empty_answer_is_tried_elsewhere_unless_it_was_charged_for(
    pair: Pair, usage: JsonObject | None, asked: tuple[int, int]
) -> None:
    """vercel/ai#20156: 200 without pictures was never tried again, although it passes."""
    pair.a.play(reply(200, {"created": 1, "data": [], "usage": usage}))
    if asked[1]:
        pair.b.play(PICTURE)
    answer = await pair.generate()
    assert answer.status_code == (200 if asked[1] else 502)
    assert pair.asked == asked


async def test_no_channel_is_asked_twice_for_one_request(pair: Pair) -> None:
    """new-api#2899: a retry took the channel that had just been switched off."""
    pair.a.play(OVERLOADED)
    pair.b.play(OVERLOADED)
    assert (await pair.generate()).status_code == 503
    assert pair.asked == (1, 1)


MISSING = [error for error in NEW_API_ERRORS if error.code in {"model_not_found", "get_channel_failed"}]


@pytest.mark.parametrize(
    "body", [*(error.body for error in MISSING), {"error": {"message": "x", "code": "model_not_found"}}]
)
async def test_a_model_that_is_missing_in_one_place_is_asked_for_in_another(pair: Pair, body: JsonObject) -> None:
    """agentfield#588: a router answered 404 for pictures now and then."""
    pair.a.play(reply(404, body))
    pair.b.play(PICTURE)
    answer = await pair.generate()
    assert (answer.status_code, answer.headers["x-retry-reason"]) == (200, "model_missing:404")
    assert pair.asked == (1, 1)


# --- what callers could not see, and what logs should not have held


async def test_callers_see_what_was_served(pair: Pair) -> None:
    """litellm#25503, #22709; civitai#3665: nobody could see which model had made the picture."""
    pair.a.play(reply(200, responses_answer()))
    answer = await pair.post("responses", {"model": "chat", "input": "x", "tools": [{"type": "image_generation"}]})
    assert answer.headers["x-model-mapping"].startswith("asked=chat; sent=chat-A; served=gpt-5.5-2026-04-23")
    assert answer.json()["model"] == "gpt-5.5-2026-04-23"


async def test_an_unknown_model_is_404_and_nothing_is_sent(pair: Pair) -> None:
    """fak#360: an unknown model was answered with 200, under the name that was asked for."""
    answer = await pair.post("images/generations", {**GENERATION, "model": "pic-3"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert pair.asked == (0, 0)


def _with_picture(make: Callable[..., bytes]) -> bytes:
    return make(width=200, height=200)


async def test_no_picture_reaches_the_log_or_the_ledger(pair: Pair) -> None:
    """litellm#34753, #24928; bifrost PR#1312: base64 stood in logs, error messages and rows."""
    body = _with_picture(image_answer)
    encoded: str = json.loads(body)["data"][0]["b64_json"]
    pair.a.play(reply(200, body), reply(500, {"error": {"message": f"cannot read {encoded}", "code": "x"}}))
    pair.b.play(reply(200, image_answer()))
    address = f"data:image/png;base64,{encoded}"
    for _ in range(2):
        sent = {"model": "pic", "prompt": "p", "images": [{"image_url": address}]}
        answer = await pair.post("images/edits", sent)
        await pair.record_of(answer)
    assert encoded[:100] not in pair.gateway.log.read_text("utf-8")
    for file in pair.database.parent.glob("waybill.db*"):
        assert encoded[:100].encode() not in file.read_bytes()
