"""The sandbox's answers, held against the types of the official SDK."""

import base64
import json

import pytest
from openai.types import ImagesResponse
from openai.types.responses import Response

from gateway.codecs.sandbox import Turn, error, failure, images, picture_response, picture_tokens, text_response
from gateway.core.sandbox import Mishap, Shape
from gateway.core.types import ErrorBody, Facts, ImageFacts, InputFacts, InputRole, Surface, ToolFacts

SHAPE = Shape(width=1024, height=1536, format="webp", quality="low", transparent=True, compression=100, n=2)
TOKEN = "ab" * 24


def turn(surface: Surface = Surface.GENERATIONS, *, tool: ToolFacts | None = None, edit: bool = False) -> Turn:
    picture = ImageFacts(sha256="0" * 64, bytes=9, format="png", width=64, height=33)
    inputs = (InputFacts(role=InputRole.IMAGE, source="upload", image=picture),) if edit else ()
    facts = Facts(surface=surface, asked_model="m", tool=tool, inputs=inputs)
    return Turn(facts=facts, sent_model="sent", prompt="a red fox", token=TOKEN, created=1_790_000_000)


def test_images_answer_is_an_images_response() -> None:
    answer = images([b"one", b"two"], SHAPE, turn(Surface.EDITS, edit=True))
    read = ImagesResponse.model_validate_json(answer.body, strict=True)
    assert [base64.b64decode(item.b64_json or "") for item in read.data or []] == [b"one", b"two"]
    assert (read.created, read.size, read.quality, read.background, read.output_format) == (
        1_790_000_000,
        "1024x1536",
        "low",
        "transparent",
        "webp",
    )
    assert read.usage is not None
    assert read.usage.output_tokens == 2 * 158
    assert (read.usage.input_tokens_details.text_tokens, read.usage.input_tokens_details.image_tokens) == (3, 4)
    assert read.usage.total_tokens == 3 + 4 + 316


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((1024, 1024), (196, 1756, 7024)), ((1536, 1024), (158, 1372, 5488)), ((3840, 2160), (371, 3336, 13342))],
)
def test_tokens_follow_the_published_table(size: tuple[int, int], tokens: tuple[int, int, int]) -> None:
    assert tuple(picture_tokens(*size, quality) for quality in ("low", "medium", "high")) == tokens


def test_picture_response_is_a_response_with_an_image_item() -> None:
    tool = ToolFacts(asked_model="house", forced=True)
    answer = picture_response(b"picture", SHAPE, turn(Surface.RESPONSES, tool=tool))
    read = Response.model_validate_json(answer.body)
    item, message = read.output
    assert item.type == "image_generation_call"
    assert (item.id, item.status, item.result) == (f"ig_{TOKEN}", "completed", base64.b64encode(b"picture").decode())
    assert message.type == "message"
    assert "1024x1536" in read.output_text
    assert (read.id, read.status, read.model) == (f"resp_{TOKEN}", "completed", "sent")
    document = json.loads(answer.body)
    assert document["tool_usage"]["image_gen"]["output_tokens"] == 316
    assert document["tool_choice"] == {"type": "image_generation"}
    assert document["tools"][0]["model"] == "sandbox-image"


def test_text_response_says_what_was_heard() -> None:
    read = Response.model_validate_json(text_response(turn(Surface.RESPONSES)).body)
    assert "a red fox" in read.output_text
    assert read.tools == []
    assert read.usage is not None
    assert read.usage.total_tokens == read.usage.input_tokens + read.usage.output_tokens


@pytest.mark.parametrize(
    ("fail", "status", "kind", "code"),
    [
        (400, 400, "invalid_request_error", "invalid_value"),
        (401, 401, "invalid_request_error", "invalid_api_key"),
        (403, 403, "invalid_request_error", None),
        (404, 404, "invalid_request_error", "model_not_found"),
        (418, 418, "invalid_request_error", None),
        (429, 429, "requests", "rate_limit_exceeded"),
        (500, 500, "server_error", None),
        (503, 503, "server_error", None),
        (524, 524, "server_error", None),
        (Mishap.QUOTA, 429, "insufficient_quota", "insufficient_quota"),
        (Mishap.POLICY, 400, "image_generation_user_error", "moderation_blocked"),
    ],
)
def test_failures_speak_in_the_envelope(fail: int | Mishap, status: int, kind: str, code: str | None) -> None:
    answer = failure(fail, turn())
    words = json.loads(answer.body)["error"]
    assert (answer.status, words["type"], words["code"], words["param"]) == (status, kind, code, None)
    assert words["message"].startswith("Sandbox [fail ")
    assert answer.retry_after_s == (1 if fail == 429 else None)


def test_policy_inside_a_responses_turn_is_a_failed_item() -> None:
    tool = ToolFacts(asked_model=None, forced=False)
    answer = failure(Mishap.POLICY, turn(Surface.RESPONSES, tool=tool))
    item = json.loads(answer.body)["output"][0]
    assert (answer.status, item["status"], item["error"]["code"]) == (200, "failed", "moderation_blocked")
    assert item["result"] is None


def test_empty_and_html_are_good_statuses_with_nothing_inside() -> None:
    assert json.loads(failure(Mishap.EMPTY, turn()).body) == {"created": 1_790_000_000, "data": []}
    empty = Response.model_validate_json(failure(Mishap.EMPTY, turn(Surface.RESPONSES)).body)
    assert [item.type for item in empty.output] == ["message"]
    page = failure(Mishap.HTML, turn())
    assert (page.status, page.content_type[:9], page.body[:9]) == (200, "text/html", b"<!doctype")


@pytest.mark.parametrize("acted", [Mishap.DROP, Mishap.HANG])
def test_what_has_no_answer_is_not_answered(acted: Mishap) -> None:
    with pytest.raises(ValueError, match=acted.value):
        failure(acted, turn())


def test_an_error_keeps_its_nulls() -> None:
    assert json.loads(error(400, ErrorBody(message="no", param="size")).body) == {
        "error": {"message": "no", "type": None, "param": "size", "code": None}
    }
