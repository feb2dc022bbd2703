import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.errand import Errand, Reference
from gateway.core.types import InputRole, JsonValue, Surface, ToolFacts
from tests.fakes.incoming import PNG, Door

INLINE = "data:image/png;base64," + base64.b64encode(PNG).decode()
TOOL: dict[str, JsonValue] = {"type": "image_generation"}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.spool.close()


def body_of(**fields: JsonValue) -> bytes:
    return json.dumps({"model": "gpt-5.5", "input": "draw a hat"} | fields).encode()


def message(*parts: JsonValue, role: str = "user") -> JsonValue:
    return {"type": "message", "role": role, "content": list(parts)}


async def test_a_turn_becomes_a_job(door: Door) -> None:
    body = body_of(tools=[TOOL | {"model": "gpt-image-2", "size": "1024x1024", "quality": "low"}], background=False)
    job = await door.job(Surface.RESPONSES, body)
    assert (job.facts.asked_model, job.prompt) == ("gpt-5.5", "draw a hat")
    assert job.facts.tool == ToolFacts(asked_model="gpt-image-2", forced=False)
    assert (job.facts.size, job.facts.quality, job.facts.background) == ("1024x1024", "low", None)
    assert [body[start:end] for start, end in job.body_map.tool_models] == [b'"gpt-image-2"']
    assert job.body_map.model is not None
    assert body[slice(*job.body_map.model)] == b'"gpt-5.5"'


async def test_a_turn_without_a_picture_tool_has_none(door: Door) -> None:
    facts = (await door.job(Surface.RESPONSES, body_of(tools=[{"type": "web_search", "model": "x"}]))).facts
    assert facts.tool is None


async def test_nulls_are_absence(door: Door) -> None:
    body = body_of(
        previous_response_id=None,
        conversation=None,
        background=None,
        stream=None,
        tools=[
            TOOL | {"input_fidelity": None, "model": None, "input_image_mask": None},
        ],
    )
    facts = (await door.job(Surface.RESPONSES, body)).facts
    assert facts.tool == ToolFacts(asked_model=None, forced=False)


async def test_the_words_of_a_turn_are_its_prompt_and_its_pictures_its_inputs(door: Door) -> None:
    body = body_of(
        input=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "a"},
            message({"type": "output_text", "text": "no", "annotations": [{"file_id": "f"}]}, role="assistant"),
            message(
                {"type": "input_text", "text": "b"},
                {"type": "input_image", "image_url": INLINE},
                {"type": "input_image", "image_url": "https://pictures.test/a.png"},
            ),
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": INLINE}]},
            {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": INLINE}},
            {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"},
        ]
    )
    job = await door.job(Surface.RESPONSES, body)
    assert job.prompt == "a\nb"
    assert [picture.source for picture in job.facts.inputs] == ["data_url", "url", "data_url", "data_url", "item"]
    assert job.facts.inputs[0].image is not None
    assert (job.facts.inputs[0].image.format, job.facts.inputs[0].image.width) == ("png", 16)


async def test_the_tools_mask_is_the_mask(door: Door) -> None:
    facts = (
        await door.job(Surface.RESPONSES, body_of(tools=[TOOL | {"input_image_mask": {"image_url": INLINE}}]))
    ).facts
    assert facts.mask is not None
    assert (facts.mask.role, facts.mask.source) == (InputRole.MASK, "data_url")


SEARCH: JsonValue = {"type": "web_search"}
CHOICES: list[tuple[JsonValue, list[JsonValue], bool]] = [
    (None, [TOOL], False),
    ("auto", [TOOL], False),
    ("none", [TOOL], False),
    ("required", [TOOL], True),
    ("required", [TOOL, SEARCH], False),
    ({"type": "image_generation"}, [TOOL, SEARCH], True),
    ({"type": "web_search"}, [TOOL, SEARCH], False),
    ({"type": "allowed_tools", "mode": "required", "tools": [TOOL]}, [TOOL, SEARCH], True),
    ({"type": "allowed_tools", "mode": "auto", "tools": [TOOL]}, [TOOL, SEARCH], False),
    ({"type": "allowed_tools", "mode": "required", "tools": [TOOL, SEARCH]}, [TOOL, SEARCH], False),
    ({"type": "allowed_tools", "mode": "required", "tools": []}, [TOOL], False),
]


@pytest.mark.parametrize(("choice", "tools", "forced"), CHOICES)
async def test_a_tool_is_forced_when_nothing_else_may_be_done(
    door: Door, choice: JsonValue, tools: list[JsonValue], forced: bool
) -> None:
    facts = (await door.job(Surface.RESPONSES, body_of(tools=tools, tool_choice=choice))).facts
    assert facts.tool == ToolFacts(asked_model=None, forced=forced)


BAD: list[tuple[dict[str, JsonValue], str, str]] = [
    ({"input": None}, "missing_required_parameter", "input"),
    ({"input": 5}, "invalid_type", "input"),
    ({"input": {"role": "user"}}, "invalid_type", "input"),
    ({"input": ["a"]}, "invalid_type", "input[0]"),
    ({"model": ["gpt-5.5"]}, "invalid_type", "model"),
    ({"stream": "yes"}, "invalid_type", "stream"),
    ({"background": "true"}, "invalid_type", "background"),
    ({"previous_response_id": 5}, "invalid_type", "previous_response_id"),
    ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
    ({"conversation": {"id": "conv_1"}}, "unsupported_parameter", "conversation"),
    ({"input": [{"type": "image_generation_call", "result": None}]}, "missing_required_parameter", "input[0].id"),
    ({"input": [{"type": "item_reference"}]}, "missing_required_parameter", "input[0].id"),
    ({"input": [{"type": "item_reference", "id": 5}]}, "invalid_type", "input[0].id"),
    ({"input": [{"id": ["msg_1"]}]}, "invalid_type", "input[0].id"),
    ({"input": [{"type": "item_reference", "id": f"msg_{n}"} for n in range(1001)]}, "invalid_value", "input"),
    (
        {"input": [message({"type": "input_text", "text": "a"}, {"type": "input_image", "file_id": "file-1"})]},
        "unsupported_parameter",
        "input[0].content[1].file_id",
    ),
    (
        {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "file_id": "f"}}]},
        "unsupported_parameter",
        "input[0].output[0].file_id",
    ),
    ({"tools": TOOL}, "invalid_type", "tools"),
    ({"tools": ["image_generation"]}, "invalid_type", "tools[0]"),
    ({"tools": [SEARCH, TOOL | {"model": 2}]}, "invalid_type", "tools[1].model"),
    ({"tools": [TOOL | {"size": 1024}]}, "invalid_type", "tools[0].size"),
    (
        {"tools": [TOOL | {"input_image_mask": {"file_id": "f"}}]},
        "unsupported_parameter",
        "tools[0].input_image_mask.file_id",
    ),
    ({"tools": [TOOL | {"model": "a"}, TOOL | {"model": "b"}]}, "invalid_value", "tools"),
    ({"tools": [TOOL | {"model": "a"}, TOOL]}, "invalid_value", "tools"),
    ({"tools": [TOOL, TOOL | {"n": 1, "quality": 3}]}, "invalid_type", "tools[1].quality"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD)
async def test_what_cannot_be_served_is_refused_by_its_name(
    door: Door, fields: dict[str, JsonValue], code: str, param: str
) -> None:
    refusal = await door.refusal(Surface.RESPONSES, body_of(**fields))
    assert (refusal.status, refusal.code, refusal.param) == (400, code, param)


async def test_what_is_named_by_its_id_is_a_reference(door: Door) -> None:
    body = body_of(
        previous_response_id="resp_1",
        background=True,
        input=[
            {"role": "user", "content": "like this one"},
            {"type": "image_generation_call", "id": "ig_1"},
            {"type": "item_reference", "id": "msg_1"},
            {"id": "x" * 10_000},
            {"type": "image_generation_call", "id": "ig_2", "result": "AAAA"},
            {"type": "message", "id": "msg_2", "role": "assistant", "content": []},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
            {"type": "reasoning", "summary": []},
        ],
    )
    facts = (await door.job(Surface.RESPONSES, body)).facts
    assert facts.references == (
        Reference(id="resp_1", param="previous_response_id"),
        Reference(id="ig_1", param="input[1].id"),
        Reference(id="msg_1", param="input[2].id"),
        Reference(id="x" * 10_000, param="input[3].id"),
        Reference(id="rs_1", param="input[6].id", bare=False),
        Reference(id="cmp_1", param="input[7].id", bare=False),
    )
    assert [picture.source for picture in facts.inputs] == ["item", "item"]


async def test_a_follow_up_may_bring_nothing_new(door: Door) -> None:
    job = await door.job(Surface.RESPONSES, json.dumps({"model": "m", "previous_response_id": "resp_1"}).encode())
    assert [reference.id for reference in job.facts.references] == ["resp_1"]


@pytest.mark.parametrize("errand", [Errand.INPUT_TOKENS, Errand.COMPACT])
async def test_an_errand_reads_the_body_of_a_turn(door: Door, errand: Errand) -> None:
    body = body_of(tools=[TOOL], tool_choice="required", previous_response_id="resp_1")
    door.errand = errand
    facts = (await door.job(Surface.RESPONSES, body)).facts
    assert (facts.errand, facts.endpoint, facts.asked_model) == (errand, errand.value, "gpt-5.5")
    assert facts.tool == ToolFacts(asked_model=None, forced=False)
    assert (await door.job(Surface.RESPONSES, b'{"model": "m"}')).facts.references == ()
    refusal = await door.refusal(Surface.RESPONSES, body_of(stream=True))
    assert (refusal.code, refusal.param) == ("unsupported_parameter", "stream")


async def test_a_stored_prompt_may_stand_for_the_input(door: Door) -> None:
    job = await door.job(Surface.RESPONSES, json.dumps({"model": "gpt-5.5", "prompt": {"id": "pmpt_1"}}).encode())
    assert (job.prompt, job.facts.prompt_hash, job.facts.prompt_chars) == ("", None, 0)
