import pytest
from msgspec.structs import replace

from gateway.core.contracts import Violation, check
from gateway.core.terms import OPEN_CONTRACT, Unknown
from gateway.core.types import Facts
from tests.core.contract_cases import contract, edit, generation, markup, mask, picture, turn

MIB = 1024 * 1024
OLD = ("gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest")
NEW = ("gpt-image-2.5-sunburst", "gpt-image-2.5-flare", "gpt-image-2.6-sunburst", "gpt-image-2.6-flare")


def found(facts: Facts, name: str) -> list[tuple[str, str]]:
    return [(one.param, one.code) for one in check(facts, contract(name))]


def only(facts: Facts, name: str) -> Violation:
    (violation,) = check(facts, contract(name))
    return violation


@pytest.mark.parametrize("name", ["gpt-image-2", *NEW])
@pytest.mark.parametrize(
    "size", ["auto", "1024x640", "1536x864", "2048x2048", "2880x2880", "3840x2160", "2160x3840", "1792x1024"]
)
def test_free_sizes_on_the_grid_are_taken(name: str, size: str) -> None:
    assert found(generation(size=size), name) == []


@pytest.mark.parametrize("name", ["gpt-image-2", *NEW])
@pytest.mark.parametrize(
    ("size", "rule"),
    [
        ("1792x936", "Width and height must both be divisible by 16."),
        ("1008x640", "It must have at least 655360 pixels."),
        ("3840x1264", "The aspect ratio must be between 1:3 and 3:1."),
        ("1264x3840", "The aspect ratio must be between 1:3 and 3:1."),
        ("4096x1024", "Neither edge may be longer than 3840 pixels."),
        ("3840x2176", "It must have at most 8294400 pixels."),
        ("big", "It must be auto or WIDTHxHEIGHT."),
        ("01024x1024", "It must be auto or WIDTHxHEIGHT."),
        ("", "It must be auto or WIDTHxHEIGHT."),
    ],
)
def test_sizes_off_the_grid_are_refused_with_the_rule_they_break(name: str, size: str, rule: str) -> None:
    violation = only(generation(size=size), name)
    assert (violation.param, violation.code, violation.rule) == ("size", "invalid_size", rule)


@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize(
    ("size", "codes"), [("1024x1536", []), ("auto", []), ("2048x2048", [("size", "invalid_size")])]
)
def test_older_models_take_three_sizes_and_auto(name: str, size: str, codes: list[tuple[str, str]]) -> None:
    assert found(generation(size=size), name) == codes


def test_a_message_names_the_value_and_the_rule() -> None:
    assert only(generation(size="1792x936"), "gpt-image-2").message == (
        "Invalid size '1792x936'. Width and height must both be divisible by 16."
    )
    assert only(generation(quality="max"), "gpt-image-2").message == (
        "Invalid value 'max' for 'quality'. Supported values are: auto, low, medium, high."
    )
    assert only(generation(complexity="low", frame_count=None, svg=True), "gpt-image-2").message == (
        "Unsupported parameter: 'svg'. This model does not take it."
    )
    assert only(edit(picture("gif")), "gpt-image-2").message == (
        "Invalid picture in 'image'. It must be a picture in one of: png, webp, jpeg."
    )


def test_a_value_that_is_no_plain_word_is_not_repeated() -> None:
    violation = only(generation(size="1024x1024\r\nx-cost: 0"), "gpt-image-2")
    assert violation.value is None
    assert "x-cost" not in violation.message


@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        ("gpt-image-2", {"quality": "high", "background": "opaque", "moderation": "low"}, []),
        ("gpt-image-2", {"quality": "hd"}, ["quality"]),
        ("gpt-image-2", {"quality": "xhigh"}, ["quality"]),
        ("gpt-image-2", {"background": "transparent"}, ["background"]),
        ("gpt-image-2", {"moderation": "none"}, ["moderation"]),
        ("gpt-image-2", {"output_format": "gif"}, ["output_format"]),
        ("gpt-image-2", {"frame_count": 4}, ["frame_count"]),
        ("gpt-image-1.5", {"background": "transparent"}, []),
        ("gpt-image-1.5", {"background": "transparent", "output_format": "webp"}, []),
        ("gpt-image-1.5", {"background": "transparent", "output_format": "jpeg"}, ["background"]),
        ("gpt-image-1.5", {"input_fidelity": "high"}, []),
        ("gpt-image-1-mini", {"input_fidelity": "high"}, ["input_fidelity"]),
        ("gpt-image-1-mini", {"input_fidelity": "low"}, []),
        ("gpt-image-2.5-flare", {"quality": "max", "complexity": "high"}, []),
        ("gpt-image-2.5-flare", {"complexity": "huge"}, ["complexity"]),
        ("gpt-image-2.6-flare", {"background": "transparent", "output_format": "webp"}, []),
        ("gpt-image-2", {"output_compression": 100}, []),
        ("gpt-image-2", {"output_compression": 80}, ["output_compression"]),
        ("gpt-image-2", {"output_compression": 80, "output_format": "jpeg"}, []),
        ("gpt-image-2", {"n": 10, "partial_images": 3, "stream": True}, []),
        ("gpt-image-2", {"n": 11}, ["n"]),
        ("gpt-image-2", {"partial_images": 4}, ["partial_images"]),
        ("gpt-image-2", {"prompt_chars": 32_000}, []),
        ("gpt-image-2", {"prompt_chars": 32_001}, ["prompt"]),
        ("gpt-image-2.5-flare", {"output_format": "gif", "frame_count": 2, "frame_duration_ms": 655_350}, []),
        ("gpt-image-2.5-flare", {"output_format": "gif", "frame_count": 17}, ["frame_count"]),
        ("gpt-image-2.5-flare", {"output_format": "gif", "frame_count": 1}, ["frame_count"]),
        ("gpt-image-2.5-flare", {"frame_count": 4, "frame_duration_ms": 100}, ["frame_count", "frame_duration_ms"]),
        ("gpt-image-2.5-flare", {"output_format": "gif", "stream": True}, ["stream"]),
        ("gpt-image-2.5-flare", {"output_format": "gif", "partial_images": 0, "output_compression": 100}, []),
        ("gpt-image-2.5-flare", {"output_format": "gif", "partial_images": 2}, ["partial_images"]),
        ("gpt-image-2.5-flare", {"output_format": "gif", "output_compression": 9}, ["output_compression"] * 2),
        ("gpt-image-2.5-flare", {"output_format": "svg", "svg": True}, []),
        ("gpt-image-2.5-flare", {"output_format": "svg", "n": 2}, ["n"]),
        ("gpt-image-2.5-flare", {"svg": True}, ["svg"]),
        ("gpt-image-2.5-flare", {"background": "transparent", "output_format": "svg"}, ["background"]),
        ("gemini-3-pro-image", {"size": "1264x848"}, []),
        ("gemini-3-pro-image", {"size": "1536x1024"}, ["size"]),
        ("gemini-3-pro-image", {"quality": "high", "n": 2}, ["quality", "n"]),
        ("gemini-2.5-flash-image", {"size": "2048x2048"}, ["size"]),
        ("grok-imagine-image", {"size": "1024x1024"}, ["size"]),
        ("grok-imagine-image", {"quality": "low"}, ["quality"]),
        ("grok-imagine-image-2.0", {"quality": "low", "n": 10}, []),
        ("open", {"size": "1x1", "quality": "?", "n": 10, "style": "vivid"}, []),
    ],
)
def test_options_are_held_against_the_contract(name: str, options: dict[str, object], params: list[str]) -> None:
    assert [one.param for one in check(generation(**options), contract(name))] == params


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (edit(picture(), mask=mask()), None),
        (edit(picture(), picture("webp"), picture("jpeg", None, None)), None),
        (edit(None, source="url"), None),
        (edit(*[picture()] * 16), None),
        (edit(*[picture()] * 17), "invalid_image"),
        (edit(picture("unknown", None, None)), "invalid_image"),
        (edit(picture("svg")), "invalid_image"),
        (edit(picture("png", None, None)), "invalid_image"),
        (edit(picture(size=50 * MIB - 1)), None),
        (edit(picture(size=50 * MIB)), "invalid_image"),
        (edit(picture(), mask=mask(512, 512)), "invalid_mask"),
        (edit(picture(), mask=picture("jpeg")), "invalid_mask"),
        (edit(picture(), mask=mask(alpha=False)), "invalid_mask"),
        (edit(picture(), mask=mask(alpha=None)), None),
        (edit(picture(), mask=mask(None, None)), "invalid_mask"),
        (edit(picture(), mask=mask(bytes=4 * MIB)), "invalid_mask"),
        (edit(picture(), mask=mask(bytes=4 * MIB - 1)), None),
        (edit(picture("jpeg", None, None), mask=mask(512, 512)), None),
        (edit(None, mask=mask(512, 512), source="url"), None),
    ],
)
def test_pictures_and_masks_are_judged_by_their_headers(facts: Facts, code: str | None) -> None:
    assert [one.code for one in check(facts, contract("gpt-image-2"))] == ([code] if code else [])


def test_a_mask_that_came_as_an_address_is_not_judged() -> None:
    facts = edit(picture(), mask=mask())
    assert facts.mask is not None
    assert check(replace(facts, mask=replace(facts.mask, image=None)), contract("gpt-image-2")) == ()


def test_a_mask_without_a_picture_has_nothing_to_be_as_large_as() -> None:
    assert check(replace(edit(), mask=edit(mask=mask()).mask), contract("gpt-image-2")) == ()


def test_markup_is_for_the_models_that_take_it_and_not_beside_a_mask() -> None:
    facts = edit(picture(), markup=markup(mask()))
    assert found(facts, "gpt-image-2.5-sunburst") == []
    assert found(facts, "gpt-image-2") == [("markup", "unsupported_parameter")]
    assert found(edit(picture(), mask=mask(), markup=markup(mask())), "gpt-image-2.5-flare") == [
        ("markup", "invalid_image")
    ]


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        (edit(picture("gif")), "image"),
        (edit(picture(), picture("gif"), source="data_url"), "images[1]"),
        (edit(*[picture()] * 17, source="data_url"), "images"),
        (turn(inputs=edit(picture("gif")).inputs), "input"),
        (turn(index=2, size="1x1"), "tools[2].size"),
        (turn(mask=edit(picture(), mask=picture("jpeg")).mask), "tools[0].input_image_mask"),
    ],
)
def test_a_violation_says_where_in_the_body_it_stands(facts: Facts, where: str) -> None:
    assert only(facts, "gpt-image-2").where == where


def test_what_belongs_to_the_turn_is_not_the_tools() -> None:
    facts = turn(output_format="gif", stream=True, prompt_chars=40_000)
    assert found(facts, "gpt-image-2.5-flare") == []
    assert found(turn(output_format="gif", partial_images=1), "gpt-image-2.5-flare") == [
        ("partial_images", "invalid_value")
    ]


def test_where_no_tool_is_the_first_is_meant() -> None:
    assert only(replace(turn(size="1x1"), tool=None), "gpt-image-2").where == "tools[0].size"


def test_unknown_parameters_are_forwarded_unless_the_contract_refuses_them() -> None:
    facts = generation(unknown_parameters=("seed",))
    assert found(facts, "gpt-image-2") == []
    strict = replace(contract("gpt-image-2"), unknown=Unknown.REFUSE)
    assert [(one.param, one.code) for one in check(facts, strict)] == [("seed", "unsupported_parameter")]


def test_what_a_contract_does_not_state_is_not_checked() -> None:
    nothing = replace(OPEN_CONTRACT, name="inline")
    facts = edit(*[picture("unknown")] * 30, mask=mask(1, 1), size="9x9", quality="q", background="transparent")
    assert check(replace(facts, output_compression=1, n=10, prompt_chars=10**6, markup=facts.mask), nothing) == ()
