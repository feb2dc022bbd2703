"""Complaints about what was checked, compared, charged and kept, or was not; one test each.

Each test names the report it answers to. Transcripts are read as ``tests/transcripts/play.py`` says.
"""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes.answers import image_answer, png, responses_answer, url_answer
from tests.fakes.incoming import FORM, form, part
from tests.fakes.pair import Pair, running_pair
from tests.fakes.script import picture, reply
from tests.transcripts.play import play, read

KNOWN = {"rows": {"pic": {"model": "gpt-image-2"}, "chat": {"serves": ["responses"]}}}
CLEAR = {"rows": {"pic": {"model": "gpt-image-2.6-flare"}, "chat": {"serves": ["responses"]}}}
ROWS = "pic: {model: pic-A, serves: [images/generations, images/edits], price: PRICE}, chat: {serves: [responses]}"
PRICED = f"{{rows: {{{ROWS}}}}}"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, A=dict(KNOWN), B=dict(CLEAR)) as pair:
        yield pair


async def edit(pair: Pair, *parts: bytes) -> httpx2.Response:
    """Send an edit of a picture of 64 by 48 as a form."""
    given = (part("model", "pic"), part("prompt", "p"), part("image", png(64, 48), filename="x.png"))
    return await pair.client.post(f"{pair.gateway.url}/v1/images/edits", content=form(*given, *parts), headers=FORM)


def error_of(answer: httpx2.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def told(directory: Path, text: str) -> None:
    await play(read(text), directory)


# --- checked before anything is spent


async def test_a_mask_without_transparency_is_refused_before_it_is_paid_for(pair: Pair) -> None:
    """bifrost PR#1459, stdapi.ai#75, sub2api PR#2463: masks of the wrong kind edited the wrong region."""
    opaque = part("mask", png(64, 48), filename="m.png")
    assert error_of(await edit(pair, opaque)) == (400, "invalid_mask", "mask")
    assert pair.asked == (0, 0)


async def test_a_mask_of_another_size_is_refused_before_it_is_paid_for(pair: Pair) -> None:
    """bifrost PR#1459, the other half: a mask that does not lie over the picture."""
    smaller = part("mask", png(32, 48, alpha=True), filename="m.png")
    assert error_of(await edit(pair, smaller)) == (400, "invalid_mask", "mask")
    assert pair.asked == (0, 0)


@pytest.mark.parametrize("size", ["1000x1000", "3856x1024", "3840x1024", "3840x2176", "0x0", "1024", "1024x", "big"])
async def test_the_rules_of_a_size_need_no_client(pair: Pair, size: str) -> None:
    """image-gen-mcp PR#6, ComfyUI PR#13506, claude-skills PR#91: each client wrote down the model's rules again."""
    answer = await pair.post("images/generations", {"model": "pic", "prompt": "p", "size": size})
    assert error_of(answer) == (400, "invalid_size", "size")
    assert pair.asked == (0, 0)


async def test_a_rule_that_has_changed_is_a_line_of_data(tmp_path: Path) -> None:
    """openai-go PR#831: transparency of gpt-image-2 opened, while three clients had forbidden it in code."""
    contract = {"extends": "gpt-image-2", "background": ["auto", "opaque", "transparent"]}
    opened = {"rows": {"pic": {"model": "gpt-image-2", "contract": contract}, "chat": {"serves": ["responses"]}}}
    async with running_pair(tmp_path, A=opened, B=dict(KNOWN)) as pair:
        pair.a.play(reply(200, image_answer(alpha=1)))
        answer = await pair.post("images/generations", {"model": "pic", "prompt": "p", "background": "transparent"})
        assert (answer.status_code, answer.headers["x-route-channel"]) == (200, "A")


async def test_transparency_goes_to_the_channel_that_has_it(pair: Pair) -> None:
    """sub2api#7150, #2277: the model behind the name refused a transparent background."""
    pair.b.play(reply(200, image_answer(alpha=1)))
    answer = await pair.post("images/generations", {"model": "pic", "prompt": "p", "background": "transparent"})
    assert (answer.status_code, answer.headers["x-route-channel"]) == (200, "B")
    assert "alpha_missing" not in answer.headers.get("x-route-warnings", "")
    assert pair.asked == (0, 1)


async def test_what_a_model_can_is_not_guessed_from_its_name(tmp_path: Path) -> None:
    """sub2api#5374: mapped models were refused because their names were on no list of image models."""
    rows = {"pic": {"model": "house-painter-7b", "contract": "gpt-image-2"}, "chat": {"serves": ["responses"]}}
    async with running_pair(tmp_path, A={"rows": rows}) as pair:
        pair.a.play(reply(200, image_answer()))
        answer = await pair.post("images/generations", {"model": "pic", "prompt": "p"})
        assert answer.status_code == 200
        assert json.loads(pair.a.requests[0].body)["model"] == "house-painter-7b"


async def test_an_option_of_the_tool_arrives(pair: Pair) -> None:
    """new-api#1234: ``partial_images`` of the image tool was dropped on the way."""
    tool = {"type": "image_generation", "partial_images": 2, "size": "1024x1024", "new_in_2027": [1]}
    pair.a.play(reply(200, responses_answer()))
    assert (await pair.post("responses", {"model": "chat", "input": "x", "tools": [tool]})).status_code == 200
    assert json.loads(pair.a.requests[0].body)["tools"] == [tool]


async def test_an_edit_is_served_at_all(pair: Pair) -> None:
    """envoy ai-gateway#882, #1746: images/edits was asked for, and is still missing."""
    pair.a.play(reply(200, image_answer()))
    assert (await edit(pair, part("mask", png(64, 48, alpha=True), filename="m.png"))).status_code == 200


# --- compared afterwards


async def test_a_silent_downgrade_is_seen(tmp_path: Path) -> None:
    """sub2api#6120: 2448x3264 at high quality was asked for; 1086x1448 of another model came, with 200."""
    await told(
        tmp_path,
        """
route: A
A: {rows: {pic: {model: gpt-image-2}}}
>> POST /v1/images/generations {"model": "pic", "prompt": "a hat", "size": "2448x3264", "quality": "high"}
<< A image {"width": 1086, "height": 1448, "said": {"size": "auto", "quality": "auto", "model": "gpt-image-2-codex"}}
== status 200
== x-route-warnings: size_mismatch, quality_mismatch, model_mismatch, tokens_mismatch
== x-model-mapping: asked=pic; sent=gpt-image-2; served=gpt-image-2-codex
== record.result.images.0.width: 1086
== record.result.images.0.height: 1448
""",
    )


async def test_a_silent_downgrade_is_seen_behind_an_address_too(pair: Pair) -> None:
    """sub2api#6120, where the picture comes as an address: its own header tells."""
    url = pair.a.put("/1.png", picture(png(1086, 1448)))
    pair.a.play(reply(200, url_answer(url)))
    answer = await pair.post("images/generations", {"model": "pic", "prompt": "p", "size": "2448x3264"})
    assert "size_mismatch" in answer.headers["x-route-warnings"]


@pytest.mark.parametrize("path", ["images/generations", "images/edits"])
async def test_transparency_that_was_lost_is_seen(tmp_path: Path, path: str) -> None:
    """CLIProxyAPI#5864: transparent on generations, opaque on edits with the same parameters, and no word."""
    address = "data:image/png;base64," + base64.b64encode(png(64, 64)).decode()
    given = {"images": [{"image_url": address}]} if path.endswith("edits") else {}
    async with running_pair(tmp_path, A=dict(CLEAR)) as pair:
        pair.a.play(reply(200, image_answer()))
        answer = await pair.post(path, {"model": "pic", "prompt": "p", "background": "transparent", **given})
    assert answer.status_code == 200
    assert "alpha_missing" in answer.headers["x-route-warnings"]


async def test_another_model_is_told_to_the_caller(tmp_path: Path) -> None:
    """civitai#3665, #3520: models were substituted and billed, and only the operators knew."""
    await told(
        tmp_path,
        """
targets: [A, {channel: B, substitute: true}]
>> POST /v1/images/generations {"model": "pic", "prompt": "a hat"}
<< A 503
<< B image
== status 200
== x-model-mapping: asked=pic; sent=pic-B; served=unverified
== x-route-warnings: substituted
""",
    )


async def test_more_tokens_than_such_a_picture_takes_are_seen(tmp_path: Path) -> None:
    """new-api#4474: the output tokens were not those of the model that was asked for."""
    await told(
        tmp_path,
        """
route: A
A: {rows: {pic: {model: gpt-image-2}}}
>> POST /v1/images/generations {"model": "pic", "prompt": "a hat", "size": "1024x1024", "quality": "medium"}
<< A image {"width": 1024, "height": 1024, "said": {"usage": {"input_tokens": 9, "output_tokens": 7024}}}
== status 200
== x-route-warnings: tokens_mismatch
""",
    )


async def test_a_blank_picture_in_a_stream_is_no_picture(tmp_path: Path) -> None:
    """sglang#24240: the last event of a stream had an empty picture."""
    await told(
        tmp_path,
        """
>> POST /v1/images/generations {"model": "pic", "prompt": "a lighthouse", "stream": true}
<< A events completed blank
== status 502
== body.error.code: upstream_empty
== asked A 1, B 0
""",
    )


async def test_previews_are_streamed_from_the_images_surface(tmp_path: Path) -> None:
    """litellm#19569: ``stream`` with ``partial_images`` failed."""
    await told(
        tmp_path,
        """
route: A
>> POST /v1/images/generations {"model": "pic", "prompt": "a hat", "stream": true, "partial_images": 2}
<< A events partial, partial, completed
== status 200
== events image_generation.partial_image, image_generation.partial_image, image_generation.completed
== record.result.partial_images_sent: 2
""",
    )


async def test_a_refusal_of_the_content_is_no_reason_to_ask_elsewhere(tmp_path: Path) -> None:
    """pollinations#12067: what moderation says was taken for a fault of the upstream."""
    await told(
        tmp_path,
        """
>> POST /v1/images/generations {"model": "pic", "prompt": "a hat"}
<< A error moderation_blocked
== status 400
== body.error.code: moderation_blocked
== record.fault: caller
== asked A 1, B 0
""",
    )


# --- charged


async def test_a_missing_price_is_missing_and_never_zero(tmp_path: Path) -> None:
    """litellm#26863, #10335, #10013, #10221: pictures of models without a price cost 0."""
    await told(
        tmp_path,
        """
route: A
>> POST /v1/images/generations {"model": "pic", "prompt": "a hat"}
<< A image
== x-cost: unknown; state=missing; unit=none
== record.cost.state: missing
== absent record.cost.amount_micro
""",
    )


async def test_an_auto_quality_is_not_free(tmp_path: Path) -> None:
    """litellm#10335: with ``quality: auto`` the price of a picture was not found, and so 0."""
    price = "{unit: per_image_matrix, matrix: {1024x1024: {low: 0.01, medium: 0.04, high: 0.17}}}"
    await told(
        tmp_path,
        f"""
route: A
A: {PRICED.replace("PRICE", price)}
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat", "size": "1024x1024", "quality": "auto"}}
<< A image {{"width": 1024, "height": 1024, "said": {{"quality": "medium", "size": "1024x1024"}}}}
== status 200
== x-cost: 0.040000 USD; *
""",
    )


async def test_tokens_of_pictures_have_the_price_of_pictures(tmp_path: Path) -> None:
    """litellm#31142, #18541: output tokens of pictures were charged at the price of text."""
    await told(
        tmp_path,
        f"""
route: A
A: {PRICED.replace("PRICE", "openai/gpt-image-2")}
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat"}}
<< A image
== x-cost: 0.053050 USD; state=exact; unit=tokens
== record.cost.lines.2.item: image_out
== record.cost.lines.2.amount_micro: 52680
""",
    )


async def test_a_flat_price_is_that_of_the_channel_that_has_one(tmp_path: Path) -> None:
    """litellm#37738: one flat price stood for a model that is charged by tokens elsewhere, 24 times too much."""
    await told(
        tmp_path,
        f"""
A: {PRICED.replace("PRICE", "openai/gpt-image-2")}
B: {PRICED.replace("PRICE", "{unit: per_request, amount: 0.145}").replace("pic-A", "pic-B")}
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat"}}
<< A image
== x-cost: 0.053050 USD; state=exact; unit=tokens
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat"}}
>> x-route-pin: B
<< B image
== x-cost: 0.145000 USD; state=exact; unit=per_request
""",
    )


async def test_the_image_tool_is_charged(tmp_path: Path) -> None:
    """new-api#1797: pictures that the tool of a turn drew were not charged at all."""
    rows = (
        "{pic: {model: pic-A, serves: [images/generations], price: openai/gpt-image-2}, "
        "chat: {serves: [responses], price: openai/gpt-5.5}}"
    )
    await told(
        tmp_path,
        f"""
route: A
A: {{rows: {rows}}}
>> POST /v1/responses {{"model": "chat", "input": "x", "tools": [{{"type": "image_generation", "model": "pic"}}]}}
<< A response
== x-cost: 0.055880 USD; state=exact; unit=tokens
== record.cost.lines.4.item: image_out
""",
    )


@pytest.mark.parametrize("n", [1, 3, 10])
async def test_every_picture_is_charged(tmp_path: Path, n: int) -> None:
    """sub2api#1994: n pictures were charged once."""
    await told(
        tmp_path,
        f"""
route: A
A: {PRICED.replace("PRICE", "{unit: per_image, amount: 0.02}")}
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat", "n": {n}}}
<< A image {{"n": {n}}}
== x-cost: 0.{n * 2:02}0000 USD; state=exact; unit=per_image
""",
    )


async def test_every_picture_behind_an_address_is_charged(tmp_path: Path) -> None:
    """sub2api#1994, where pictures come as addresses, had or not."""
    await told(
        tmp_path,
        f"""
route: A
A: {PRICED.replace("PRICE", "{unit: per_image, amount: 0.02}")}
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat", "response_format": "url"}}
<< A link
== x-cost: 0.020000 USD; state=exact; unit=per_image
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat", "response_format": "url"}}
<< A link 404
== x-cost: 0.020000 USD; state=exact; unit=per_image
""",
    )


async def test_a_price_knows_size_and_quality(tmp_path: Path) -> None:
    """sub2api#2008, PR#2269; bifrost PR#6380, PR#5854: 1280x720 was charged as 2K, all qualities alike."""
    matrix = "{1280x720: {low: 0.01, high: 0.04}, 2048x1152: {low: 0.02, high: 0.08}}"
    lines = "".join(
        f"""
>> POST /v1/images/generations {{"model": "pic", "prompt": "a hat", "size": "{w}x{h}", "quality": "{quality}"}}
<< A image {{"width": {w}, "height": {h}, "said": {{"size": "{w}x{h}", "quality": "{quality}"}}}}
== x-cost: {amount} USD; state=exact; unit=per_image_matrix
"""
        for w, h, quality, amount in (
            (1280, 720, "low", "0.010000"),
            (1280, 720, "high", "0.040000"),
            (2048, 1152, "high", "0.080000"),
        )
    )
    price = f"{{unit: per_image_matrix, matrix: {matrix}}}"
    await told(tmp_path, f"route: A\nA: {PRICED.replace('PRICE', price)}\n{lines}")


# --- kept, and seen


async def test_an_address_opens_and_needs_no_host_of_ones_own(pair: Pair) -> None:
    """image-router PR#14, sub2api#3152, litellm#14553: ``response_format: url`` needed a host for the pictures."""
    body = image_answer()
    made = base64.b64decode(json.loads(body)["data"][0]["b64_json"])
    pair.a.play(reply(200, body))
    answer = await pair.post("images/generations", {"model": "pic", "prompt": "p", "response_format": "url"})
    found = await pair.client.get(answer.json()["data"][0]["url"])
    assert (found.status_code, found.content) == (200, made)


async def test_a_picture_is_found_again(pair: Pair) -> None:
    """langfuse#8252: calls for pictures left no trace with the picture in it."""
    body = image_answer()
    pair.a.play(reply(200, body))
    answer = await pair.post("images/generations", {"model": "pic", "prompt": "p"})
    [image] = (await pair.record_of(answer))["result"]["images"]
    made = base64.b64decode(json.loads(body)["data"][0]["b64_json"])
    assert image["sha256"] == hashlib.sha256(made).hexdigest()
    assert image["asset_id"] == answer.headers["x-asset-ids"]
    assert (await pair.client.get(image["storage_pointer"]["url"])).content == made


async def test_no_characters_of_a_picture_reach_any_record(pair: Pair) -> None:
    """litellm#34753, PR#34783, #25461: base64 in records and rows of megabytes, also of given pictures."""
    given = base64.b64encode(png(300, 200, noise=True)).decode()
    body = image_answer(width=300, height=200, noise=1)
    pair.a.play(reply(200, body))
    images = [{"image_url": f"data:image/png;base64,{given}"}]
    sent: dict[str, Any] = {"model": "pic", "prompt": "p", "images": images, "response_format": "url"}
    answer = await pair.post("images/edits", sent)
    await pair.record_of(answer)
    logged = json.dumps(pair.gateway.events())
    made = json.loads(body)["data"][0]["b64_json"]
    assert not any(text[at : at + 40] in logged for text in (given, made) for at in (0, 1000, 5000))
    assert max(len(run) for run in re.findall(r"[A-Za-z0-9+/]+", logged)) < 200
