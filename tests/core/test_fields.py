import pytest

from gateway.core.fields import Fields, typed, unknown_names, with_options
from gateway.core.types import Facts, JsonValue, Refusal, Surface

BLANK = Facts(surface=Surface.GENERATIONS, asked_model=None)


def options(**values: JsonValue) -> Facts | Refusal:
    fields = Fields(values)
    facts = with_options(BLANK, fields)
    return fields.refusal or facts


def refused(fields: Fields) -> tuple[int, str, str | None]:
    assert fields.refusal is not None
    return fields.refusal.status, fields.refusal.code, fields.refusal.param


def test_options_stand_in_the_facts_as_they_were_said() -> None:
    said = options(
        size="1024x1024",
        quality="high",
        background="transparent",
        output_format="webp",
        output_compression=0,
        moderation="low",
        input_fidelity="high",
        partial_images=3,
    )
    assert isinstance(said, Facts)
    assert (said.size, said.quality, said.background, said.output_format) == (
        "1024x1024",
        "high",
        "transparent",
        "webp",
    )
    assert (said.output_compression, said.moderation, said.input_fidelity, said.partial_images) == (0, "low", "high", 3)


def test_options_that_only_contracts_speak_of_are_taken_when_they_are_plain() -> None:
    said = options(complexity="low", frame_count=4, frame_duration_ms=200, svg={}, response_format="url", style="vivid")
    assert isinstance(said, Facts)
    assert (said.complexity, said.frame_count, said.frame_duration_ms, said.svg) == ("low", 4, 200, True)
    assert (said.response_format, said.style) == ("url", "vivid")


@pytest.mark.parametrize("odd", [3, "x" * 65, True, [], 10**9, 1.5, None])
def test_what_else_they_may_be_is_the_upstreams_matter(odd: JsonValue) -> None:
    word = "a word" if odd == 3 else odd
    assert options(complexity=odd, style=odd, response_format=odd, frame_count=word, frame_duration_ms=word) == BLANK


def test_the_names_that_nobody_knows_are_told_as_far_as_they_are_plain() -> None:
    names = ["prompt", "image[]", "seed", "a b", *(f"x{at}" for at in range(20))]
    assert unknown_names(names) == ("seed", *(f"x{at}" for at in range(15)))
    assert Fields({"seed": 1, "size": "auto"}).unknown() == ("seed",)


def test_null_is_absence_and_unknown_fields_are_nobodys_business() -> None:
    assert options(size=None, output_compression=None, partial_images=None, api_base="https://elsewhere") == BLANK


@pytest.mark.parametrize("value", [0, -1, 11, 10**9, 10**999, -(10**999)])
def test_an_integer_out_of_bounds_is_an_invalid_value(value: int) -> None:
    fields = Fields({"n": value})
    assert fields.integer("n", 1, 10) is None
    assert refused(fields) == (400, "invalid_value", "n")


@pytest.mark.parametrize("value", [1.5, 1e9, 1.0, "1", "", True, False, [1], {"n": 1}, float("inf")])
def test_what_is_no_integer_is_an_invalid_type(value: JsonValue) -> None:
    fields = Fields({"n": value})
    assert fields.integer("n", 1, 10) is None
    assert refused(fields) == (400, "invalid_type", "n")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (True, "a boolean"),
        (1, "an integer"),
        (1.5, "a decimal"),
        ({}, "an object"),
        ([], "an array"),
    ],
)
def test_a_wrong_type_is_named_and_never_shown(value: JsonValue, named: str) -> None:
    fields = Fields({"size": value}, prefix="tools[0].")
    assert fields.text("size") is None
    assert fields.refusal is not None
    assert fields.refusal.message == f"Invalid type for 'tools[0].size': expected a string, but got {named} instead."


@pytest.mark.parametrize("value", ["", " ", "\t", "a\nb", "a\x00b", "a\x7f", "a\u2028b", "m" * 201])
def test_a_model_is_a_short_printable_name(value: str) -> None:
    fields = Fields({"model": value})
    assert fields.model() is None
    assert refused(fields) == (400, "invalid_value", "model")
    assert fields.refusal is not None
    assert value.strip() == "" or value not in fields.refusal.message


@pytest.mark.parametrize("value", ["gpt-image-2", "ft:gpt-4o:org::id", "vendor/model@1", "bild-größe", "m" * 200])
def test_any_such_name_is_a_model(value: str) -> None:
    fields = Fields({"model": value})
    assert (fields.model(), fields.refusal) == (value, None)


def test_a_missing_prompt_and_an_empty_one_are_told_apart() -> None:
    absent, null, empty = Fields({}), Fields({"prompt": None}), Fields({"prompt": ""})
    assert [fields.required_text("prompt") for fields in (absent, null, empty)] == ["", "", ""]
    assert refused(absent) == refused(null) == (400, "missing_required_parameter", "prompt")
    assert refused(empty) == (400, "invalid_value", "prompt")
    assert absent.refusal is not None
    assert absent.refusal.message == "Missing required parameter: 'prompt'."


def test_the_first_thing_wrong_is_the_one_reported() -> None:
    fields = Fields({"n": "1", "size": 1})
    fields.integer("n", 1, 10)
    fields.text("size")
    fields.required_text("prompt")
    assert refused(fields) == (400, "invalid_type", "n")


@pytest.mark.parametrize("value", ["x", {"a": 1}, 1, True])
def test_what_is_no_array_of_objects_is_an_invalid_type(value: JsonValue) -> None:
    whole, member = Fields({"tools": value}), Fields({"tools": [{}, [], value]})
    assert whole.objects("tools") == ()
    assert member.objects("tools") == ()
    assert refused(whole) == (400, "invalid_type", "tools")
    assert refused(member) == (400, "invalid_type", "tools[1]")


@pytest.mark.parametrize("value", ["true", 1, 0, [], "false"])
def test_what_is_no_boolean_is_an_invalid_type(value: JsonValue) -> None:
    fields = Fields({"stream": value})
    assert fields.flag("stream") is False
    assert refused(fields) == (400, "invalid_type", "stream")


def test_a_forms_texts_get_the_types_of_json() -> None:
    texts = {"n": "2", "output_compression": "-1", "partial_images": "0", "stream": "true", "prompt": "12", "user": "5"}
    assert typed(texts) == {
        "n": 2,
        "output_compression": -1,
        "partial_images": 0,
        "stream": True,
        "prompt": "12",
        "user": "5",
    }


@pytest.mark.parametrize("text", ["", "1.5", "1e9", "one", "0x1", " 1", "1 ", "1_0", "٣", "9" * 5000, "+1"])
def test_a_forms_text_that_is_no_number_stays_a_text(text: str) -> None:
    assert typed({"n": text}) == {"n": text}


@pytest.mark.parametrize("text", ["True", "1", "", "yes"])
def test_a_forms_text_that_is_no_flag_stays_a_text(text: str) -> None:
    assert typed({"stream": text}) == {"stream": text}
