"""The sandbox's events, held against the types of the official SDK."""

import base64
import json
from typing import Any

import orjson
import pytest
from openai.types import ImageEditStreamEvent, ImageGenStreamEvent
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.codecs import sandbox as answers
from gateway.codecs.sandbox_events import Moment, cut, images, refused_response, response
from gateway.core.sandbox import Mishap
from gateway.core.types import ErrorBody, Surface, ToolFacts
from tests.codecs.test_sandbox import SHAPE, turn

DRAWN: Any = TypeAdapter(ImageGenStreamEvent)
EDITED: Any = TypeAdapter(ImageEditStreamEvent)
TOLD: Any = TypeAdapter(ResponseStreamEvent)
TOOL = ToolFacts(asked_model=None, forced=True)


def data_of(moment: Moment) -> dict[str, Any]:
    name, data, *rest = moment.data.split(b"\n")
    assert rest == [b"", b""]
    said: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
    assert name == b"event: " + said["type"].encode()
    return said


@pytest.mark.parametrize(("surface", "types"), [(Surface.GENERATIONS, DRAWN), (Surface.EDITS, EDITED)])
def test_images_are_told_one_after_the_other_each_after_its_previews(surface: Surface, types: Any) -> None:
    whole = orjson.loads(answers.images([b"one", b"two"], SHAPE, turn(surface)).body)
    told = images(surface, whole, [[b"1a", b"1b"], [b"2a"]])
    said = [types.validate_python(data_of(moment), strict=True) for moment in told]
    assert [base64.b64decode(event.b64_json) for event in said] == [b"1a", b"1b", b"one", b"2a", b"two"]
    assert [event.type.rpartition(".")[2] for event in said] == [
        *("partial_image", "partial_image", "completed"),
        *("partial_image", "completed"),
    ]
    assert [event.partial_image_index for event in said if event.type.endswith("partial_image")] == [0, 1, 0]
    assert sum(event.usage.output_tokens for event in said if event.type.endswith("completed")) == 2 * 158
    assert [moment.is_end for moment in told] == [False] * 4 + [True]
    assert all(moment.is_step for moment in told)
    assert len(cut(told)) == 4


def test_an_answer_without_a_picture_is_an_event_without_one() -> None:
    whole = orjson.loads(answers.failure(Mishap.EMPTY, turn()).body)
    [moment] = images(Surface.GENERATIONS, whole, [])
    assert data_of(moment)["b64_json"] == ""
    assert "usage" not in data_of(moment)
    assert moment.is_end


def test_a_turn_that_draws_is_told_as_the_api_does() -> None:
    whole = orjson.loads(answers.picture_response(b"picture", SHAPE, turn(Surface.RESPONSES, tool=TOOL)).body)
    told = response(whole, [b"a"])
    said = [TOLD.validate_python(data_of(moment)) for moment in told]
    assert [event.sequence_number for event in said] == list(range(len(said)))
    call = "response.image_generation_call"
    assert [event.type for event in said][:8] == [
        *("response.created", "response.in_progress", "response.output_item.added"),
        *(f"{call}.in_progress", f"{call}.generating", f"{call}.partial_image", f"{call}.completed"),
        "response.output_item.done",
    ]
    assert said[0].response.status == "in_progress"
    assert said[0].response.output == []
    assert data_of(told[-1])["response"] == whole
    spoken = "".join(event.delta for event in said if event.type == "response.output_text.delta")
    assert spoken == whole["output"][1]["content"][0]["text"]
    assert [moment.is_end for moment in told] == [False] * (len(told) - 1) + [True]


def test_a_refused_picture_is_never_completed() -> None:
    whole = orjson.loads(answers.failure(Mishap.POLICY, turn(Surface.RESPONSES, tool=TOOL)).body)
    kinds = [data_of(moment)["type"] for moment in response(whole, [])]
    assert "response.image_generation_call.completed" not in kinds
    assert kinds[-1] == "response.completed"


def test_an_account_without_credit_begins_and_then_says_so() -> None:
    whole = orjson.loads(answers.text_response(turn(Surface.RESPONSES)).body)
    told = refused_response(whole, ErrorBody(message="no", type="insufficient_quota", code="insufficient_quota"))
    assert [data_of(moment)["type"] for moment in told] == ["response.created", "response.in_progress", "error"]
    assert data_of(told[-1])["error"]["code"] == "insufficient_quota"
    assert data_of(told[-1])["sequence_number"] == 2


def test_long_words_come_in_pieces_that_join() -> None:
    whole = orjson.loads(answers.text_response(turn(Surface.RESPONSES)).body)
    whole["output"][0]["content"][0]["text"] = " a  b c d e f g h i j k l m n o p q r s t "
    deltas = [said["delta"] for said in map(data_of, response(whole, [])) if said["type"].endswith(".delta")]
    assert len(deltas) > 1
    assert "".join(deltas) == whole["output"][0]["content"][0]["text"]


def test_usage_that_is_not_understood_is_left_out() -> None:
    whole = orjson.loads(answers.images([b"one"], SHAPE, turn()).body)
    for usage in (None, "much", {"input_tokens": 1}):
        [moment] = images(Surface.GENERATIONS, {**whole, "usage": usage}, [])
        assert "usage" not in data_of(moment)
    [moment] = images(Surface.GENERATIONS, {"data": "none"}, [])
    assert data_of(moment)["b64_json"] == ""
